"""Boxes of longitude and latitude: what an archive is asked for in place of an area."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely

from curate.chips import wrapped

Bounds = tuple[float, float, float, float]  # west, south, east, north in degrees
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_BOX_DEG = 4.0  # of latitude, and as wide in kilometres: about 16 Sentinel-2 tiles
_ROUND_DEG = 1e-6  # boxes are rounded outwards
_FEW = 32  # polygons whose own bounds are compared with


def boxes(area: shapely.Geometry, side_deg: float = _BOX_DEG) -> list[Bounds]:
    """Boxes that hold *area* together, none across the antimeridian, each about *side_deg* of latitude square.

    An area that is no larger than one box has one. Each box is as tight as the part of the area in it allows.
    """
    area = _within_globe(area)
    west, south, east, north = shapely.bounds(area)
    if east - west <= side_deg / _narrowing(south, north) and north - south <= side_deg:
        return [_outwards((west, south, east, north))]
    cells: list[shapely.Geometry] = []
    for low in np.arange(np.floor(south / side_deg), np.ceil(north / side_deg)) * side_deg:
        around = max(1, round(360.0 * _narrowing(low, low + side_deg) / side_deg))
        edges = np.linspace(-180.0, 180.0, around + 1)
        cells += list(shapely.box(edges[:-1], low, edges[1:], low + side_deg))
    shapely.prepare(area)
    near = np.asarray(cells, dtype=object)[shapely.intersects(area, cells)]
    parts = shapely.intersection(area, near)
    if shapely.area(area) > 0:
        parts = parts[shapely.area(parts) > 0]
    return [_outwards(tuple(side)) for side in shapely.bounds(parts).tolist()]


class Coverage:
    """Says of many bounds at a time which may meet an area: never no where they do, seldom yes where they do not."""

    def __init__(self, area: shapely.Geometry) -> None:
        area = _within_globe(area)
        parts = shapely.get_parts(area)
        self._bounds = shapely.bounds(parts if len(parts) <= _FEW else np.array([area], dtype=object))
        west, south, east, north = shapely.bounds(area)
        cols = np.arange(_cell(west, 180, 360), _cell(east, 180, 360) + 1)
        rows = np.arange(_cell(south, 90, 180), _cell(north, 90, 180) + 1)
        x, y = np.meshgrid(cols - 180.0, rows - 90.0)
        met = np.zeros((180, 360), np.int64)
        shapely.prepare(area)
        met[np.ix_(rows, cols)] = shapely.intersects(area, shapely.box(x, y, x + 1, y + 1))
        self._sums = np.zeros(
            (181, 361), np.int64
        )  # of cells of 1° that meet the area, to the south and west
        self._sums[1:, 1:] = met.cumsum(0).cumsum(1)

    def meets(self, west: Floats, south: Floats, east: Floats, north: Floats) -> Flags:
        """Which bounds may meet the area; unknown bounds do, those across the antimeridian go by latitude alone."""
        around = ~(west <= east) | (west < -180) | (east > 180)  # NaN too
        unknown = np.isnan(south) | np.isnan(north)
        west, east = np.where(around, -180.0, west), np.where(around, 180.0, east)
        south, north = np.where(unknown, -90.0, south), np.where(unknown, 90.0, north)
        left, right = _cells(west, 180, 360), _cells(east, 180, 360) + 1
        low, high = _cells(south, 90, 180), _cells(north, 90, 180) + 1
        sums = self._sums
        held: Flags = sums[high, right] - sums[low, right] - sums[high, left] + sums[low, left] > 0
        near = np.zeros(len(west), bool)
        for w, s, e, n in self._bounds:
            near |= (west <= e) & (east >= w) & (south <= n) & (north >= s)
        return held & near


def _within_globe(area: shapely.Geometry) -> shapely.Geometry:
    west, _, east, _ = shapely.bounds(area)
    return wrapped(area) if west < -180 or east > 180 else area


def _cell(degrees: float, shift: int, number: int) -> int:
    return int(min(number - 1, max(0, np.floor(degrees + shift))))


def _cells(degrees: Floats, shift: int, number: int) -> npt.NDArray[np.int64]:
    cells: npt.NDArray[np.int64] = np.clip(np.floor(degrees + shift), 0, number - 1).astype(np.int64)
    return cells


def _narrowing(south: float, north: float) -> float:
    """Width of a degree of longitude at the wider edge, as a share of one at the equator; 0.02 next to a pole."""
    nearest = 0.0 if south <= 0 <= north else min(abs(south), abs(north))
    return max(0.02, float(np.cos(np.radians(nearest))))


def _outwards(bounds: Bounds) -> Bounds:
    west, south, east, north = bounds
    low = [
        max(limit, float(np.floor(x / _ROUND_DEG) * _ROUND_DEG)) for x, limit in ((west, -180), (south, -90))
    ]
    high = [
        min(limit, float(np.ceil(x / _ROUND_DEG) * _ROUND_DEG)) for x, limit in ((east, 180), (north, 90))
    ]
    return low[0], low[1], high[0], high[1]
