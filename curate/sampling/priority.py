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
from curate.sampling import kernels
from curate.sampling.arrays import Floats, Ints, Mask, Small, Words
from curate.sampling.hashing import hash_strings, hash_words, stream
from curate.sampling.sphere import EqualAreaTable

SIDE = 128  # cells along a square within which no two cells have the same spatial code
_BANDS = 130  # squares from pole to pole: cells of 1.203 km
_SQUARES = 2 * _BANDS  # squares along the equator
_BAND_TABLE = EqualAreaTable.of(_BANDS, _SQUARES * SIDE)  # one column count a band keeps squares square
CELLS = EqualAreaTable(np.repeat(_BAND_TABLE.columns, SIDE))  # of 1.2 km
_LEAF_BITS = 20  # of a sorting key; the rest are the upper bits of the priority
_AT_ONCE = 1_500_000  # rows put in order at a time
_TIER_BITS = 6  # of a sorting key
Whole = npt.NDArray[np.integer]
_LOG_STEPS = 340  # −ln of 16 bits stays below 2^12 steps, times 16 sixteenths below 2^16


def _reversed_morton() -> npt.NDArray[np.uint16]:
    """14-bit code of each (row, column) of a square: lowest bits of the coordinates first.

    Cells with neighbouring codes are far apart, so the first so many cells of any square are spread evenly
    (reverse hierarchical order: Stevens and Olsen, JASA 99, 2004).
    """
    row, column = np.mgrid[:SIDE, :SIDE]
    code = np.zeros((SIDE, SIDE), np.uint16)
    for bit in range(7):
        code |= (((row >> bit & 1) << 1 | column >> bit & 1) << 12 - 2 * bit).astype(np.uint16)
    return code


MORTON = _reversed_morton()
MINUS_LOG = np.array([math.floor(-math.log((h + 0.5) / 65536) * _LOG_STEPS) for h in range(65536)], np.uint64)


def cells(lon: Floats, lat: Floats) -> Ints:
    """Number of the 1.2 km cell that holds each place (degrees)."""
    return CELLS.cell(lon, lat)


def spatial_code(cell: npt.NDArray[np.integer], seed: int) -> Words:
    """14 bits of each cell: its reversed Morton code within its square, shifted by the square's hash."""
    row = np.searchsorted(CELLS.first, cell, side="right") - 1
    column = cell - CELLS.first[row]
    code: Words = (MORTON[row % SIDE, column % SIDE] ^ shifts(seed)[row // SIDE, column // SIDE]).astype(
        np.uint64
    )
    return code


@lru_cache(maxsize=4)
def shifts(seed: int) -> npt.NDArray[np.uint16]:
    """14 bits of every square of the globe, (bands, squares along the equator)."""
    row, column = np.divmod(np.arange(_BANDS * _SQUARES), _SQUARES)
    every = hash_words(row, column, seed=stream(seed, "square")) >> np.uint64(50)
    return every.astype(np.uint16).reshape(_BANDS, _SQUARES)


def season_shares(seasons: Sequence[str], rows: Ints) -> dict[str, int]:
    """Share of each season among the pool's rows in sixteenths, at least one.

    Coarse on purpose: a pool that grows a little keeps its shares, and with them its order.
    """
    total = int(rows.sum())
    sixteenths = np.maximum((32 * rows + total) // (2 * total), 1)
    return dict(zip(seasons, sixteenths.tolist(), strict=True))


def season_code(
    place: npt.NDArray[np.uint32], season: Ints, labels: Sequence[str], shares: Mapping[str, int], seed: int
) -> Words:
    """16 bits of each (place, season): −ln u / w with w = 1 / the season's share, so rare seasons come first.

    *place* is each row's `place_key`; *season* an index into *labels*. Among the dates of one place, season s is
    first with a probability that goes with w (exponential race; Efraimidis and Spirakis, 2006).
    """
    names = hash_strings(pa.array(labels, pa.string()), seed)
    uniform = hash_words(place, names[season], seed=stream(seed, "season")) >> np.uint64(48)
    share = np.array([shares.get(label, 1) for label in labels], np.uint64)
    code: Words = MINUS_LOG[uniform] * share[season]
    return code


def priority(spatial: Words, season: Words, chip: Words) -> Words:
    """Priority of each row, small first: its codes of place and season, and the hash of its chip id."""
    word: Words = spatial << np.uint64(50) | season << np.uint64(34) | chip >> np.uint64(30)
    return word


def order(leaf: Whole, cell: Whole, place: Whole, first: Words, tie: Words) -> tuple[Ints, Mask]:
    """Rows in order, and which of them, in that order, are the first of their place and cell in their leaf.

    The order is by leaf, then date tier, then cell tier, then priority *first*, then *tie*.

    The date tier is a row's rank by priority among the rows of its leaf and place. The cell tier is its rank
    among those of its leaf, cell and date tier: without it two places in one cell (swaths that overlap, chips
    out of step with the cells) would share a spatial code and be drawn side by side.
    Tiers are counted inside the leaf, so that they depend on rows of smaller priority only: leaving out the
    rows beyond some priority, as a streaming draw does, changes no tier of those that stay.
    A place lies in one cell, a cell has one spatial code: what is counted lies together when sorted.
    """
    if (
        len(leaf) > _AT_ONCE
        and (middle := int(np.partition(leaf, len(leaf) // 2)[len(leaf) // 2])) > leaf.min()
    ):
        rows, ones = [], []
        for half in (np.flatnonzero(leaf < middle), np.flatnonzero(leaf >= middle)):  # bounds memory
            found, foremost = order(leaf[half], cell[half], place[half], first[half], tie[half])
            rows.append(half[found])
            ones.append(foremost)
        return np.concatenate(rows), np.concatenate(ones)
    ascending, code = _ascending(leaf, first, tie)
    leaf = leaf[ascending]
    own: Words = cell[ascending].astype(np.uint64)
    at: Words = place[ascending].astype(np.uint64) | own << np.uint64(32)
    date_tier = kernels.count_before(code, at, np.zeros(len(code), np.int32))
    cell_tier = kernels.count_before(code, own, date_tier)
    foremost = (date_tier == 0) & (cell_tier == 0)
    late = _by_tier(leaf, date_tier, cell_tier, np.flatnonzero(~foremost))
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


def _by_tier(leaf: Whole, date_tier: Small, cell_tier: Small, late: Ints) -> Ints:
    """Rows *late* by leaf, date tier, cell tier and position."""
    top = 1 << _TIER_BITS
    few = len(leaf) < 1 << 32 and max(date_tier.max(initial=0), cell_tier.max(initial=0)) < top
    if not few or int(leaf.max(initial=0)) >> _LEAF_BITS:
        return late[np.lexsort((late, cell_tier[late], date_tier[late], leaf[late]))]
    key = leaf[late].astype(np.uint64)
    for tier in (date_tier, cell_tier):
        key = key << np.uint64(_TIER_BITS) | tier[late].astype(np.uint64)
    key = np.sort(key << np.uint64(32) | late.astype(np.uint64))
    return (key & np.uint64(0xFFFFFFFF)).astype(np.int64)


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
