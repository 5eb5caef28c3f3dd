"""Chips: squares of pixels on one lattice per UTM/UPS zone, each owned by the grid cell that holds its centre.

Within a zone chips never overlap and leave no gap. The lattice starts at the zone's origin (the equator, or the
pole), where Sentinel-2's 10, 20 and 60 m grids start too, so that a chip whose side is a multiple of 60 m is cut
from Sentinel-2 without resampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Transformer

from curate.grid import UPS_NORTH, UPS_SOUTH, Floats, Grid, Ints
from curate.running import running

_EDGE_POINTS = 16  # per side of a cell, so that curved edges are followed
_POLE_DEG = 90 - 1e-9


@dataclass(frozen=True)
class Lattice:
    """The chips of one zone: chip (ix, iy) reaches from (left, top) one side to the right and down."""

    epsg: int
    size_m: float

    @property
    def origin(self) -> tuple[float, float]:
        """A corner of the lattice, metres."""
        if self.epsg in (UPS_NORTH, UPS_SOUTH):
            return 2_000_000.0, 2_000_000.0
        return 0.0, 10_000_000.0 if 32700 < self.epsg < 32761 else 0.0

    def index(self, x: Floats, y: Floats) -> tuple[Ints, Ints]:
        """Chips that hold the points; y counts northwards."""
        x0, y0 = self.origin
        return (
            np.floor((x - x0) / self.size_m).astype(np.int64),
            np.floor((y - y0) / self.size_m).astype(np.int64),
        )

    def left_top(self, ix: Ints, iy: Ints) -> tuple[Floats, Floats]:
        """Upper left corners, metres."""
        x0, y0 = self.origin
        left: Floats = x0 + np.asarray(ix, np.float64) * self.size_m
        top: Floats = y0 + (np.asarray(iy, np.float64) + 1) * self.size_m
        return left, top


@dataclass(frozen=True)
class ChipPlaces:
    """Places of chips in one zone, without a date: arrays of one length."""

    lattice: Lattice
    owner: Ints  # position of the owning cell in the list of cells asked for
    ix: Ints
    iy: Ints
    lon: Floats  # of the centre
    lat: Floats

    def __len__(self) -> int:
        return len(self.ix)

    def take(self, rows: npt.NDArray[Any]) -> ChipPlaces:
        """The places at *rows* (indices or a mask)."""
        return ChipPlaces(
            self.lattice, self.owner[rows], self.ix[rows], self.iy[rows], self.lon[rows], self.lat[rows]
        )

    def squares(self) -> npt.NDArray[np.object_]:
        """Chips as polygons in the zone's projection."""
        left, top = self.lattice.left_top(self.ix, self.iy)
        size = self.lattice.size_m
        return np.asarray(shapely.box(left, top - size, left + size, top), dtype=object)

    def footprints(self) -> npt.NDArray[np.object_]:
        """Chips as polygons in longitude and latitude, split at the antimeridian."""
        corners = shapely.get_coordinates(self.squares()).reshape(-1, 5, 2)
        lon, lat = from_zone(self.lattice.epsg).transform(corners[..., 0], corners[..., 1])
        shapes = split_at_antimeridian(np.stack([lon, lat], axis=-1))
        for i in np.flatnonzero((np.abs(lat) > _POLE_DEG).any(1)):  # the four chips that touch a pole
            shapes[i] = _touching_pole(lon[i], lat[i])
        return shapes


def places_in(grid: Grid, row: Ints, col: Ints, epsg: int, size_m: float) -> ChipPlaces:
    """All chips whose centre lies in the cells (row, col), which all belong to the zone *epsg*."""
    lattice = Lattice(epsg, size_m)
    low_x, low_y, high_x, high_y = _zone_bounds(grid, row, col, epsg)
    first_x, first_y = lattice.index(low_x, low_y)
    last_x, last_y = lattice.index(high_x, high_y)
    wide, tall = last_x - first_x + 1, last_y - first_y + 1
    number = wide * tall
    owner = np.repeat(np.arange(len(row)), number)
    k = running(number)
    ix, iy = first_x[owner] + k % wide[owner], first_y[owner] + k // wide[owner]
    left, top = lattice.left_top(ix, iy)
    lon, lat = from_zone(epsg).transform(left + size_m / 2, top - size_m / 2)
    centre_row, centre_col = grid.at(lon, lat)
    inside = (centre_row == row[owner]) & (centre_col == col[owner])
    return ChipPlaces(lattice, owner, ix, iy, lon, lat).take(inside)


