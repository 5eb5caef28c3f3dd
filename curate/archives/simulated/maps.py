"""Maps of a site without a date: elevation and land cover, on their providers' lattices in degrees."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from rasterio.transform import Affine
from scipy import ndimage

from curate.archives.simulated import stac
from curate.archives.simulated.cog import write_cog
from curate.archives.simulated.fields import Field
from curate.archives.simulated.frames import to_lonlat
from curate.archives.simulated.ground import Ground
from curate.archives.simulated.landcover import CLASSES
from curate.archives.simulated.places import Site

Json = dict[str, Any]
# Width over height of a pixel of the DEM, under a latitude
DEM_FACTORS = ((50, 1.0), (60, 1.5), (70, 2.0), (80, 3.0), (85, 5.0), (91, 10.0))


def elevation(ground: Ground, folder: Path) -> Json:
    """The terrain at one arc second of latitude; columns widen towards the poles as the Copernicus DEM's do."""
    latitude = abs(ground.site.lat)
    factor = next(f for limit, f in DEM_FACTORS if latitude < limit)
    step_x, step_y = factor / 3600, 1 / 3600
    grid, shape, row, column = _lonlat_grid(ground, step_x, step_y, centred=True)
    values = ndimage.map_coordinates(ground.terrain.elevation_m, [row, column], order=1, mode="nearest")
    values = (np.rint(values * 16) / 16).astype(np.float32)  # noise below 6 cm would only fill the disk
    name = f"Copernicus_DSM_COG_10_{_corner(ground.site, 1, '_00_')}_00_DEM_{ground.site.slug}"
    home = stac.home_of(folder, name)
    write_cog(home / "elevation.tif", values, 4326, grid, None, "elevation")
    assets = {
        "data": stac.asset(
            "./elevation.tif", title="Elevation above the geoid",
            band={"name": "elevation", "data_type": "float32", "unit": "m"},
            epsg=4326, shape=shape, transform=grid, gsd=30,
        )
    }  # fmt: skip
    return stac.item(
        name=name, collection="cop-dem-glo-30", outline=_outline(grid, shape),
        when=dt.datetime(2021, 4, 22, tzinfo=dt.UTC), properties={"gsd": 30, "platform": "tandem-x"}, assets=assets,
    )  # fmt: skip


def land_cover(ground: Ground, folder: Path) -> Json:
    """The classes on ESA WorldCover's global lattice of 1/12000 degree; 0 beyond the simulated ground."""
    grid, shape, row, column = _lonlat_grid(ground, 1 / 12_000, 1 / 12_000, centred=False)
    rows, columns = np.rint(row).astype(np.int32), np.rint(column).astype(np.int32)
    last = ground.canvas.width - 1
    codes = ground.cover.codes[np.clip(rows, 0, last), np.clip(columns, 0, last)]
    codes[(rows < 0) | (columns < 0) | (rows > last) | (columns > last)] = 0
    name = f"ESA_WorldCover_10m_2021_v200_{_corner(ground.site, 3, '')}_{ground.site.slug}"
    home = stac.home_of(folder, name)
    write_cog(home / f"{name}_Map.tif", codes, 4326, grid, 0, "map")
    assets = {
        "map": stac.asset(
            f"./{name}_Map.tif", title="Land cover",
            band=stac.classes("map", CLASSES),
            epsg=4326, shape=shape, transform=grid, gsd=10,
        )
    }  # fmt: skip
    year = (dt.datetime(2021, 1, 1, tzinfo=dt.UTC), dt.datetime(2021, 12, 31, 23, 59, 59, tzinfo=dt.UTC))
    return stac.item(
        name=name, collection="esa-worldcover", outline=_outline(grid, shape), when=year,
        properties={"gsd": 10, "esa_worldcover:product_version": "2.0.0"}, assets=assets,
    )  # fmt: skip


def _corner(site: Site, step: int, gap: str) -> str:
    """South-west corner of the *step* degree tile that holds the site."""
    south, west = math.floor(site.lat / step) * step, math.floor(site.lon / step) * step
    return f"{'N' if south >= 0 else 'S'}{abs(south):02d}{gap}{'E' if west >= 0 else 'W'}{abs(west):03d}"


def _outline(grid: Affine, shape: tuple[int, int]) -> shapely.Polygon:
    right, bottom = grid @ (shape[1], shape[0])
    return shapely.geometry.polygon.orient(shapely.box(grid.c, bottom, right, grid.f))


def _lonlat_grid(
    ground: Ground, step_x: float, step_y: float, centred: bool
) -> tuple[Affine, tuple[int, int], Field, Field]:
    """A lattice in degrees over the Sentinel-2 frame, and the canvas row and column of each of its pixels.

    Pixel edges, or with *centred* pixel centres, lie on whole multiples of the steps from 180 W and 90 N.
    At the antimeridian the lattice stops, on the side of the site.
    """
    n = ground.size_px
    outline = shapely.segmentize(ground.frame(ground.pad_px, ground.pad_px, n, n).footprint(), 500.0)
    lon, lat = to_lonlat(ground.canvas.epsg).transform(*shapely.get_coordinates(outline).T)
    turn = round((ground.site.lon - lon[0]) / 360) * 360 + np.where(
        np.abs(lon - lon[0]) > 180, np.sign(lon[0]) * 360, 0
    )
    lon = lon + turn
    margin = 0.001
    west, east = (
        max(lon.min() - margin / math.cos(math.radians(lat.mean())), -180),
        min(lon.max() + margin, 180),
    )
    half = 0.5 if centred else 0.0
    first_column, last_column = (
        math.floor((west + 180) / step_x + half),
        math.ceil((east + 180) / step_x - half),
    )
    if centred and west <= -180:
        first_column = 1
    last_column = min(last_column, math.floor(360 / step_x - half))
    first_row = math.floor((90 - lat.max() - margin) / step_y + half)
    last_row = math.ceil((90 - lat.min() + margin) / step_y - half)
    shape = (last_row - first_row, last_column - first_column)
    grid = Affine(
        step_x, 0, (first_column - half) * step_x - 180, 0, -step_y, 90 - (first_row - half) * step_y
    )
    x = grid.c + (np.arange(shape[1]) + 0.5) * step_x
    y = grid.f - (np.arange(shape[0]) + 0.5) * step_y
    to_canvas = pyproj.Transformer.from_crs(4326, ground.canvas.epsg, always_xy=True)
    east_m, north_m = to_canvas.transform(*np.meshgrid(x, y))
    column = (east_m - ground.canvas.left) / 10 - 0.5
    row = (ground.canvas.top - north_m) / 10 - 0.5
    return grid, shape, row, column
