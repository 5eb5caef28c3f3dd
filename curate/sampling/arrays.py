"""Names for the array types that the sampling modules hand each other, and two ways into them from Arrow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


def numbers(column: pa.ChunkedArray, dtype: Any) -> npt.NDArray[Any]:
    """A numeric column without nulls as an array of *dtype*."""
    return np.asarray(column.to_numpy()).astype(dtype, copy=False)


def encode(column: pa.ChunkedArray) -> tuple[Ints, tuple[str, ...]]:
    """Each text's index among the column's distinct texts, and these in ascending order; null reads as ''."""
    texts = pc.fill_null(column.cast(pa.large_string()), "")
    encoded = pa.chunked_array(texts.chunks, type=pa.large_string()).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):  # pyarrow < 18 combines into a chunked array
        encoded = encoded.combine_chunks()
    found = encoded.dictionary.to_pylist()
    labels = tuple(sorted(found))
    rank = {label: index for index, label in enumerate(labels)}
    codes = np.array([rank[label] for label in found], np.int64)
    return codes[encoded.indices.to_numpy(zero_copy_only=False)], labels


def running(counts: Ints) -> Ints:
    """0 … c−1 for each c of *counts*, one after the other."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total, dtype=np.int64) - np.repeat(ends - counts, counts)
