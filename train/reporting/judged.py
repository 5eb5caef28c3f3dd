"""What was measured of a run's features: the probe at its end, and results and pictures that lie in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from curate.catalog import InputError
from curate.catalog.page import picture
from curate.catalog.page.charts import interval as drawn_interval
from train.evaluate.results import Results, interval

RETRIEVAL = "retrieval"


def probe_tables(probes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The probes at the end of a run: rows of features, sensors and scores, drawn from 0 to 1."""
    return [_probe(probe) for probe in probes]


def results_in(folder: Path) -> list[dict[str, Any]]:
    """Tables of the results in *folder* that `train probe`, `retrieve` and their like wrote with --out."""
    tables = []
    for path in sorted(folder.glob("*.json")):
        if not path.with_suffix(".npz").exists():
            continue
        try:
            results = Results.read(path)
        except InputError:
            continue
        tables.append({"name": path.stem, "pictures": _pictures(path), **_table(results)})
    return tables


def _table(results: Results) -> dict[str, Any]:
    metrics = list(dict.fromkeys(row.metric for row in results.rows))
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for row in results.rows:
        cells.setdefault((row.target, row.method, row.sensors, row.features), {})[row.metric] = interval(row)
    rows = [(*key, *(found.get(metric, "") for metric in metrics)) for key, found in cells.items()]
    return {
        "title": results.title(),
        "note": results.caption(),
        "columns": ("target", "method", "sensors", "features", *metrics),
        "rows": rows,
        "task": results.about.get("task"),
    }


def _pictures(path: Path) -> list[tuple[str, str]]:
    """Pictures that lie beside results: what they show, and their data."""
    from PIL import Image

    found = []
    for file in sorted(path.parent.glob(f"{path.stem}-*.png")):
        said = file.stem.removeprefix(f"{path.stem}-").replace("-", ", ")
        with Image.open(file) as opened:
            found.append((said, picture(np.asarray(opened.convert("RGB")))))
    return found


def _probe(probe: dict[str, Any]) -> dict[str, Any]:
    rows = []
    for result in probe.get("results", []):
        score = result["score"]["accuracy"]
        colour = "--accent" if result["features"] == "trained" else "--pool"
        middle, half = (score["low"] + score["high"]) / 2, (score["high"] - score["low"]) / 2
        scores = [f"{s['value']:.3f} [{s['low']:.3f}, {s['high']:.3f}]" for s in result["score"].values()]
        drawing = drawn_interval(0.0, 1.0, [(middle, half, colour)])
        rows.append({**result, "scores": scores, "drawing": drawing})
    names = list(probe["results"][0]["score"]) if probe.get("results") else []
    return {**probe, "rows": rows, "names": [name.replace("_", " ") for name in names]}
