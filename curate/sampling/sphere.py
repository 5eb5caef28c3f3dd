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