def _zone_bounds(grid: Grid, row: Ints, col: Ints, epsg: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Bounds of the cells in the zone's projection, metres."""
    west, south, east, north = grid.bounds(row, col)
    along = np.linspace(0.0, 1.0, _EDGE_POINTS)
    zero, one = np.zeros_like(along), np.ones_like(along)
    u, v = np.concatenate([along, one, along, zero]), np.concatenate([zero, along, one, along])
    lon = west[:, None] + u * (east - west)[:, None]
    lat = south[:, None] + v * (north - south)[:, None]
    x, y = to_zone(epsg).transform(lon, lat)
    sides = np.hypot(np.diff(x.reshape(-1, 4, _EDGE_POINTS)), np.diff(y.reshape(-1, 4, _EDGE_POINTS)))
    bulge = sides.max(axis=(1, 2)) / 8  # an edge turns by up to 24° between two points and leaves its chord
    return x.min(1) - bulge, y.min(1) - bulge, x.max(1) + bulge, y.max(1) + bulge


def split_at_antimeridian(rings: npt.NDArray[np.float64]) -> npt.NDArray[np.object_]:
    """Polygons of closed rings (n, points, lon/lat), counter-clockwise, in two parts where they cross ±180°."""
    lon = rings[..., 0]
    across = np.flatnonzero(lon.max(1) - lon.min(1) > 180.0)
    shapes = np.asarray(shapely.polygons(rings), dtype=object)
    for i in across:  # few: a line one chip wide around the Earth
        ring = rings[i].copy()
        ring[:, 0] = np.where(ring[:, 0] < 0, ring[:, 0] + 360.0, ring[:, 0])
        shapes[i] = wrapped(shapely.make_valid(shapely.Polygon(ring)))
    return np.asarray(shapely.orient_polygons(shapes), dtype=object)


def wrapped(shape: shapely.Geometry) -> shapely.Geometry:
    """The polygons of *shape*, whose longitudes run from -540 to 540, brought to -180 to 180 and split there."""
    parts: list[Any] = []
    for shift in (-360.0, 0.0, 360.0):
        moved = shapely.transform(shape, lambda points, by=shift: points + np.array([by, 0.0]))
        clipped = shapely.get_parts(shapely.intersection(moved, shapely.box(-180, -90, 180, 90)))
        parts += [part for part in clipped if shapely.area(part) > 0]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _touching_pole(lon: Floats, lat: Floats) -> shapely.Geometry:
    """A chip with a corner in the pole, where each of the two edges that end there keeps its own meridian."""
    pole = int(np.argmax(np.abs(lat[:4])))
    others = [(pole + k) % 4 for k in (1, 2, 3)]
    around = np.unwrap(lon[others], period=360.0)
    end = np.copysign(90.0, lat[pole])
    ring = [
        *zip(around, lat[others], strict=True),
        (around[-1], end),
        (around[0], end),
    ]
    return shapely.orient_polygons(wrapped(shapely.Polygon(ring)))


@lru_cache(maxsize=256)
def to_zone(epsg: int) -> Transformer:
    """From longitude/latitude to the zone's metres."""
    return Transformer.from_crs("OGC:CRS84", f"EPSG:{epsg}", always_xy=True)


@lru_cache(maxsize=256)
def from_zone(epsg: int) -> Transformer:
    """From the zone's metres to longitude/latitude."""
    return Transformer.from_crs(f"EPSG:{epsg}", "OGC:CRS84", always_xy=True)
