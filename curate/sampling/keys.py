"""What the sampler needs of a row, as whole numbers: columns of the pool.

`describe` writes them, so that a draw reads few bytes a row. For a pool without them the keys of texts and place are
made when it is read, and descriptors are read in place of `kind`. They depend on no setting of the draw but, in
`kind`, on the share from which a class is present.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.catalog.errors import InputError
from curate.catalog.schema import KEY_COLUMNS, SEASONS
from curate.sampling.arrays import Ints, Words, numbers
from curate.sampling.hashing import hash_strings
from curate.sampling.sphere import spots
from curate.sampling.strata import described, dominant_bits, present

SOURCES = {"chip_key": ("chip_id",), "place_key": ("place",), "spot": ("lon", "lat")}
MOST_CLASSES = 48  # that a kind holds
_CLIMATE, _DOMINANT, _PRESENT = (
    np.uint64(bits) for bits in (2, 10, 16)
)  # where each begins; the season at 0


def sources(names: Sequence[str], schema: pa.Schema) -> list[str]:
    """The columns of a pool of *schema* that hold *names*, or what these are made of."""
    every = [[name] if name in schema.names or name not in SOURCES else SOURCES[name] for name in names]
    return list(dict.fromkeys(column for found in every for column in found))


def keyed(table: pa.Table, names: Sequence[str] = tuple(SOURCES)) -> pa.Table:
    """*table* with the keys *names*, made where it lacks them."""
    for name, column in made(table, [name for name in names if name not in table.column_names]).items():
        table = table.append_column(pa.field(name, _TYPES[name], nullable=False), column)
    return table


def made(table: pa.Table, names: Sequence[str] = tuple(SOURCES)) -> dict[str, pa.Array]:
    """The keys *names* of the rows of *table*."""
    return {name: _made(table, name) for name in names}


def _made(table: pa.Table, name: str) -> pa.Array:
    if name == "spot":
        lon, lat = (numbers(table[axis], np.float64) for axis in SOURCES[name])
        return pa.array(spots(lon, lat))
    key = hash_strings(table[SOURCES[name][0]], 0)
    return pa.array(key if name == "chip_key" else (key >> np.uint64(32)).astype(np.uint32))


def kinds(table: pa.Table, codes: Sequence[int], presence: float) -> pa.Array:
    """What each row of *table* shows, as one number; 0 for rows that are not described, and all with too many classes.

    Args:
        codes: of the land-cover classes, ascending; their order is that of the bits.
        presence: share of a chip from which a class is present in it.
    """
    valid = described(table) & (len(codes) <= MOST_CLASSES)
    some = table.filter(pa.array(valid))
    result = np.zeros(table.num_rows, np.uint64)
    bit, dominant = dominant_bits(some, tuple(codes))
    result[valid] = (
        (present(some, tuple(codes), presence) | bit) << _PRESENT
        | np.searchsorted(codes, dominant).astype(np.uint64) << _DOMINANT
        | numbers(some["koppen"], np.uint64) << _CLIMATE
        | seasons(some["season"])
    )
    return pa.array(result)


def unpacked(kind: Words, codes: Sequence[int]) -> tuple[Ints, Ints, Ints]:
    """Climate's code, dominant class and classes present of each of some `kinds`."""
    climate = (kind >> _CLIMATE & np.uint64(255)).astype(np.int64)
    dominant = np.array(codes, np.int64)[(kind >> _DOMINANT & np.uint64(63)).astype(np.int64)]
    return climate, dominant, (kind >> _PRESENT).astype(np.int64)


def seasons(column: pa.ChunkedArray) -> Words:
    """Each text's index among SEASONS.

    Raises:
        InputError: one is none of them.
    """
    index = pc.index_in(column.cast(pa.string()), pa.array(SEASONS))
    if index.null_count:
        odd = next(text for text in pc.unique(column).to_pylist() if text not in SEASONS)
        raise InputError(
            f"Season {odd!r} of the pool is none of {', '.join(SEASONS)}",
            do="Describe it again: curate describe",
        )
    return numbers(index, np.uint64)


def legend(table: pa.Table) -> Mapping[str, str]:
    """How the climates of *table* read, by their codes: symbols, or codes where the map names none."""
    pairs = table.select(["koppen", "koppen_symbol"]).group_by(["koppen", "koppen_symbol"]).aggregate([])
    found = ((row["koppen"], row["koppen_symbol"]) for row in pairs.to_pylist())
    return {str(code): symbol or str(code) for code, symbol in found if code is not None}


_TYPES = {name: dtype for name, dtype, _, _ in KEY_COLUMNS}
