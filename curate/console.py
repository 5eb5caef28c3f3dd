"""What a person sees: progress bars and summaries, on stderr; results go to stdout."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from curate.catalog.bars import columns
from curate.summary import Summary

if TYPE_CHECKING:
    from curate.makeup import MakeUp

_MOST_CLASSES = 12  # of Köppen-Geiger that are printed; the rest is counted
Item = TypeVar("Item")
console = Console(stderr=True, highlight=False)
_as_json = False


def speak(*, quiet: bool = False, as_json: bool = False) -> None:
    """How this process reports: *quiet* leaves results and errors only, *as_json* writes results as JSON lines."""
    global _as_json
    console.quiet, _as_json = quiet, as_json


def speaks_json() -> bool:
    """Whether results are to be JSON."""
    return _as_json


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar with rate and time left; call what it yields once a task. Silent where nobody looks."""
    with growing_progress(label) as grow:
        grow(total, 0)
        yield lambda: grow(0, 1)


@contextmanager
def growing_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for work that finds more work: what it yields takes how many more were found, and done."""
    with Progress(
        *columns(f"{label:<10}"), console=console, disable=console.quiet or not console.is_terminal
    ) as bar:
        task = bar.add_task(label, total=0)

        def grow(found: int, done: int) -> None:
            bar.update(task, total=(bar.tasks[0].total or 0) + found, advance=done)

        yield grow


def watched(items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
    """*items*, with a progress bar that counts them as they come."""
    with progress(label, total) as advance:
        for item in items:
            advance()
            yield item


def say(text: str) -> None:
    """One line to the person."""
    console.print(text, soft_wrap=True)


def show(summary: Summary) -> None:
    """What a stage did: how many left of how many, how long it took, and every reason for a rejection."""
    if _as_json:
        print(json.dumps(asdict(summary), ensure_ascii=False), flush=True)
        return
    took = "as before" if summary.reused else f"{summary.seconds:.1f} s"
    out = f"{summary.left:,} of {summary.came_in:,} {summary.unit}"
    console.print(f"[bold]{summary.stage:<9}[/bold] {out:<32} {took}")
    if not summary.reused:
        for reason, number in summary.rejected.items():
            console.print(f"{number:>18,}  {reason}", style="dim", soft_wrap=True)


COMPARED = {  # measure -> how a person reads it; as wide as a terminal of 80 characters
    "way": "way",
    "places": "places",
    "climates": "climates*",
    "dominant": "covers*",
    "strata": "strata*",
    "coverage": "covered",
    "adjacent": "neighbours",
    "ess": "ess",
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
    console.print(_EFFECTIVE, style="dim")


HEADINGS = {  # measure -> its heading and what it says, in the order of the tables
    "rows": ("chips", "chips drawn"),
    "climates": ("climates*", "Köppen-Geiger classes"),
    "dominant": ("land covers*", "dominant land covers"),
    "mass": ("by area*", "land covers by area"),
    "climate_cover": ("both*", "climate with dominant land cover"),
    "strata": ("strata*", "climate with all land covers present"),
    "coverage": ("covered", "share of the pool's strata with a chip"),
    "rare_recall": ("rare kept", "share of the candidates in rare strata that were drawn"),
    "kl_pool": ("KL pool", "divergence from the pool, nats"),
    "kl_uniform": ("KL even", "divergence from equal climates, nats"),
    "places": ("places", "distinct places"),
    "adjacent": ("neighbours", "share with another drawn place beside them"),
    "colocated": ("repeats", "share whose place was drawn more than once"),
    "nearest_km": ("nearest km", "median distance to the nearest other place"),
    "cells": ("cells*", "cells of 1° and equal area"),
    "seasons": ("seasons*", "seasons"),
    "repeated": ("alike", "share with a near-duplicate among the descriptors"),
    "ess": ("ess", "effective sample size per chip, weighted"),
    "entropy": ("entropy", "mean spectral entropy, bits"),
    "entropy_spread": ("± entropy", "its standard deviation"),
    "vendi": ("Vendi", "Vendi score of 2,000 chips"),
    "head": ("head", "distance of the pool to the sample"),
    "tail": ("tail", "distance of the pool's strata to the sample"),
    "seconds": ("seconds", "time of the draw"),
}
_DIVERSITY, _PLACES = tuple(HEADINGS)[:10], tuple(HEADINGS)[10:]
_EFFECTIVE = "* effective number: as many equally frequent kinds"


def _output() -> Console:
    """Results go to stdout; a file or a pipe gets whole lines."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=200)


