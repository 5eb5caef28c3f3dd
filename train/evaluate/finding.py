"""`train detect` and `train track`: objects planted into the chips of a catalog, found and followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from train.evaluate import dense
from train.evaluate.detection import THRESHOLDS, CentreHead, Detections, centre_loss, decode, matched
from train.evaluate.evidence import Evidence
from train.evaluate.finetune import Tuning
from train.evaluate.images import random_like
from train.evaluate.mapping import TUNED, open_task, rows_of
from train.evaluate.objects import PlantedObjects, Sequences, move_boxes, place_boxes
from train.evaluate.results import MEANS, RANDOM, TRAINED, Results, Say, said_and_saved
from train.evaluate.tracking import Frame, associate, clear_and_identity, hota

FRAMES = 8
SURE = 0.3  # score from which on a detection is followed
WORTH = "objects are planted rectangles of 6 to 16 px: at 10 m that is 60 to 160 m"
Detector = Callable[[Any, npt.NDArray[np.int64]], Detections]


def detect(
    weights: Sequence[Path],
    catalog: Path,
    tune: bool = False,
    tuning: Tuning | None = None,
    seeds: int = 2,
    sensors: Sequence[str] | None = None,
    queries: str = "val+test",
    out: Path | None = None,
    device: str | None = None,
    say: Say = print,
) -> Results:
    """Find planted objects: average precision at IoU 0.5, and its mean from 0.5 to 0.95.

    Raises:
        InputError: catalog and models do not fit each other.
    """
    opened, images, results = open_task("detect", weights, catalog, sensors, queries, device)
    results.notes.append(WORTH)
    planted = PlantedObjects(
        images, place_boxes(len(images), images.config.chip_px, 0), np.arange(len(images))
    )
    asked = rows_of(images)[1]
    places = images.columns["place"].astype(str)[asked]
    boxes = planted.boxes.take(asked)
    objects = boxes.there.sum(1).astype(float)

    def judged(detector: Detector) -> dict[str, Evidence]:
        found = detector(planted, asked)
        hits = np.stack([matched(found, boxes, t) for t in THRESHOLDS], 2).astype(float)
        each = {"AP50": hits[:, :, :1], "AP50-95": hits}
        return {name: Evidence("detection", places, (found.scores, h, objects)) for name, h in each.items()}

    _study(results, opened, planted, judged, tune, tuning or Tuning(300, 16), seeds)
    return said_and_saved(results, out, say)


def track(
    weights: Sequence[Path],
    catalog: Path,
    tune: bool = False,
    tuning: Tuning | None = None,
    seeds: int = 2,
    sensors: Sequence[str] | None = None,
    queries: str = "val+test",
    out: Path | None = None,
    device: str | None = None,
    say: Say = print,
) -> Results:
    """Follow objects that move over each chip for `FRAMES` frames: detections, associated; MOTA, IDF1 and HOTA.

    MOTA and IDF1 are of all sequences together, HOTA is the mean of the sequences'.

    Raises:
        InputError: catalog and models do not fit each other, or motmetrics is not installed.
    """
    clear_and_identity([], [])  # a package that lacks is said before the work
    opened, images, results = open_task("track", weights, catalog, sensors, queries, device)
    results.notes += [WORTH, f"sequences of {FRAMES} frames, objects at up to 3 px a frame"]
    size, asked = images.config.chip_px, rows_of(images)[1]
    planted = PlantedObjects(images, place_boxes(len(images), size, 0), np.arange(len(images)))
    moving = move_boxes(len(asked), size, FRAMES, 1)
    film = PlantedObjects(images, moving.boxes, np.repeat(asked, FRAMES), 1)
    places = images.columns["place"].astype(str)[asked]

    def judged(detector: Detector) -> dict[str, Evidence]:
        return followed(detector(film, np.arange(len(film))), moving, places)

    _study(results, opened, planted, judged, tune, tuning or Tuning(300, 16), seeds)
    return said_and_saved(results, out, say)


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


def _study(
    results: Results,
    opened: Any,
    planted: PlantedObjects,
    judged: Callable[[Detector], Mapping[str, Evidence]],
    tune: bool,
    tuning: Tuning,
    seeds: int,
) -> None:
    """A detector on every kind of features; rows go into *results*."""
    models = [model for model, _, _ in opened]
    bank = rows_of(planted)[0]
    size, sensors = planted.config.chip_px, "+".join(s.prefix for s in planted.config.sensors)
    place = next(models[0].parameters()).device
    grid = dense.EncodedMaps(models[0], planted, tuned=True)(bank[:1]).shape[2]

    def run(
        maps_of: Callable[[Any], Any], seed: int, encoder: nn.Module | None = None
    ) -> Mapping[str, Evidence]:
        maps = maps_of(planted)

        def loss(found: torch.Tensor, rows: dense.Rows) -> torch.Tensor:
            return centre_loss(found, planted.boxes.take(rows))

        head = dense.train_head(
            partial(CentreHead, maps.width, size), maps, bank, loss, replace(tuning, seed=seed), encoder
        )

        def detector(images: Any, rows: dense.Rows) -> Detections:
            source = maps if images is planted else maps_of(images)
            return decode(torch.from_numpy(dense.predict(head, source, rows)))

        return judged(detector)

    def added(kind: str, runs: Sequence[Mapping[str, Evidence]]) -> None:
        for metric in runs[0]:
            evidence = [each[metric] for each in runs]
            results.add(
                str(results.about["task"]), "planted objects", "centres", sensors, kind, metric, evidence
            )

    for kind in (TRAINED, RANDOM):
        pairs = [
            (seed, models[seed % len(models)] if kind == TRAINED else random_like(models[0], seed))
            for seed in range(seeds)
        ]
        added(kind, [run(partial(dense.EncodedMaps, model), seed) for seed, model in pairs])
        if tune:
            runs = []
            for seed, model in pairs:
                own = dense.tuned_copy(model)
                runs.append(run(partial(dense.EncodedMaps, own, tuned=True), seed, own))
            added(TUNED[kind], runs)
    patch = size // grid
    added(MEANS, [run(partial(dense.PatchMeans, device=place, patch=patch), seed) for seed in range(seeds)])
