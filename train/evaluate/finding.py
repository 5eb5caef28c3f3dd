"""`train detect` and `train track`: objects planted into the chips of a catalog, found and followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from train.evaluate import dense
from train.evaluate.detection import THRESHOLDS, CentreHead, Detections, centre_loss, decode, matched
from train.evaluate.evidence import Evidence
from train.evaluate.objects import PlantedObjects, Sequences, move_boxes, place_boxes
from train.evaluate.results import MEANS, Results
from train.evaluate.task import Asked, Measured, Task
from train.evaluate.tracking import Frame, associate, clear_and_identity, hota

FRAMES = 8
PLANTED = "planted objects"
SURE = 0.3  # score from which on a detection is followed
WORTH = "objects are planted rectangles of 6 to 16 px: at 10 m that is 60 to 160 m"
Detector = Callable[[Any, npt.NDArray[np.int64]], Detections]


def detect(asked: Asked) -> Results:
    """Find planted objects: average precision at IoU 0.5, and its mean from 0.5 to 0.95.

    Raises:
        InputError: catalog and models do not fit each other.
    """
    task = asked.open("detect")
    task.results.notes.append(WORTH)
    planted = _planted(task)
    boxes = planted.boxes.take(task.judged)
    objects = boxes.there.sum(1).astype(float)

    def judge(detector: Detector) -> Measured:
        found = detector(planted, task.judged)
        hits = np.stack([matched(found, boxes, t) for t in THRESHOLDS], 2).astype(float)
        each = {"AP50": hits[:, :, :1], "AP50-95": hits}
        return {
            name: Evidence("detection", task.places, (found.scores, h, objects)) for name, h in each.items()
        }

    _study(task, planted, judge)
    return task.finish()


def track(asked: Asked) -> Results:
    """Follow objects that move over each chip for `FRAMES` frames: detections, associated; MOTA, IDF1 and HOTA.

    MOTA and IDF1 are of all sequences together, HOTA is the mean of the sequences'.

    Raises:
        InputError: catalog and models do not fit each other, or motmetrics is not installed.
    """
    clear_and_identity([], [])  # a package that lacks is said before the work
    task = asked.open("track")
    task.results.notes += [WORTH, f"sequences of {FRAMES} frames, objects at up to 3 px a frame"]
    moving = move_boxes(len(task.judged), task.images.config.chip_px, FRAMES, 1)
    film = PlantedObjects(task.images, moving.boxes, np.repeat(task.judged, FRAMES), 1)

    def judge(detector: Detector) -> Measured:
        return followed(detector(film, np.arange(len(film))), moving, task.places)

    _study(task, _planted(task), judge)
    return task.finish()


def followed(found: Detections, moving: Sequences, places: npt.NDArray[np.str_]) -> dict[str, Evidence]:
    """Scores of tracks of *found* in all sequences."""
    errors, shares, orders = [], [], []
    for s in range(len(places)):
        frames = range(s * moving.frames, (s + 1) * moving.frames)
        truth = [
            Frame(moving.boxes.corners[i][moving.boxes.there[i]], moving.identity[i][moving.boxes.there[i]])
            for i in frames
        ]
        tracks = associate([found.corners[i][found.scores[i] >= SURE] for i in frames])
        row = clear_and_identity(truth, tracks)
        wrong = row["num_switches"] + row["num_false_positives"] + row["num_misses"]
        errors.append([wrong, row["num_objects"]])
        shares.append([2 * row["idtp"], row["num_objects"] + row["num_predictions"]])
        orders.append(hota(truth, tracks))
    return {
        "MOTA": Evidence("missing", places, (np.array(errors),)),
        "IDF1": Evidence("mean", places, (np.array(shares),)),
        "HOTA": Evidence.mean(np.array(orders), places),
    }


def _planted(task: Task) -> PlantedObjects:
    """Objects in every chip of the task."""
    count = len(task.images)
    boxes = place_boxes(count, task.images.config.chip_px, 0)
    return PlantedObjects(task.images, boxes, np.arange(count))


def _study(task: Task, planted: PlantedObjects, judge: Callable[[Detector], Measured]) -> None:
    """A detector on every kind of features."""
    size = planted.config.chip_px
    grid = dense.EncodedMaps(task.models[0], planted, tuned=True)(task.bank[:1]).shape[2]

    def measured(head: str, maps_of: Any, seed: int, encoder: nn.Module | None = None) -> Measured:
        maps = maps_of(planted)

        def loss(found: torch.Tensor, rows: dense.Rows) -> torch.Tensor:
            return centre_loss(found, planted.boxes.take(rows))

        make, tuning = partial(CentreHead, maps.width, size), replace(task.asked.tuning, seed=seed)
        trained = dense.train_head(make, maps, task.bank, loss, tuning, encoder)

        def detector(images: Any, rows: dense.Rows) -> Detections:
            source = maps if images is planted else maps_of(images)
            return decode(torch.from_numpy(dense.predict(trained, source, rows)))

        return judge(detector)

    def maps_of(model: nn.Module, tuned: bool) -> Any:
        return partial(dense.EncodedMaps, model, tuned=tuned, blocks=task.asked.blocks)

    task.study(PLANTED, ["centres"], maps_of, measured)
    means = partial(dense.PatchMeans, device=task.device, patch=size // grid)
    task.add(
        PLANTED, "centres", MEANS, [measured("centres", means, seed) for seed in range(task.asked.seeds)]
    )
