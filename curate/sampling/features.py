"""What candidates look like as points: square roots of land-cover fractions beside the climate, or an embedding.

The square roots of fractions are a unit vector, and the dot product of two of them is their Bhattacharyya
coefficient, 1 for equal land. The climate is one-hot times ½, so that another climate moves a chip by ½·√2, half
as far as land without a class in common does.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.catalog.errors import InputError
from curate.catalog.schema import landcover_column
from curate.sampling import strata
from curate.sampling.arrays import Ints, numbers

CLIMATE_WEIGHT = 0.5
Points = npt.NDArray[np.float32]


class Features(Protocol):
    """Rows as points, made for those that are asked for, so that a large pool is never held whole."""

    def __len__(self) -> int: ...

    def points(self, rows: Ints | slice) -> Points:
        """Points (rows, dimensions) of *rows*."""


class Descriptors:
    """Described rows as √fractions ⊕ ½ · one-hot climate."""

    def __init__(self, described: pa.Table) -> None:
        codes = strata.landcover_codes(described)
        self.fractions = [numbers(described[landcover_column(code)], np.float32) for code in codes]
        self.climate, labels = strata.climates(described)
        self.climates = len(labels)

    def __len__(self) -> int:
        return len(self.climate)

    def points(self, rows: Ints | slice) -> Points:
        climate = self.climate[rows]
        found = np.zeros((len(climate), len(self.fractions) + self.climates), np.float32)
        for column, fraction in enumerate(self.fractions):
            np.sqrt(np.maximum(fraction[rows], 0), out=found[:, column])
        found[np.arange(len(climate)), len(self.fractions) + climate] = CLIMATE_WEIGHT
        return found


class Embedding:
    """Rows as the vectors of a column of lists, each scaled to length 1."""

    def __init__(self, pool: pa.Table, column: str) -> None:
        if column not in pool.column_names:
            lists = [f.name for f in pool.schema if pa.types.is_fixed_size_list(f.type)]
            raise InputError(
                f"The pool has no column {column!r}",
                f"its columns of vectors are: {', '.join(lists)}" if lists else "it has no column of vectors",
                "Join the embeddings to the pool, or leave them out",
            )
        dtype = pool.schema.field(column).type
        if not pa.types.is_fixed_size_list(dtype) or not pa.types.is_floating(dtype.value_type):
            raise InputError(
                f"Column {column!r} of the pool is {dtype}",
                "an embedding is a fixed-size list of floats",
                f"Cast it: pyarrow.list_(pyarrow.float32(), DIMENSIONS); or leave out {column}",
            )
        self.column = column
        self.vectors = pool[column]
        self.dimensions = int(dtype.list_size)
        if missing := self.vectors.null_count:
            raise InputError(
                f"{missing:,} rows of column {column!r} have no vector",
                do="Embed them, or leave the column out",
            )

    def __len__(self) -> int:
        return len(self.vectors)

    def points(self, rows: Ints | slice) -> Points:
        whole = isinstance(rows, slice) and rows.step in (None, 1)
        start, stop, _ = rows.indices(len(self)) if isinstance(rows, slice) else (0, 0, 1)
        part = self.vectors.slice(start, stop - start) if whole else self.vectors.take(pa.array(rows))
        flat = pc.list_flatten(part)
        found = np.asarray(flat.to_numpy()).astype(np.float32).reshape(-1, self.dimensions)
        length = np.linalg.norm(found, axis=1, keepdims=True)
        if not np.isfinite(length).all() or np.any(length == 0):
            raise InputError(
                f"Column {self.column!r} has vectors without a direction",
                "some are zero or not finite",
                "Embed these rows again",
            )
        unit: Points = found / length
        return unit


def features(pool: pa.Table, rows: Ints, embedding: str | None = None) -> Features:
    """Features of *rows* of *pool*, by position within *rows*: an embedding's where a column is named.

    Raises:
        InputError: the pool has no land cover; or no such embedding, or one with missing or zero vectors.
    """
    if embedding is not None:
        if embedding not in pool.column_names:
            return Embedding(pool, embedding)  # which says what is wrong
        return Embedding(pool.select([embedding]).take(pa.array(rows)), embedding)
    names = ["koppen", "koppen_symbol", *(landcover_column(code) for code in strata.landcover_codes(pool))]
    return Descriptors(pool.select(names).take(pa.array(rows)))


def distinct(points: Points) -> tuple[Ints, Ints]:
    """First row of each distinct point, in the order of first rows, and which of them each row is."""
    plain = np.ascontiguousarray(points + np.float32(0))  # −0 becomes 0
    keys = plain.view(np.dtype((np.void, plain.itemsize * plain.shape[1]))).ravel()
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return first[order].astype(np.int64), rank[which.ravel()]
