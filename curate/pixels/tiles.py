"""Blocks of a GeoTIFF on this machine, without GDAL between: inflated, and unfolded a few rows at a time into windows.

GDAL takes twice the processor's time for the same block: it undoes the predictor pixel by pixel in place and copies
every block through its cache. Here no whole block is kept: its rows go to the windows of all chips on it while they lie
in the processor's first cache. What is not as usual – behind a server, of several bands, compressed otherwise than by
DEFLATE, a block that is missing or broken – is left to it, so that there is one way only in which reading fails.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import deflate
import numpy as np
import numpy.typing as npt

from curate.compiled import compiled
from curate.pixels.running import running_sum

Bytes = npt.NDArray[np.uint8]
_LITTLE_ENDIAN = b"II"
_HORIZONTAL, _FLOATING = "2", "3"  # TIFF's numbers of predictors
_KINDS = {_HORIZONTAL: ("uint8", "uint16", "int16", "uint32", "int32"), _FLOATING: ("float32",)}
_ROWS = 8  # that are unfolded at a time


class Tiles:
    """The blocks of a file, by row and column.

    Args:
        shape: rows and columns of a block.
        kind: of its numbers.
    """

    def __init__(self, source: Any, path: Path, shape: tuple[int, int], kind: str, predictor: str) -> None:
        self._source = source
        self._file = os.open(path, os.O_RDONLY)
        self._shape, self._bytes = shape, shape[0] * shape[1] * np.dtype(kind).itemsize
        self._unsigned = np.dtype(f"<u{np.dtype(kind).itemsize}")
        self._floating = predictor == _FLOATING
        self._room = bytearray()

    @classmethod
    def of(cls, source: Any, href: str) -> Tiles | None:
        """The blocks of the open raster at *href*; None where they are for GDAL to read."""
        kind, predictor = source.dtypes[0], source.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR", "")
        usual = source.driver == "GTiff" and source.count == 1 and source.profile.get("compress") == "deflate"
        path = Path(href)
        if not usual or kind not in _KINDS.get(predictor, ()) or not path.is_file():
            return None
        with path.open("rb") as file:
            if file.read(2) != _LITTLE_ENDIAN:
                return None
        return cls(source, path, source.block_shapes[0], kind, predictor)

    def inflated(self, y: int, x: int) -> Bytes | None:
        """The block of row *y* and column *x*, its predictor not yet undone; None where GDAL must read it."""
        offset, size = (
            self._source.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", 1) for what in ("OFFSET", "SIZE")
        )
        if offset is None or size is None:  # sparse: GDAL knows what stands for it
            return None
        if len(self._room) < int(size):
            self._room = bytearray(int(size))
        room = memoryview(self._room)[: int(size)]
        try:
            read = os.preadv(self._file, [room], int(offset))
            found = deflate.zlib_decompress(room[:read], self._bytes)
        except (OSError, deflate.DeflateError):
            return None
        if len(found) != self._bytes:
            return None
        return np.frombuffer(found, np.uint8).reshape(self._shape[0], -1)

    def put(self, block: Bytes, at: tuple[int, int], size: tuple[int, int], windows: Squares) -> None:
        """Put an *inflated* block, whose first pixel is *at* a row and column, into windows; as many as *size* says."""
        held = windows.held.view(self._unsigned)
        if self._floating:
            _put_floating(block, *at, *size, windows.top, windows.left, windows.place, held)
        else:
            folded = block.view(self._unsigned)
            _put_horizontal(folded, *at, *size, windows.top, windows.left, windows.place, held)

    def close(self) -> None:
        os.close(self._file)


class Squares(NamedTuple):
    """Squares of a raster's pixels."""

    top: npt.NDArray[np.int64]  # (n,) first row of each
    left: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]  # (n,) where each is held
    held: npt.NDArray[Any]  # (places, side, side)


def put(values: npt.NDArray[Any], at: tuple[int, int], windows: Squares) -> None:
    """Put pixels, whose first is *at* a row and column of the raster, into all windows that have some of them."""
    _put(values, len(values), values.shape[1], *at, *windows)


@compiled
def _put(
    values: Any, height: int, width: int, y: int, x: int, top: Any, left: Any, place: Any, held: Any
) -> None:
    length = held.shape[1]
    for i in range(len(place)):
        first, last = max(left[i], x), min(left[i] + length, x + width)
        for line in range(max(top[i], y), min(top[i] + length, y + height)):
            source = values[line - y, first - x : last - x]
            into = held[place[i], line - top[i], first - left[i] : last - left[i]]
            for k in range(len(into)):  # an assignment of slices would take four times as long
                into[k] = source[k]


@compiled
def _put_horizontal(
    folded: Any, y: int, x: int, height: int, width: int, top: Any, left: Any, place: Any, held: Any
) -> None:
    """TIFF's predictor 2: each number is the difference to the one on its left."""
    rows = np.empty((_ROWS, folded.shape[1]), held.dtype)
    for first in range(0, height, _ROWS):
        count = min(_ROWS, height - first)
        for i in range(count):
            running_sum(folded[first + i], rows[i])
        _put(rows, count, width, y + first, x, top, left, place, held)


@compiled
def _put_floating(
    folded: Any, y: int, x: int, height: int, width: int, top: Any, left: Any, place: Any, held: Any
) -> None:
    """TIFF's predictor 3: the highest bytes of a row first, each byte the difference to the one on its left."""
    size = folded.shape[1] // 4
    line, rows = np.empty(4 * size, np.uint8), np.empty((_ROWS, size), np.uint32)
    parts = rows.view(np.uint8)
    for start in range(0, height, _ROWS):
        count = min(_ROWS, height - start)
        for i in range(count):
            running_sum(folded[start + i], line)
            into = parts[i]
            for k in range(size):
                into[4 * k], into[4 * k + 1] = line[3 * size + k], line[2 * size + k]
                into[4 * k + 2], into[4 * k + 3] = line[size + k], line[k]
        _put(rows, count, width, y + start, x, top, left, place, held)
