"""A run's log as charts: what it has by step, and what it has by layer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curate.catalog import InputError
from curate.catalog.page.charts import Svg, lines

COLOURS = ("--accent", "--val", "--test", "--chance", "--train", "--soft", "--pool")
OF_TIME = ("lr", "pairs_per_s", "data_wait", "grad_norm")
NAMES = {
    "lr": "learning rate",
    "pairs_per_s": "pairs a second",
    "data_wait": "share of the time spent waiting for data",
    "grad_norm": "norm of the gradient",
    "umr": "reconstruction within sensors (UMR)",
    "cmr": "reconstruction across sensors (CMR)",
    "mim": "mutual information of features (MIM)",
    "mde": "discrepancy of features (MDE)",
    "z": "size of the routers' logits (z)",
}
Event = dict[str, Any]
Charts = list[tuple[str, Svg]]
Points = list[tuple[float, float]]


def read_log(path: Path) -> list[Event]:
    """The lines of a run's log; a line torn by a kill is passed over.

    Raises:
        InputError: there is none.
    """
    if not path.exists():
        raise InputError(
            f"{path.parent} holds no run",
            f"it has no {path.name}",
            "Train one with: train csmoe --catalog CATALOG",
        )
    events = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return [event for event in events if isinstance(event, dict)]


def curves(events: Iterable[Event], kinds: Sequence[str], wanted: Callable[[str], bool]) -> Charts:
    """A chart of every number that events of *kinds* have by step; a name that several have is one chart."""
    found: dict[str, dict[str, Points]] = {}
    for event in events:
        for name, value in _numbers(event).items() if event.get("event") in kinds else ():
            if wanted(name):
                found.setdefault(name, {}).setdefault(event["event"], []).append((event["step"], value))
    return [_chart(NAMES.get(name, _said(name)), series) for name, series in found.items()]


def by_layer(events: Iterable[Event]) -> Charts:
    """Numbers that the log has by layer and step: the lowest, the mean and the highest over the layers."""
    found: dict[str, dict[str, Points]] = {}
    for event in events:
        values = [v for v in (event.get("layers") or {}).values() if isinstance(v, int | float)]
        for name, choose in (("highest", max), ("mean", np.mean), ("lowest", min)) if values else ():
            series = found.setdefault(str(event["event"]), {})
            series.setdefault(name, []).append((event["step"], float(choose(values))))
    steps = {kind: len(series["mean"]) for kind, series in found.items()}
    return [
        _chart(f"{_said(kind)}, over layers", series) for kind, series in found.items() if steps[kind] > 1
    ]


def last(events: Sequence[Event], kind: str) -> Event:
    """The last event of its *kind*; empty where there is none."""
    return next((event for event in reversed(events) if event.get("event") == kind), {})


def _numbers(event: Event) -> dict[str, float]:
    if "step" not in event:
        return {}
    skipped = ("step", "chips")
    return {
        name: float(value)
        for name, value in event.items()
        if name not in skipped and isinstance(value, int | float) and not isinstance(value, bool)
    }


def _chart(title: str, series: Mapping[str, Points]) -> tuple[str, Svg]:
    drawn = [
        (name, np.array(points, np.float64)[:, 0], np.array(points, np.float64)[:, 1], colour)
        for (name, points), colour in zip(series.items(), COLOURS, strict=False)
    ]
    return title, lines(title, drawn, "step", "", marks=max(map(len, series.values())) < 12)


def _said(name: str) -> str:
    return name.replace("_", " ").replace("/", ", ")
