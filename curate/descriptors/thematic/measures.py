"""What the land-cover fractions of a chip amount to. Fractions have one column a class, and last the unmapped share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curate.grid import Floats, Ints
from curate.legends import COMMON, Legend

Shares = npt.NDArray[np.float32]


def dominant(shares: Shares) -> Ints:
    """Position of the class with the largest share, of equals the first; -1 where all is unmapped."""
    if shares.shape[1] < 2:
        return np.full(len(shares), -1, np.int64)
    mapped = shares[:, :-1]
    return np.where(mapped.max(1) > 0, mapped.argmax(1), -1)


def class_count(shares: Shares, presence: float) -> Ints:
    """How many classes have a share of at least *presence* of the chip, and more than nothing."""
    mapped = shares[:, :-1]
    return np.asarray(((mapped > 0) & (mapped >= np.float32(presence))).sum(1), np.int64)


def entropy_bits(shares: Shares) -> Floats:
    """Shannon entropy of the classes within the mapped part, bits; NaN where all is unmapped.

    H = -Σ p log₂ p (Shannon 1948, section 6): 0 for one class, 1 for two halves, at most log₂ of the legend's length.
    """
    mapped = shares[:, :-1].astype(np.float64)
    total = mapped.sum(1, keepdims=True)
    share = np.divide(mapped, total, out=np.zeros_like(mapped), where=total > 0)
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    return np.asarray(np.where(total[:, 0] > 0, -(share * logs).sum(1) + 0.0, np.nan), np.float64)


def in_common(shares: Shares, legend: Legend) -> Shares:
    """Fractions of the nine classes of `curate.legends.COMMON` and the unmapped share, from those of *legend*.

    Raises:
        InputError: the legend has a class without a common one.
    """
    legend.in_common()  # refuses an incomplete crosswalk
    position = {code: i for i, code in enumerate(COMMON)}
    result = np.zeros((len(shares), len(COMMON) + 1), np.float32)
    for i, code in enumerate(legend.codes):
        result[:, position[legend.common[code]]] += shares[:, i]
    result[:, -1] = shares[:, -1]
    return result
