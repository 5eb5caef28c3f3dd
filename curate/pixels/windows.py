"""Where chips lie in a raster, and the warp of those that do not lie on its grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog.errors import InputError

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
ALIGNED_PX = 0.01  # a grid that is off by less counts as aligned
SHRINKS = 1.1  # source pixels per pixel from which on the warp averages
WARP_TOLERANCE_PX = 0.01  # error of the warp's approximate projection
_MARGIN_PX = 4  # of complex pixels around a chip, for interpolation at its edge


@dataclass(frozen=True)
class ChipGrid:
    """Pixel grids of chips of one zone: squares of *size_px* pixels of *resolution_m* from (left, top)."""

    epsg: int
    size_px: int
    resolution_m: float
    left: Floats
    top: Floats

    @property
    def size_m(self) -> float:
        return self.size_px * self.resolution_m

    def take(self, rows: npt.NDArray[Any]) -> ChipGrid:
        return ChipGrid(self.epsg, self.size_px, self.resolution_m, self.left[rows], self.top[rows])


@contextmanager
def _power(source: Any, grid: ChipGrid, i: int, fill: float | None) -> Iterator[Any]:
    """|z|² of the part of a complex band around chip *i*, as a dataset in memory; NaN where there is no data."""
    from rasterio.io import MemoryFile
    from rasterio.transform import Affine
    from rasterio.warp import transform_bounds
    from rasterio.windows import Window

    if source.crs is None:
        raise InputError(f"Band {source.name} has no coordinate reference system")
    if not source.dtypes[0].startswith("complex"):
        raise InputError(f"Band {source.name} is not complex, though its item says so")
    left, top = float(grid.left[i]), float(grid.top[i])
    bounds = (left, top - grid.size_m, left + grid.size_m, top)
    west, south, east, north = transform_bounds(f"EPSG:{grid.epsg}", source.crs, *bounds)
    x, y, to_pixel = (
        np.array([west, east, west, east]),
        np.array([south, south, north, north]),
        ~source.transform,
    )
    cols = _around(to_pixel.a * x + to_pixel.b * y + to_pixel.c, source.width)
    rows = _around(to_pixel.d * x + to_pixel.e * y + to_pixel.f, source.height)
    z = source.read(1, window=Window.from_slices(rows, cols))
    power = np.square(z.real.astype(np.float64)) + np.square(z.imag.astype(np.float64))
    if fill is not None:
        power[z == fill] = np.nan
    at = source.transform
    corner = at.c + at.a * cols[0] + at.b * rows[0], at.f + at.d * cols[0] + at.e * rows[0]
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=z.shape[1], height=z.shape[0], count=1, dtype="float64", crs=source.crs,
            transform=Affine(at.a, at.b, corner[0], at.d, at.e, corner[1]),
        ) as file:  # fmt: skip
            file.write(power, 1)
        with memory.open() as real:
            yield real


def _around(positions: Floats, length: int) -> tuple[int, int]:
    """First and one past the last pixel around *positions* within an image; one at its edge where there is none."""
    first = min(max(0, math.floor(positions.min()) - _MARGIN_PX), length - 1)
    return first, max(first + 1, min(length, math.ceil(positions.max()) + _MARGIN_PX))


def without_nodata(values: Floats, nodata: float | None) -> Floats:
    """*values* with NaN in place of *nodata*."""
    if nodata is None or np.isnan(nodata):
        return values
    return np.where(values == nodata, np.nan, values)


@dataclass(frozen=True)
class Windows:
    """Where chips lie in a raster on whose grid they are: squares of *size* whole pixels, which may reach beyond it."""

    col: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    size: int


def aligned(source: Any, grid: ChipGrid) -> tuple[Windows, npt.NDArray[np.bool_]]:
    """The chips' windows in *source*, and which chips have one; the others must be warped."""
    transform, none = source.transform, np.zeros(len(grid.left), bool)
    straight = transform.b == 0 and transform.d == 0 and transform.a > 0 and transform.a == -transform.e
    zone = source.crs is not None and source.crs.to_epsg() == grid.epsg
    if not (straight and zone):
        return Windows(none.astype(np.int64), none.astype(np.int64), 0), none
    col, row = (grid.left - transform.c) / transform.a, (transform.f - grid.top) / transform.a
    size = grid.size_m / transform.a
    whole = (np.abs(col - np.round(col)) <= ALIGNED_PX) & (np.abs(row - np.round(row)) <= ALIGNED_PX)
    whole &= abs(size - round(size)) <= ALIGNED_PX and round(size) > 0
    return Windows(np.round(col).astype(np.int64), np.round(row).astype(np.int64), round(size)), whole


