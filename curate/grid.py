"""The Major TOM grid: points of nearly equal distance on the Earth, and the cells between them.

Francis and Czerkawski 2024, "Major TOM: Expandable Datasets for Earth Observation" (arXiv 2402.12095),
section 3: rows divide the meridian into equal parts no longer than the spacing, each row divides its parallel
likewise; a cell is named after its south-west point, ``473U_116R``. The paper stops at ±85°; the same formulas
are used here up to the poles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from curate.running import running

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Strings = npt.NDArray[Any]

EARTH_RADIUS_KM = 6378.137
UPS_NORTH, UPS_SOUTH = 32661, 32761


@dataclass(frozen=True)
class Grid:
    """A Major TOM grid of a given spacing. Cells are pairs of integers (row, col), 0U_0R at (0, 0)."""

    spacing_km: float = 10.0

    @property
    def row_count(self) -> int:
        """Number of rows from pole to pole."""
        return int(np.ceil(np.pi * EARTH_RADIUS_KM / self.spacing_km))

    @property
    def row_height_deg(self) -> float:
        return 180.0 / self.row_count

    def south(self, row: Ints) -> Floats:
        """The parallel on which a row stands; lattice lines are always this quotient, so that they compare exactly."""
        return row * 180.0 / self.row_count

    @property
    def first_row(self) -> int:
        """The southernmost row; where the number of rows is odd, the rest at the pole is a row of its own."""
        return -((self.row_count + 1) // 2)

    @property
    def last_row(self) -> int:
        return (self.row_count - 1) // 2

    def col_count(self, row: Ints) -> Ints:
        """Number of cells in each *row*, from the parallel on which the row stands."""
        south = np.maximum(self.south(row), -90.0)
        parallel_km = 2 * np.pi * EARTH_RADIUS_KM * np.cos(np.radians(south))
        count: Ints = np.maximum(np.ceil(parallel_km / self.spacing_km), 1).astype(np.int64)
        return count

    def at(self, lon: Floats, lat: Floats) -> tuple[Ints, Ints]:
        """The cells that hold the points: rows and columns."""
        lat, lon = np.asarray(lat, np.float64), turned(lon)
        row = np.floor(lat / self.row_height_deg).astype(np.int64)
        row = row + (lat >= self.south(row + 1)) - (lat < self.south(row))
        row = np.clip(row, self.first_row, self.last_row)
        count = self.col_count(row)
        col = np.floor(lon * count / 360.0).astype(np.int64)
        col = col + (lon >= (col + 1) * 360.0 / count) - (lon < col * 360.0 / count)
        return row, np.where(col < -(count // 2), col + count, col)

    def bounds(self, row: Ints, col: Ints) -> tuple[Floats, Floats, Floats, Floats]:
        """West, south, east and north of the cells, degrees; east exceeds 180 where a cell crosses it."""
        count = self.col_count(row)
        return (
            col * 360.0 / count,
            np.maximum(self.south(row), -90.0),
            (col + 1) * 360.0 / count,
            np.minimum(self.south(row + 1), 90.0),
        )

    def names(self, row: Ints, col: Ints) -> Strings:
        """Major TOM names of the cells, ``473U_116R``."""
        rows = np.char.add(np.abs(row).astype(str), np.where(row >= 0, "U", "D"))
        cols = np.char.add(np.abs(col).astype(str), np.where(col >= 0, "R", "L"))
        return np.char.add(np.char.add(rows, "_"), cols)

    def parse(self, names: Strings) -> tuple[Ints, Ints]:
        """Rows and columns of cells given by name."""
        parts = np.char.partition(np.asarray(names, dtype=str), "_")
        row, col = parts[..., 0], parts[..., 2]
        rows = np.char.rstrip(row, "UD").astype(np.int64) * np.where(np.char.endswith(row, "U"), 1, -1)
        cols = np.char.rstrip(col, "RL").astype(np.int64) * np.where(np.char.endswith(col, "R"), 1, -1)
        return rows, cols

    def epsg(self, row: Ints, col: Ints) -> Ints:
        """UTM or UPS zone of each cell: that of its south-west corner, as in Major TOM."""
        west, south, _, _ = self.bounds(row, col)
        return zone_epsg(west, south)

    def within(self, west: float, south: float, east: float, north: float) -> tuple[Ints, Ints]:
        """All cells that meet a box; *west* may exceed *east* where the box crosses the antimeridian."""
        if west > east:
            left, right = self.within(west, south, 180.0, north), self.within(-180.0, south, east, north)
            both = np.unique(
                np.stack([np.concatenate(pair) for pair in zip(left, right, strict=True)]), axis=1
            )
            return both[0], both[1]
        (low, high), _ = self.at(np.zeros(2), np.array([south, north]))
        rows = np.arange(low, high + 1)
        count = self.col_count(rows)
        first = np.floor(west * count / 360.0).astype(np.int64)
        last = np.floor(np.nextafter(east, -360.0) * count / 360.0).astype(np.int64)
        number = np.minimum(np.maximum(last - first, 0) + 1, count)
        row = np.repeat(rows, number)
        col = running(number) + np.repeat(first, number)
        count = np.repeat(count, number)
        return row, (col + count // 2) % count - count // 2

    def polygons(self, row: Ints, col: Ints) -> npt.NDArray[np.object_]:
        """Cells as polygons in longitude and latitude, split where they cross the antimeridian."""
        west, south, east, north = self.bounds(row, col)
        shapes = shapely.box(west, south, np.minimum(east, 180.0), north)
        across = np.flatnonzero(east > 180.0)
        for i in across:  # one cell in a row of hundreds
            if east[i] - west[i] >= 360.0:  # the one cell of a row at the pole
                shapes[i] = shapely.box(-180.0, south[i], 180.0, north[i])
                continue
            shapes[i] = shapely.MultiPolygon(
                [shapes[i], shapely.box(-180.0, south[i], east[i] - 360.0, north[i])]
            )
        return np.asarray(shapes, dtype=object)


def turned(lon: Floats) -> Floats:
    """Longitudes brought to -180 ≤ lon < 180; those that lie there already keep every bit."""
    lon = np.asarray(lon, dtype=np.float64)
    lon = np.where((lon >= -180) & (lon < 180), lon, lon - 360.0 * np.floor((lon + 180.0) / 360.0))
    return np.maximum(lon, -180.0)


def zone_epsg(lon: Floats, lat: Floats) -> Ints:
    """EPSG code of the UTM zone at each point, UPS north of 84° and south of 80°.

    Norway (32V) and Svalbard (31X to 37X) have the exceptions of the Military Grid Reference System.
    """
    lon, lat = turned(lon), np.asarray(lat, dtype=np.float64)
    zone = np.minimum(np.floor((lon + 180.0) / 6.0).astype(np.int64) + 1, 60)
    zone = np.where((lat >= 56) & (lat < 64) & (lon >= 3) & (lon < 12), 32, zone)
    svalbard = (lat >= 72) & (lat < 84) & (lon >= 0) & (lon < 42)
    zone = np.where(
        svalbard, np.array([31, 33, 35, 37])[np.searchsorted([9, 21, 33], lon, side="right")], zone
    )
    epsg = np.where(lat >= 0, 32600, 32700) + zone
    return np.where(lat >= 84, UPS_NORTH, np.where(lat < -80, UPS_SOUTH, epsg))
