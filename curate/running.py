"""Counting within groups, the arithmetic that takes the place of loops over ragged arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def running(counts: Ints) -> Ints:
    """0 … c−1 for each c of *counts*, one after the other."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total, dtype=np.int64) - np.repeat(ends - counts, counts)
