"""Places on the globe: static tables of cells of equal area, and distances.

A table divides the globe into rows of equal height; a row has as many columns as the cosine of its middle
latitude asks for, so that cells have one area and a place's cell depends on nothing but the place. (Cells of
equal degrees would make high latitudes count several times.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from curate.sampling.arrays import Floats, Ints

EARTH_RADIUS_KM = 6371.0088  # mean radius, IUGG


@dataclass(frozen=True)
class EqualAreaTable:
    """Cells of one area; rows from south to north, columns from 180° W eastwards."""

    columns: Ints  # (rows,) cells in each row

    @classmethod
    def of(cls, rows: int, columns_at_equator: int) -> EqualAreaTable:
        middles = (-90 + (row + 0.5) * 180 / rows for row in range(rows))
        counts = [max(1, round(columns_at_equator * math.cos(math.radians(lat)))) for lat in middles]
        return cls(np.array(counts, np.int64))

    @classmethod
    def of_side(cls, side_deg: float) -> EqualAreaTable:
        """Blocks about *side_deg* degrees high and as wide as that is at the equator."""
        rows = max(1, round(180 / side_deg))
        return cls.of(rows, 2 * rows)

    def column(self, row: Ints, lon: Floats) -> Ints:
        """Column of each longitude (degrees, any turn) in its *row*."""
        width = self.columns[row]
        turn = np.mod(lon + 180.0, 360.0) / 360.0
        return np.minimum(np.floor(turn * width).astype(np.int64), width - 1)

    def cell(self, lon: Floats, lat: Floats) -> Ints:
        """Number of the cell that holds each place (degrees), counted from the south pole."""
        row = row_of(lat, len(self.columns))
        first = np.cumsum(self.columns) - self.columns
        return first[row] + self.column(row, lon)


def row_of(lat: Floats, rows: int) -> Ints:
    """Row of each latitude (degrees) among *rows* of equal height, from the south."""
    return np.clip(np.floor((lat + 90.0) * (rows / 180)).astype(np.int64), 0, rows - 1)


def unit_vectors(lon: Floats, lat: Floats) -> Floats:
    """Places (degrees) as points of the unit sphere, shape (n, 3)."""
    east, north = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=1)


def chord(distance_km: float) -> float:
    """Straight-line distance on the unit sphere of two places *distance_km* apart on the ground."""
    return 2 * math.sin(min(distance_km / EARTH_RADIUS_KM, math.pi) / 2)


def kilometres(chord_length: float) -> float:
    """Ground distance of two places whose distance on the unit sphere is *chord_length*."""
    return 2 * EARTH_RADIUS_KM * math.asin(min(chord_length / 2, 1.0))
