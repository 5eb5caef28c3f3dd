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
from train.evaluate.results import Results
from train.evaluate.targets import IGNORED, Targets, read_targets
from train.evaluate.task import Asked, Measured, Task

HEADS = ("linear", "fpn")
PIXELS = "pixel's own bands"
Judge = Callable[
    [npt.NDArray[Any], npt.NDArray[Any]], Measured
]  # of outputs [n, C, H, W] and truth [n, H, W]


def segment(asked: Asked, labels: Path, heads: Sequence[str] = HEADS) -> Results:
    """Segment the chips of a catalog into the classes of *labels*.

    Raises:
        InputError: catalog, labels and models do not fit each other, or there is no such head.
    """
    task = asked.open("segment")
    targets = read_targets(labels, task.images.ids, task.images.config.chip_px)
    if not targets.classes:
        raise InputError(f"Labels {labels} are values", do="Estimate them with: train height")
    judge = _judge_classes(task, len(targets.classes))
    _study(task, task.images, None, targets, judge, heads)
    _add_commonest(task, targets, judge)
    return task.finish()


def height(asked: Asked, labels: Path, heads: Sequence[str] = HEADS) -> Results:
    """Estimate values of each pixel, such as elevation, above each chip's own mean, in the unit of *labels*.

    An image tells of relief, not of the level of the sea: each chip's mean is taken off, so that R² = 0 is a flat chip.

    Raises:
        InputError: catalog, labels and models do not fit each other, or there is no such head.
    """
    task = asked.open("height")
    found = read_targets(labels, task.images.ids, task.images.config.chip_px)
    if found.classes:
        raise InputError(f"Labels {labels} are classes", do="Segment them with: train segment")
    with np.errstate(all="ignore"):
        relief = found.values - np.nanmean(found.values, (1, 2), keepdims=True)
    spread = float(np.nanstd(relief[task.bank])) or 1.0
    targets = replace(found, values=(relief / spread).astype(np.float32))
    task.results.about["unit"] = found.unit
    task.results.notes.append(f"errors in {found.unit or 'the unit of the labels'}, above each chip's mean")

    def judge(values: npt.NDArray[Any], truth: npt.NDArray[Any]) -> Measured:
        return dense.value_evidence(values[:, 0] * spread, truth * spread, task.places)

    _study(task, task.images, None, targets, judge, heads)
    return task.finish()


def change(asked: Asked, heads: Sequence[str] = HEADS) -> Results:
    """Find change that was planted into the chips of a catalog, between two noisy dates.

    Raises:
        InputError: catalog and models do not fit each other, or there is no such head.
    """
    task = asked.open("change")
    after = PlantedChange(task.images)
    targets = after.targets()
    task.results.notes.append("change is planted: blobs of other chips")
    judge = _judge_classes(task, 2)
    _study(task, after, after.before(), targets, judge, heads)
    _add_commonest(task, targets, judge)
    return task.finish()


def _judge_classes(task: Task, classes: int) -> Judge:
    def judge(scores: npt.NDArray[Any], truth: npt.NDArray[Any]) -> Measured:
        return dense.class_evidence(scores.argmax(1), truth, classes, task.places)

    return judge


def _study(task: Task, after: Any, before: Any, targets: Targets, judge: Judge, heads: Sequence[str]) -> None:
    """Every head on every kind of features, and the per-pixel linear classifier."""

    def measured(name: str, maps: Any, seed: int, encoder: nn.Module | None = None) -> Measured:
        tuning = replace(task.asked.tuning, seed=seed)
        head = dense.fit_head(name, maps, targets, task.bank, tuning, encoder)
        return judge(dense.predict(head, maps, task.judged), targets.values[task.judged])

    def joined(maps_of: Callable[[Any], Any]) -> Any:
        return maps_of(after) if before is None else dense.ChangeMaps(maps_of(before), maps_of(after))

    def maps_of(model: nn.Module, tuned: bool) -> Any:
        return joined(lambda images: dense.EncodedMaps(model, images, tuned, task.asked.blocks))

    task.study(targets.name, heads, maps_of, measured)
    pixels = joined(lambda images: dense.PixelMaps(images, task.device))
    runs = [measured("pixel", pixels, seed) for seed in range(task.asked.seeds)]
    task.add(targets.name, "pixel", PIXELS, runs)


def _add_commonest(task: Task, targets: Targets, judge: Judge) -> None:
    """What needs no features: every pixel is of the commonest class of the train split."""
    seen, truth = targets.values[task.bank], targets.values[task.judged]
    best = int(np.bincount(seen[seen != IGNORED], minlength=len(targets.classes)).argmax())
    scores = np.zeros((len(truth), len(targets.classes), 1, 1), np.float32)
    scores[:, best] = 1
    scores = np.broadcast_to(scores, (*scores.shape[:2], *truth.shape[1:]))
    task.add(targets.name, "none", "commonest class", [judge(scores, truth)], "-")
