"""What the sampler needs of a row's texts and place, as whole numbers: columns of the pool.

`describe` writes them, so that a draw reads few bytes a row; for a pool without them they are made when it is read.
They depend on the row alone, on no setting of the draw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from curate.catalog.schema import KEY_COLUMNS
from curate.sampling.arrays import numbers
from curate.sampling.hashing import hash_strings
from curate.sampling.sphere import spots

SOURCES = {"chip_key": ("chip_id",), "place_key": ("place",), "spot": ("lon", "lat")}


def sources(names: Sequence[str], schema: pa.Schema) -> list[str]:
    """The columns of a pool of *schema* that hold *names*, or what these are made of."""
    every = [[name] if name in schema.names or name not in SOURCES else SOURCES[name] for name in names]
    return list(dict.fromkeys(column for found in every for column in found))


def keyed(table: pa.Table, names: Sequence[str] = tuple(SOURCES)) -> pa.Table:
    """*table* with the key columns *names*, made where it lacks them."""
    for name in names:
        if name not in table.column_names:
            table = table.append_column(pa.field(name, _TYPES[name], nullable=False), _made(table, name))
    return table


def _made(table: pa.Table, name: str) -> pa.Array:
    if name == "spot":
        lon, lat = (numbers(table[axis], np.float64) for axis in SOURCES[name])
        return pa.array(spots(lon, lat))
    key = hash_strings(table[SOURCES[name][0]], 0)
    return pa.array(key if name == "chip_key" else (key >> np.uint64(32)).astype(np.uint32))


_TYPES = {name: dtype for name, dtype, _, _ in KEY_COLUMNS}
