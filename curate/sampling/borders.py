"""Rows near the edge of their block: only they can lie within a buffer of another split."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from curate.sampling import kernels
from curate.sampling.arrays import Ints, Small, Words
from curate.sampling.hashing import hash_words
from curate.sampling.sphere import TURN, EqualAreaTable
from curate.sphere import EARTH_RADIUS_KM

_SLACK = 1.001  # a parallel is longer than the shortest way; distances themselves are compared later
_POLAR_DEG = 89.0  # nearer to a pole all rows lie near any block
WIDEST_KM = (
    50.0  # up to here a buffer is measured along parallels and meridians; beyond, all rows lie near an edge
)
_ALL_AROUND = TURN - 1  # a step as wide as the parallel
ANY = -2  # in place of a block: there may be others than the eight


@dataclass(frozen=True, eq=False)
class Around:
    """Which blocks lie around rows near an edge: few combinations, many rows."""

    blocks: Ints  # (c, 9) the rows' own block, and the blocks a buffer away in eight directions
    rows: Ints  # (c,) how many rows


def edges(table: EqualAreaTable, spot: Words, buffer_km: float) -> tuple[Small, Small, Around]:
    """The rows at *spot* that lie within the buffer of another block of *table*, and a few that do not.

    Looking in eight directions finds all blocks around a row where blocks are wider than the buffer.

    Returns:
        Positions of the rows, for each the combination of blocks around it, and the combinations.
    """
    if buffer_km == 0:
        nothing = np.empty(0, np.int32)
        return nothing, nothing, Around(np.empty((0, 9), np.int64), np.empty(0, np.int64))
    high, wide = _steps(table, buffer_km)
    if buffer_km > WIDEST_KM:
        near = np.arange(len(spot), dtype=np.int32)
    else:
        near = kernels.near_edge(spot, table.columns, high, wide)
    around = kernels.blocks_around(spot[near], table.columns, table.first, high, wide)
    word = hash_words(*around.T, seed=0)
    first, number, kind = kernels.tally(np.zeros(len(word), np.int32), word)
    order = np.argsort(word[first])
    kinds = around[first[order]]
    row = np.searchsorted(table.first, kinds[:, 0], side="right") - 1
    kinds[wide[row] == _ALL_AROUND, 1] = ANY
    which = np.argsort(order).astype(np.int32)[kind]
    return near, which, Around(kinds, number[order].astype(np.int64))


def _steps(table: EqualAreaTable, buffer_km: float) -> tuple[np.uint64, Words]:
    """The buffer northwards, and eastwards in each row of blocks where its parallels are shortest (`spots`)."""
    angle = math.degrees(buffer_km / EARTH_RADIUS_KM) * _SLACK
    edge = np.linspace(-90.0, 90.0, len(table.columns) + 1)
    farthest = np.maximum(np.abs(edge[1:]), np.abs(edge[:-1]))
    wide = []
    for lat, columns in zip(farthest.tolist(), table.columns.tolist(), strict=True):
        step = math.ceil(angle / max(math.cos(math.radians(lat)), 0.01) * TURN / 360)
        far = lat > _POLAR_DEG or step * columns >= TURN
        wide.append(_ALL_AROUND if far else step)
    return np.uint64(min(math.ceil(angle * TURN / 180), TURN - 1)), np.array(wide, np.uint64)
