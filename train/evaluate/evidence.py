"""What a score rests on, kept by item, so that its interval can be drawn and two models compared in pairs.

A metric is a function of items with weights. Items of one place are no independent evidence, so the bootstrap draws
whole places with replacement: a draw gives each place a weight, and each item its place's. Most metrics are
functions of sums over items (`SUMS`), and are computed from sums by place; those that rank items are not (`RANKS`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.evaluate.knn import Estimate

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Strings = npt.NDArray[np.str_]

DRAWS = 1000


def _mean(total: Floats) -> Floats:
    """Sums (value, 1): mean."""
    return np.asarray(total[..., 0] / np.maximum(total[..., 1], 1e-12))


def _root_mean(total: Floats) -> Floats:
    return np.sqrt(_mean(total))


def _accuracy(total: Floats) -> Floats:
    """Confusion [truth, predicted]: share on the diagonal."""
    return np.asarray(np.trace(total, axis1=-2, axis2=-1) / np.maximum(total.sum((-2, -1)), 1e-12))


def _macro_f1(total: Floats) -> Floats:
    """Confusion: mean F1 of the classes that occur among the true ones."""
    hits = np.diagonal(total, axis1=-2, axis2=-1)
    return _over_occurring(2 * hits, total.sum(-1) + total.sum(-2), total.sum(-1))


def _mean_iou(total: Floats) -> Floats:
    """Confusion: mean intersection over union of the classes that occur among the true ones."""
    hits = np.diagonal(total, axis1=-2, axis2=-1)
    return _over_occurring(hits, total.sum(-1) + total.sum(-2) - hits, total.sum(-1))


def _label_f1(total: Floats) -> Floats:
    """Sums [label, (hit, claimed, true)]: mean F1 of the labels that occur."""
    return _over_occurring(2 * total[..., 0], total[..., 1] + total[..., 2], total[..., 2])


def _micro_f1(total: Floats) -> Floats:
    """Sums [label, (hit, claimed, true)]: F1 of all labels together."""
    hits, claimed, true = np.moveaxis(total.sum(-2), -1, 0)
    return np.asarray(2 * hits / np.maximum(claimed + true, 1e-12))


def _harmonic(total: Floats) -> Floats:
    """Sums (precision, recall, 1): harmonic mean of the two averages, as CSMAE's evaluation reports F1."""
    precision, recall = (np.asarray(total[..., i] / np.maximum(total[..., 2], 1e-12)) for i in (0, 1))
    return np.asarray(2 * precision * recall / np.maximum(precision + recall, 1e-12))


def _explained(total: Floats) -> Floats:
    """Sums (squared error, y, y², 1): R², the share of the variance that is explained."""
    error, y, y2, count = np.moveaxis(total, -1, 0)
    variance = y2 - y**2 / np.maximum(count, 1e-12)
    return np.asarray(1 - error / np.maximum(variance, 1e-12))


def _over_occurring(upper: Floats, lower: Floats, true: Floats) -> Floats:
    occurs = true > 0
    each = np.where(occurs, upper / np.maximum(lower, 1e-12), 0)
    return np.asarray(each.sum(-1) / np.maximum(occurs.sum(-1), 1))


def average_precision(scores: Floats, truth: Floats, weights: Floats) -> Floats:
    """Mean over labels of Σ (recall_n - recall_(n-1)) precision_n, items ranked by *scores* [n, labels].

    Equal scores count as one step of the ranking, as in scikit-learn. Labels that no weighted item has are left out.

    Args:
        weights: of the items, [draws, n]; one value for each draw is returned.
    """
    total, labels = np.zeros(len(weights)), np.zeros(len(weights))
    for label in range(scores.shape[1]):
        order = np.argsort(-scores[:, label], kind="stable")
        ranked, hit = scores[order, label], truth[order, label]
        last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of each run of equal scores
        w = weights[:, order]
        seen, found = np.cumsum(w, 1)[:, last], np.cumsum(w * hit, 1)[:, last]
        steps = np.diff(found, prepend=0.0)
        all_hits = found[:, -1]
        value = (steps * found / np.maximum(seen, 1e-12)).sum(1) / np.maximum(all_hits, 1e-12)
        total += np.where(all_hits > 0, value, 0)
        labels += all_hits > 0
    return np.asarray(total / np.maximum(labels, 1))


