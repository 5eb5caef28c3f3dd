"""Who comes first within a stratum: spread in space, one date of a place before its others, seasons balanced.

A row's priority is 64 bits, small first: 14 bits of place | 16 bits of (place, season) | 34 bits of chip id
(`sampling.md`, sections 5.6, 5.7 and 6.2). It is a function of the row, the seed and the pool's season shares
in sixteenths; so rows added to a pool leave the order of the others as it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.running import running
from curate.sampling.arrays import Floats, Ints, Mask, Words
from curate.sampling.hashing import hash_strings, hash_words, stream
from curate.sampling.sphere import EqualAreaTable, row_of

Small = npt.NDArray[np.int32]
_SIDE = 128  # cells along a square within which no two cells have the same spatial code
_BANDS = 130  # squares from pole to pole: cells of 1.203 km
_SQUARES = 2 * _BANDS  # squares along the equator
_MOST_COLUMNS = _SQUARES * _SIDE
_BAND_TABLE = EqualAreaTable.of(_BANDS, _MOST_COLUMNS)  # one column count a band keeps squares square
_LEAF_BITS = 20  # of a sorting key; the rest are the upper bits of the priority
_SHORT_RUN = 12  # rows that are compared one by one, in steps over all runs at once
_LOG_STEPS = 340  # −ln of 16 bits stays below 2^12 steps, times 16 sixteenths below 2^16


def _reversed_morton() -> Words:
    """14-bit code of each (row, column) of a square: lowest bits of the coordinates first.

    Cells with neighbouring codes are far apart, so the first so many cells of any square are spread evenly
    (reverse hierarchical order: Stevens and Olsen, JASA 99, 2004).
    """
    row, column = np.divmod(np.arange(_SIDE * _SIDE, dtype=np.uint64), np.uint64(_SIDE))
    code = np.zeros(_SIDE * _SIDE, np.uint64)
    for bit in range(7):
        both = ((row >> np.uint64(bit)) & np.uint64(1)) << np.uint64(1) | (
            column >> np.uint64(bit)
        ) & np.uint64(1)
        code |= both << np.uint64(12 - 2 * bit)
    return code


_MORTON = _reversed_morton()
_MINUS_LOG = np.array(
    [math.floor(-math.log((h + 0.5) / 65536) * _LOG_STEPS) for h in range(65536)], np.uint64
)


def cells(lon: Floats, lat: Floats) -> Ints:
    """Number of the 1.2 km cell that holds each place (degrees)."""
    row = row_of(lat, _BANDS * _SIDE)
    return row * _MOST_COLUMNS + _BAND_TABLE.column(row // _SIDE, lon)


def spatial_code(cell: npt.NDArray[np.integer], seed: int) -> Words:
    """14 bits of each cell: its reversed Morton code within its square, shifted by the square's hash."""
    row, column = np.divmod(cell, _MOST_COLUMNS)
    square = row // _SIDE * _SQUARES + column // _SIDE
    code: Words = _MORTON[row % _SIDE * _SIDE + column % _SIDE] ^ _shifts(seed)[square]
    return code


@lru_cache(maxsize=4)
def _shifts(seed: int) -> Words:
    """14 bits of every square of the globe, row after row."""
    row, column = np.divmod(np.arange(_BANDS * _SQUARES), _SQUARES)
    shifts: Words = hash_words(row, column, seed=stream(seed, "square")) >> np.uint64(50)
    return shifts


