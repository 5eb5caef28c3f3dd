"""The frame of a map in longitude and latitude: which pixel holds a point."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from curate.catalog.errors import InputError
from curate.grid import Floats, Ints
from curate.sphere import KM_PER_DEG

_SAME_DEG = 1e-6  # longitudes and latitudes that are nearer to each other are equal


@dataclass(frozen=True, eq=False)
class Frame:
    """Pixels by their edges, degrees; of one size, or not (Gaussian grids)."""

    lat_edges: Floats  # falling, one more than there are rows
    lon_edges: Floats  # rising, one more than there are columns

    @classmethod
    def regular(
        cls, west: float, north: float, step_x: float, step_y: float, height: int, width: int
    ) -> Frame:
        """The frame of a raster with its upper left corner at (west, north)."""
        down, across = np.arange(height + 1, dtype=np.float64), np.arange(width + 1, dtype=np.float64)
        return cls(north - down * step_y, west + across * step_x)

    @classmethod
    def around(cls, lat: Floats, lon: Floats) -> Frame:
        """The frame of pixels with these centres, *lat* falling and *lon* rising; edges lie half way.

        Raises:
            InputError: fewer than two rows or columns, or not in that order.
        """
        if min(len(lat), len(lon)) < 2 or (np.diff(lat) >= 0).any() or (np.diff(lon) <= 0).any():
            raise InputError("Latitudes and longitudes are no grid", "they must be two or more, each once")
        edges = [
            np.concatenate([[1.5 * c[0] - 0.5 * c[1]], (c[1:] + c[:-1]) / 2, [1.5 * c[-1] - 0.5 * c[-2]]])
            for c in (lat, lon)
        ]
        return cls(np.clip(edges[0], -90.0, 90.0), edges[1])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.lat_edges) - 1, len(self.lon_edges) - 1

    @cached_property
    def lat(self) -> Floats:
        """Latitudes of the pixels' centres."""
        return (self.lat_edges[1:] + self.lat_edges[:-1]) / 2

    @cached_property
    def lon(self) -> Floats:
        """Longitudes of the pixels' centres."""
        return (self.lon_edges[1:] + self.lon_edges[:-1]) / 2

    @property
    def height_deg(self) -> float:
        """Mean height of a pixel."""
        return float(self.lat_edges[0] - self.lat_edges[-1]) / self.shape[0]

    @property
    def runs_around(self) -> bool:
        """Whether the last column touches the first."""
        return bool(abs(self.lon_edges[-1] - self.lon_edges[0] - 360.0) < _SAME_DEG * self.shape[1])

    def locate(self, lon: Floats, lat: Floats) -> tuple[Ints, Ints]:
        """Row and column of the pixel that holds each point, -1 or one past the last outside.

        A point on an edge belongs to the southern or eastern pixel, one on the map's last edge to the last pixel.
        """
        height, width = self.shape
        west, east = self.lon_edges[0], self.lon_edges[-1]
        lon = np.where((lon < west) | (lon >= east), west + np.mod(lon - west, 360.0), lon)
        row = np.searchsorted(-self.lat_edges, -lat, side="right") - 1
        col = np.searchsorted(self.lon_edges, lon, side="right") - 1
        row = np.where((row == height) & (lat >= self.lat_edges[-1] - _SAME_DEG), height - 1, row)
        row = np.where((row == -1) & (lat <= self.lat_edges[0] + _SAME_DEG), 0, row)
        return row, np.clip(col, 0, width - 1) if self.runs_around else col

    def widened(self, top: int, bottom: int, left: int, right: int, km: float) -> tuple[int, int, int, int]:
        """A window of whole pixels with a margin of at least *km* around it, within the map.

        Columns may leave a map that runs around the globe, on one side or the other.
        """
        height, width = self.shape
        if km > 0:
            reach = km / KM_PER_DEG
            north, south = self.lat_edges[top] + reach, self.lat_edges[bottom] - reach
            top = max(0, int(np.searchsorted(-self.lat_edges, -north, side="right")) - 2)
            bottom = min(height, int(np.searchsorted(-self.lat_edges, -south, side="left")) + 1)
            pole = max(abs(north), abs(south))
            widest = reach / np.cos(np.radians(pole)) if pole < 90 else 360.0
            margin = int(min(np.ceil(widest / np.diff(self.lon_edges).min()) + 1, width))
            left, right = left - margin, right + margin
        if not self.runs_around:
            return top, bottom, max(left, 0), min(right, width)
        return (top, bottom, 0, width) if right - left >= width else (top, bottom, left, right)
