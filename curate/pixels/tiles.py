"""Blocks of a GeoTIFF on this machine, without GDAL between: bytes are inflated and unfolded where they are kept.

GDAL takes twice the processor's time for the same block: it undoes the predictor pixel by pixel in place and copies
every block through its cache. What is not as usual – behind a server, of several bands, compressed otherwise than by
DEFLATE, a block that is missing or broken – is left to it, so that there is one way only in which reading fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deflate
import numpy as np
import numpy.typing as npt

from curate.compiled import compiled

_LITTLE_ENDIAN = b"II"


class Tiles:
    """The blocks of a file, by row and column.

    Args:
        undo: puts inflated bytes, (rows, columns × bytes of a pixel), into an array (rows, columns).
    """

    def __init__(self, source: Any, path: Path, undo: Callable[[Any, Any], None]) -> None:
        self._source, self._undo = source, undo
        self._file = os.open(path, os.O_RDONLY)

    @classmethod
    def of(cls, source: Any, href: str) -> Tiles | None:
        """The blocks of the open raster at *href*; None where they are for GDAL to read."""
        undo = _UNDO.get((source.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR", ""), source.dtypes[0]))
        usual = source.driver == "GTiff" and source.count == 1 and source.profile.get("compress") == "deflate"
        path = Path(href)
        if undo is None or not usual or not path.is_file():
            return None
        with path.open("rb") as file:
            return cls(source, path, undo) if file.read(2) == _LITTLE_ENDIAN else None

    def read(self, y: int, x: int, out: npt.NDArray[Any]) -> bool:
        """Put the block of row *y* and column *x*, padding included, into *out*; False where GDAL must read it."""
        offset, size = (
            self._source.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", 1) for what in ("OFFSET", "SIZE")
        )
        if offset is None or size is None:  # sparse: GDAL knows what stands for it
            return False
        try:
            found = deflate.zlib_decompress(os.pread(self._file, int(size), int(offset)), out.nbytes)
        except (OSError, deflate.DeflateError):
            return False
        if len(found) != out.nbytes:
            return False
        self._undo(np.frombuffer(found, np.uint8).reshape(len(out), -1), out)
        return True

    def close(self) -> None:
        os.close(self._file)


@compiled
def _sum(folded: Any, out: Any) -> None:
    for y in range(out.shape[0]):
        total = out[y, 0] - out[y, 0]
        for x in range(out.shape[1]):
            total += folded[y, x]
            out[y, x] = total


@compiled
def _sum_and_join(folded: Any, out: Any) -> None:
    width = out.shape[1]
    line = np.empty(4 * width, np.uint8)
    first, second, third, fourth = (
        line[:width],
        line[width : 2 * width],
        line[2 * width : 3 * width],
        line[3 * width :],
    )
    for y in range(out.shape[0]):
        total = np.uint8(0)
        for x in range(len(line)):
            total = np.uint8(total + folded[y, x])
            line[x] = total
        for x in range(width):
            high = np.uint32(first[x]) << np.uint32(24) | np.uint32(second[x]) << np.uint32(16)
            out[y, x] = high | np.uint32(third[x]) << np.uint32(8) | np.uint32(fourth[x])


def _horizontal(folded: Any, out: Any) -> None:
    """TIFF's predictor 2: each number is the difference to the one on its left."""
    _sum(folded.view(f"<u{out.itemsize}"), out.view(f"u{out.itemsize}"))


def _floating(folded: Any, out: Any) -> None:
    """TIFF's predictor 3: the highest bytes of a row first, each byte the difference to the one on its left."""
    _sum_and_join(folded, out.view(np.uint32))


_UNDO: dict[tuple[str, str], Callable[[Any, Any], None]] = {  # by predictor and type
    ("3", "float32"): _floating,
    **{("2", name): _horizontal for name in ("uint8", "uint16", "int16", "uint32", "int32")},
}
