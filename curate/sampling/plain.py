"""Columns of whole numbers straight out of Parquet files that hold them as they are.

`describe` stores the sampler's keys without nulls, dictionary or compression, so that a column's pages are its values
behind a short header each: they are copied out of the mapped file, once, which takes a fifth of the time that a
reader for any column needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from curate.sampling import kernels

Chunk = tuple[int, int, int]  # first byte of a column in one row group, past its last, and its values
_PHYSICAL = ("INT32", "INT64")


def chunks(footer: pq.FileMetaData, names: Sequence[str]) -> Mapping[str, tuple[Chunk, ...]]:
    """Where those of the columns *names* lie that are stored as they are, row group by row group."""
    found: dict[str, tuple[Chunk, ...]] = {}
    for i in range(len(footer.schema)):
        column = footer.schema.column(i)
        if column.path in names and column.max_definition_level == 0 and column.physical_type in _PHYSICAL:
            parts = [footer.row_group(group).column(i) for group in range(footer.num_row_groups)]
            if all(map(_is_plain, parts)):
                begins = [part.data_page_offset for part in parts]
                found[column.path] = tuple(
                    (begin, begin + part.total_compressed_size, part.num_values)
                    for begin, part in zip(begins, parts, strict=True)
                )
    return found


def _is_plain(chunk: pq.ColumnChunkMetaData) -> bool:
    bare = chunk.compression == "UNCOMPRESSED" and not chunk.has_dictionary_page
    return bare and set(chunk.encodings) <= {"PLAIN", "RLE"}


def read(path: Path, parts: Sequence[Chunk], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """The values of some *parts* of a column, one after the other.

    Raises:
        OSError: the file cannot be read, or holds something else there.
    """
    result = np.empty(sum(values for *_, values in parts), dtype)
    raw = result.view(np.uint8)
    file = np.memmap(path, np.uint8, "r").view(np.ndarray)
    to = 0
    for begin, end, values in parts:
        data, at, last = file[begin:end], 0, to + values * result.itemsize
        while to < last:
            first, at = kernels.page(data, at)
            if at == 0 or to + at - first > last:
                raise OSError("a column's pages do not hold its values")
            raw[to : to + at - first] = data[first:at]
            to += at - first
    return result
