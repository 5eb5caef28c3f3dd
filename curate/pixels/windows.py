"""Windows of a scene's bands on the chips' grid, in physical units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.gdal import opened

Floats = npt.NDArray[np.float64]
ALIGNED_PX = 0.01  # a grid that is off by less counts as aligned


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


def read_band(href: str, nodata: float | None, grid: ChipGrid, resampling: str) -> Floats:
    """The numbers of one band in every chip, NaN where there is no data; shape (chips, size_px, size_px).

    A band on the chips' own grid is read as it is. A coarser one is interpolated by *resampling*, a finer one
    averaged. A band on another grid or in another projection is warped, once, by *resampling*.

    Raises:
        InputError, rasterio.errors.RasterioError: the file cannot be opened or read.
    """
    from rasterio.enums import Resampling

    method = Resampling[resampling]
    with opened(href, "Band") as source:
        fill = nodata if nodata is not None else source.nodata
        windows = _aligned_windows(source, grid, fill)
        if windows is None:
            return _warped(source, grid, fill, method)
        if source.transform.a < grid.resolution_m * (1 - 1e-9) and resampling != "nearest":
            method = Resampling.average
        shape = (grid.size_px, grid.size_px)
        values = np.stack(
            [
                source.read(1, window=w, out_shape=shape, resampling=method, out_dtype="float64")
                for w in windows
            ]
        )
    return without_nodata(values, fill)


def without_nodata(values: Floats, nodata: float | None) -> Floats:
    """*values* with NaN in place of *nodata*."""
    if nodata is None or np.isnan(nodata):
        return values
    return np.where(values == nodata, np.nan, values)


def _aligned_windows(source: Any, grid: ChipGrid, nodata: float | None) -> Sequence[Any] | None:
    """Windows of whole source pixels, one a chip; None where the source must be warped."""
    from rasterio.windows import Window

    transform = source.transform
    straight = transform.b == 0 and transform.d == 0 and transform.a > 0 and transform.a == -transform.e
    zone = source.crs is not None and source.crs.to_epsg() == grid.epsg
    same_nodata = nodata == source.nodata or (nodata is None and source.nodata is None)
    if not (straight and zone and same_nodata):
        return None
    col, row = (grid.left - transform.c) / transform.a, (transform.f - grid.top) / transform.a
    size = grid.size_m / transform.a
    off = np.abs(np.concatenate([col - np.round(col), row - np.round(row), [size - round(size)]]))
    inside = (col > -ALIGNED_PX) & (row > -ALIGNED_PX)
    inside &= (col + size < source.width + ALIGNED_PX) & (row + size < source.height + ALIGNED_PX)
    if off.max() > ALIGNED_PX or not inside.all():
        return None
    whole = round(size)
    return [Window(round(c), round(r), whole, whole) for c, r in zip(col, row, strict=True)]


def _warped(source: Any, grid: ChipGrid, nodata: float | None, method: Any) -> Floats:
    """All chips from one warp onto the chips' grid; they lie within one grid cell of each other."""
    from rasterio.transform import Affine
    from rasterio.vrt import WarpedVRT
    from rasterio.windows import Window

    step, size = grid.resolution_m, grid.size_px
    left, top = float(grid.left.min()), float(grid.top.max())
    col = np.round((grid.left - left) / step).astype(int)
    row = np.round((top - grid.top) / step).astype(int)
    fill = float("nan") if nodata is None else nodata
    with WarpedVRT(
        source,
        crs=f"EPSG:{grid.epsg}",
        transform=Affine(step, 0.0, left, 0.0, -step, top),
        width=int(col.max()) + size,
        height=int(row.max()) + size,
        resampling=method,
        src_nodata=nodata,
        nodata=fill,
        dtype="float64",
    ) as warped:
        values = np.stack(
            [warped.read(1, window=Window(c, r, size, size)) for c, r in zip(col, row, strict=True)]
        )
    return without_nodata(values, fill)