def detection_precision(scores: Floats, hits: Floats, objects: Floats, weights: Floats) -> Floats:
    """Average precision of detections at 101 recalls, as COCO's, averaged over thresholds of overlap.

    Args:
        scores: of the detections of each image, [n, kept]; *hits* [n, kept, thresholds] is 1 where one meets an object,
            *objects* [n] how many of these there are.
        weights: of the images, [draws, n]; one value for each draw is returned.
    """
    order = np.argsort(-scores.ravel(), kind="stable")
    image, wanted = order // scores.shape[1], np.linspace(0, 1, 101) - 1e-12
    hit = hits.reshape(len(order), -1)[order].T  # [thresholds, detections]
    found = np.empty((len(weights), len(hit)))
    for draw, times in enumerate(weights):
        w = times[image]
        right, claimed = np.cumsum(w * hit, 1), np.cumsum(w)
        precision = right / np.maximum(claimed, 1e-12)
        envelope = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        for t, recall in enumerate(right / max(times @ objects, 1e-12)):
            found[draw, t] = np.append(envelope[t], 0.0)[np.searchsorted(recall, wanted)].mean()
    return np.asarray(found.mean(1))


def _missing(total: Floats) -> Floats:
    """Sums (errors, objects): 1 - errors / objects, as MOTA is defined."""
    return 1 - _mean(total)


SUMS: Mapping[str, Callable[[Floats], Floats]] = {
    "mean": _mean,
    "root mean": _root_mean,
    "accuracy": _accuracy,
    "macro F1": _macro_f1,
    "mean IoU": _mean_iou,
    "label F1": _label_f1,
    "micro F1": _micro_f1,
    "harmonic": _harmonic,
    "explained": _explained,
    "missing": _missing,
}
RANKS: Mapping[str, Callable[..., Floats]] = {
    "average precision": average_precision,
    "detection": detection_precision,
}


@dataclass(frozen=True)
class Evidence:
    """Items of a test set, and what the metric *rule* needs to know of each."""

    rule: str  # a key of SUMS or RANKS
    places: Strings  # [n]
    arrays: tuple[Floats, ...]  # one [n, ...] to be summed, or what the ranking rule takes

    @classmethod
    def mean(cls, values: Floats, places: Strings) -> Evidence:
        """The mean of one number an item; items that are NaN do not count."""
        known = ~np.isnan(values)
        return cls("mean", places, (np.stack([np.where(known, values, 0), known], 1).astype(float),))

    @classmethod
    def classes(cls, rule: str, truth: Ints, predicted: Ints, places: Strings, classes: int) -> Evidence:
        """A metric of the confusion of *classes* numbered from 0, one of each an item."""
        confusion = np.zeros((len(truth), classes, classes))
        confusion[np.arange(len(truth)), truth.astype(int), predicted.astype(int)] = 1
        return cls(rule, places, (confusion,))

    @classmethod
    def labels(cls, rule: str, truth: Ints, claimed: Ints, places: Strings) -> Evidence:
        """F1 of several labels an item; both [n, labels] are 0 or 1."""
        return cls(rule, places, (np.stack([truth * claimed, claimed, truth], -1).astype(float),))

    def by_place(self) -> Evidence:
        """The same metric from sums by place: less to keep, and the same value and interval."""
        if self.rule in RANKS:
            return self
        places, number = np.unique(self.places, return_inverse=True)
        sums = np.zeros((len(places), *self.arrays[0].shape[1:]))
        np.add.at(sums, number, self.arrays[0])
        return Evidence(self.rule, places, (sums,))

    def values(self, names: Strings, times: Floats) -> Floats:
        """The metric where the places *names* occur as often as *times* [draws, places] says: [draws]."""
        weights = times[:, np.searchsorted(names, self.places)]  # [draws, n]
        if self.rule in RANKS:
            return RANKS[self.rule](*self.arrays, weights)
        return SUMS[self.rule](np.tensordot(weights, self.arrays[0], axes=1))


def estimate(evidence: Sequence[Evidence], draws: int = DRAWS, seed: int = 0) -> Estimate:
    """The mean of a metric over several seeds' *evidence*, and its 95 % interval over places."""
    names, times = _draws(evidence, draws, seed)
    drawn = np.mean([each.values(names, times) for each in evidence], axis=0)
    return _estimate(drawn)


def difference(
    first: Sequence[Evidence], second: Sequence[Evidence], draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """By how much *second* exceeds *first*; both meet the same draws of places.

    Raises:
        ValueError: they rest on different places.
    """
    names, times = _draws([*first, *second], draws, seed)
    for each in (*first, *second):
        if not np.array_equal(np.unique(each.places), names):
            raise ValueError("The two results rest on different places")
    left, right = (np.mean([e.values(names, times) for e in side], axis=0) for side in (first, second))
    return _estimate(right - left)


def value(evidence: Evidence) -> float:
    """The metric over all items."""
    names = np.unique(evidence.places)
    return float(evidence.values(names, np.ones((1, len(names))))[0])


def _draws(evidence: Sequence[Evidence], draws: int, seed: int) -> tuple[Strings, Floats]:
    """Places, and how often each occurs: once in the first row, in the others as drawn."""
    names = np.unique(np.concatenate([each.places for each in evidence]))
    times = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=draws
    )
    return names, np.concatenate([np.ones((1, len(names))), times])


def _estimate(values: Floats) -> Estimate:
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return Estimate(float(values[0]), float(low), float(high))
