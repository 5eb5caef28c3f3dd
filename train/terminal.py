"""What a person sees of `train`: lines and tables on stdout, progress on stderr; JSON on stdout for machines."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import Progress, ProgressColumn

from curate.catalog.bars import columns

Say = Callable[[object], None]  # takes the lines and tables that a person should see


@dataclass
class Speech:
    """How this process reports."""

    quiet: bool = False  # results and errors only
    as_json: bool = False  # results as JSON on stdout, the rest on stderr
    counting: bool = False  # a progress bar is shown; there is one at a time


speech = Speech()


@dataclass(frozen=True)
class Shown:
    """A result: a table for people, the same as JSON for machines."""

    view: RenderableType
    fields: Any

    def __str__(self) -> str:
        return str(self.view)


def speak(*, quiet: bool = False, as_json: bool = False) -> None:
    """How this process reports from now on."""
    speech.quiet, speech.as_json = quiet, as_json


def printer(width: int = 150) -> Say:
    """Says lines and tables; a pipe, which has no width of its own, gets tables of *width* characters."""
    console = Console(highlight=False, markup=False, soft_wrap=True, stderr=speech.as_json)
    wide = console if console.is_terminal else Console(
        highlight=False, markup=False, width=width, stderr=speech.as_json
    )  # fmt: skip

    def say(what: object) -> None:
        if isinstance(what, Shown) and speech.as_json:
            print(json.dumps(what.fields, default=str), flush=True)
        elif isinstance(what, Shown):
            (console if isinstance(what.view, str) else wide).print(what.view)
        elif not isinstance(what, str):
            wide.print(what)
        elif not speech.quiet:
            console.print(what)

    return say


def bar(label: str, *more: ProgressColumn, shown: bool = True) -> Progress:
    """A progress bar on stderr with rate, time taken and time left; silent where nobody looks."""
    console = Console(stderr=True)
    hidden = not shown or speech.quiet or not console.is_terminal
    return Progress(*columns(label), *more, console=console, disable=hidden)


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar that is advanced by calling what it yields; none within another one, and on one rank only."""
    shown = not speech.counting and os.environ.get("RANK", "0") == "0"
    with counted(shown), bar(label, shown=shown) as running:
        task = running.add_task(label, total=total)
        yield lambda: running.advance(task)


@contextmanager
def counted(shown: bool = True) -> Iterator[None]:
    """Keeps other bars away while one is *shown*."""
    before, speech.counting = speech.counting, speech.counting or shown
    try:
        yield
    finally:
        speech.counting = before
