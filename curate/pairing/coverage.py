"""How much of a box lies inside a footprint, exactly, for millions of boxes and footprints at once.

Over a meridian x the part of a polygon between two parallels is as long as the sum of the clamped latitudes of the
edges that cross it, those that run eastwards counted negative (Green's theorem). Clamped linear functions have a
closed integral, so that the area inside a box is a sum over edges, whatever the polygon's shape, parts and holes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from curate.grid import Floats, Ints

_AT_A_TIME = 1_000_000  # edges: bounds the memory
_STRAIGHT = 1e-9  # radians: a corner that turns right by less is none
_LEVEL = 1e-7  # an edge that rises by less of a box's height counts as level


@dataclass(frozen=True)
class Edges:
    """Edges of polygons, those of one polygon in a row."""

    first: Ints  # of each polygon
    number: Ints
    start: Floats  # (edges, x and y)
    end: Floats
    convex: npt.NDArray[np.bool_]  # whether each polygon is one convex ring

    @classmethod
    def of(cls, polygons: npt.NDArray[np.object_]) -> Edges:
        """Edges of polygons and multipolygons, exteriors counter-clockwise and holes clockwise."""
        parts, part_of = shapely.get_parts(shapely.orient_polygons(polygons), return_index=True)
        rings, ring_of = shapely.get_rings(parts, return_index=True)
        points, point_of = shapely.get_coordinates(rings, return_index=True)
        moves = (points[1:] != points[:-1]).any(1)  # a point given twice would hide a corner
        inner = np.flatnonzero((point_of[1:] == point_of[:-1]) & moves)
        owner = part_of[ring_of[point_of[inner]]]
        number = np.bincount(owner, minlength=len(polygons))
        start, end = points[inner], points[inner + 1]
        last = np.flatnonzero(np.diff(point_of[inner], append=-1))
        turn = end - start
        next_turn = np.roll(turn, -1, axis=0)
        next_turn[last] = turn[np.r_[0, last[:-1] + 1]] if len(last) else next_turn[last]
        length = np.hypot(*turn.T) * np.hypot(*next_turn.T)
        left = turn[:, 0] * next_turn[:, 1] - turn[:, 1] * next_turn[:, 0] >= -_STRAIGHT * length
        one_ring = np.bincount(part_of[ring_of], minlength=len(polygons)) == 1
        bends = np.bincount(owner, ~left, minlength=len(polygons)) > 0
        return cls(np.cumsum(number) - number, number, start, end, one_ring & ~bends)


def areas_inside(boxes: Floats, edges: Edges, polygon: Ints) -> Floats:
    """Area of the part of each box that lies inside its polygon, square degrees.

    Args:
        boxes: (n, 4), west, south, east and north.
        polygon: position in *edges* of the polygon of each box.
    """
    area = np.zeros(len(boxes))
    number = edges.number[polygon]
    until = np.cumsum(number)
    low = 0
    while low < len(boxes):
        done = until[low] - number[low]
        high = max(low + 1, int(np.searchsorted(until, done + _AT_A_TIME, side="right")))
        counts = number[low:high]
        owner = np.repeat(np.arange(high - low), counts)
        edge = np.arange(len(owner)) + np.repeat(
            edges.first[polygon[low:high]] - (until[low:high] - counts - done), counts
        )
        parts = _under(edges.start[edge], edges.end[edge], boxes[low:high][owner])
        area[low:high] = np.bincount(owner, parts, minlength=high - low)
        low = high
    return np.maximum(area, 0.0)


def areas_inside_both(boxes: Floats, first: Edges, one: Ints, second: Edges, other: Ints) -> Floats:
    """Area of the part of each box that lies inside two polygons, both of them convex, square degrees.

    The box is cut by the line through every edge in turn (Sutherland and Hodgman 1974, "Reentrant polygon clipping").
    """
    west, south, east, north = boxes.T
    ring = np.stack([west, east, east, west, south, south, north, north], axis=1).reshape(-1, 2, 4)
    size = np.full(len(boxes), 4)
    for edges, polygon in ((first, one), (second, other)):
        for i in range(int(edges.number[polygon].max(initial=0))):
            rows = np.flatnonzero((edges.number[polygon] > i) & (size > 0))
            edge = edges.first[polygon[rows]] + i
            cut, size[rows] = _cut(ring[rows], size[rows], edges.start[edge], edges.end[edge])
            wider = cut.shape[2] - ring.shape[2]
            ring = np.pad(ring, ((0, 0), (0, 0), (0, max(0, wider))))
            ring[rows, :, : cut.shape[2]] = cut
    inside = np.arange(ring.shape[2]) < size[:, None]
    x, y = np.where(inside[:, None], ring - ring[:, :, :1], 0.0).transpose(
        1, 0, 2
    )  # from the first corner on
    area: Floats = (x[:, :-1] * y[:, 1:] - x[:, 1:] * y[:, :-1]).sum(1) / 2
    return np.maximum(area, 0.0)


def _cut(ring: Floats, size: Ints, start: Floats, end: Floats) -> tuple[Floats, Ints]:
    """Rings (n, x and y, corners) of *size* corners, cut by lines from *start* to *end*: what lies on their left."""
    along = end - start
    side = along[:, 0, None] * (ring[:, 1] - start[:, 1, None]) - along[:, 1, None] * (
        ring[:, 0] - start[:, 0, None]
    )
    corner = np.arange(ring.shape[2])
    real = corner < size[:, None]
    if not (real & (side < 0)).any():
        return ring, size
    following = np.where(corner + 1 < size[:, None], corner + 1, 0)
    next_side = np.take_along_axis(side, following, 1)
    next_point = np.take_along_axis(ring, following[:, None], 2)
    stays = real & (side >= 0)
    crosses = real & ((side >= 0) != (next_side >= 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = ring + (next_point - ring) * np.where(crosses, side / (side - next_side), 0.0)[:, None]
    emitted = np.stack([stays, crosses], axis=2).reshape(
        len(ring), -1
    )  # a corner, then the crossing after it
    points = np.stack([ring, crossing], axis=3).reshape(len(ring), 2, -1)
    place = np.cumsum(emitted, axis=1) - 1
    left: Ints = place[:, -1] + 1
    result = np.zeros((len(ring), 2, int(left.max(initial=1))))
    row, taken = np.nonzero(emitted)
    result[row, :, place[row, taken]] = points[row, :, taken]
    return result, left


def _under(start: Floats, end: Floats, box: Floats) -> Floats:
    """Area between a box's southern side and each edge, inside the box; negative under edges that run eastwards."""
    (x0, y0), (x1, y1), (west, south, east, north) = start.T, end.T, box.T
    left, right = np.clip(x0, west, east), np.clip(x1, west, east)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(x1 == x0, 0.0, (y1 - y0) / (x1 - x0))
    height = north - south
    low, high = y0 + slope * (left - x0) - south, y0 + slope * (right - x0) - south
    rise = high - low
    level = np.abs(rise) < _LEVEL * height
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (_clamped_integral(high, height) - _clamped_integral(low, height)) / rise
    mean = np.where(level, np.clip((low + high) / 2, 0.0, height), mean)
    under: Floats = (left - right) * mean
    return under


def _clamped_integral(y: Floats, height: Floats) -> Floats:
    """Integral of clip(y, 0, height) from 0 to *y*."""
    inside = np.clip(y, 0.0, height)
    integral: Floats = inside * inside / 2 + height * np.maximum(y - height, 0.0)
    return integral
