"""Land-cover fractions inside each chip's own footprint, from a categorical map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog.errors import InputError
from curate.chips import ChipPlaces
from curate.gdal import opened
from curate.legends import WORLDCOVER, read_legend

SAMPLING_M = 10.0  # the map is looked up at points of this spacing in the chip's projection
_RASTERS = (".tif", ".tiff", ".vrt")


@dataclass(frozen=True)
class Tile:
    """One file of a map and the box it covers, degrees."""

    href: str
    bounds: tuple[float, float, float, float]


@dataclass(frozen=True)
class LandcoverMap:
    """A categorical map in one or more files, in longitude and latitude or any projection."""

    name: str
    tiles: tuple[Tile, ...]
    legend: dict[int, str]

    @property
    def codes(self) -> tuple[int, ...]:
        return tuple(self.legend)

    def fractions(self, places: ChipPlaces) -> npt.NDArray[np.float32]:
        """Area fraction of each class of the legend in each chip, and last the unmapped share.

        Args:
            places: chips that lie near each other, say those of one grid cell: one window is read for all.

        Returns:
            Shape (chips, classes + 1); rows sum to 1.

        Raises:
            InputError: the map has a code that its legend does not name.
        """
        size = places.lattice.size_m
        per_side = max(1, round(size / SAMPLING_M))
        first_x = places.ix.min()
        wide, tall = int(np.ptp(places.ix)) + 1, int(np.ptp(places.iy)) + 1
        left, top = places.lattice.left_top(first_x, places.iy.max())
        window = _Window(
            places.lattice.epsg, float(left), float(top), size / per_side, tall * per_side, wide * per_side
        )
        index = self._indices(window)
        blocks = index.reshape(tall, per_side, wide, per_side)
        chosen = blocks[places.iy.max() - places.iy, :, places.ix - first_x, :]  # (chips, per_side, per_side)
        classes = len(self.legend) + 1
        offsets = np.arange(len(places))[:, None] * classes
        counts = np.bincount(
            (chosen.reshape(len(places), -1) + offsets).ravel(), minlength=len(places) * classes
        )
        return (counts.reshape(len(places), classes) / per_side**2).astype(np.float32)

    def _indices(self, window: _Window) -> npt.NDArray[np.int64]:
        """Position in the legend of the class at each point of the window; its length where unmapped."""
        codes = np.array(self.codes)
        index = np.full((window.height, window.width), len(codes), np.int64)
        west, south, east, north = window.bounds_deg()
        for tile in self.tiles:
            w, s, e, n = tile.bounds
            if w < east and e > west and s < north and n > south:
                values, mapped = _warp(tile.href, window, self.codes)
                known = np.isin(values, codes)
                strange = np.unique(values[mapped & ~known])
                if len(strange):
                    raise InputError(
                        f"Land-cover map {tile.href} has codes that its legend does not name",
                        ", ".join(map(str, strange[:8])),
                        "Give a complete legend: --landcover-legend CSV (code,name)",
                    )
                fill = mapped & known & (index == len(codes))
                order = np.argsort(codes)
                index[fill] = order[np.searchsorted(codes, values[fill], sorter=order)]
        return index


@dataclass(frozen=True)
class _Window:
    """A raster of points in a UTM/UPS zone."""

    epsg: int
    left: float
    top: float
    step: float
    height: int
    width: int

    def bounds_deg(self) -> tuple[float, float, float, float]:
        from rasterio.warp import transform_bounds

        right, bottom = self.left + self.width * self.step, self.top - self.height * self.step
        bounds = transform_bounds(f"EPSG:{self.epsg}", "OGC:CRS84", self.left, bottom, right, self.top)
        return bounds if bounds[0] <= bounds[2] else (-180.0, bounds[1], 180.0, bounds[3])


def _warp(
    href: str, window: _Window, codes: tuple[int, ...]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The map's values at the window's points, and where it says anything."""
    from rasterio.enums import Resampling
    from rasterio.transform import Affine
    from rasterio.vrt import WarpedVRT

    transform = Affine(window.step, 0.0, window.left, 0.0, -window.step, window.top)
    with opened(href) as source:
        fill = source.nodata  # what lies outside the tile must differ from every class
        if fill is None:
            fill = next(value for value in range(256) if value not in codes)
        with WarpedVRT(
            source,
            crs=f"EPSG:{window.epsg}",
            transform=transform,
            width=window.width,
            height=window.height,
            resampling=Resampling.nearest,
            nodata=fill,
        ) as warped:
            values = warped.read(1)
    return values, values != fill


def open_map(name: str, tiles: list[str], legend: str | None = None) -> LandcoverMap:
    """The map called *name*, made of the files *tiles*.

    Args:
        name: how the user called it.
        tiles: files of the map; where there are none, *name* is a file or a folder of files.
        legend: CSV with ``code`` and ``name``; None for ESA WorldCover's.

    Raises:
        InputError: no such file, one without a coordinate reference system, or a broken legend.
    """
    if not tiles:
        path = Path(name)
        tiles = sorted(str(p) for p in path.rglob("*") if p.suffix in _RASTERS) if path.is_dir() else [name]
        if not tiles:
            raise InputError(
                f"Land-cover map {name} has no raster", f"no {', '.join(_RASTERS)} file lies in it"
            )
    return LandcoverMap(
        Path(name).name,
        tuple(_tile(href) for href in tiles),
        dict(sorted((read_legend(Path(legend)) if legend else WORLDCOVER).items())),
    )


def _tile(href: str) -> Tile:
    from rasterio.warp import transform_bounds

    with opened(href, what="Land-cover map") as source:
        if source.crs is None:
            raise InputError(
                f"Land-cover map {href} has no coordinate reference system", do="Set one: gdal_edit -a_srs"
            )
        bounds = transform_bounds(source.crs, "OGC:CRS84", *source.bounds)
    west, south, east, north = (float(side) for side in bounds)
    return Tile(href, (west, south, east, north) if west <= east else (-180.0, south, 180.0, north))
