"""Windows of a scene's bands on the chips' grid, in physical units."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog.errors import InputError
from curate.gdal import opened

Floats = npt.NDArray[np.float64]
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


def read_band(
    href: str,
    nodata: float | None,
    grid: ChipGrid,
    resampling: str,
    usual: float | None = None,
    power: bool = False,
) -> Floats:
    """The numbers of one band in every chip, NaN where there is no data; shape (chips, size_px, size_px).

    A band on the chips' own grid is read as it is. A coarser one is interpolated by *resampling*, a finer one
    averaged. A band on another grid or in another projection is warped, once, by *resampling*.

    Args:
        nodata: what the item declares; else the file's own, else *usual*.
        power: numbers z are complex and |z|² is wanted, which is taken before any resampling.

    Raises:
        InputError, rasterio.errors.RasterioError: the file cannot be opened or read, or is complex and *power* is
            not wanted, or the other way round.
    """
    with opened(href, "Band") as source:
        fill = next((value for value in (nodata, source.nodata, usual) if value is not None), None)
        if not power and not source.dtypes[0].startswith("complex"):
            return _read(source, grid, fill, resampling)
        if not power:
            raise InputError(f"Band {href} is complex", do="Its item must say so: unit: complex")
        chips = []
        for i in range(len(grid.left)):
            with _power(source, grid, i, fill) as real:
                chips.append(_read(real, grid.take(np.array([i])), None, resampling))
        return np.concatenate(chips)


def _read(source: Any, grid: ChipGrid, fill: float | None, resampling: str) -> Floats:
    from rasterio.enums import Resampling

    method = Resampling[resampling]
    finer = source.transform.a < grid.resolution_m * (1 - 1e-9) and resampling != "nearest"
    aligned = Resampling.average if finer else method
    shape = (grid.size_px, grid.size_px)
    values = np.empty((len(grid.left), *shape))
    for i, window in enumerate(_aligned_windows(source, grid, fill)):  # each chip without regard to others
        if window is None:
            values[i] = _warped(source, grid, i, fill, method)
        else:
            values[i] = source.read(
                1, window=window, out_shape=shape, resampling=aligned, out_dtype="float64"
            )
    return without_nodata(values, fill)


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


def _aligned_windows(source: Any, grid: ChipGrid, nodata: float | None) -> list[Any]:
    """Windows of whole source pixels, one a chip; None for a chip that must be warped."""
    from rasterio.windows import Window

    transform = source.transform
    straight = transform.b == 0 and transform.d == 0 and transform.a > 0 and transform.a == -transform.e
    zone = source.crs is not None and source.crs.to_epsg() == grid.epsg
    if not (straight and zone):
        return [None] * len(grid.left)
    col, row = (grid.left - transform.c) / transform.a, (transform.f - grid.top) / transform.a
    size = grid.size_m / transform.a
    aligned = (np.abs(col - np.round(col)) <= ALIGNED_PX) & (np.abs(row - np.round(row)) <= ALIGNED_PX)
    aligned &= abs(size - round(size)) <= ALIGNED_PX
    inside = (col > -ALIGNED_PX) & (row > -ALIGNED_PX)
    inside &= (col + size < source.width + ALIGNED_PX) & (row + size < source.height + ALIGNED_PX)
    whole = round(size)
    same_nodata = nodata == source.nodata or (nodata is None and source.nodata is None)
    if not same_nodata and whole != grid.size_px:
        return [None] * len(grid.left)  # what GDAL takes for data would be mixed into its neighbours
    return [
        Window(round(c), round(r), whole, whole) if good else None
        for c, r, good in zip(col, row, aligned & inside, strict=True)
    ]


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
