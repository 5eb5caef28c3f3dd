"""`train segment`, `train change` and `train height`: from weights and targets to results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from curate.catalog import InputError
from train.evaluate import dense
from train.evaluate.changes import PlantedChange
from train.evaluate.cost import cost_of
from train.evaluate.evidence import Evidence
from train.evaluate.finetune import Tuning
from train.evaluate.images import open_images, random_like
from train.evaluate.judging import about
from train.evaluate.results import RANDOM, TRAINED, Results, Say, said_and_saved
from train.evaluate.running import loaded
from train.evaluate.targets import IGNORED, Targets, read_targets

Judge = Callable[[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.str_]], dict[str, Evidence]]
PIXELS = "pixel's own bands"
TUNED = {TRAINED: "trained, tuned", RANDOM: "random weights, tuned"}


def segment(
    weights: Sequence[Path],
    catalog: Path,
    labels: Path,
    heads: Sequence[str] = ("linear", "fpn"),
    tune: bool = False,
    tuning: Tuning | None = None,
    seeds: int = 2,
    sensors: Sequence[str] | None = None,
    queries: str = "val+test",
    out: Path | None = None,
    device: str | None = None,
    say: Say = print,
) -> Results:
    """Segment the chips of a catalog into the classes of *labels*: heads on frozen, and with *tune* on tuned, features.

    Raises:
        InputError: catalog, labels and models do not fit each other.
    """
    opened, images, results = open_task("segment", weights, catalog, sensors, queries, device)
    targets = read_targets(labels, images.ids, images.config.chip_px)
    if not targets.classes:
        raise InputError(f"Labels {labels} are values", do="Estimate them with: train height")

    def judge(scores: npt.NDArray[Any], truth: npt.NDArray[Any], places: npt.NDArray[np.str_]) -> Any:
        return dense.class_evidence(scores.argmax(1), truth, len(targets.classes), places)

    _study(results, opened, images, images, None, targets, judge, heads, tune, tuning or Tuning(), seeds)
    _commonest(results, images, targets, judge)
    return said_and_saved(results, out, say)


def height(
    weights: Sequence[Path],
    catalog: Path,
    labels: Path,
    heads: Sequence[str] = ("linear", "fpn"),
    tune: bool = False,
    tuning: Tuning | None = None,
    seeds: int = 2,
    sensors: Sequence[str] | None = None,
    queries: str = "val+test",
    out: Path | None = None,
    device: str | None = None,
    say: Say = print,
) -> Results:
    """Estimate values of each pixel, such as elevation, above each chip's own mean, in the unit of *labels*.

    An image tells of relief, not of the level of the sea: each chip's mean is taken off, so that R² = 0 is a flat chip.

    Raises:
        InputError: catalog, labels and models do not fit each other.
    """
    opened, images, results = open_task("height", weights, catalog, sensors, queries, device)
    found = read_targets(labels, images.ids, images.config.chip_px)
    if found.classes:
        raise InputError(f"Labels {labels} are classes", do="Segment them with: train segment")
    with np.errstate(all="ignore"):
        relief = found.values - np.nanmean(found.values, (1, 2), keepdims=True)
    spread = float(np.nanstd(relief[rows_of(images)[0]])) or 1.0
    targets = replace(found, values=(relief / spread).astype(np.float32))
    results.about["unit"] = found.unit
    results.notes.append(f"errors in {found.unit or 'the unit of the labels'}, above each chip's mean")

    def judge(values: npt.NDArray[Any], truth: npt.NDArray[Any], places: npt.NDArray[np.str_]) -> Any:
        return dense.value_evidence(values[:, 0] * spread, truth * spread, places)

    _study(results, opened, images, images, None, targets, judge, heads, tune, tuning or Tuning(), seeds)
    return said_and_saved(results, out, say)


def change(
    weights: Sequence[Path],
    catalog: Path,
    heads: Sequence[str] = ("linear", "fpn"),
    tune: bool = False,
    tuning: Tuning | None = None,
    seeds: int = 2,
    sensors: Sequence[str] | None = None,
    queries: str = "val+test",
    out: Path | None = None,
    device: str | None = None,
    say: Say = print,
) -> Results:
    """Find change that was planted into the chips of a catalog, between two noisy dates.

    Raises:
        InputError: catalog and models do not fit each other.
    """
    opened, images, results = open_task("change", weights, catalog, sensors, queries, device)
    after = PlantedChange(images)
    targets = after.targets()
    results.notes.append("change is planted: blobs of other chips")

    def judge(scores: npt.NDArray[Any], truth: npt.NDArray[Any], places: npt.NDArray[np.str_]) -> Any:
        return dense.class_evidence(scores.argmax(1), truth, 2, places)

    _study(
        results, opened, images, after, after.before(), targets, judge, heads, tune, tuning or Tuning(), seeds
    )
    _commonest(results, images, targets, judge)
    return said_and_saved(results, out, say)


def open_task(
    task: str,
    weights: Sequence[Path],
    catalog: Path,
    sensors: Sequence[str] | None,
    queries: str,
    device: str | None,
) -> tuple[Any, Any, Results]:
    """Models, the chips to train on and to judge as one set, and the head of the results."""
    opened = loaded(weights, device)
    data = opened[0][1]
    images = open_images(catalog, data, f"train+{queries}", sensors)
    results = Results(about(task, opened))
    bank, asked = rows_of(images)
    if not len(bank) or not len(asked):
        raise InputError(
            f"Catalog {catalog} lacks chips to train on or to judge", f"splits train and {queries}"
        )
    results.about |= {
        "sizes": {"train": len(bank), "queries": len(asked)},
        "cost": cost_of(opened[0][0], images),
        "simulated": data.simulated,
    }
    return opened, images, results


def rows_of(images: Any) -> tuple[dense.Rows, dense.Rows]:
    """Rows of the train split, and of the others."""
    split = images.columns["split"].astype(str)
    return np.flatnonzero(split == "train"), np.flatnonzero(split != "train")


def _study(
    results: Results,
    opened: Any,
    images: Any,
    after: Any,
    before: Any,
    targets: Targets,
    judge: Judge,
    heads: Sequence[str],
    tune: bool,
    tuning: Tuning,
    seeds: int,
) -> None:
    """Every head on every kind of features, and the per-pixel linear classifier; rows go into *results*."""
    models = [model for model, _, _ in opened]
    bank, asked = rows_of(images)
    places = images.columns["place"].astype(str)[asked]
    sensors = "+".join(s.prefix for s in images.config.sensors)

    def measured(name: str, maps: Any, seed: int, encoder: nn.Module | None = None) -> dict[str, Evidence]:
        chosen = replace(tuning, seed=seed)
        head = dense.fit_head(name, maps, targets, bank, chosen, encoder)
        return judge(dense.predict(head, maps, asked), targets.values[asked], places)

    def added(name: str, kind: str, runs: Sequence[dict[str, Evidence]]) -> None:
        for metric in runs[0]:
            evidence = [run[metric] for run in runs]
            results.add(str(results.about["task"]), targets.name, name, sensors, kind, metric, evidence)

    def mapped(model: nn.Module, tuned: bool = False) -> Any:
        late = dense.EncodedMaps(model, after, tuned)
        return late if before is None else dense.ChangeMaps(dense.EncodedMaps(model, before, tuned), late)

    for kind in (TRAINED, RANDOM):
        pairs = [
            (seed, models[seed % len(models)] if kind == TRAINED else random_like(models[0], seed))
            for seed in range(seeds)
        ]
        frozen = [(seed, mapped(model)) for seed, model in pairs]
        for name in heads:
            added(name, kind, [measured(name, maps, seed) for seed, maps in frozen])
        del frozen
        if tune:
            for name in heads:
                runs = []
                for seed, model in pairs:
                    copied = dense.tuned_copy(model)
                    runs.append(measured(name, mapped(copied, True), seed, copied))
                added(name, TUNED[kind], runs)
    device = next(models[0].parameters()).device
    pixels: Any = dense.PixelMaps(after, device)
    if before is not None:
        pixels = dense.ChangeMaps(dense.PixelMaps(before, device), pixels)
    added("pixel", PIXELS, [measured("pixel", pixels, seed) for seed in range(seeds)])


def _commonest(results: Results, images: Any, targets: Targets, judge: Judge) -> None:
    """What needs no features: every pixel is of the commonest class of the train split."""
    bank, asked = rows_of(images)
    seen = targets.values[bank]
    best = int(np.bincount(seen[seen != IGNORED], minlength=len(targets.classes)).argmax())
    scores = np.zeros((len(asked), len(targets.classes), 1, 1), np.float32)
    scores[:, best] = 1
    scores = np.broadcast_to(scores, (*scores.shape[:2], *targets.values.shape[1:]))
    places = images.columns["place"].astype(str)[asked]
    for metric, evidence in judge(scores, targets.values[asked], places).items():
        results.add(
            str(results.about["task"]), targets.name, "none", "-", "commonest class", metric, [evidence]
        )
