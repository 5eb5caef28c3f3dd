"""A run's page: losses, learning rate, throughput, routing and probes, from the files of its folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from curate.catalog import InputError
from curate.catalog.files import write_text
from curate.catalog.page import figure, render
from curate.catalog.page.charts import Svg, interval, lines
from train import __version__

HERE = Path(__file__).parent / "templates"
_COLOURS = ("--accent", "--val", "--test", "--chance", "--train", "--soft", "--pool")
_OF_TIME = ("lr", "pairs_per_s", "data_wait", "grad_norm")
Charts = list[tuple[str, Svg]]
Event = dict[str, Any]


def write_run(folder: Path, out: Path | None = None) -> Path:
    """Write the page of the run in *folder* to *out* (None: ``report.html`` in the folder).

    Raises:
        InputError: the folder holds no run.
    """
    events = read_log(folder / "log.jsonl")
    target = out or folder / "report.html"
    write_text(target, render(HERE, "run.html", key="", **_content(folder, events)))
    return target


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


def _content(folder: Path, events: list[Event]) -> dict[str, Any]:
    config, summary, probes = (
        _beside(folder / name) for name in ("config.json", "summary.json", "probe.json")
    )
    simulated = bool(
        summary.get("simulated") or probes.get("simulated") or config.get("data", {}).get("simulated")
    )
    steps = max((int(event.get("step", 0)) for event in events), default=0)
    facts = [("steps", f"{steps:,}")]
    for name, found in summary.items():
        if isinstance(found, dict) and "fall" in found:
            facts.append((f"{name} loss fell by", f"{found['fall']:.0%}"))
    routing: dict[str, dict[str, float]] = next(
        (event["layers"] for event in reversed(events) if event.get("event") == "routing"), {}
    )
    sections = [("losses", "Losses"), ("speed", "Learning rate and speed")]
    sections += [("probes", "Probes")] if probes else []
    sections += [("routing", "Routing")] if routing else []
    return {
        "title": folder.resolve().name,
        "kind": "A training run",
        "simulated": "This run was trained on a simulated catalog: nothing here says anything about the Earth."
        if simulated
        else "",
        "lede": f"Trained on {config.get('catalog', 'a catalog that the run does not name')}.",
        "facts": facts,
        "sections": [*sections, ("card", "Card")],
        "footer": f"Made by train {__version__}. This page holds all that it shows and asks no network.",
        "losses": curves(events, lambda name: name not in _OF_TIME),
        "speed": curves(events, lambda name: name in _OF_TIME),
        "probes": [_probe(probe) for probe in probes.get("probes", [])],
        "routing": [
            (name, [(key, figure(float(value))) for key, value in layer.items()])
            for name, layer in routing.items()
        ],
        "card": list(_flat({key: value for key, value in config.items() if key != "data"})),
    }


def _beside(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def curves(events: list[Event], wanted: Any) -> Charts:
    """A chart of every number that the log has by step; of training and validation in one, where both have it."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for event in events:
        for name, value in event.items():
            if name in ("event", "step") or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if "step" in event and wanted(name):
                found.setdefault(name, {}).setdefault(str(event.get("event")), []).append(
                    (event["step"], value)
                )
    charts: Charts = []
    for name, kinds in found.items():
        series = [
            (kind, np.array(points, np.float64)[:, 0], np.array(points, np.float64)[:, 1], colour)
            for (kind, points), colour in zip(kinds.items(), _COLOURS, strict=False)
        ]
        title = name.replace("_", " ")
        charts.append((title, lines(title, series, "step", "")))
    return charts


def _probe(probe: dict[str, Any]) -> dict[str, Any]:
    """A probe's results as rows: features, sensors, and each score with its interval, drawn from 0 to 1."""
    rows = []
    for result in probe.get("results", []):
        score = result["score"]["accuracy"]
        colour = "--accent" if result["features"] == "trained" else "--pool"
        middle, half = (score["low"] + score["high"]) / 2, (score["high"] - score["low"]) / 2
        scores = [f"{s['value']:.3f} [{s['low']:.3f}, {s['high']:.3f}]" for s in result["score"].values()]
        drawing = interval(0.0, 1.0, [(middle, half, colour)])
        rows.append(
            {
                "features": result["features"],
                "sensors": result["sensors"],
                "scores": scores,
                "drawing": drawing,
            }
        )
    names = list(probe["results"][0]["score"]) if probe.get("results") else []
    return {**probe, "rows": rows, "names": [name.replace("_", " ") for name in names]}


def _flat(found: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in found.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, str(value)
