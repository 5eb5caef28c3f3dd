"""The second pass: of every stratum the rows of smallest priority, as many as it may need and a few more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate.sampling.arrays import Ints, Words
from curate.sampling.counting import Counted
from curate.sampling.priority import priority, season_code, spatial_code

ALL = 1 << 32  # one past the highest bound: bounds are compared with the upper 32 bits of priorities
_FILTER_BITS = 24


@dataclass(frozen=True, eq=False)
class Candidates:
    """Rows that may be drawn."""

    row: Ints  # index into the pool
    leaf: npt.NDArray[np.int32]
    cell: npt.NDArray[np.int32]
    first: Words  # priority, small first
    chip: Words  # hash of the chip id, which decides between equal priorities
    place: Words

    @classmethod
    def none(cls) -> Candidates:
        words, small = np.empty(0, np.uint64), np.empty(0, np.int32)
        return cls(np.empty(0, np.int64), small, small, words, words, words)

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
class Wanted:
    """Which rows of one group are candidates."""

    counted: Counted
    first: int  # index in the pool of the group's first row
    leaf: npt.NDArray[np.int32]  # (kinds + 1,) leaf of each kind of row; −1 for those that cannot be drawn
    out: Ints  # rows, within the group, in the buffer between splits
    low: Ints  # (leaves + 1,) rows of a leaf with low ≤ priority < high are candidates; nothing for leaf −1
    high: Ints
    shares: Mapping[str, int]  # of seasons, in sixteenths
    seed: int
    also: Ints  # rows, within the group, that are candidates whatever their priority, if they can be drawn


def candidates(wanted: Wanted) -> Candidates:
    """The candidates of one group of rows."""
    rows = wanted.counted.rows()
    leaf = wanted.leaf[rows.kind]
    leaf[wanted.out] = -1
    spatial = spatial_code(rows.cell, wanted.seed)
    code = spatial.view(np.int64) << 18  # the least that the upper 32 bits can be
    maybe = (code < wanted.high[leaf]) & (code + (1 << 18) > wanted.low[leaf])
    maybe[wanted.also] = leaf[wanted.also] >= 0
    also = np.zeros(len(leaf), np.bool_)
    also[wanted.also] = True
    at = np.flatnonzero(maybe)
    season = season_code(
        rows.place[at], rows.season[at].astype(np.int64), wanted.counted.seasons, wanted.shares, wanted.seed
    )
    first = priority(spatial[at], season, rows.chip[at])
    upper = (first >> np.uint64(32)).astype(np.int64)
    inside = (upper >= wanted.low[leaf[at]]) & (upper < wanted.high[leaf[at]]) | also[at]
    at, first = at[inside], first[inside]
    return Candidates(at + wanted.first, leaf[at], rows.cell[at], first, rows.chip[at], rows.place[at])


def find(task: tuple[Counted, int, Words]) -> tuple[Ints, Words]:
    """Rows of one group (counted from *first*) whose chip's hash is among some, ascending; and their hashes."""
    counted, first, chips = task
    chip = counted.rows().chip
    seen = np.zeros(1 << _FILTER_BITS, np.bool_)  # most rows are ruled out without a search
    shift = np.uint64(64 - _FILTER_BITS)
    seen[chips >> shift] = True
    maybe = np.flatnonzero(seen[chip >> shift])
    at = maybe[np.isin(chip[maybe], chips)]
    return at + first, chip[at]
