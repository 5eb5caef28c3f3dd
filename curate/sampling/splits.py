"""Spatially disjoint splits: whole blocks of a static equal-area table, assigned per main climate.

Evaluation chips nearer than a buffer to training chips are left out, on the evaluation side only, and so are
validation chips near test chips: distance, not the block's edge, is what keeps the splits apart. A block that would
lose most of its chips to the buffer – a sliver of an area that lies in the next block – stays in train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from curate.catalog.schema import SPLITS
from curate.sampling.arrays import Floats, Ints, Mask, Tiny, Words, compact
from curate.sampling.borders import ANY, Around, split_up
from curate.sampling.hashing import hash_words, stream
from curate.sampling.sphere import EqualAreaTable, degrees, spots
from curate.sphere import chord, kilometres, unit_vectors

if TYPE_CHECKING:
    from curate.recipe import Splits

TRAIN, VAL, TEST = range(len(SPLITS))
_ONE_IN = 100  # rows that tell roughly how near splits come
_SPOT_KM = 2e-5  # by which the distance of two spots may differ from that of their places


@dataclass(frozen=True, eq=False)
class Blocks:
    """Which split each occupied block belongs to."""

    block: Ints  # (b,) numbers of the blocks, ascending
    split: Tiny  # (b,) index into SPLITS

    def everywhere(self, table: EqualAreaTable) -> Tiny:
        """Split of every block of *table*; −1 where it has no row."""
        split = np.full(int(table.columns.sum()), -1, np.int8)
        split[self.block] = self.split
        return split

    def counts(self) -> dict[str, int]:
        """Blocks of each split."""
        return dict(zip(SPLITS, np.bincount(self.split, minlength=len(SPLITS)).tolist(), strict=True))

    def beside(self, table: EqualAreaTable, arounds: Sequence[Around]) -> Mask:
        """Of every block of *table*, whether rows of another split may lie around its rows."""
        found = np.zeros(int(table.columns.sum()), np.bool_)
        split = self.everywhere(table)
        for around in arounds:
            near = split[np.maximum(around.blocks, 0)]
            other = ((near >= 0) & (near != near[:, :1]) | (around.blocks == ANY)).any(axis=1)
            found[around.blocks[other, 0]] = True
        return found


@dataclass(frozen=True)
class Assignment:
    """Which split each row belongs to."""

    split: Tiny  # (rows,) index into SPLITS
    buffer: Mask  # (rows,) True where a row lies too near to another split to be used
    blocks: dict[str, int]  # blocks of each split


def assign(lon: Floats, lat: Floats, main: Ints, splits: Splits, seed: int) -> Assignment:
    """Assign rows at *lon*, *lat* (degrees) with main climates *main* to train, val or test."""
    table, spot = EqualAreaTable.of_side(splits.block_deg), spots(lon, lat)
    block = table.at(spot).astype(np.int64)
    around = Around.of(table, spot, splits.buffer_km)
    blocks = assign_blocks(block, main, np.ones(len(block)), [around], splits, seed)
    every, beside = blocks.everywhere(table), blocks.beside(table, [around])
    alike = np.full(len(spot), np.iinfo(np.uint64).max, np.uint64)  # all of one kind
    near, _, _ = split_up(table, spot, alike, alike[:1], every, beside, splits.buffer_km)
    split = every[block]
    buffer = np.zeros(len(block), np.bool_)
    buffer[near] = too_near(spot[near], split[near], splits.buffer_km)
    return Assignment(split, buffer, blocks.counts())


def assign_blocks(
    block: Ints, main: Ints, rows: Floats, arounds: Sequence[Around], splits: Splits, seed: int
) -> Blocks:
    """Share blocks out among the splits, per main climate.

    Args:
        block, main: of some rows, or of kinds of rows.
        rows: how many rows each stands for.
        arounds: blocks around the rows that lie near an edge.
    """
    index, found = compact(block)
    kinds = int(main.max()) + 1
    counts = np.bincount(index * kinds + main, weights=rows, minlength=len(found) * kinds)
    counts = counts.reshape(len(found), kinds)
    majority = np.argmax(counts, axis=1).astype(np.int64)  # the first of equals
    own, others = np.split(np.concatenate([around.blocks for around in arounds]), [1], axis=1)
    occupied = ((others != own) & (found[_at(found, others)] == others)).any(axis=1)
    rows_near = np.concatenate([around.rows for around in arounds]) * occupied
    near = np.bincount(_at(found, own[:, 0]), rows_near, minlength=len(found))
    contested = near / counts.sum(axis=1) > 0.5
    return Blocks(found, _assign_blocks(found, majority, contested, splits, seed))


def _at(found: Ints, block: Ints) -> Ints:
    """Where each of *block* stands among the ascending *found*, or would."""
    return np.minimum(np.searchsorted(found, block), len(found) - 1)


def _assign_blocks(block: Ints, main: Ints, contested: Mask, splits: Splits, seed: int) -> Tiny:
    split = np.full(len(block), TRAIN, np.int8)
    rank = np.argsort(hash_words(block, seed=stream(seed, "split")), kind="stable")
    for climate in np.unique(main):
        ranked = rank[main[rank] == climate]
        val, test = _shares(len(ranked), splits.val, splits.test)
        apart = ranked[~contested[ranked]]
        ranked = apart if len(apart) >= val + test else ranked
        split[ranked[:val]] = VAL
        split[ranked[len(ranked) - test :]] = (
            TEST  # from the other end: a change in one moves none of the other
        )
    return split


def _shares(blocks: int, val: float, test: float) -> tuple[int, int]:
    """How many of a climate's *blocks* go to val and to test: from 3 on, one each and one for train."""
    wanted = []
    for share in (val, test):
        wanted.append(int(np.floor(share * blocks + 0.5)))
        if share > 0 and blocks >= 3:
            wanted[-1] = max(wanted[-1], 1)
    most = blocks - 1 if val + test < 1 else blocks
    while sum(wanted) > most:
        wanted[wanted.index(max(wanted))] -= 1
    return wanted[0], wanted[1]


