"""A categorical map in one or more files, and the land-cover fractions of chips in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import shapely

from curate.catalog.errors import InputError
from curate.chips import ChipPlaces
from curate.descriptors.thematic import naming
from curate.descriptors.thematic.counting import counted
from curate.descriptors.thematic.rasters import Raster, Tile, look, no_crs, same_grid
from curate.descriptors.thematic.sampled import sampled
from curate.gdal import opened
from curate.grid import Ints
from curate.legends import Legend
from curate.legends import legend as legend_called
from curate.signing import unsigned

_SIDE = 512  # chips along a side of what is described at once: bounds memory
_NEAR_DEG = 0.5  # beyond the chips' centres; larger chips than 50 km add their side

Fractions = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LandcoverMap:
    """A categorical map in one or more files, in longitude and latitude or any projection."""

    name: str
    tiles: tuple[Tile, ...]  # where they overlap, the first that says something counts
    legend: Legend
    resolution_m: float | None = None  # of the overviews that are read; None: full resolution

    @property
    def codes(self) -> tuple[int, ...]:
        """The classes' codes, rising."""
        return self.legend.codes

    @property
    def years(self) -> tuple[int, ...]:
        """The years that the names of the map's files say."""
        return tuple(sorted({tile.year for tile in self.tiles if tile.year is not None}))

    def near(self, bounds: naming.Bounds) -> LandcoverMap:
        """The map without the tiles that do not meet *bounds*, degrees."""
        box = shapely.box(*bounds)
        tiles = tuple(tile for tile in self.tiles if shapely.intersects(shapely.box(*tile.bounds), box))
        return replace(self, tiles=tiles)

    def of_year(self, year: int) -> LandcoverMap:
        """The map that is nearest to *year*: of tiles of one place the nearest in time, of two the later.

        Tiles of no known year come last.
        """
        best: dict[naming.Bounds, Tile] = {}
        for tile in self.tiles:
            west, south, east, north = (round(side, 6) for side in tile.bounds)
            kept = best.get((west, south, east, north))
            if kept is None or _apart(tile, year) < _apart(kept, year):
                best[west, south, east, north] = tile
        return replace(self, tiles=tuple(sorted(best.values(), key=lambda tile: _apart(tile, year))))

    def years_at(self, places: ChipPlaces) -> Ints:
        """Year of the map at each chip's centre: of the first tile there; 0 where none has a year."""
        years = np.zeros(len(places), np.int64)
        for tile in reversed(self.tiles):
            west, south, east, north = tile.bounds
            here = (places.lon >= west) & (places.lon <= east) & (places.lat >= south) & (places.lat <= north)
            years[here] = tile.year or 0
        return years

    def fractions(self, places: ChipPlaces) -> Fractions:
        """Area fraction of each class of the legend in each chip, and last the unmapped share.

        Fractions are of the chip's own square in its zone, not of its box in degrees. Pixels of a map in degrees
        shrink polewards, within a chip of 1.2 km by 0.02 % × tan(latitude), and count alike. A chip's fractions
        do not depend on the other chips.

        Args:
            places: chips of one zone; each block of the map that they lie in is read once for every
                512 × 512 chips of the lattice.

        Returns:
            Shape (chips, classes + 1); rows sum to 1.

        Raises:
            InputError: a file of the map is broken or has a code that the legend does not name.
        """
        fractions = np.zeros((len(places), len(self.codes) + 1), np.float32)
        order = np.lexsort((places.ix // _SIDE, places.iy // _SIDE))
        block = np.stack([places.ix[order] // _SIDE, places.iy[order] // _SIDE])
        new = np.flatnonzero(np.diff(block).any(0)) + 1
        for rows in np.split(order, new) if len(order) else []:
            fractions[rows] = self._of(places.take(rows))
        return fractions

    def _of(self, places: ChipPlaces) -> Fractions:
        rasters = [
            raster for raster in (look(tile, self.resolution_m) for tile in self._around(places)) if raster
        ]
        best = _none(places, self.legend)
        grids = _grids(rasters)
        for rasters_of_grid in grids:
            found = counted(places, rasters_of_grid, self.legend)
            if found is None:
                return _shares(*sampled(places, rasters, self.legend))
            shares = _shares(*found)
            better = shares[:, -1] < best[:, -1]
            best[better] = shares[better]
        partly = np.flatnonzero(best[:, -1] > 0)
        if len(grids) > 1 and len(partly):  # chips across the seam of two grids
            best[partly] = _shares(*sampled(places.take(partly), rasters, self.legend))
        return best

    def _around(self, places: ChipPlaces) -> list[Tile]:
        """The tiles that may meet a chip."""
        margin = max(_NEAR_DEG, 2 * places.lattice.size_m / 100_000)
        south, north = places.lat.min() - margin, places.lat.max() + margin
        wide = margin / max(np.cos(np.radians(min(max(abs(south), abs(north)), 89.0))), 0.01)
        lon = places.lon
        if np.ptp(lon) > 180:
            lon = np.where(lon < 0, lon + 360, lon)
        west, east = lon.min() - wide, lon.max() + wide
        everywhere = max(abs(south), abs(north)) > 85
        return [
            tile
            for tile in self.tiles
            if tile.bounds[1] < north
            and tile.bounds[3] > south
            and (
                everywhere
                or any(
                    tile.bounds[0] + turn < east and tile.bounds[2] + turn > west for turn in (-360, 0, 360)
                )
            )
        ]


def _apart(tile: Tile, year: int) -> tuple[int, int]:
    return (10_000, 0) if tile.year is None else (abs(tile.year - year), -tile.year)


def _none(places: ChipPlaces, legend: Legend) -> Fractions:
    shares = np.zeros((len(places), len(legend.codes) + 1), np.float32)
    shares[:, -1] = 1.0
    return shares


def _shares(counts: Ints, total: Ints) -> Fractions:
    """Fractions of classes, and last the rest."""
    every = np.column_stack([counts, total - counts.sum(1)])
    return np.asarray(every / total[:, None], np.float32)


def _grids(rasters: list[Raster]) -> list[list[Raster]]:
    """Rasters by the grid that they lie on, in their order."""
    grids: list[list[Raster]] = []
    for raster in rasters:
        for members in grids:
            first = members[0].grid
            if first and raster.grid and same_grid(first, raster.grid):
                members.append(raster)
                break
        else:
            grids.append([raster])
    return grids


def open_map(
    name: str,
    hrefs: list[str],
    legend: str | None = None,
    area: shapely.Geometry | None = None,
    resolution_m: float | None = None,
    classes: Literal["map", "common"] = "map",
) -> LandcoverMap:
    """The map called *name*, made of the files *hrefs*.

    Args:
        name: how the user called it.
        hrefs: files of the map; where there are none, *name* is a file, a folder, a pattern or a URL (see
            `curate.descriptors.thematic.naming.expand`).
        legend: name of a legend (`curate.legends.NAMED`), or CSV with ``code`` and ``name``; None: ESA WorldCover's.
        area: where chips may lie, longitude and latitude; chooses the tiles of a map that cannot be listed.
        resolution_m: read the overviews nearest to this size; None: full resolution.
        classes: ``map`` for the map's own classes, ``common`` for the nine of `curate.legends.COMMON`.

    Raises:
        InputError: no such file, one without a coordinate reference system, a broken legend, or no tile that
            meets *area*.
    """
    known = legend_called(legend)
    known = known.in_common() if classes == "common" else known
    files = [(href, None) for href in hrefs] or naming.expand(name, area)
    tiles = tuple(_tile(href, composed) for href, composed in files)
    found = LandcoverMap(Path(unsigned(name)).name, tiles, known, resolution_m)
    if area is not None and not any(shapely.intersects(shapely.box(*t.bounds), area) for t in tiles):
        raise InputError(
            f"Land-cover map {unsigned(name)} does not cover the region",
            f"its {len(tiles)} files lie elsewhere",
            "Give another --landcover or --region",
        )
    return found


def _tile(href: str, composed: naming.Bounds | None) -> Tile:
    """A file of a map; opened here only where its name does not say where it lies."""
    from rasterio.warp import transform_bounds

    year = naming.year_of(href)
    named = composed or naming.worldcover_bounds(href)
    if named is not None:
        return Tile(href, named, year, optional=composed is not None)
    with opened(href, what="Land-cover map") as source:
        if source.crs is None:
            raise no_crs(href)
        bounds = transform_bounds(source.crs, "OGC:CRS84", *source.bounds)
    west, south, east, north = (float(side) for side in bounds)
    return Tile(href, (west, south, east, north) if west <= east else (-180.0, south, 180.0, north), year)
