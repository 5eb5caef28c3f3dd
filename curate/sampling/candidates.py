"""The second pass: of every stratum the rows of smallest priority, as many as it may need and a few more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.sampling import kernels
from curate.sampling.arrays import Ints, Small, Words, numbers
from curate.sampling.hashing import hash_strings, mix, start, stream
from curate.sampling.levels import Scheme
from curate.sampling.look import Look, look
from curate.sampling.priority import CELLS, MINUS_LOG, MORTON, shifts
from curate.sampling.source import Group
from curate.sampling.sphere import EqualAreaTable

ALL = 1 << 32  # one past the highest bound: bounds are compared with the upper 32 bits of priorities
_FILTER_BITS = 24


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

    word: Words  # (sorts,) of the group
    leaf: Small  # (splits, sorts) −1 where none can be drawn
    split: npt.NDArray[np.int8]  # of every block of the globe
    out: Small  # described rows in the buffer between splits

    def of(self, seen: Look, scheme: Scheme) -> Small:
        """(n,) Leaf of each described row, −1 for those that cannot be drawn."""
        split = np.repeat(np.arange(len(self.leaf), dtype=np.uint64), len(self.word))
        keys = mix(np.tile(self.word, len(self.leaf)) ^ split)
        index = kernels.index_of(keys, self.leaf.ravel())
        block = EqualAreaTable.of_side(scheme.block_deg).at(seen.spot)
        leaf = kernels.look_up(self.split, block, seen.word, *index)
        leaf[self.out] = -1
        return leaf


@dataclass(frozen=True, eq=False)
class Wanted:
    """Which rows of one group are candidates."""

    group: Group
    scheme: Scheme
    leaves: Leaves
    low: Ints  # (leaves,) rows of a leaf with low ≤ priority < high are candidates
    high: Ints
    shares: Mapping[str, int]  # of seasons, in sixteenths
    also: Ints  # rows, within the group, that are candidates whatever their priority, if they can be drawn


def candidates(wanted: Wanted) -> Candidates:
    """The candidates of one group of rows."""
    seed = wanted.scheme.seed
    seen = look(wanted.group, wanted.scheme, ("place_key", "chip_key"))
    leaf = wanted.leaves.of(seen, wanted.scheme)
    also = np.zeros(len(leaf), np.bool_)
    also[seen.described(wanted.also)] = True
    place = numbers(seen.table["place_key"], np.uint32)
    at, cell, first, chip = kernels.pick(
        seen.spot,
        leaf,
        wanted.low,
        wanted.high,
        also,
        CELLS.columns,
        CELLS.first,
        MORTON,
        shifts(seed),
        numbers(seen.table["chip_key"], np.uint64),
        start(stream(seed, "chip")),
        place,
        seen.season,
        hash_strings(pa.array(seen.seasons, pa.string()), seed),
        np.array([wanted.shares.get(label, 1) for label in seen.seasons], np.uint64),
        start(stream(seed, "season")),
        MINUS_LOG,
    )
    return Candidates(
        seen.positions(at.astype(np.int64)) + wanted.group.first, leaf[at], cell, first, chip, place[at]
    )


def drawable(task: tuple[Group, Scheme, Leaves]) -> Ints:
    """Rows of one group, by their index in the pool, that can be drawn."""
    group, scheme, leaves = task
    seen = look(group, scheme)
    return seen.positions(np.flatnonzero(leaves.of(seen, scheme) >= 0)) + group.first


def find(task: tuple[Group, Words]) -> tuple[Ints, Words]:
    """Rows of one group, by their index in the pool, whose chip's key is among some, ascending; and their keys."""
    group, keys = task
    key = numbers(group.read_keyed(["chip_key"])["chip_key"], np.uint64)
    seen = np.zeros(1 << _FILTER_BITS, np.bool_)  # most rows are ruled out without a search
    shift = np.uint64(64 - _FILTER_BITS)
    seen[keys >> shift] = True
    maybe = np.flatnonzero(seen[key >> shift])
    at = maybe[np.isin(key[maybe], keys)]
    return at + group.first, key[at]
