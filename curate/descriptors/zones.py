"""Pixels of a raster as they are, and which chip each lies in: statistics of chips without resampling.

A pixel belongs to the chip that holds its centre. What is read, and the order in which numbers are added, is laid out
from the raster's first pixel, so that a chip's figures do not depend on the chips read beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog.errors import InputError
from curate.chips import ChipPlaces
from curate.grid import Floats, Ints

STRIP_ROWS = 512  # read at a time
_NODES = (
    32  # pixels between points that are projected exactly; between them lines are straight to 1e-3 of a pixel
)
_FAR_M = 1e12  # where a point cannot be projected: outside every chip
_EDGE_POINTS = 21  # along each side of a box that is projected


@dataclass(frozen=True)
class Window:
    """Rows and columns of a raster, from the first to one past the last."""

    top: int
    bottom: int
    left: int
    right: int


class Sums:
    """Count, mean and spread of the pixels in each of a number of chips, from strips of pixels."""

    def __init__(self, chips: int) -> None:
        self.count = np.zeros(chips)
        self._total = np.zeros(chips)
        self._squares = np.zeros(chips)

    def add(self, label: Ints, values: Floats) -> None:
        """Add pixels with the chip that each lies in (-1: none); NaN does not count."""
        good = (label >= 0) & np.isfinite(values)
        chip, value = label[good], values[good]
        self.count += np.bincount(chip, minlength=len(self.count))
        self._total += np.bincount(chip, value, len(self.count))
        self._squares += np.bincount(chip, value * value, len(self.count))

    @property
    def mean(self) -> Floats:
        """NaN where there is no pixel."""
        return self._share(self._total)

    @property
    def spread(self) -> Floats:
        """Standard deviation, of the pixels as a population."""
        spread: Floats = np.sqrt(np.maximum(self._share(self._squares) - self.mean**2, 0.0))
        return spread

    def _share(self, total: Floats) -> Floats:
        unknown = np.full(len(self.count), np.nan)
        share: Floats = np.divide(total, self.count, out=unknown, where=self.count > 0)
        return share


def windows_over(source: Any, places: ChipPlaces, factor: int = 1) -> list[Window]:
    """Windows of an open raster that hold all pixels in the chips; none where they lie outside.

    Two where chips lie on both sides of the antimeridian. Edges are whole multiples of *factor* pixels.

    Raises:
        InputError: the raster has no coordinate reference system.
    """
    if source.crs is None:
        raise InputError(f"Raster {source.name} has no coordinate reference system", do="gdal_edit -a_srs")
    left, top = places.lattice.left_top(places.ix, places.iy)
    size = places.lattice.size_m
    x = np.linspace(left.min(), left.max() + size, _EDGE_POINTS)
    y = np.linspace(top.min() - size, top.max(), _EDGE_POINTS)
    x, y = (axis.ravel() for axis in np.meshgrid(x, y))  # not the edges alone: a pole may lie inside
    x, y = _transformer(places.lattice.epsg, source.crs.to_wkt(), inverse=True).transform(x, y)
    groups = [np.isfinite(x) & np.isfinite(y)]
    if source.crs.is_geographic and np.ptp(x) > 180:
        groups = [groups[0] & (x < 0), groups[0] & (x >= 0)]
        x = np.where(groups[0], np.maximum(x, -180.0), x)
    to_pixel, found = ~source.transform, []
    for group in groups:
        if not group.any():
            continue
        gx, gy = x[group], y[group]
        if len(groups) == 2:  # from the antimeridian on
            gx = np.append(gx, -180.0 if gx[0] < 0 else 180.0)
            gy = np.append(gy, gy[0])
        col = to_pixel.a * gx + to_pixel.b * gy + to_pixel.c
        row = to_pixel.d * gx + to_pixel.e * gy + to_pixel.f
        t, b = _multiples(row, factor, source.height)
        le, r = _multiples(col, factor, source.width)
        if t < b and le < r:
            found.append(Window(t, b, le, r))
    return found


def _multiples(positions: Floats, factor: int, length: int) -> tuple[int, int]:
    """The smallest range of whole multiples of *factor* around *positions*, a few pixels wider, within the raster."""
    margin = 2 + 0.01 * np.ptp(positions)
    first = int(max(0, np.floor((positions.min() - margin) / factor))) * factor
    last = int(min(length // factor, np.ceil((positions.max() + margin) / factor))) * factor
    return first, last


def strips(window: Window, factor: int = 1) -> Iterator[Window]:
    """The window in strips of at most `STRIP_ROWS` rows that are read, cut at the same rows of the raster always."""
    step = STRIP_ROWS * factor
    for top in range(window.top // step * step, window.bottom, step):
        yield Window(max(top, window.top), min(top + step, window.bottom), window.left, window.right)


def labels(source: Any, places: ChipPlaces, window: Window, factor: int = 1) -> Ints:
    """The chip that holds the centre of each pixel of *window*, every *factor* × *factor* pixels one; -1 for none."""
    rows, cols = np.arange(window.top, window.bottom, factor), np.arange(window.left, window.right, factor)
    at = source.transform
    row, col = rows + factor / 2, cols + factor / 2
    straight = at.b == 0 and at.d == 0
    if straight and source.crs.to_epsg() == places.lattice.epsg:
        return _chips_at(places, (at.c + at.a * col)[None, :], (at.f + at.e * row)[:, None])
    step = float(_NODES * factor)
    node_rows, node_cols = _nodes(row, step), _nodes(col, step)
    node_row, node_col = np.meshgrid(node_rows, node_cols, indexing="ij")
    x = at.a * node_col + at.b * node_row + at.c
    y = at.d * node_col + at.e * node_row + at.f
    x, y = _transformer(places.lattice.epsg, source.crs.to_wkt()).transform(x, y)
    x, y = (np.where(np.isfinite(axis), axis, _FAR_M) for axis in (x, y))
    x, y = (_between(_between(axis, row, node_rows).T, col, node_cols).T for axis in (x, y))
    return _chips_at(places, x, y)


def _nodes(positions: npt.NDArray[Any], step: float) -> npt.NDArray[Any]:
    """Multiples of *step* around all *positions*."""
    return np.arange(positions[0] // step, positions[-1] // step + 2) * step


def _between(
    values: npt.NDArray[Any], positions: npt.NDArray[Any], nodes: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Rows of *values*, which lie at *nodes*, at *positions*, on straight lines between them."""
    share = (positions - nodes[0]) / (nodes[1] - nodes[0])
    first = np.minimum(share.astype(np.int64), len(nodes) - 2)
    share = (share - first)[:, None]
    between: npt.NDArray[Any] = values[first] * (1 - share) + values[first + 1] * share
    return between


