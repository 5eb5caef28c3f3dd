"""Which images are learned from, and which are judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.evaluate.labels import Labels


@dataclass(frozen=True)
class Fold:
    """Rows of the bank that is learned from, and of the queries that are judged."""

    bank: npt.NDArray[np.int64]
    queries: npt.NDArray[np.int64]


def folds_of(labels: Labels, folds: int, seed: int) -> list[Fold]:
    """Cross-validation over the labelled images: every one is a query once.

    Classes are spread evenly over folds where an image has one class.
    """
    known = np.flatnonzero(labels.known)
    drawn = np.random.default_rng(seed).permutation(known)
    if not labels.several:
        drawn = drawn[np.argsort(labels.single[drawn], kind="stable")]
    fold = np.arange(len(drawn)) % min(folds, len(drawn))
    return [Fold(np.sort(drawn[fold != f]), np.sort(drawn[fold == f])) for f in np.unique(fold)]
