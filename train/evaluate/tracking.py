"""Detections to tracks by association, and how well the tracks follow what moves.

Between two frames boxes are assigned by the Hungarian method on IoU; tracks that find nothing coast along at their last
speed for a few frames (SORT's rules, Bewley et al. 2016, arXiv 1602.00763, with straight motion for the Kalman filter).
MOTA and IDF1 come from py-motmetrics; HOTA (Luiten et al. 2021, arXiv 2009.07736) is computed here from its definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from curate.catalog import InputError
from train.evaluate.objects import iou

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.int64]
LEAST_IOU = 0.2
PATIENCE = 2  # frames that a track survives unseen
ALPHAS = np.arange(0.05, 0.96, 0.05)


@dataclass(frozen=True)
class Frame:
    """Boxes of one frame [n, 4] and whose they are [n]."""

    boxes: Floats
    ids: Ints


@dataclass
class _Track:
    number: int
    box: Floats
    speed: Floats = field(default_factory=lambda: np.zeros(4))
    unseen: int = 0

    @property
    def expected(self) -> Floats:
        return np.asarray(self.box + self.speed * (self.unseen + 1))


def associate(frames: Sequence[Floats]) -> list[Frame]:
    """Tracks of detections [n, 4] of each frame: the same boxes with a number that a track keeps."""
    tracks: list[_Track] = []
    found, number = [], 0
    for boxes in frames:
        ids = np.full(len(boxes), -1)
        if tracks and len(boxes):
            overlap = iou(np.stack([track.expected for track in tracks]), boxes)
            for t, b in zip(*linear_sum_assignment(-overlap), strict=True):
                if overlap[t, b] >= LEAST_IOU:
                    track = tracks[t]
                    track.speed = (boxes[b] - track.box) / (track.unseen + 1)
                    track.box, track.unseen, ids[b] = boxes[b], -1, track.number
        for track in tracks:
            track.unseen += 1
        for b in np.flatnonzero(ids < 0):
            ids[b] = number
            tracks.append(_Track(number, boxes[b]))
            number += 1
        tracks = [track for track in tracks if track.unseen <= PATIENCE]
        found.append(Frame(boxes, ids))
    return found


def clear_and_identity(truth: Sequence[Frame], tracks: Sequence[Frame]) -> dict[str, float]:
    """MOTA and IDF1 of one sequence at IoU 0.5, and the counts they are made of.

    Raises:
        InputError: motmetrics is not installed.
    """
    try:
        import motmetrics
    except ImportError as error:
        raise InputError(
            "Tracking needs the package motmetrics",
            do="Install it with: pip install 'curate-and-train[eval]'",
        ) from error
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for true, own in zip(truth, tracks, strict=True):
        apart = 1 - iou(true.boxes, own.boxes)
        accumulator.update(true.ids, own.ids, np.where(apart <= 0.5, apart, np.nan))
    errors = ["num_switches", "num_false_positives", "num_misses"]
    names = ["mota", "idf1", *errors, "num_objects", "idtp", "num_predictions"]
    row: Any = motmetrics.metrics.create().compute(accumulator, metrics=names, name="s").iloc[0]
    return {name: float(row[name]) for name in names}


def hota(truth: Sequence[Frame], tracks: Sequence[Frame]) -> float:
    """Higher order tracking accuracy of one sequence: the mean over IoU thresholds α of sqrt(DetA · AssA).

        DetA = TP / (TP + FN + FP)        AssA = mean over TP c of  TPA(c) / (TPA(c) + FNA(c) + FPA(c))

    Boxes are matched frame by frame so that first the number of matches, then their alignment over the whole sequence
    and their IoU is largest, as the authors' code does.
    """
    owners = np.unique(np.concatenate([frame.ids for frame in truth] or [np.zeros(0, np.int64)]))
    names = np.unique(np.concatenate([frame.ids for frame in tracks] or [np.zeros(0, np.int64)]))
    if not len(owners) or not len(names):
        return 1.0 if len(owners) == len(names) else 0.0
    true_count, own_count = np.zeros(len(owners)), np.zeros(len(names))
    likely = np.zeros((len(owners), len(names)))
    steps = []
    for true, own in zip(truth, tracks, strict=True):
        rows, columns = np.searchsorted(owners, true.ids), np.searchsorted(names, own.ids)
        true_count[rows] += 1
        own_count[columns] += 1
        overlap = iou(true.boxes, own.boxes)
        steps.append((rows, columns, overlap))
        total = overlap.sum(0)[None] + overlap.sum(1)[:, None] - overlap
        likely[np.ix_(rows, columns)] += np.where(total > 1e-9, overlap / np.maximum(total, 1e-9), 0)
    alignment = likely / np.maximum(true_count[:, None] + own_count[None] - likely, 1e-9)
    values = []
    for alpha in ALPHAS:
        pairs, hits = np.zeros(likely.shape), 0
        for rows, columns, overlap in steps:
            allowed = overlap >= alpha - 1e-9
            a, b = linear_sum_assignment(-(allowed * (alignment[np.ix_(rows, columns)] * overlap)))
            kept = allowed[a, b]
            pairs[rows[a[kept]], columns[b[kept]]] += 1
            hits += int(kept.sum())
        detected = hits / (true_count.sum() + own_count.sum() - hits)
        along = pairs / np.maximum(true_count[:, None] + own_count[None] - pairs, 1e-9)
        associated = (pairs * along).sum() / max(hits, 1)
        values.append(np.sqrt(detected * associated))
    return float(np.mean(values))
