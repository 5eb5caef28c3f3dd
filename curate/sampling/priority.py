"""Who comes first within a stratum: spread in space, one date of a place before its others, seasons balanced.

A row's priority is 64 bits, small first: 14 bits of place | 16 bits of (place, season) | 34 bits of chip id
(`sampling.md`, sections 5.6, 5.7 and 6.2). It is a function of the row, the seed and the pool's season shares
in sixteenths; so rows added to a pool leave the order of the others as it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from curate.sampling.arrays import Floats, Ints, Words, encode, running
from curate.sampling.hashing import hash_strings, hash_words, stream
from curate.sampling.sphere import EqualAreaTable, row_of

_SIDE = 128  # cells along a square within which no two cells have the same spatial code
_BANDS = 130  # squares from pole to pole: cells of 1.203 km
_MOST_COLUMNS = 2 * _BANDS * _SIDE
_BAND_TABLE = EqualAreaTable.of(_BANDS, _MOST_COLUMNS)  # one column count a band keeps squares square
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


def spatial_code(cell: Ints, seed: int) -> Words:
    """14 bits of each cell: its reversed Morton code within its square, shifted by the square's hash."""
    row, column = np.divmod(cell, _MOST_COLUMNS)
    shift = hash_words(row // _SIDE, column // _SIDE, seed=stream(seed, "square")) >> np.uint64(50)
    code: Words = _MORTON[row % _SIDE * _SIDE + column % _SIDE] ^ shift
    return code


def season_shares(pool: pa.Table) -> dict[str, int]:
    """Share of each season among the pool's rows in sixteenths, at least one.

    Coarse on purpose: a pool that grows a little keeps its shares, and with them its order.
    """
    codes, labels = encode(pool["season"])
    counts = np.bincount(codes, minlength=len(labels))
    sixteenths = np.maximum((32 * counts + len(codes)) // (2 * len(codes)), 1)
    return dict(zip(labels, sixteenths.tolist(), strict=True))


def season_code(place: Words, season: pa.ChunkedArray, shares: Mapping[str, int], seed: int) -> Words:
    """16 bits of each (place, season): −ln u / w with w = 1 / the season's share, so rare seasons come first.

    *place* is each row's place, hashed. Among the dates of one place, season s is first with a probability
    that goes with w (exponential race; Efraimidis and Spirakis, 2006).
    """
    codes, labels = encode(season)
    names = hash_strings(pa.array(labels), seed)
    uniform = hash_words(place, names[codes], seed=stream(seed, "season")) >> np.uint64(48)
    share = np.array([shares[label] for label in labels], np.uint64)
    code: Words = _MINUS_LOG[uniform] * share[codes]
    return code


def priority(
    cell: Ints, place: Words, season: pa.ChunkedArray, chip: Words, shares: Mapping[str, int], seed: int
) -> Words:
    """Priority of each row, small first; *place* and *chip* are hashes of place and chip id."""
    code = spatial_code(cell, seed) << np.uint64(50)
    code |= season_code(place, season, shares, seed) << np.uint64(34)
    return code | chip >> np.uint64(30)


def order(leaf: Ints, cell: Ints, place: Words, first: Words, tie: Words) -> Ints:
    """Rows by leaf, then date tier, then cell tier, then priority *first*, then *tie*.

    The date tier is a row's rank by priority among the rows of its leaf and place. The cell tier is its rank
    among those of its leaf, cell and date tier: without it two places in one cell (swaths that overlap, chips
    out of step with the cells) would share a spatial code and be drawn side by side.
    Tiers are counted inside the leaf, so that they depend on rows of smaller priority only: leaving out the
    rows beyond some priority, as a streaming draw does, changes no tier of those that stay.
    """
    ascending = np.argsort(first, kind="stable")
    if np.any(first[ascending[1:]] == first[ascending[:-1]]):
        ascending = np.lexsort((tie, first))
    leaf, cell, place = leaf[ascending], cell[ascending], place[ascending]
    date_tier = _rank_within(hash_words(leaf, place, seed=0))
    cell_tier = _rank_within(hash_words(leaf, cell, date_tier, seed=0))
    tiers = [int(tier.max(initial=0)) + 1 for tier in (date_tier, cell_tier)]
    result: Ints = ascending[np.argsort((leaf * tiers[0] + date_tier) * tiers[1] + cell_tier, kind="stable")]
    return result


def _rank_within(group: Words) -> Ints:
    """How many rows of the same *group* come before each row."""
    together = np.argsort(group, kind="stable")
    begins = np.flatnonzero(np.diff(group[together], prepend=~group[together[:1]]))
    rank = np.empty(len(group), np.int64)
    rank[together] = running(np.diff(begins, append=len(group)))
    return rank
