"""Terrain: mean elevation, its spread, and mean slope of each chip, from a digital elevation model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from curate.catalog.errors import InputError
from curate.catalog.schema import DescriptorInfo
from curate.descriptors.candidates import Candidates
from curate.descriptors.zones import Sums, Window, labels, read, strips, windows_over
from curate.gdal import opened
from curate.grid import Floats
from curate.recipe import Recipe
from curate.workspace import Workspace, read_near

ARCHIVE = "archive"
COLLECTION = "cop-dem-glo-30"  # of an archive, where the recipe names no other model
BAND = "elevation"
_RASTERS = (".tif", ".tiff", ".vrt")
_DEEPEST_M, _HIGHEST_M = -12_000.0, 9_000.0  # beyond lie fill values that nobody declared

COLUMNS = (
    DescriptorInfo("terrain_elevation_m", "Mean elevation over the model's geoid or ellipsoid.", "m"),
    DescriptorInfo("terrain_spread_m", "Standard deviation of the elevation within the chip.", "m"),
    DescriptorInfo("terrain_slope_deg", "Mean slope (Horn 1981).", "degrees"),
)


@dataclass(frozen=True)
class Terrain:
    """Elevation and slope from rasters, or from the archive's tiles in a table of scenes."""

    name: str  # how the recipe calls the model
    tiles: tuple[str, ...] = ()
    workspace: Workspace | None = None  # whose scenes name the tiles, where none are given
    columns: tuple[DescriptorInfo, ...] = COLUMNS

    def describe(self, candidates: Candidates) -> dict[str, Floats]:
        """Figures of each chip from the pixels whose centre lies in it; NaN where there is none.

        Raises:
            InputError: a tile cannot be read, or lies in no coordinate reference system.
        """
        places = candidates.places
        height, slope = Sums(len(places)), Sums(len(places))
        for tile in self._near(candidates.bounds_deg):
            with opened(tile, "Elevation model") as source:
                for window in windows_over(source, places):
                    for strip in strips(window):
                        elevation, steepness = _read(source, strip)
                        label = labels(source, places, strip)
                        height.add(label.ravel(), elevation.ravel())
                        slope.add(label.ravel(), steepness.ravel())
        found = (height.mean, height.spread, slope.mean)
        return {column.name: values[candidates.place] for column, values in zip(COLUMNS, found, strict=True)}

    def _near(self, bounds: Floats) -> tuple[str, ...]:
        if self.workspace is None:
            return self.tiles
        table = read_near(self.workspace.scenes, bounds, ["id", "sensor", "assets"])
        rows = table.filter(pc.equal(table["sensor"], COLLECTION)).sort_by("id").to_pylist()
        return tuple(self.workspace.absolute(row["assets"][0]["href"]) for row in rows)


def open_descriptor(recipe: Recipe, workspace: Workspace) -> Terrain:
    """The recipe's elevation model.

    Raises:
        InputError: no such file, a folder without rasters, or an archive without elevation.
    """
    name = recipe.descriptors.terrain
    if name != ARCHIVE:
        path = Path(name)
        tiles = sorted(str(p) for p in path.rglob("*") if p.suffix in _RASTERS) if path.is_dir() else [name]
        if not tiles:
            raise InputError(f"Elevation model {name} has no raster", f"no {', '.join(_RASTERS)} lies in it")
        with opened(tiles[0], "Elevation model") as source:
            if source.crs is None:
                raise InputError(f"Elevation model {tiles[0]} has no coordinate reference system")
        return Terrain(name, tuple(tiles))
    table = read_near(workspace.scenes, np.array([-180.0, -90.0, 180.0, 90.0]), ["sensor"])
    if not pc.any(pc.equal(table["sensor"], COLLECTION)).as_py():
        raise InputError(
            f"Archive {recipe.archive} has no elevation model",
            f"it has no usable item in a collection {COLLECTION!r}",
            "Name one: --set descriptors.terrain=PATH, or leave terrain out of descriptors.further",
        )
    return Terrain(name, workspace=workspace)


def _read(source: Any, window: Window) -> tuple[Floats, Floats]:
    """Elevation, metres, and slope, degrees, of a window; NaN where unknown.

    Slope needs the eight pixels around; at the edge of a file it is unknown.
    """
    top, bottom = max(0, window.top - 1), min(source.height, window.bottom + 1)
    left, right = max(0, window.left - 1), min(source.width, window.right + 1)
    z = read(source, Window(top, bottom, left, right)).astype(np.float64)
    fill = source.nodata
    z[(z < _DEEPEST_M) | (z > _HIGHEST_M) | (z == (np.nan if fill is None else fill))] = np.nan
    wider = ((window.top - top, bottom - window.bottom), (window.left - left, right - window.right))
    lacking = [(1 - before, 1 - after) for before, after in wider]
    z = np.pad(z, lacking, constant_values=np.nan)
    dx, dy = _spacing(source, window)
    return z[1:-1, 1:-1], slope_deg(z, dx, dy)


def slope_deg(z: Floats, dx: Floats | float, dy: Floats | float) -> Floats:
    """Slope by the eight neighbours (Horn 1981, doi 10.1109/PROC.1981.11918, equation on page 18).

    Args:
        z: elevation with one more row and column on every side.
        dx, dy: distance of neighbours in a row and in a column, in the unit of *z*; one, or one a row as (rows, 1).
    """
    west = z[:-2, :-2] + 2 * z[1:-1, :-2] + z[2:, :-2]
    east = z[:-2, 2:] + 2 * z[1:-1, 2:] + z[2:, 2:]
    north = z[:-2, :-2] + 2 * z[:-2, 1:-1] + z[:-2, 2:]
    south = z[2:, :-2] + 2 * z[2:, 1:-1] + z[2:, 2:]
    steep: Floats = np.degrees(np.arctan(np.hypot((east - west) / (8 * dx), (south - north) / (8 * dy))))
    return steep


def _spacing(source: Any, window: Window) -> tuple[Floats, Floats]:
    """Distances of neighbouring pixels, metres, shape (rows, 1): of meridian and parallel on the WGS84 ellipsoid."""
    at = source.transform
    rows = np.arange(window.top, window.bottom)[:, None] + 0.5
    if not source.crs.is_geographic:
        metre = source.crs.linear_units_factor[1]
        size = np.full(rows.shape, metre)
        return size * np.hypot(at.a, at.d), size * np.hypot(at.b, at.e)
    a, e2 = 6_378_137.0, 6.694379990141e-3  # semi-major axis, squared eccentricity
    latitude = np.radians(at.f + at.e * rows)
    w = np.sqrt(1 - e2 * np.sin(latitude) ** 2)
    parallel, meridian = a * np.cos(latitude) / w, a * (1 - e2) / w**3
    return np.radians(abs(at.a)) * parallel, np.radians(abs(at.e)) * meridian
