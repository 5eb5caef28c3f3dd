"""Distance to the coast, kilometres: positive on land, negative at sea.

The coast is that of Natural Earth 1:50m, which leaves out small islands and bays; `docs/descriptors.md` has what that
costs. Lakes are land, the Caspian Sea is sea.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import shapely

from curate.catalog.schema import DescriptorInfo
from curate.descriptors.candidates import Candidates
from curate.grid import Floats
from curate.recipe import Recipe
from curate.sphere import EARTH_RADIUS_KM, kilometres, unit_vectors
from curate.workspace import Workspace

SPACING_KM = 5.0  # at most, between points on the coast
_LAST_LON, _LAST_LAT = 179.998, -89.99  # the map ends a little before the antimeridian and the South Pole
_NEAREST = 4  # points whose lines are looked at; the nearest line nearly always ends in one of them

COLUMNS = (DescriptorInfo("coast_km", "Distance of the chip's centre to the coast, negative at sea.", "km"),)


@dataclass(frozen=True)
class Coast:
    """Signed distance to the coast."""

    columns: tuple[DescriptorInfo, ...] = COLUMNS

    def describe(self, candidates: Candidates) -> dict[str, Floats]:
        """See `coast_km`; once a place."""
        places = candidates.places
        return {"coast_km": coast_km(places.lon, places.lat)[candidates.place]}


def open_descriptor(recipe: Recipe, workspace: Workspace) -> Coast:
    """The descriptor; its map is in this package."""
    return Coast()


def coast_km(lon: Floats, lat: Floats) -> Floats:
    """Great-circle distance of points (degrees) to the coast, kilometres; negative at sea."""
    tree, start, end, first = _lines()
    points = unit_vectors(lon, lat)
    _, vertex = tree.query(points, k=_NEAREST)
    nearest = np.full(len(points), np.inf)
    for k in range(_NEAREST):
        for line in (first[vertex[:, k]], first[vertex[:, k]] + 1):  # the two that end in the point
            nearest = np.minimum(nearest, _to_line(points, start[line], end[line]))
    distance: Floats = kilometres(nearest)
    return np.where(_is_land(lon, lat), distance, -distance)


def _to_line(points: Floats, start: Floats, end: Floats) -> Floats:
    """Distance on the unit sphere of each point to its chord, up to `SPACING_KM` long: 0.5 m under the ground."""
    along = end - start
    square = np.einsum("ij,ij->i", along, along)
    dot = np.einsum("ij,ij->i", points - start, along)
    share = np.clip(np.divide(dot, square, out=np.zeros(len(dot)), where=square > 0), 0.0, 1.0)
    length: Floats = np.linalg.norm(points - (start + share[:, None] * along), axis=1)
    return length


def _is_land(lon: Floats, lat: Floats) -> Any:
    land = np.zeros(len(lon), bool)
    within = shapely.points(np.clip(lon, -_LAST_LON, _LAST_LON), np.maximum(lat, _LAST_LAT))
    inside, _ = _pieces().query(within, predicate="intersects")
    land[inside] = True
    return land


@lru_cache(maxsize=1)
def _shapes() -> tuple[Any, Any]:
    """Pieces of land and lines of coast."""
    with resources.as_file(resources.files("curate") / "data" / "coast.parquet") as path:
        table = pq.read_table(path)
    kind, shapes = table["kind"].to_numpy(), shapely.from_wkb(table["geometry"].to_numpy())
    return shapes[kind == "land"], shapes[kind == "coast"]


@lru_cache(maxsize=1)
def _pieces() -> shapely.STRtree:
    return shapely.STRtree(_shapes()[0])


@lru_cache(maxsize=1)
def _lines() -> tuple[Any, Floats, Floats, Any]:
    """A tree of the points on the coast; lines from one to the next, and the first of the two that end in each point.

    Each string of points has a line of no length before its first and after its last point, so that every point ends
    two lines.
    """
    from scipy.spatial import cKDTree

    step = np.degrees(SPACING_KM / EARTH_RADIUS_KM)
    shapes = shapely.segmentize(
        _shapes()[1], step
    )  # in degrees, which on the ground are no longer than at the equator
    coordinates, string = shapely.get_coordinates(shapes, return_index=True)
    points = unit_vectors(coordinates[:, 0], coordinates[:, 1])
    same = string[1:] == string[:-1]
    before = np.where(np.concatenate([[False], same])[:, None], np.roll(points, 1, axis=0), points)
    after = np.where(np.concatenate([same, [False]])[:, None], np.roll(points, -1, axis=0), points)
    start = np.stack([before, points], axis=1).reshape(-1, 3)
    end = np.stack([points, after], axis=1).reshape(-1, 3)
    return cKDTree(points), start, end, 2 * np.arange(len(points))
