"""Rasters kept in Parquet: the bytes of a GeoTIFF in one column of one row, read without the rest of the file.

Such a raster's address is ``images/part_00001.parquet#row=12&column=B02``. Of the file only the footer is read, once
per process, and the pages of that column in the row group that holds the row: in Major TOM a row is a row group.
"""

from __future__ import annotations

import os
import re
import threading
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.archives.files import Files
from curate.catalog.errors import InputError
from curate.signing import hide

_ROW = re.compile(r"(?P<file>.+)#row=(?P<row>\d+)&column=(?P<column>[^&#]+)")
_FILES_OPEN = 16  # with their footers, of a megabyte each in Major TOM


def row_href(file: str, row: int | str, column: str) -> str:
    """The address of the raster in *column* of the *row*-th row of a Parquet file."""
    return f"{file}#row={row}&column={column}"


def is_row(href: str) -> bool:
    """Whether *href* is the address of a raster in a Parquet row."""
    return _ROW.fullmatch(href) is not None


def read_row(href: str) -> bytes:
    """The raster's bytes.

    Raises:
        InputError: the file cannot be read, or has no such row, or nothing in it.
    """
    found = _ROW.fullmatch(href)
    if found is None:
        raise InputError(f"{href} is no address of a Parquet row", do="Write FILE#row=NUMBER&column=NAME")
    file, row, column = found["file"], int(found["row"]), found["column"]
    try:
        values, first = _opened(file, _version(file)).column(row, column)
    except (OSError, pa.ArrowException) as error:
        _opened.cache_clear()  # it may have been written again
        raise InputError(f"File {file} cannot be read", hide(" ".join(str(error).split()))) from error
    except LookupError as error:
        raise InputError(f"File {file} has no {error.args[0]}") from error
    value = values[row - first].as_py()
    if not isinstance(value, bytes) or not value:
        raise InputError(f"File {file} holds no raster in row {row}, column {column}")
    return value


class _Opened:
    """A Parquet file that stays open with its footer; threads take turns."""

    def __init__(self, file: str) -> None:
        self._lock = threading.Lock()
        self._parquet = pq.ParquetFile(_files().open(file), pre_buffer=False)
        footer = self._parquet.metadata
        rows = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
        self._starts = np.cumsum([0, *rows])

    def column(self, row: int, column: str) -> tuple[Any, int]:
        """The values of *column* in the row group that holds *row*, and that group's first row.

        Raises:
            LookupError: there is no such row or column; says which.
        """
        if row >= self._starts[-1]:
            raise LookupError(f"row {row}")
        if column not in self._parquet.schema_arrow.names:
            raise LookupError(f"column {column}")
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        with self._lock:
            table = self._parquet.read_row_group(group, columns=[column], use_threads=False)
        return table[column], int(self._starts[group])


def _version(file: str) -> tuple[int, int] | None:
    """What changes when a local file is written again."""
    if "://" in file:
        return None
    stat = os.stat(file)  # noqa: PTH116 - an address, which need not be a path
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=_FILES_OPEN)
def _opened(file: str, version: tuple[int, int] | None) -> _Opened:
    return _Opened(file)


@lru_cache(maxsize=1)
def _files() -> Files:
    return Files()
