"""Windows of a scene's bands on the chips' grid, in physical units."""

from __future__ import annotations

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
    href: str, nodata: float | None, grid: ChipGrid, resampling: str, usual: float | None = None
) -> Floats:
    """The numbers of one band in every chip, NaN where there is no data; shape (chips, size_px, size_px).

    A band on the chips' own grid is read as it is. A coarser one is interpolated by *resampling*, a finer one
    averaged. A band on another grid or in another projection is warped, once, by *resampling*.

    Raises:
        InputError, rasterio.errors.RasterioError: the file cannot be opened or read.
    """
    from rasterio.enums import Resampling

    method = Resampling[resampling]
    with opened(href, "Band") as source:
        fill = next((value for value in (nodata, source.nodata, usual) if value is not None), None)
        finer = source.transform.a < grid.resolution_m * (1 - 1e-9) and resampling != "nearest"
        aligned = Resampling.average if finer else method
        shape = (grid.size_px, grid.size_px)
        values = np.empty((len(grid.left), *shape))
        for i, window in enumerate(
            _aligned_windows(source, grid, fill)
        ):  # each chip without regard to others
            if window is None:
                values[i] = _warped(source, grid, i, fill, method)
            else:
                values[i] = source.read(
                    1, window=window, out_shape=shape, resampling=aligned, out_dtype="float64"
                )
    return without_nodata(values, fill)


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
    same_nodata = nodata == source.nodata or (nodata is None and source.nodata is None)
    if not (straight and zone and same_nodata):
        return [None] * len(grid.left)
    col, row = (grid.left - transform.c) / transform.a, (transform.f - grid.top) / transform.a
    size = grid.size_m / transform.a
    aligned = (np.abs(col - np.round(col)) <= ALIGNED_PX) & (np.abs(row - np.round(row)) <= ALIGNED_PX)
    aligned &= abs(size - round(size)) <= ALIGNED_PX
    inside = (col > -ALIGNED_PX) & (row > -ALIGNED_PX)
    inside &= (col + size < source.width + ALIGNED_PX) & (row + size < source.height + ALIGNED_PX)
    whole = round(size)
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