def show_measures(result: dict[str, Any]) -> None:
    """A catalog's measures, one line a measure and one column a split."""
    splits = result["splits"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("measure")
    for name in splits:
        table.add_column(name, justify="right")
    table.add_column("what it says", style="dim")
    for measure, (heading, meaning) in HEADINGS.items():
        figures = [found.get(measure) for found in splits.values()]
        if any(figure is not None for figure in figures):
            table.add_row(heading, *map(_figure, figures), meaning)
    out = _output()
    kind = "simulated chips" if result["simulated"] else "chips"
    out.print(f"{result['catalog']}: {splits['all']['rows']:,} {kind}", soft_wrap=True)
    out.print(table)
    out.print(_EFFECTIVE, style="dim")


def show_ways(result: dict[str, Any]) -> None:
    """Ways side by side, one line a way; means over seeds with half the width of their 95 % interval."""
    out = _output()
    kind = "simulated candidates" if result["simulated"] else "candidates"
    low, high = min(result["candidates"].values()), max(result["candidates"].values())
    number = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    seeds = len(result["seeds"])
    over = f"mean ± half the 95 % interval over {seeds} seeds" if seeds > 1 else "one seed"
    out.print(f"{result['region']}: {result['budget']:,} of {number} {kind}; {over}", soft_wrap=True)
    for measures in (_DIVERSITY, _PLACES):
        known = [
            m
            for m in measures
            if any(way.get(m, {}).get("mean") is not None for way in result["ways"].values())
        ]
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("way")
        for measure in known:
            table.add_column(HEADINGS[measure][0], justify="right")
        for name, found in result["ways"].items():
            table.add_row(name, *(_interval(**found[measure]) for measure in known))
        if result["ways"]:
            out.print(table)
            out.print()
    for name, why in result["refused"].items():
        out.print(f"not drawn by {name}: {why}", soft_wrap=True)
    out.print(_EFFECTIVE, style="dim")


def _interval(mean: float | None, half: float | None) -> str:
    if mean is None:
        return "–"
    text = f"{mean:,.{_digits(mean)}f}"
    return text if half is None or not round(half, _digits(mean)) else f"{text} ± {half:,.{_digits(mean)}f}"


def _digits(value: float) -> int:
    """Digits after the point that keep about three figures."""
    return 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3


def _figure(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def show_chip(row: dict[str, Any]) -> None:
    """What is known of a chip, one column of the catalog a line, on stdout; what is null or zero cover is left out."""
    table = Table.grid(padding=(0, 2))
    for name, value in row.items():
        no_cover = name.startswith("lc_") and value == 0
        if value is None or no_cover or name.endswith("_hrefs"):
            continue
        shown = f"{value:.4g}" if isinstance(value, float) and abs(value) < 1e4 else str(value)
        table.add_row(name, shown)
    Console(highlight=False, width=200).print(table)


def show_make_up(pool: MakeUp) -> None:
    """A pool in tables, on stdout."""
    out = Console(highlight=False)
    kind = "simulated chips" if pool.simulated else "chips"
    out.print(
        f"[bold]{pool.region}[/bold]  {pool.chips:,} {kind}, {pool.places:,} places, {pool.cells:,} cells",
        soft_wrap=True,
    )
    out.print(_matrix(pool))
    seasons = ", ".join(
        f"{season} {number / max(1, pool.chips):.0%}" for season, number in pool.seasons.items()
    )
    out.print(f"\nSeasons: {seasons}. Unmapped by the land-cover map: {pool.unmapped:.2%} of the area.")
    most = ", ".join(f"{name} {number:,}" for name, number in list(pool.koppen.items())[:_MOST_CLASSES])
    rest = len(pool.koppen) - _MOST_CLASSES
    out.print(
        f"Köppen-Geiger: {most}{f' and {rest} more' if rest > 0 else ''}. "
        f"From the nearest pixel: {pool.nearest:,}.\n",
        soft_wrap=True,
    )
    out.print(_ranges(pool))
    for name, number in pool.vectors.items():
        out.print(f"{name}: {number:,} of {pool.chips:,} chips have a vector")


def _matrix(pool: MakeUp) -> Table:
    """Land covers by climates, and the sums of both."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("land cover")
    for climate in pool.climates:
        table.add_column(climate, justify="right")
    table.add_column("chips", justify="right")
    table.add_column("share", justify="right")
    for cover, row in zip(pool.landcovers, pool.matrix, strict=True):
        cells = (f"{number:,}" if number else "·" for number in row)
        table.add_row(cover, *cells, f"{sum(row):,}", f"{sum(row) / max(1, pool.chips):.1%}")
    sums = [sum(column) for column in zip(*pool.matrix, strict=True)] or [0] * len(pool.climates)
    table.add_row("all", *(f"{number:,}" for number in sums), f"{pool.chips:,}", "", style="bold")
    return table


def _ranges(pool: MakeUp) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("descriptor", "known", "least", "mean", "most", "unit"):
        table.add_column(heading, justify="left" if heading in ("descriptor", "unit") else "right")
    for name, found in pool.ranges.items():
        values = ("–" if value is None else f"{value:.4g}" for value in (found.least, found.mean, found.most))
        table.add_row(name, f"{found.known / max(1, pool.chips):.1%}", *values, found.unit)
    return table
