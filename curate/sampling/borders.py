"""Rows near the edge of their block: only they can lie within a buffer of another split."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from curate.catalog.schema import SPLITS
from curate.sampling import kernels
from curate.sampling.arrays import Mask, Small, Tiny, Words
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

    blocks: Small  # (c, 9) the rows' own block, and the blocks a buffer away in eight directions
    rows: Small  # (c,) how many rows

    @classmethod
    def of(cls, table: EqualAreaTable, spot: Words, buffer_km: float) -> Around:
        """Around the rows at *spot* that lie within the buffer of another block of *table*, and a few that do not.

        Looking in eight directions finds all blocks around a row where blocks are wider than the buffer.
        """
        if buffer_km == 0:
            return cls(np.empty((0, 9), np.int32), np.empty(0, np.int32))
        high, wide = _steps(table, buffer_km)
        near, word = kernels.near_edge(spot, table.columns, table.first, high, wide, buffer_km > WIDEST_KM)
        one, number, _ = kernels.tally(word)
        order = np.argsort(word[one])
        blocks = kernels.cells_around(spot[near[one[order]]], table.columns, table.first, high, wide)
        row = np.searchsorted(table.first, blocks[:, 0], side="right") - 1
        blocks[wide[row] == _ALL_AROUND, 1] = ANY
        return cls(blocks, number[order])


def split_up(
    table: EqualAreaTable,
    spot: Words,
    word: Words,
    kinds: Words,
    split: Tiny,
    beside: Mask,
    buffer_km: float,
) -> tuple[Small, Small, Small]:
    """Rows at *spot* with another split within the buffer, and a few that have none; counts rows meanwhile.

    Args:
        word: of each row; one that is not among *kinds* does not count.
        kinds: (kinds,) different words.
        split, beside: of each block of *table*, −1 where it has no row; whether one around it is of another split.

    Returns:
        The rows, their kinds, and (splits, kinds) the rows of each kind in each split but the first.
    """
    high, wide = _steps(table, max(buffer_km, 1e-3))
    everywhere = buffer_km > 0 and not is_within_blocks(table, buffer_km)
    number = np.zeros((len(SPLITS), len(kinds)), np.int32)
    held, position = kernels.table_of(kinds)
    near, kind = kernels.split_up(
        spot,
        word,
        held,
        position,
        split,
        beside,
        table.columns,
        table.first,
        high,
        wide,
        everywhere,
        number,
    )
    return near, kind, number


def is_within_blocks(table: EqualAreaTable, buffer_km: float) -> bool:
    """Whether no block of *table* but the eight around one can lie within its buffer."""
    side_km = math.pi / len(table.columns) * EARTH_RADIUS_KM
    return buffer_km < min(0.9 * side_km, WIDEST_KM)


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
