"""Chips as a mesh in the pixels of a map.

All chips of a zone lie on one lattice, so their edges are two families of lines. Their crossings are projected
into the map, and lines are straight between them: an edge of 1.5 km leaves its chord by L² tan(latitude) / 8R,
5 cm at 45° and 25 cm at 80°. Along a row of the map a chip is then a run of pixels between two lines, in which at
most one line of the other family is crossed; no pixel is projected.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from pyproj import CRS, Transformer

from curate.chips import ChipPlaces
from curate.descriptors.thematic.rasters import PixelGrid
from curate.grid import UPS_NORTH, UPS_SOUTH, Floats, Ints

EDGE_M = 1500.0  # longest piece of an edge that is taken as straight
MIN_PER_SIDE = 40  # pixels are divided until a chip has so many along a side, so that its fractions are areas
_SLANT = 0.9  # of a cell: lines that leave a row by more than a cell would be crossed twice


@dataclass(frozen=True)
class Mesh:
    """Cells of a lattice (a chip, or an equal part of one) whose corners are known in pixels of a map.

    Rows of cells count southwards, columns eastwards. Pixels are counted in the map's `PixelGrid`, each divided into
    `parts` × `parts`.
    """

    col: Floats  # (rows + 1, columns + 1): of the corners, in parts of pixels
    row: Floats
    chip: Ints  # (rows, columns): position of the cell's chip, -1 for none
    parts: int

    def boxes(self) -> tuple[Ints, Ints, Ints, Ints, Ints]:
        """Cells of chips: position in the mesh, and first row, last row, first column, last column that they meet."""
        cell = np.flatnonzero(self.chip.ravel() >= 0)
        j, i = np.divmod(cell, self.chip.shape[1])
        rows = np.stack([self.row[j + a, i + b] for a in (0, 1) for b in (0, 1)])
        cols = np.stack([self.col[j + a, i + b] for a in (0, 1) for b in (0, 1)])
        return (
            cell,
            np.floor(rows.min(0)).astype(np.int64),
            np.floor(rows.max(0)).astype(np.int64),
            np.floor(cols.min(0)).astype(np.int64),
            np.floor(cols.max(0)).astype(np.int64),
        )

    def part(self, rows: slice, cols: slice) -> tuple[Floats, Floats, Ints]:
        """Rows and columns of the corners around some rows and columns of cells, and the cells' chips."""
        corners = slice(rows.start, rows.stop + 1), slice(cols.start, cols.stop + 1)
        return (
            np.ascontiguousarray(self.row[corners]),
            np.ascontiguousarray(self.col[corners]),
            np.ascontiguousarray(self.chip[rows, cols]),
        )


def mesh_of(places: ChipPlaces, grid: PixelGrid) -> Mesh | None:
    """The mesh of *places* in the pixels of *grid*.

    None where chips are no runs: in the polar zones, and where the map is turned by more than about 40° against them.
    """
    if places.lattice.epsg in (UPS_NORTH, UPS_SOUTH):
        return None
    size = places.lattice.size_m
    split = max(1, math.ceil(size / EDGE_M))
    parts = max(1, math.ceil(MIN_PER_SIDE * grid.pixel_m / size))
    west, north = int(places.ix.min()), int(places.iy.max())
    wide, tall = int(places.ix.max()) - west + 1, north - int(places.iy.min()) + 1
    left, top = places.lattice.left_top(np.array(west), np.array(north))
    x, y = np.meshgrid(
        left + np.arange(wide * split + 1) * (size / split),
        top - np.arange(tall * split + 1) * (size / split),
    )
    mapped = np.stack(_to_map(places.lattice.epsg, grid.crs).transform(x, y))
    if not np.isfinite(mapped).all():
        return None
    if grid.is_geographic:
        middle = 6.0 * (places.lattice.epsg % 100) - 183.0
        mapped[0] = middle + (mapped[0] - middle + 180.0) % 360.0 - 180.0
    col, row = (pixels * parts for pixels in grid.pixels(mapped[0], mapped[1]))
    if not _is_regular(col, row):
        return None
    chip = np.full((tall, wide), -1, np.int64)
    chip[north - places.iy, places.ix - west] = np.arange(len(places))
    return Mesh(col, row, np.repeat(np.repeat(chip, split, 0), split, 1), parts)


def _is_regular(col: Floats, row: Floats) -> bool:
    """Whether lines go on north to south and west to east, and no row of pixels crosses two in one cell."""
    down, across = np.diff(row, axis=0), np.diff(col, axis=1)
    slant = np.abs(np.diff(row, axis=1))
    return bool(down.min() > 0 and across.min() > 0 and slant.max() < _SLANT * down.min())


@lru_cache(maxsize=256)
def _to_map(epsg: int, crs: str) -> Transformer:
    return Transformer.from_crs(CRS.from_epsg(epsg), CRS.from_wkt(crs), always_xy=True)