def warped(
    source: Any, grid: ChipGrid, nodata: float | None, resampling: str, power: bool = False
) -> Singles:
    """Chips of *source* warped onto their grid, each alone; NaN where no data is; (chips, size_px, size_px).

    Args:
        power: numbers z are complex and |z|² is wanted, which is taken before any resampling.

    Raises:
        InputError, rasterio.errors.RasterioError: the raster cannot be read, or has no projection.
    """
    from rasterio.enums import Resampling

    method = Resampling[resampling]
    chips = np.empty((len(grid.left), grid.size_px, grid.size_px), np.float32)
    for i in range(len(chips)):
        if not power:
            chips[i] = _warped(source, grid, i, nodata, method)
            continue
        with _power(source, grid, i, nodata) as real:
            chips[i] = _of_power(real, grid.take(np.array([i])), method)
    return chips


def _of_power(real: Any, grid: ChipGrid, method: Any) -> Floats:
    """One chip of power: averaged where its grid is the chip's and finer, else warped."""
    from rasterio.enums import Resampling
    from rasterio.windows import Window

    at, whole = aligned(real, grid)
    inside = min(at.col[0], at.row[0]) >= 0
    inside &= at.col[0] + at.size <= real.width and at.row[0] + at.size <= real.height
    if not (whole[0] and inside):
        return _warped(real, grid, 0, None, method)
    average = Resampling.average if at.size > grid.size_px else method
    values: Floats = real.read(
        1,
        window=Window(at.col[0], at.row[0], at.size, at.size),
        out_shape=(grid.size_px, grid.size_px),
        resampling=average,
    )
    return values


def _shrinks(source: Any, grid: ChipGrid, i: int) -> bool:
    """Whether source pixels are finer than the chip's, so that the warp must average.

    GDAL guesses this from the sizes of windows and takes a rotation between zones for a change of scale: it then
    widens the kernel, which blurs the chip and moves values by up to 0.07 px.
    """
    from rasterio.warp import transform

    if source.crs is None:
        raise InputError(f"Band {source.name} has no coordinate reference system")
    half = grid.size_m / 2
    x, y = grid.left[i] + half, grid.top[i] - half
    step = grid.resolution_m
    xs, ys = transform(f"EPSG:{grid.epsg}", source.crs, [x, x + step, x], [y, y, y + step])
    to_pixel = ~source.transform
    col = to_pixel.a * np.array(xs) + to_pixel.b * np.array(ys)
    row = to_pixel.d * np.array(xs) + to_pixel.e * np.array(ys)
    return bool(np.hypot(col[1:] - col[0], row[1:] - row[0]).max() > SHRINKS)


def _warped(source: Any, grid: ChipGrid, i: int, nodata: float | None, method: Any) -> Floats:
    """Chip *i* warped onto its grid, alone, so that its pixels do not depend on which chips are cut beside it."""
    from rasterio.transform import Affine
    from rasterio.vrt import WarpedVRT

    step, size = grid.resolution_m, grid.size_px
    fill = float("nan") if nodata is None else nodata
    with WarpedVRT(
        source,
        crs=f"EPSG:{grid.epsg}",
        transform=Affine(step, 0.0, float(grid.left[i]), 0.0, -step, float(grid.top[i])),
        width=size,
        height=size,
        resampling=method,
        src_nodata=nodata,
        nodata=fill,
        dtype="float64",
        tolerance=WARP_TOLERANCE_PX,
        **({} if _shrinks(source, grid, i) else {"XSCALE": "1", "YSCALE": "1"}),
    ) as warped:
        return without_nodata(warped.read(1), fill)
