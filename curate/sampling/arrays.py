"""Names for the array types that the sampling modules hand each other, and two ways into them from Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]
Small = npt.NDArray[np.int32]
Tiny = npt.NDArray[np.int8]
Mask = npt.NDArray[np.bool_]
_DENSE = 1 << 22  # values within so wide a range are counted in a table rather than sorted


def numbers(column: pa.ChunkedArray, dtype: Any) -> npt.NDArray[Any]:
    """A numeric column without nulls as an array of *dtype*."""
    return np.asarray(column.to_numpy()).astype(dtype, copy=False)


def encode(column: pa.ChunkedArray) -> tuple[Ints, tuple[str, ...]]:
    """Each text's index among the column's distinct texts, and these in ascending order; null reads as ''."""
    if pa.types.is_dictionary(column.type) and not column.null_count and len(column):
        return _recode(column)
    texts = pc.fill_null(column.cast(pa.large_string()), "")
    encoded = pa.chunked_array(texts.chunks, type=pa.large_string()).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):  # pyarrow < 18 combines into a chunked array
        encoded = encoded.combine_chunks()
    found = encoded.dictionary.to_pylist()
    labels = tuple(sorted(found))
    rank = {label: index for index, label in enumerate(labels)}
    codes = np.array([rank[label] for label in found], np.int64)
    return codes[encoded.indices.to_numpy(zero_copy_only=False)], labels


def _recode(column: pa.ChunkedArray) -> tuple[Ints, tuple[str, ...]]:
    """`encode` for a column that Parquet kept as a dictionary: no text is looked at twice."""
    chunks = column.unify_dictionaries().chunks
    found = chunks[0].dictionary.to_pylist()
    index = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in chunks])
    used = np.flatnonzero(np.bincount(index, minlength=len(found)))
    labels = tuple(sorted(found[i] for i in used.tolist()))
    rank = {label: position for position, label in enumerate(labels)}
    codes = np.array([rank.get(label, -1) for label in found], np.int64)
    return codes[index], labels


def compact(values: Ints) -> tuple[Ints, Ints]:
    """Each value's index among the distinct values, and these in ascending order."""
    if not len(values):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    low, high = int(values.min()), int(values.max())
    span = high - low + 1
    if span > _DENSE:
        found, index = np.unique(values, return_inverse=True)
        return index.astype(np.int64), found
    shifted = values - low
    seen = np.zeros(span, np.bool_)
    seen[shifted] = True
    found = np.flatnonzero(seen)
    where = np.empty(span, np.int64)
    where[found] = np.arange(len(found))
    return where[shifted], found + low


def distinct(columns: Sequence[Ints]) -> tuple[Ints, Ints]:
    """Each row's index among the distinct rows of *columns*, and these in ascending order, (kinds, columns)."""
    index, found = compact(columns[0])
    kinds = [found]
    for column in columns[1:]:
        code, values = compact(column)
        index, joint = compact(index * len(values) + code)
        above, own = np.divmod(joint, max(len(values), 1))
        kinds = [*(kind[above] for kind in kinds), values[own]]
    return index, np.stack(kinds, axis=1)
