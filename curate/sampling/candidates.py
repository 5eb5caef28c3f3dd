"""The second pass: of every stratum the rows of smallest priority, as many as it may need and a few more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.sampling import kernels
from curate.sampling.arrays import Ints, Small, Words, numbers
from curate.sampling.counting import Kinds, Task, kinds
from curate.sampling.hashing import hash_strings, start, stream
from curate.sampling.priority import CELLS, MINUS_LOG, MORTON, shifts
from curate.sampling.source import Group

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

    leaf: Small  # (kinds + 1,) of the group's kinds, −1 where none can be drawn; the last for rows not described
    out: Small  # rows in the buffer between splits

    def of(self, rows: Kinds) -> Small:
        """(rows,) Leaf of each row, −1 for those that cannot be drawn."""
        leaf = self.leaf[rows.kind]
        leaf[self.out] = -1
        return leaf


@dataclass(frozen=True, eq=False)
class Wanted:
    """Which rows of one group are candidates."""

    task: Task
    leaves: Leaves
    low: Ints  # (leaves,) rows of a leaf with low ≤ priority < high are candidates
    high: Ints
    seasons: Mapping[str, int]  # of the group, in their order, with their shares in sixteenths
    also: Ints  # rows, within the group, that are candidates whatever their priority, if they can be drawn


def candidates(wanted: Wanted) -> Candidates:
    """The candidates of one group of rows."""
    group, seed = wanted.task.group, wanted.task.scheme.seed
    rows = kinds(wanted.task)
    leaf = wanted.leaves.of(rows)
    also = np.zeros(len(leaf), np.bool_)
    also[wanted.also] = True
    table = group.read_keyed(["spot", "place_key", "chip_key"])
    place = numbers(table["place_key"], np.uint32)
    at, cell, first, chip = kernels.pick(
        numbers(table["spot"], np.uint64),
        leaf,
        wanted.low,
        wanted.high,
        also,
        CELLS.columns,
        CELLS.first,
        MORTON,
        shifts(seed),
        numbers(table["chip_key"], np.uint64),
        start(stream(seed, "chip")),
        place,
        rows.season,
        hash_strings(pa.array(list(wanted.seasons), pa.string()), seed),
        np.array(list(wanted.seasons.values()), np.uint64),
        start(stream(seed, "season")),
        MINUS_LOG,
    )
    return Candidates(at.astype(np.int64) + group.first, leaf[at], cell, first, chip, place[at])


def drawable(task: tuple[Task, Leaves]) -> Ints:
    """Rows of one group, by their index in the pool, that can be drawn."""
    counted, leaves = task
    return np.flatnonzero(leaves.of(kinds(counted)) >= 0) + counted.group.first


def find(task: tuple[Group, Words, int]) -> tuple[Ints, Words]:
    """Rows of one group, by their index in the pool, whose chip's key begins with one of some words; and their keys.

    The words are ascending, of so many bits as the task says, at least 24.
    """
    group, words, bits = task
    key = numbers(group.read_keyed(["chip_key"])["chip_key"], np.uint64)
    first = min(_MOST_BITS, len(words).bit_length() + 7)
    seen = np.zeros(1 << first, np.bool_)  # most rows are ruled out without a search
    seen[words >> np.uint64(bits - first)] = True
    maybe = np.flatnonzero(seen[key >> np.uint64(64 - first)])
    at = maybe[np.isin(key[maybe] >> np.uint64(64 - bits), words)]
    return at + group.first, key[at]
