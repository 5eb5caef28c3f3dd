"""Spatially disjoint splits: whole blocks of a static equal-area table, assigned per main climate.

Evaluation chips nearer than a buffer to training chips are left out, on the evaluation side only, and so are
validation chips near test chips: distance, not the block's edge, is what keeps the splits apart. A block that would
lose most of its chips to the buffer – a sliver of an area that lies in the next block – stays in train.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from curate.catalog.schema import SPLITS
from curate.sampling.arrays import Floats, Ints, Mask
from curate.sampling.hashing import hash_words, stream
from curate.sampling.sphere import EARTH_RADIUS_KM, EqualAreaTable, chord, kilometres, unit_vectors

if TYPE_CHECKING:
    from curate.recipe import Splits

TRAIN, VAL, TEST = range(len(SPLITS))


@dataclass(frozen=True)
class Assignment:
    """Which split each row belongs to, and how far apart the splits are."""

    split: npt.NDArray[np.int8]  # (rows,) index into SPLITS
    buffer: Mask  # (rows,) True where a row lies too near to another split to be used
    blocks: dict[str, int]  # blocks of each split
    least_km: float | None  # smallest distance left between a training and an evaluation row


def assign(lon: Floats, lat: Floats, main: Ints, splits: Splits, seed: int) -> Assignment:
    """Assign rows at *lon*, *lat* (degrees) with main climates *main* to train, val or test."""
    cell = EqualAreaTable.of_side(splits.block_deg).cell(lon, lat)
    block, index = np.unique(cell, return_inverse=True)
    contested = _contested(EqualAreaTable.of_side(splits.block_deg), block, index, lon, lat, splits.buffer_km)
    of_block = _assign_blocks(block, _majority(index, main, len(block)), contested, splits, seed)
    split = of_block[index]
    buffer, least_km = _keep_apart(unit_vectors(lon, lat), split, splits.buffer_km)
    blocks = np.bincount(of_block, minlength=len(SPLITS)).tolist()
    return Assignment(split, buffer, dict(zip(SPLITS, blocks, strict=True)), least_km)


def _majority(block: Ints, main: Ints, blocks: int) -> Ints:
    """The main climate most rows of each block have; the first of equals."""
    kinds = int(main.max()) + 1
    counts = np.bincount(block * kinds + main, minlength=blocks * kinds).reshape(blocks, kinds)
    majority: Ints = np.argmax(counts, axis=1).astype(np.int64)
    return majority


def _contested(
    table: EqualAreaTable, block: Ints, index: Ints, lon: Floats, lat: Floats, buffer_km: float
) -> Mask:
    """Blocks of which most rows have another occupied block within the buffer."""
    near = np.zeros(len(index), np.bool_)
    step_lat = np.degrees(buffer_km / EARTH_RADIUS_KM)
    step_lon = step_lat / np.maximum(np.cos(np.radians(lat)), 0.01)
    for east in (-1, 0, 1):
        for north in (-1, 0, 1):
            beside = table.cell(lon + east * step_lon, np.clip(lat + north * step_lat, -90.0, 90.0))
            near |= (beside != block[index]) & np.isin(beside, block)
    share = np.bincount(index, weights=near, minlength=len(block)) / np.bincount(index, minlength=len(block))
    contested: Mask = share > 0.5
    return contested


def _assign_blocks(
    block: Ints, main: Ints, contested: Mask, splits: Splits, seed: int
) -> npt.NDArray[np.int8]:
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


def _keep_apart(points: Floats, split: npt.NDArray[np.int8], buffer_km: float) -> tuple[Mask, float | None]:
    """Rows to leave out so that splits lie *buffer_km* apart, and the least train-to-evaluation distance."""
    buffer = np.zeros(len(split), np.bool_)
    train, evaluation = np.flatnonzero(split == TRAIN), np.flatnonzero(split != TRAIN)
    least_km = None
    if len(train) and len(evaluation):
        nearest = _nearest(points[train], points[evaluation])
        buffer[evaluation] = nearest < chord(buffer_km)
        left = nearest[~buffer[evaluation]]
        least_km = kilometres(float(left.min())) if len(left) else None
    val, test = (np.flatnonzero((split == which) & ~buffer) for which in (VAL, TEST))
    if len(val) and len(test):
        buffer[val] = _nearest(points[test], points[val]) < chord(buffer_km)
    return buffer, least_km


def _nearest(these: Floats, of: Floats) -> Floats:
    """Distance from each point *of* to the nearest of *these*."""
    distance, _ = cKDTree(these, balanced_tree=False, compact_nodes=False).query(of)
    return np.asarray(distance, np.float64)
