"""Spacing against every pair of rows, one by one."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from curate.sampling.diversity import effective_number
from curate.sampling.spacing import spacing
from curate.sampling.sphere import EqualAreaTable
from curate.sphere import EARTH_RADIUS_KM


def kilometres(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Haversine distance of each two places."""
    east, north = np.radians(lon), np.radians(lat)
    half = np.sin((north[:, None] - north) / 2) ** 2
    half += np.cos(north)[:, None] * np.cos(north) * np.sin((east[:, None] - east) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(half))


@pytest.mark.parametrize("middle", [(10.0, 50.0), (179.999, 10.0), (20.0, 89.0)])
def test_spacing_is_that_of_every_two_rows(middle: tuple[float, float]) -> None:
    rng = np.random.default_rng(1)
    of = rng.integers(0, 150, 240)  # places are drawn more than once
    lon = (middle[0] + rng.uniform(-0.2, 0.2, 150) + 180) % 360 - 180
    lat = middle[1] + rng.uniform(-0.05, 0.05, 150)
    chosen = pa.table({"place": [f"p{k}" for k in of], "lon": lon[of], "lat": lat[of]})
    found = spacing(chosen, 1.3)

    apart = kilometres(lon[of], lat[of])
    apart[of[:, None] == of] = np.inf
    nearest = apart.min(axis=1)
    assert found.places == len(set(of.tolist()))
    assert found.adjacent == pytest.approx((nearest < 1.3).mean())
    assert found.adjacent > 0
    assert found.nearest_km == pytest.approx(np.median(nearest), rel=1e-6)
    assert found.colocated == pytest.approx(np.mean([(of == k).sum() > 1 for k in of]))
    cells = EqualAreaTable.of_side(1.0).cell(lon[of], lat[of])
    assert found.cells == pytest.approx(effective_number(np.unique(cells, return_counts=True)[1]))


def test_one_place_has_no_neighbour_and_none_has_no_spacing() -> None:
    one = pa.table({"place": ["a", "a"], "lon": [1.0, 1.0], "lat": [2.0, 2.0]})
    found = spacing(one, 1.3)
    assert (found.places, found.colocated, found.adjacent, found.cells) == (1, 1.0, 0.0, 1.0)
    assert math.isnan(found.nearest_km)
    assert spacing(one.slice(0, 0), 1.3).places == 0
