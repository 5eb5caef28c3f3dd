"""What chance would have given: random rows, and rows random over the Earth's surface."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curate.sampling.arrays import Ints, numbers
from curate.sampling.hashing import stream
from curate.sampling.sphere import EqualAreaTable
from curate.sampling.ways.balance import balanced, by_chance, equal

_AREA_DEG = 1.0


def random(pool: pa.Table, budget: int, seed: int, among: Ints | None = None) -> Ints:
    """*budget* rows of *pool* by chance, in order; *among* restricts the candidates (None: all rows)."""
    candidates, chance = by_chance(pool, seed, among)
    chosen: Ints = candidates[np.argsort(chance, kind="stable")[:budget]]
    return chosen


def uniform_by_area(pool: pa.Table, budget: int, seed: int, among: Ints | None = None) -> Ints:
    """*budget* rows of *pool*, equally many from each 1° block of equal area as far as it has them, in order.

    Blocks of equal degrees, the classic mistake, would draw the far north several times as densely.
    """
    candidates, chance = by_chance(pool, seed, among)
    lon, lat = (numbers(pool[name], np.float64)[candidates] for name in ("lon", "lat"))
    block = EqualAreaTable.of_side(_AREA_DEG).cell(lon, lat)
    chosen: Ints = candidates[balanced([equal("block", block)], chance, budget, stream(seed, "area"))]
    return chosen