def season_shares(seasons: Sequence[str], rows: Ints) -> dict[str, int]:
    """Share of each season among the pool's rows in sixteenths, at least one.

    Coarse on purpose: a pool that grows a little keeps its shares, and with them its order.
    """
    total = int(rows.sum())
    sixteenths = np.maximum((32 * rows + total) // (2 * total), 1)
    return dict(zip(seasons, sixteenths.tolist(), strict=True))


def season_code(
    place: Words, season: Ints, labels: Sequence[str], shares: Mapping[str, int], seed: int
) -> Words:
    """16 bits of each (place, season): −ln u / w with w = 1 / the season's share, so rare seasons come first.

    *place* is each row's place, hashed; *season* an index into *labels*. Among the dates of one place, season s is
    first with a probability that goes with w (exponential race; Efraimidis and Spirakis, 2006).
    """
    names = hash_strings(pa.array(labels, pa.string()), seed)
    uniform = hash_words(place, names[season], seed=stream(seed, "season")) >> np.uint64(48)
    share = np.array([shares.get(label, 1) for label in labels], np.uint64)
    code: Words = _MINUS_LOG[uniform] * share[season]
    return code


def priority(spatial: Words, season: Words, chip: Words) -> Words:
    """Priority of each row, small first: its codes of place and season, and the hash of its chip id."""
    word: Words = spatial << np.uint64(50) | season << np.uint64(34) | chip >> np.uint64(30)
    return word


def order(
    leaf: npt.NDArray[np.integer], cell: npt.NDArray[np.integer], place: Words, first: Words, tie: Words
) -> tuple[Ints, Mask]:
    """Rows in order, and which of them, in that order, are the first of their place and cell in their leaf.

    The order is by leaf, then date tier, then cell tier, then priority *first*, then *tie*.

    The date tier is a row's rank by priority among the rows of its leaf and place. The cell tier is its rank
    among those of its leaf, cell and date tier: without it two places in one cell (swaths that overlap, chips
    out of step with the cells) would share a spatial code and be drawn side by side.
    Tiers are counted inside the leaf, so that they depend on rows of smaller priority only: leaving out the
    rows beyond some priority, as a streaming draw does, changes no tier of those that stay.
    A place lies in one cell, a cell has one spatial code: what is counted lies together when sorted.
    """
    ascending, code = _ascending(leaf, first, tie)
    begins = np.diff(code, prepend=~code[:1]) != 0
    run = np.cumsum(begins, dtype=np.int32) - np.int32(1)
    into = np.arange(len(run), dtype=np.int32)  # rows of the same leaf and code before each row
    into -= np.flatnonzero(begins).astype(np.int32)[run]
    date_tier = _before(run, into, place[ascending], np.zeros(len(run), np.int32))
    cell_tier = _before(run, into, cell[ascending].astype(np.uint64), date_tier)
    foremost = (date_tier == 0) & (cell_tier == 0)
    leaf = leaf[ascending]
    late = np.flatnonzero(~foremost)
    late = late[np.lexsort((late, cell_tier[late], date_tier[late], leaf[late]))]
    early = np.flatnonzero(foremost)
    number = np.bincount(leaf, minlength=1)
    ahead = np.bincount(leaf[early], minlength=len(number))
    begin = np.cumsum(number) - number
    to = np.empty(len(leaf), np.int64)
    to[early] = begin[leaf[early]] + running(ahead)
    to[late] = (begin + ahead)[leaf[late]] + running(number - ahead)
    result = np.empty(len(leaf), np.int64)
    result[to] = ascending
    first_ones = np.empty(len(leaf), np.bool_)
    first_ones[to] = foremost
    return result, first_ones


def _ascending(leaf: npt.NDArray[np.integer], first: Words, tie: Words) -> tuple[Ints, Words]:
    """Rows by leaf, *first* and *tie*; and a number for each (leaf, spatial code), in that order."""
    if len(leaf) and int(leaf.max()) >> _LEAF_BITS:
        rows = np.lexsort((tie, first, leaf))
        return rows, (leaf[rows].astype(np.uint64) << np.uint64(14)) | first[rows] >> np.uint64(50)
    low = np.uint64(_LEAF_BITS)
    key = leaf.astype(np.uint64) << np.uint64(64 - _LEAF_BITS) | first >> low
    rows = np.argsort(key)
    key = key[rows]
    same = np.flatnonzero(key[1:] == key[:-1])
    if len(same):  # few: what was cut off decides, and the tie
        among = np.unique(np.concatenate([same, same + 1]))
        tied = rows[among]
        rows[among] = tied[np.lexsort((tie[tied], first[tied], leaf[tied]))]
    return rows, key >> np.uint64(50 - _LEAF_BITS)


def _before(run: Small, into: Small, group: Words, tier: Small) -> Small:
    """How many rows of its run, group and tier come before each row."""
    number = np.zeros(len(run), np.int32)
    at = np.flatnonzero(into)
    for lag in range(1, _SHORT_RUN):
        number[at] += (group[at] == group[at - lag]) & (tier[at] == tier[at - lag])
        at = at[into[at] > lag]
        if not len(at):
            return number
    longer = np.isin(run, run[at])
    rank = _rank_within(hash_words(run[longer], group[longer], tier[longer], seed=0))
    number[longer] = rank.astype(np.int32)
    return number


def _rank_within(group: Words) -> Ints:
    """How many rows of the same *group* come before each row."""
    together = np.argsort(group, kind="stable")
    begins = np.flatnonzero(np.diff(group[together], prepend=~group[together[:1]]))
    rank = np.empty(len(group), np.int64)
    rank[together] = running(np.diff(begins, append=len(group)))
    return rank
