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

from curate.sampling import kernels
from curate.sampling.arrays import Floats, Ints, Mask, Small, Words
from curate.sampling.hashing import hash_strings, hash_words, stream
from curate.sampling.source import threads
from curate.sampling.sphere import EqualAreaTable

SIDE = 128  # cells along a square within which no two cells have the same spatial code
_BANDS = 130  # squares from pole to pole: cells of 1.203 km
_SQUARES = 2 * _BANDS  # squares along the equator
_BAND_TABLE = EqualAreaTable.of(_BANDS, _SQUARES * SIDE)  # one column count a band keeps squares square
CELLS = EqualAreaTable(np.repeat(_BAND_TABLE.columns, SIDE))  # of 1.2 km
_AT_ONCE = 250_000  # rows put in order at a time, and those of the last leaf
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
    sixteenths = np.maximum((32 * rows + total) // max(2 * total, 1), 1)
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


def order(leaf: Whole, cell: Whole, place: Whole, first: Words, tie: Words) -> tuple[Small, Mask]:
    """Rows in order, and which of them, in that order, are the first of their place and cell in their leaf.

    The order is by leaf, then date tier, then cell tier, then priority *first*, then *tie*.

    The date tier is a row's rank by priority among the rows of its leaf and place. The cell tier is its rank
    among those of its leaf, cell and date tier: without it two places in one cell (swaths that overlap, chips
    out of step with the cells) would share a spatial code and be drawn side by side.
    Tiers are counted inside the leaf, so that they depend on rows of smaller priority only: leaving out the
    rows beyond some priority, as a streaming draw does, changes no tier of those that stay.
    A place lies in one cell, a cell has one spatial code: what is counted lies together when sorted.
    """
    leaves = int(leaf.max(initial=-1)) + 1
    begin, rows, words = kernels.by_leaf(leaf.astype(np.int32, copy=False), first, leaves)
    foremost = np.empty(len(leaf), np.bool_)

    def part(some: tuple[int, int]) -> None:
        begins = begin[some[0] : some[1] + 1]
        inside = slice(int(begins[0]), int(begins[-1]))
        begins, row, word = begins - begins[0], rows[inside], words[inside]
        kernels.ascending(begins, row, word, tie)
        word >>= np.uint64(50)
        word |= np.repeat(np.arange(len(begins) - 1, dtype=np.uint64) << np.uint64(14), np.diff(begins))
        own: Words = cell[row].astype(np.uint64)
        at: Words = place[row].astype(np.uint64) | own << np.uint64(32)
        dates = kernels.count_before(word, at, np.zeros(len(row), np.int32))
        cells = kernels.count_before(word, own, dates)
        kernels.by_tier(begins, row, dates, cells, foremost[inside])

    ends = np.searchsorted(begin, np.arange(_AT_ONCE, len(leaf), _AT_ONCE)).tolist()
    threads()(part, [*zip([0, *ends], [*ends, leaves], strict=True)])
    return rows, foremost
