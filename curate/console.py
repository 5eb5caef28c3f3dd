"""What a person sees: progress bars and summaries, on stderr; results go to stdout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from curate.summary import Summary

console = Console(stderr=True, highlight=False)


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar with rate and time left; call what it yields once a task. Silent where nobody looks."""
    columns = (
        TextColumn(f"{label:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=total)
        yield lambda: bar.advance(task)


def say(text: str) -> None:
    """One line to the person."""
    console.print(text, soft_wrap=True)


def show(summary: Summary) -> None:
    """What a stage did: how many left of how many, how long it took, and every reason for a rejection."""
    took = "as before" if summary.reused else f"{summary.seconds:.1f} s"
    out = f"{summary.left:,} of {summary.came_in:,} {summary.unit}"
    console.print(f"[bold]{summary.stage:<9}[/bold] {out:<32} {took}")
    if not summary.reused:
        for reason, number in summary.rejected.items():
            console.print(f"{number:>18,}  {reason}", style="dim", soft_wrap=True)


COMPARED = {  # measure -> how a person reads it
    "way": "way",
    "rows": "chips",
    "places": "places",
    "climates": "climates*",
    "dominant": "land covers*",
    "strata": "strata*",
    "coverage": "strata covered",
    "adjacent": "have a neighbour",
    "ess": "weighted size",
}


def show_comparison(ways: list[dict[str, Any]]) -> None:
    """A sample beside what chance would have given, one line a way."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    shown = {measure: heading for measure, heading in COMPARED.items() if measure in ways[0]}
    for measure, heading in shown.items():
        table.add_column(heading, justify="left" if measure == "way" else "right")
    for way in ways:
        table.add_row(*(_figure(way[measure]) for measure in shown))
    console.print(table)
    console.print("* effective number: as many equally frequent kinds", style="dim")


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