def _chips_at(places: ChipPlaces, x: Floats, y: Floats) -> Ints:
    """Positions of the chips that hold points of their zone, arrays that broadcast; -1 where there is none."""
    ix, iy = places.lattice.index(x, y)
    first_x, first_y = places.ix.min(), places.iy.min()
    wide, tall = int(np.ptp(places.ix)) + 1, int(np.ptp(places.iy)) + 1
    table = np.full((tall + 1, wide + 1), -1)  # the last row and column stand for all outside
    table[places.iy - first_y, places.ix - first_x] = np.arange(len(places))
    i, j = iy - first_y, ix - first_x
    i, j = np.where((i >= 0) & (i < tall), i, tall), np.where((j >= 0) & (j < wide), j, wide)
    found: Ints = table[i, j]
    return found


@lru_cache(maxsize=64)
def _transformer(epsg: int, wkt: str, inverse: bool = False) -> Any:
    """From the coordinate system *wkt* to the zone's metres, or back."""
    from pyproj import Transformer

    ends = (f"EPSG:{epsg}", wkt) if inverse else (wkt, f"EPSG:{epsg}")
    return Transformer.from_crs(*ends, always_xy=True)


def read(source: Any, window: Window, factor: int = 1) -> npt.NDArray[Any]:
    """The first band's numbers in *window*, one for *factor* × *factor* pixels: the overview's, or every n-th."""
    from rasterio.enums import Resampling
    from rasterio.windows import Window as Part

    tall, wide = window.bottom - window.top, window.right - window.left
    values: npt.NDArray[Any] = source.read(
        1,
        window=Part(window.left, window.top, wide, tall),
        out_shape=(tall // factor, wide // factor),
        resampling=Resampling.nearest,
    )
    return values
