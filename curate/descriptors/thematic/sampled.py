"""Classes at points of the chips' own projection: the way for maps in which chips are no mesh.

These are the polar zones, rasters that are turned, and maps whose tiles lie on different grids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate.chips import ChipPlaces
from curate.descriptors.thematic.rasters import STRANGE, Bytes, Classes, Raster, strange_numbers
from curate.grid import Ints
from curate.legends import Legend

SAMPLING_M = 10.0  # distance of the points
_POINTS = 2048  # along a side of what is looked up at once


@dataclass(frozen=True)
class _Square:
    """Points of a square of chips, which is the same whatever chips of it are asked for."""

    epsg: int
    left: float
    top: float
    step: float
    side: int


def sampled(places: ChipPlaces, rasters: list[Raster], legend: Legend) -> tuple[Ints, Ints]:
    """Points of each class in each chip, and all its points; the first raster that says something counts.

    Returns:
        Arrays of shapes (chips, classes) and (chips,).

    Raises:
        InputError: a raster is broken, or has a number that the legend does not know.
    """
    size = places.lattice.size_m
    per_side = max(1, round(size / SAMPLING_M))
    chips = max(1, _POINTS // per_side)  # along a side of a square
    classes = len(legend.codes)
    counts = np.zeros((len(places), classes + 1), np.int64)
    for rows, x, y in _squares(places, chips):
        left, top = places.lattice.left_top(x, y + chips - 1)
        square = _Square(places.lattice.epsg, float(left), float(top), size / per_side, chips * per_side)
        index = _classes(square, rasters, legend)
        blocks = index.reshape(chips, per_side, chips, per_side)
        chosen = blocks[y + chips - 1 - places.iy[rows], :, places.ix[rows] - x, :].reshape(len(rows), -1)
        key = np.arange(len(rows))[:, None] * (classes + 1) + chosen
        counts[rows] = np.bincount(key.ravel(), minlength=len(rows) * (classes + 1)).reshape(len(rows), -1)
    return counts[:, :-1], np.full(len(places), per_side**2, np.int64)


def _squares(places: ChipPlaces, chips: int) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Positions of the chips of each square of the lattice, and its first column and row."""
    column, row = places.ix // chips, places.iy // chips
    order = np.lexsort((column, row))
    new = np.flatnonzero(np.diff(column[order]) | np.diff(row[order])) + 1
    for rows in np.split(order, new):
        yield rows, column[rows[0]] * chips, row[rows[0]] * chips


def _classes(square: _Square, rasters: list[Raster], legend: Legend) -> Bytes:
    """Position in the legend of the class at each point; its length where unmapped."""
    unmapped = len(legend.codes)
    index = np.full((square.side, square.side), unmapped, np.uint8)
    for raster in rasters:
        if (index < unmapped).all():
            break
        values, inside = _warp(raster, square, legend)
        found = Classes.of(legend, raster.nodata).of_numbers(values)
        strange = inside & (found == STRANGE)
        if strange.any():
            raise strange_numbers(raster.href, np.unique(values[strange]))
        fill = inside & (index == unmapped)
        index[fill] = found[fill]
    return index


def _warp(
    raster: Raster, square: _Square, legend: Legend
) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.bool_]]:
    """The raster's numbers at the points, and where it has any."""
    from rasterio.enums import Resampling
    from rasterio.transform import Affine
    from rasterio.vrt import WarpedVRT

    transform = Affine(square.step, 0.0, square.left, 0.0, -square.step, square.top)
    fill = raster.nodata  # what lies outside the tile must differ from every class
    if fill is None:
        fill = next(number for number in range(255, -1, -1) if number not in legend.numbers)
    with (
        raster.open() as source,
        WarpedVRT(
            source, crs=f"EPSG:{square.epsg}", transform=transform, width=square.side, height=square.side,
            resampling=Resampling.nearest, nodata=fill,
        ) as warped,
    ):  # fmt: skip
        values = warped.read(1)
    return values, values != fill