def too_near(spot: Words, split: Tiny, buffer_km: float) -> Mask:
    """Rows to leave out so that splits lie *buffer_km* apart: evaluation near train, then val near test."""
    points = unit_vectors(*degrees(spot))
    reach = chord(buffer_km + _SPOT_KM)
    buffer = np.zeros(len(split), np.bool_)
    train, evaluation = np.flatnonzero(split == TRAIN), np.flatnonzero(split != TRAIN)
    if len(train) and len(evaluation):
        buffer[evaluation] = _nearest(points[train], points[evaluation], reach) < reach
    val, test = (np.flatnonzero((split == which) & ~buffer) for which in (VAL, TEST))
    if len(val) and len(test):
        buffer[val] = _nearest(points[test], points[val], reach) < reach
    return buffer


def least_km(lon: Floats, lat: Floats, split: npt.NDArray[np.str_]) -> float | None:
    """Smallest distance from a training row to one of val or test; None where a side has none."""
    points = unit_vectors(lon, lat)
    train, evaluation = points[split == SPLITS[TRAIN]], points[split != SPLITS[TRAIN]]
    if not len(train) or not len(evaluation):
        return None
    few, many = sorted((train, evaluation), key=len)
    reach = _nearest(few, many[::_ONE_IN]).min()  # no more than this: most of the others need not look so far
    return float(kilometres(_nearest(few, many, reach).min()))


def _nearest(these: Floats, of: Floats, reach: float = np.inf) -> Floats:
    """Distance from each point *of* to the nearest of *these*; infinite beyond *reach*."""
    from scipy.spatial import cKDTree

    tree = cKDTree(these, balanced_tree=False, compact_nodes=False)
    distance, _ = tree.query(of, distance_upper_bound=np.nextafter(reach, np.inf), workers=-1)
    return np.asarray(distance, np.float64)
