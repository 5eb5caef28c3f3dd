"""Places on the globe: static tables of cells of equal area, and distances.

A table divides the globe into rows of equal height; a row has as many columns as the cosine of its middle
latitude asks for, so that cells have one area and a place's cell depends on nothing but the place. (Cells of
equal degrees would make high latitudes count several times.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from curate.sampling import kernels
from curate.sampling.arrays import Floats, Ints, Small, Words

TURN = 1 << 32  # steps of a spot from pole to pole, and around


@dataclass(frozen=True, eq=False)
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

    @cached_property
    def first(self) -> Ints:
        """(rows,) number of the first cell of each row, counted from the south pole."""
        return np.cumsum(self.columns) - self.columns

    def cell(self, lon: Floats, lat: Floats) -> Ints:
        """Number of the cell that holds each place (degrees), counted from the south pole."""
        return self.at(spots(lon, lat)).astype(np.int64)

    def at(self, spot: Words) -> Small:
        """Number of the cell that holds each spot."""
        return kernels.cells_at(spot, self.columns, self.first)


def spots(lon: Floats, lat: Floats) -> Words:
    """Places (degrees; longitude of any turn) as whole numbers: 32 bits of latitude, 32 of longitude.

    Steps are 5 mm north, and at most 9 mm east. With whole numbers no machine's last digit decides
    in which cell a place lies.
    """
    north = np.clip(np.floor((np.asarray(lat) + 90.0) * (TURN / 180)), 0, TURN - 1)
    east = np.minimum(np.floor(np.mod(np.asarray(lon) + 180.0, 360.0) * (TURN / 360)), TURN - 1)
    packed: Words = north.astype(np.uint64) << np.uint64(32) | east.astype(np.uint64)
    return packed


def degrees(spot: Words) -> tuple[Floats, Floats]:
    """Longitude and latitude of each spot's middle."""
    north, east = (half.astype(np.float64) for half in (spot >> np.uint64(32), spot & np.uint64(0xFFFFFFFF)))
    return (east + 0.5) * (360 / TURN) - 180.0, (north + 0.5) * (180 / TURN) - 90.0
