"""Results of any task: rows with intervals, what was measured and on what, as JSON and as a table.

`NAME.json` holds the rows; `NAME.npz` beside it what each rests on, so that `train compare` can draw the interval of a
difference from the same places.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from curate.catalog import InputError
from curate.catalog.files import atomic, write_text
from train.evaluate.evidence import Evidence, difference, estimate, value
from train.evaluate.knn import Estimate
from train.terminal import Say, Shown

TRAINED, RANDOM, MEANS = "trained", "random weights", "mean-band values"
Key = tuple[str, str, str, str, str, str]


@dataclass(frozen=True)
class Row:
    """One number: a metric of one kind of features on one label or target."""

    task: str  # retrieve, probe, segment, ...
    target: str  # the label
    method: str  # kNN, linear, S1 -> S2, ...
    sensors: str
    features: str  # trained, random weights, mean-band values, ...
    metric: str
    estimate: Estimate  # mean over seeds, with its 95 % interval over places
    seeds: tuple[float, ...]  # the metric of each seed

    @property
    def key(self) -> Key:
        return self.task, self.target, self.method, self.sensors, self.features, self.metric


@dataclass
class Results:
    """Rows in the order in which they were found."""

    about: dict[str, Any]  # card of the model, data, sizes, cost: whatever a reader must know
    rows: list[Row] = field(default_factory=list)
    evidence: dict[Key, list[Evidence]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what was left out and why

    def add(
        self,
        task: str,
        target: str,
        method: str,
        sensors: str,
        features: str,
        metric: str,
        evidence: Sequence[Evidence],
        seed: int = 0,
    ) -> Row:
        """A row from one seed's evidence or several seeds'."""
        kept = [each.by_place() for each in evidence]
        row = Row(
            task, target, method, sensors, features, metric,
            estimate(kept, seed=seed), tuple(value(each) for each in kept),
        )  # fmt: skip
        self.rows.append(row)
        self.evidence[row.key] = kept
        return row

    def find(self, **fields: str) -> list[Row]:
        """Rows whose *fields* are these."""
        return [
            row for row in self.rows if all(getattr(row, name) == wanted for name, wanted in fields.items())
        ]

    def save(self, path: Path) -> None:
        """Write JSON to *path* and the evidence beside it, atomically."""
        arrays: dict[str, Any] = {}
        for i, row in enumerate(self.rows):
            for j, each in enumerate(self.evidence[row.key]):
                arrays[f"{i}.{j}.rule"] = np.array(each.rule)
                arrays[f"{i}.{j}.places"] = each.places
                arrays |= {f"{i}.{j}.array{k}": array for k, array in enumerate(each.arrays)}
        with atomic(path.with_suffix(".npz")) as part, part.open("wb") as file:
            np.savez_compressed(file, **arrays)
        write_text(path, json.dumps(self.to_json(), indent=1, default=str) + "\n")

    def to_json(self) -> dict[str, Any]:
        """All but the evidence."""
        return {"about": self.about, "rows": [asdict(row) for row in self.rows], "notes": self.notes}

    @classmethod
    def read(cls, path: Path) -> Results:
        """What `save` wrote.

        Raises:
            InputError: no such file, or another program wrote it.
        """
        path = path if path.suffix == ".json" else path.with_suffix(".json")
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            rows = [
                Row(**{**row, "estimate": Estimate(**row["estimate"]), "seeds": tuple(row["seeds"])})
                for row in fields["rows"]
            ]
            with np.load(path.with_suffix(".npz")) as stored:
                evidence = {row.key: _evidence(stored, i, len(row.seeds)) for i, row in enumerate(rows)}
            return cls(fields["about"], rows, evidence, fields["notes"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} holds no results",
                f"{type(error).__name__}: {error}",
                "They are written by: train probe --out",
            ) from error

    def table(self, task: str | None = None) -> Table:
        """Rows as a table: a line for each method, sensor and kind of features, a column for each metric."""
        rows = [row for row in self.rows if task is None or row.task == task]
        metrics = list(dict.fromkeys(row.metric for row in rows))
        view = Table(title=self.title(), caption=self.caption(), title_justify="left", caption_justify="left")
        for name in ("target", "method", "sensors", "features"):
            view.add_column(name)
        for metric in metrics:
            view.add_column(metric, justify="right")
        cells: dict[tuple[str, ...], dict[str, str]] = {}
        for row in rows:
            cells.setdefault((row.target, row.method, row.sensors, row.features), {})[row.metric] = interval(
                row
            )
        for key, found in cells.items():
            view.add_row(*key, *(found.get(metric, "") for metric in metrics))
        return view

    def title(self) -> str:
        simulated = " (simulated values)" if self.about.get("simulated") else ""
        return f"{self.about.get('task', 'results')} of {self.about.get('models', '?')}{simulated}"

    def caption(self) -> str:
        """What a reader must know beside the numbers."""
        cost = self.about.get("cost") or {}
        parts = [f"{name} {n:,}" for name, n in (self.about.get("sizes") or {}).items()]
        if cost:
            parts.append(
                f"{cost['parameters'] / 1e6:.1f} M parameters, {cost['gflop_per_image']:.2f} GFLOP and "
                f"{cost['images_per_s']:,.0f} images/s on {cost['device']}"
            )
        parts.append("brackets: 95 % by bootstrap over places; ±: spread of seeds (largest - smallest) / 2")
        return "; ".join([*parts, *self.notes])


def interval(row: Row) -> str:
    """A number with its interval, and half the range of its seeds where there are several."""
    found = row.estimate
    spread = f" ±{(max(row.seeds) - min(row.seeds)) / 2:.3f}" if len(row.seeds) > 1 else ""
    return f"{found.value:.3f}{spread} [{found.low:.3f}, {found.high:.3f}]"


def beside(files: Sequence[Path]) -> tuple[Table, list[dict[str, Any]]]:
    """Results side by side: every number that the first and another have in common, and the paired difference.

    Raises:
        InputError: fewer than two, one cannot be read, or they have no number in common.
    """
    if len(files) < 2:
        raise InputError(
            "One result alone is beside nothing", do="Give two files or more: train compare A.json B.json"
        )
    first, *others = (Results.read(path) for path in files)
    names = [path.with_suffix("").as_posix() for path in files]
    view = Table(title=f"differences to {names[0]}", title_justify="left", caption_justify="left")
    view.caption = "brackets: 95 % of the difference, both on the same drawn places; *: it excludes 0"
    for name in ("task", "target", "method", "sensors", "features", "metric", names[0]):
        view.add_column(name)
    for name in names[1:]:
        view.add_column(name)
        view.add_column("difference", justify="right")
    found = []
    for row in first.rows:
        cells, fields = [*row.key, f"{row.estimate.value:.3f}"], {**asdict(row), "others": {}}
        for name, other in zip(names[1:], others, strict=True):
            match = next((r for r in other.rows if r.key == row.key), None)
            gap = _gap(first.evidence[row.key], other.evidence[row.key]) if match else None
            cells.append(f"{match.estimate.value:.3f}" if match else "-")
            cells.append(_signed(gap) if gap else "other places" if match else "-")
            fields["others"][name] = {
                "estimate": asdict(match.estimate) if match else None,
                "difference": asdict(gap) if gap else None,
            }
        if any(other["estimate"] for other in fields["others"].values()):
            view.add_row(*cells)
            found.append(fields)
    if not found:
        raise InputError(
            f"{files[0]} and the others have no number in common", do="Compare results of one task"
        )
    return view, found


def _gap(first: Sequence[Evidence], second: Sequence[Evidence]) -> Estimate | None:
    try:
        return difference(first, second)
    except ValueError:
        return None


def said_and_saved(results: Results, out: Path | None, say: Say) -> Results:
    """Say the results, and save them where *out* says."""
    say(Shown(results.table(), results.to_json()))
    if out is not None:
        results.save(out)
        say(f"results  {out}")
    return results


def _signed(gap: Estimate) -> str:
    sure = "*" if gap.low > 0 or gap.high < 0 else ""
    return f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]{sure}"


def _evidence(stored: Any, row: int, seeds: int) -> list[Evidence]:
    found = []
    for j in range(seeds):
        names = sorted(name for name in stored.files if name.startswith(f"{row}.{j}.array"))
        arrays = tuple(stored[name] for name in names)
        found.append(Evidence(str(stored[f"{row}.{j}.rule"]), stored[f"{row}.{j}.places"], arrays))
    return found
