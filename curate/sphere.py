"""Distances on the globe as straight lines through the unit sphere, which a tree of points can search."""

from __future__ import annotations

from typing import Any

import numpy as np

from curate.grid import Floats

EARTH_RADIUS_KM = 6371.0088  # mean radius, IUGG; distances are within 0.6 % of those on the ellipsoid
KM_PER_DEG = EARTH_RADIUS_KM * np.pi / 180  # of a great circle


def unit_vectors(lon: Floats, lat: Floats) -> Floats:
    """Places (degrees) as points of the unit sphere, shape (n, 3)."""
    east, north = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=1)


def chord(distance_km: float) -> float:
    """Straight-line distance on the unit sphere of two places *distance_km* apart on the ground."""
    return float(2 * np.sin(min(distance_km / EARTH_RADIUS_KM, np.pi) / 2))


def kilometres(chord_length: Any) -> Any:
    """Ground distance of places whose distance on the unit sphere is *chord_length*, one or an array."""
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(np.asarray(chord_length) / 2, 1.0))
