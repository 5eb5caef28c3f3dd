"""How far apart drawn places lie, and how widely they are spread over the globe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.sampling.arrays import Floats, numbers
from curate.sampling.diversity import effective_number
from curate.sampling.hashing import hash_strings
from curate.sampling.sphere import EqualAreaTable
from curate.sphere import EARTH_RADIUS_KM, chord, unit_vectors

_CELLS = EqualAreaTable.of_side(1.0)


@dataclass(frozen=True)
class Spacing:
    """Where drawn rows lie to each other; shares are of rows, distances between distinct places."""

    places: int  # distinct places
    colocated: float  # share of rows whose place was drawn more than once
    adjacent: float  # share of rows with another drawn place within reach
    nearest_km: float  # median over rows of the distance to the nearest other drawn place; NaN for one place
    cells: float  # effective number of equal-area cells, 1° at the equator


def spacing(chosen: pa.Table, reach_km: float) -> Spacing:
    """Spacing of the rows of *chosen* (columns place, lon, lat in degrees); neighbours lie within *reach_km*.

    Two places at the very same coordinates are neighbours. A million rows take about two seconds.
    """
    if not chosen.num_rows:
        return Spacing(0, float("nan"), float("nan"), float("nan"), 0.0)
    lon, lat = (numbers(chosen[name], np.float64) for name in ("lon", "lat"))
    _, first, place, times = np.unique(
        hash_strings(chosen["place"], 0), return_index=True, return_inverse=True, return_counts=True
    )
    cells = effective_number(np.unique(_CELLS.cell(lon, lat), return_counts=True)[1])
    colocated = float(times[times > 1].sum() / len(lon))
    if len(first) == 1:
        return Spacing(1, colocated, 0.0, float("nan"), cells)
    nearest = _nearest_other(unit_vectors(lon[first], lat[first]))
    adjacent = float(times[nearest < chord(reach_km)].sum() / len(lon))
    median = float(np.median(nearest[place.ravel()]))
    return Spacing(len(first), colocated, adjacent, 2 * EARTH_RADIUS_KM * float(np.arcsin(median / 2)), cells)


def _nearest_other(points: Floats) -> Floats:
    """Chord from each point to the nearest other; of two neighbours asked for, the first is the point itself."""
    from scipy.spatial import cKDTree

    tree = cKDTree(points, balanced_tree=False, compact_nodes=False)
    order = np.lexsort(points.T)  # neighbours in turn: the tree's pages stay in the cache
    distance = np.empty(len(points), np.float64)
    distance[order] = tree.query(points[order], k=2, workers=-1)[0][:, 1]
    return distance
