"""Distance to the coast against known places, and against every line of the coast."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely

from curate.descriptors import coast
from curate.descriptors.coast import coast_km


@pytest.mark.parametrize(
    ("name", "lon", "lat", "low", "high"),
    [
        ("Berlin", 13.40, 52.52, 140, 190),
        ("Madrid", -3.70, 40.42, 290, 330),
        ("the middle of Eurasia, nearest to the Caspian Sea", 82.19, 44.29, 2200, 2320),
        ("Geneva: lakes are land", 6.5, 46.43, 200, 350),
        ("Point Nemo", -123.39, -48.88, -2800, -2600),
        ("Caspian Sea", 51.0, 42.0, -200, -40),
        ("South Pole", 0.0, -90.0, 500, 1500),
        ("North Pole", 0.0, 90.0, -760, -650),
        ("Chukotka at the antimeridian", 180.0, 67.5, 10, 250),
        ("Russia's border with Mongolia is no coast", 100.0, 50.5, 1200, 2200),
    ],
)
def test_known_places(name: str, lon: float, lat: float, low: float, high: float) -> None:
    assert low < coast_km(np.array([lon]), np.array([lat]))[0] < high


def test_the_nearest_line_of_all() -> None:
    """Points near and far, against the finely divided coast of the whole globe on the ellipsoid."""
    random = np.random.default_rng(2)
    lon, lat = random.uniform(-25, 45, 60), random.uniform(34, 72, 60)
    found = coast_km(lon, lat)
    points = shapely.get_coordinates(shapely.segmentize(coast._shapes()[1], 0.01))
    geod = pyproj.Geod(ellps="WGS84")
    for i in range(len(lon)):
        near = points[(np.abs(points[:, 0] - lon[i]) < 25) & (np.abs(points[:, 1] - lat[i]) < 10)]
        _, _, metres = geod.inv(
            np.full(len(near), lon[i]), np.full(len(near), lat[i]), near[:, 0], near[:, 1]
        )
        assert abs(found[i]) == pytest.approx(metres.min() / 1000, rel=0.006, abs=0.6)
    assert (found > 0).any() and (found < 0).any()


def test_the_sign_is_that_of_the_land() -> None:
    random = np.random.default_rng(3)
    lon, lat = random.uniform(-180, 180, 4000), random.uniform(-90, 84, 4000)
    land = shapely.union_all(coast._shapes()[0])
    shapely.prepare(land)
    inside = shapely.intersects_xy(land, lon, lat)
    np.testing.assert_array_equal(coast_km(lon, lat) > 0, inside)
    assert 0.2 < inside.mean() < 0.5
