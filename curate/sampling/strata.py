"""Descriptors as levels of the tree: climate, and the set of land-cover classes that a chip shows."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.catalog.errors import InputError
from curate.catalog.schema import landcover_column
from curate.sampling.arrays import Ints, Mask, Words, encode, numbers

_MOST_CLASSES = 64


def landcover_codes(pool: pa.Table | pa.Schema) -> tuple[int, ...]:
    """Codes of the land-cover classes whose fractions *pool* holds, ascending.

    Raises:
        InputError: there are none, or more than a 64-bit set can hold.
    """
    names = pool.names if isinstance(pool, pa.Schema) else pool.column_names
    matches = (re.fullmatch(r"lc_(\d+)", name) for name in names)
    codes = tuple(sorted(int(match[1]) for match in matches if match))
    if not codes:
        raise InputError(
            "The pool has no land-cover fractions",
            "it has no column lc_<code>",
            "Describe it: curate describe",
        )
    if len(codes) > _MOST_CLASSES:
        raise InputError(
            f"The pool has {len(codes)} land-cover classes",
            f"the sampler holds sets of at most {_MOST_CLASSES}",
            "Merge classes in the legend: descriptors.landcover_legend",
        )
    return codes


def described(pool: pa.Table) -> Mask:
    """True where a row has both a climate and a dominant land cover."""
    valid = pc.and_(pc.is_valid(pool["koppen"]), pc.is_valid(pool["lc_dominant"]))
    return np.asarray(valid.to_numpy()).astype(np.bool_)


def climates(pool: pa.Table) -> tuple[Ints, tuple[str, ...]]:
    """Climate of each row as an index into the labels: symbols, or codes where the map names none."""
    return encode(pc.coalesce(pool["koppen_symbol"].cast(pa.string()), pool["koppen"].cast(pa.string())))


def presence_sets(pool: pa.Table, codes: tuple[int, ...], presence: float) -> Words:
    """Classes with at least the share *presence* of each chip, bit i for codes[i].

    The dominant class always counts, so that no chip has an empty set.

    Raises:
        InputError: a dominant class has no column of fractions.
    """
    bit, dominant = dominant_bits(pool, codes)
    if strange := set(np.unique(dominant[bit == 0]).tolist()):
        raise InputError(
            f"Land-cover class {min(strange)} is dominant in the pool but has no fractions",
            f"there is no column {landcover_column(min(strange))}",
            "Describe the pool again: curate describe",
        )
    return bit | present(pool, codes, presence)


def dominant_bits(pool: pa.Table, codes: tuple[int, ...]) -> tuple[Words, Ints]:
    """The set of each row's dominant class alone, empty where it has no column; and the class."""
    dominant = numbers(pool["lc_dominant"], np.int64)
    low, high = min(*codes, int(dominant.min(initial=0)), 0), max(*codes, int(dominant.max(initial=0)))
    bits = np.zeros(high - low + 1, np.uint64)
    bits[np.array(codes) - low] = np.uint64(1) << np.arange(len(codes), dtype=np.uint64)
    return bits[dominant - low], dominant


def present(pool: pa.Table, codes: tuple[int, ...], presence: float) -> Words:
    """Classes whose fraction is *presence* or more, bit i for codes[i]."""
    word = next(w for w in (np.uint16, np.uint32, np.uint64) if len(codes) <= 8 * np.dtype(w).itemsize)
    sets = np.zeros(pool.num_rows, word)
    least = max(np.float32(presence), np.nextafter(np.float32(0), np.float32(1)))
    for bit, code in enumerate(codes):
        shown = numbers(pool[landcover_column(code)], np.float32) >= least
        sets |= np.left_shift(shown.astype(word), word(bit))
    return sets.astype(np.uint64)


def covers(pool: pa.Table, presence: float) -> tuple[Ints, tuple[str, ...]]:
    """Set of land-cover classes of each row as an index into labels like ``10+40``."""
    codes = landcover_codes(pool)
    found, index = np.unique(presence_sets(pool, codes, presence), return_inverse=True)
    return index.astype(np.int64), tuple(
        "+".join(str(code) for bit, code in enumerate(codes) if members >> bit & 1)
        for members in found.tolist()
    )
