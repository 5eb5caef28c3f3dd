"""The second pass: of every stratum the rows of smallest priority, as many as it may need and a few more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.sampling import kernels, levels
from curate.sampling.arrays import Ints, Small, Tiny, Words, numbers
from curate.sampling.counting import Task
from curate.sampling.hashing import start, stream
from curate.sampling.look import words
from curate.sampling.priority import CELLS, MINUS_LOG, MORTON, shifts
from curate.sampling.source import Group
from curate.sampling.sphere import EqualAreaTable
from curate.sampling.splits import Blocks

ALL = 1 << 32  # one past the highest bound: bounds are compared with the upper 32 bits of priorities
_MOST_BITS = 24  # of a filter


@dataclass(frozen=True, eq=False)
class Candidates:
    """Rows that may be drawn."""

    row: Ints  # index into the pool
    leaf: Small
    cell: Small
    first: Words  # priority, small first
    chip: Words  # hash of the chip id, which decides between equal priorities
    place: npt.NDArray[np.uint32]  # with the cell, the place

    @classmethod
    def none(cls) -> Candidates:
        words, small = np.empty(0, np.uint64), np.empty(0, np.int32)
        return cls(np.empty(0, np.int64), small, small, words, words, np.empty(0, np.uint32))

    @classmethod
    def stack(cls, *parts: Candidates) -> Candidates:
        """All of *parts*, one after the other."""
        names = cls.__dataclass_fields__
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def take(self, at: Ints) -> Candidates:
        """Some of them."""
        return Candidates(**{name: getattr(self, name)[at] for name in self.__dataclass_fields__})

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True, eq=False)
class Leaves:
    """To which leaf each row of one group belongs."""

    word: Words  # (kinds of the group,) as they were counted
    leaf: Small  # (splits, kinds), −1 where none can be drawn
    blocks: Blocks
    out: Small  # rows in the buffer between splits, ascending


@dataclass(frozen=True, eq=False)
class Wanted:
    """Which rows of one group are candidates."""

    task: Task
    leaves: Leaves
    low: Ints  # (leaves,) rows of a leaf with low ≤ priority < high are candidates
    high: Ints
    seasons: tuple[Words, Words]  # hash of each, and its share in sixteenths
    also: Ints  # rows, within the group, that are candidates whatever their priority, if they can be drawn


def candidates(wanted: Wanted) -> Candidates:
    """The candidates of one group of rows."""
    group, scheme, leaves = wanted.task.group, wanted.task.scheme, wanted.leaves
    also = np.zeros(group.rows if len(wanted.also) else 0, np.bool_)
    also[wanted.also] = True
    table = group.read_keyed([*levels.columns(scheme), "place_key", "chip_key"])
    place = numbers(table["place_key"], np.uint32)
    at, leaf, cell, first, chip = kernels.pick(
        *_leaf_arguments(table, scheme, leaves),
        leaves.out,
        wanted.low,
        wanted.high,
        also,
        CELLS.columns,
        CELLS.first,
        MORTON,
        shifts(scheme.seed),
        numbers(table["chip_key"], np.uint64),
        start(stream(scheme.seed, "chip")),
        place,
        *wanted.seasons,
        start(stream(scheme.seed, "season")),
        MINUS_LOG,
    )
    return Candidates(at.astype(np.int64) + group.first, leaf, cell, first, chip, place[at])


def drawable(task: tuple[Task, Leaves]) -> Ints:
    """Rows of one group, by their index in the pool, that can be drawn."""
    counted, leaves = task
    table = counted.group.read_keyed(levels.columns(counted.scheme))
    leaf = kernels.leaves_of(*_leaf_arguments(table, counted.scheme, leaves))
    leaf[leaves.out] = -1
    return np.flatnonzero(leaf >= 0) + counted.group.first


def _leaf_arguments(
    table: pa.Table, scheme: levels.Scheme, leaves: Leaves
) -> tuple[Words, Words, Words, Small, Small, Tiny, Ints, Ints]:
    """By what the kernels know the leaf of each row of *table*."""
    blocks = EqualAreaTable.of_side(scheme.block_deg)
    return (
        numbers(table["spot"], np.uint64),
        words(table, scheme),
        *kernels.table_of(leaves.word),
        leaves.leaf,
        leaves.blocks.everywhere(blocks),
        blocks.columns,
        blocks.first,
    )


def find(task: tuple[Group, Words, int]) -> tuple[Ints, Words]:
    """Rows of one group, by their index in the pool, whose chip's key begins with one of some words; and their keys.

    The words are ascending, of so many bits as the task says, at least 24.
    """
    group, words, bits = task
    key = numbers(group.read_keyed(["chip_key"])["chip_key"], np.uint64)
    first = min(_MOST_BITS, len(words).bit_length() + 7)
    seen = np.zeros(1 << first, np.bool_)
    seen[words >> np.uint64(bits - first)] = True
    at = kernels.holding(key, words, bits, seen, first)
    return at + group.first, key[at]
