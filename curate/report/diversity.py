"""A catalog's measures beside what other ways would have drawn from the same candidates, with intervals over seeds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from curate.catalog.errors import InputError
from curate.catalog.page.charts import Svg, interval
from curate.console import HEADINGS
from curate.report.subject import Subject
from curate.sampling.comparison import side_by_side
from curate.sampling.measures import reach_km
from curate.sampling.ways import ways

SEEDS = 5
_DRAWN_UP_TO = 300_000  # candidates; five seeds of three ways take a few seconds
MEASURES = ("climates", "dominant", "mass", "climate_cover", "strata", "coverage", "rare_recall", "kl_pool",
          "kl_uniform", "ess", "adjacent", "colocated", "nearest_km", "cells", "seasons", "repeated")  # fmt: skip
COLOURS = {"random": "--chance", "area": "--pool", "uniform by area": "--pool"}


@dataclass(frozen=True)
class Row:
    """One measure: its name, what it says, and by way its mean and half its interval, as text."""

    heading: str
    meaning: str
    values: list[tuple[str, str]]
    drawing: Svg


@dataclass(frozen=True)
class Diversity:
    """Measures of ways side by side; the catalog's own way is the first."""

    ways: list[tuple[str, str]]  # heading and colour
    rows: list[Row]
    note: str  # how the numbers came about, or why there are none


def diversity(subject: Subject) -> Diversity:
    """Measure the catalog's way beside chance: anew where the pool is small, else as the draw did."""
    stored = subject.beside("comparison.json")
    name = subject.recipe.sampling.chosen_by
    if stored and _fits(stored, subject) and {name, "random"} <= set(stored["ways"]):
        order = [name, *(way for way in stored["ways"] if way != name)][:4]
        found = {way: stored["ways"][way] for way in order}
        return _table(found, _of_seeds(len(stored["seeds"])))
    if subject.pool is not None and subject.every == 1 and subject.pool.num_rows <= _DRAWN_UP_TO:
        try:
            return _table(_drawn(subject, name), _of_seeds(SEEDS))
        except InputError as error:
            return Diversity([], [], str(error))
    once = next(
        (
            stage["notes"].get("against_chance")
            for stage in map(subject.stages.get, ("cut", "sample"))
            if stage
        ),
        None,
    )
    if not once:
        return Diversity([], [], subject.lacking or "The pool is too large to be measured chip by chip.")
    found = {way["way"]: {m: {"mean": way.get(m), "half": None} for m in MEASURES} for way in once}
    return _table(found, "One draw of each way, as it was measured when the catalog was made; no intervals.")


def _fits(stored: dict[str, Any], subject: Subject) -> bool:
    return stored.get("budget") == subject.rows and stored.get("pool_rows") == subject.catalog.meta.pool_rows


def _of_seeds(seeds: int) -> str:
    return (
        f"Each way draws as many chips from the same candidates with {seeds} seeds; figures are means, the bars and ± "
        "half the 95 % interval (Student's t) over seeds."
    )


def _drawn(subject: Subject, name: str) -> dict[str, dict[str, dict[str, float | None]]]:
    assert subject.pool is not None
    sampling = subject.recipe.sampling
    chosen = ways(list(dict.fromkeys([name, "random", "area"])), sampling, None)
    found = side_by_side(subject.pool, sampling, chosen, subject.rows, SEEDS, reach_km(subject.chip_m))
    return {way: {m: asdict(one) for m, one in of.items()} for way, of in found.intervals().items()}


def _table(found: dict[str, dict[str, dict[str, float | None]]], note: str) -> Diversity:
    names = list(found)
    colours = ["--accent", *(COLOURS.get(name, "--soft") for name in names[1:])]
    rows = []
    for measure in MEASURES:
        values = [
            (_known(found[n].get(measure, {}).get("mean")), _known(found[n].get(measure, {}).get("half")))
            for n in names
        ]
        known = [(v, h or 0.0) for v, h in values if v is not None]
        if not known:
            continue
        low, high = min(v - h for v, h in known), max(v + h for v, h in known)
        marks = [(value, half, colour) for (value, half), colour in zip(values, colours, strict=True)]
        heading, meaning = HEADINGS[measure]
        rows.append(
            Row(heading, meaning, [said(*value) for value in values], interval(low, high, marks[::-1]))
        )
    return Diversity(list(zip(names, colours, strict=True)), rows, note)


def said(value: float | None, half: float | None) -> tuple[str, str]:
    """Both to the same digit, about three figures of the value."""
    if value is None:
        return "–", ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}", f"± {half:,.{digits}f}" if half and round(half, digits) else ""


def _known(value: float | None) -> float | None:
    return None if value is None or value != value else float(value)
