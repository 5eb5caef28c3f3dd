"""The grid against the published definition of Major TOM, and the promises its users rely on."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate.grid import Grid, zone_epsg
from curate.regions import region

EARTH_RADIUS_KM = 6378.137
SPACINGS = (10.0, 100.0, 7.3, 333.0)
LON = st.floats(-180, 180)
LAT = st.floats(-90, 90)


def lattice(length_deg: float, parts: int) -> np.ndarray:
    """Major TOM's division of a circle or meridian into *parts*, shifted so that 0 belongs to it."""
    half = length_deg / 2
    return np.sort(np.mod(np.linspace(-half, half, parts + 1)[:-1], length_deg) - half)


def published_name(lon: float, lat: float, spacing_km: float) -> tuple[str, float, float]:
    """Name and south-west corner by the paper's procedure, one point at a time."""
    rows = lattice(180.0, math.ceil(math.pi * EARTH_RADIUS_KM / spacing_km))
    row = int(np.searchsorted(rows, lat, side="right")) - 1
    number = row - int(np.argmin(np.abs(rows)))
    circumference = 2 * math.pi * EARTH_RADIUS_KM * math.cos(math.radians(rows[row]))
    cols = lattice(360.0, math.ceil(circumference / spacing_km))
    col = int(np.searchsorted(cols, lon, side="right")) - 1  # west of the first line lies the last cell
    corner = cols[col]
    col = col % len(cols) - int(np.argmin(np.abs(cols)))
    name = f"{abs(number)}{'U' if number >= 0 else 'D'}_{abs(col)}{'R' if col >= 0 else 'L'}"
    return name, corner, rows[row]


def random_points(count: int, seed: int, reach: float = 90.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.uniform(-180, 180, count), random.uniform(-reach, reach, count)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_names_and_corners_are_those_of_the_published_definition(spacing: float) -> None:
    count = math.ceil(math.pi * EARTH_RADIUS_KM / spacing)
    number = 3000 if spacing == 10 else 1000
    lon, lat = random_points(number, seed=1, reach=90 - 180 / count)  # the paper's rows, without what is left
    grid = Grid(spacing)
    row, col = grid.at(lon, lat)
    names = grid.names(row, col)
    west, south, _, _ = grid.bounds(row, col)
    for i in range(len(lon)):
        name, corner_lon, corner_lat = published_name(lon[i], lat[i], spacing)
        assert names[i] == name
        assert abs(west[i] - corner_lon) <= 1e-9 and abs(south[i] - corner_lat) <= 1e-9


def test_all_cells_of_europe_are_those_of_the_published_definition() -> None:
    grid, europe = Grid(10.0), region("europe").area
    shapely.prepare(europe)
    row, col = grid.within(*europe.bounds)
    inside = shapely.intersects(europe, grid.polygons(row, col))
    row, col = row[inside], col[inside]
    assert len(row) > 90_000
    names, (west, south, _, _) = grid.names(row, col), grid.bounds(row, col)
    rows = lattice(180.0, math.ceil(math.pi * EARTH_RADIUS_KM / 10.0))
    for number in np.unique(row):
        here = row == number
        corner_lat = rows[number + int(np.argmin(np.abs(rows)))]
        around = 2 * math.pi * EARTH_RADIUS_KM * math.cos(math.radians(corner_lat))
        cols = lattice(360.0, math.ceil(around / 10.0))
        first = int(np.argmin(np.abs(cols)))
        assert south[here] == pytest.approx(corner_lat, abs=1e-9)
        assert west[here] == pytest.approx(cols[col[here] + first], abs=1e-9)
        expected = [f"{number}U_{abs(c)}{'R' if c >= 0 else 'L'}" for c in col[here]]
        assert names[here].tolist() == expected


def test_spacings_tested_have_even_and_odd_numbers_of_rows() -> None:
    assert {Grid(spacing).row_count % 2 for spacing in SPACINGS} == {0, 1}


@given(LON, LAT, st.sampled_from(SPACINGS))
@settings(max_examples=400, deadline=None)
@example(-180.0, 90.0, 100.0)
@example(180.0, -90.0, 100.0)
@example(0.0, -89.9, 100.0)
@example(0.0, 0.0, 7.3)
@example(-180.00000000000003, 0.0, 10.0)
def test_every_point_lies_in_the_bounds_of_its_cell(lon: float, lat: float, spacing: float) -> None:
    grid = Grid(spacing)
    west, south, east, north = (
        float(side[0]) for side in grid.bounds(*grid.at(np.array([lon]), np.array([lat])))
    )
    assert south - 1e-9 <= lat <= north + 1e-9
    assert any(west - 1e-9 <= lon + turn <= east + 1e-9 for turn in (-360, 0, 360))


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_corner_belongs_to_its_own_cell(spacing: float) -> None:
    grid = Grid(spacing)
    row, col = grid.at(*random_points(20_000, seed=2))
    west, south, _, _ = grid.bounds(row, col)
    again = grid.at(west, south)
    assert np.array_equal(again[0], row)
    assert np.array_equal(again[1], col)


@pytest.mark.parametrize("spacing", [333.0, 500.0, 1000.0])
def test_cells_cover_the_sphere_once(spacing: float) -> None:
    grid = Grid(spacing)
    row, col = grid.within(-180, -90, 180, 90)
    assert len(np.unique(grid.names(row, col))) == len(row)
    polygons = grid.polygons(row, col)
    assert shapely.area(polygons).sum() == pytest.approx(360 * 180)
    assert shapely.union_all(polygons).area == pytest.approx(360 * 180)
    assert shapely.is_valid(polygons).all()


@lru_cache
def every_cell(spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Names and polygons of all cells."""
    grid = Grid(spacing)
    row, col = grid.within(-180, -90, 180, 90)
    return grid.names(row, col), grid.polygons(row, col)


@given(
    st.floats(-180, 180),
    st.floats(-90, 89),
    st.floats(0.01, 359),
    st.floats(0.01, 60),
    st.sampled_from([500, 333]),
)
@settings(max_examples=150, deadline=None)
@example(170.0, -20.0, 20.0, 10.0, 333)
@example(-180.0, -90.0, 359.0, 180.0, 333)
def test_within_is_exactly_the_cells_that_meet_a_box(
    west: float, south: float, width: float, height: float, spacing: float
) -> None:
    grid = Grid(spacing)
    north = min(south + height, 90.0)
    end = west + width
    east = end if end <= 180 else end - 360
    row, col = grid.within(west, south, east, north)
    assert len(np.unique(np.stack([row, col]), axis=1).T) == len(row)
    names, polygons = every_cell(spacing)
    parts = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    box = shapely.union_all([shapely.box(w, south, e, north) for w, e in parts])
    meets = shapely.area(shapely.intersection(polygons, box)) > 1e-7
    found = set(grid.names(row, col))
    assert set(names[meets]) <= found
    touches = shapely.dwithin(polygons, box, 1e-9)
    assert found <= set(names[touches])


def test_names_parse_back() -> None:
    grid = Grid(10)
    row, col = grid.at(*random_points(5000, seed=3))
    again = grid.parse(grid.names(row, col))
    assert np.array_equal(again[0], row)
    assert np.array_equal(again[1], col)
    assert list(grid.names(np.array([473, -1, 0]), np.array([116, -2, 0]))) == ["473U_116R", "1D_2L", "0U_0R"]


@pytest.mark.parametrize(
    ("lon", "lat", "epsg"),
    [
        (13.4, 52.5, 32633),  # Berlin
        (5.3, 60.4, 32632),  # Bergen: 32V reaches to 3°E
        (2.9, 60.4, 32631),
        (5.3, 64.0, 32631),  # the exception ends at 64°N
        (5.3, 55.99, 32631),
        (8.9, 78.0, 32631),  # Svalbard: 31X, 33X, 35X, 37X
        (9.0, 78.0, 32633),
        (20.9, 78.0, 32633),
        (21.0, 78.0, 32635),
        (33.0, 78.0, 32637),
        (41.9, 78.0, 32637),
        (42.0, 78.0, 32638),
        (10.0, 71.99, 32632),
        (-180.0, 0.0, 32601),
        (180.0, 0.0, 32601),
        (179.99, -17.0, 32760),
        (151.2, -33.9, 32756),  # Sydney
        (0.0, -1e-9, 32731),
        (0.0, 84.0, 32661),
        (0.0, 83.99, 32631),
        (100.0, -80.0, 32747),
        (100.0, -80.01, 32761),
    ],
)
def test_zones(lon: float, lat: float, epsg: int) -> None:
    assert zone_epsg(np.array([lon]), np.array([lat]))[0] == epsg


@given(LON, LAT)
@settings(max_examples=200, deadline=None)
@example(-180.00000000000003, 10.0)
def test_zones_exist(lon: float, lat: float) -> None:
    epsg = int(zone_epsg(np.array([lon]), np.array([lat]))[0])
    assert (epsg in {*range(32601, 32662), *range(32701, 32762)} and epsg not in (32661, 32761)) or abs(
        lat
    ) >= 80


def test_a_cells_zone_is_that_of_its_south_west_corner() -> None:
    grid = Grid(100)
    row, col = grid.at(np.array([12.01]), np.array([50.0]))
    west = grid.bounds(row, col)[0][0]
    assert west < 12
    assert grid.epsg(row, col)[0] == 32632


@pytest.mark.parametrize("spacing", SPACINGS)
def test_cells_across_the_antimeridian_are_split_and_keep_their_area(spacing: float) -> None:
    grid = Grid(spacing)
    lat = np.linspace(-85, 85, 300)
    row, col = grid.at(np.full(300, -179.9999), lat)
    west, south, east, north = grid.bounds(row, col)
    polygons = grid.polygons(row, col)
    assert (east > 180).any()
    assert shapely.is_valid(polygons).all()
    assert shapely.area(polygons) == pytest.approx((east - west) * (north - south))
    bounds = shapely.bounds(polygons)
    assert (bounds[:, 0] >= -180).all() and (bounds[:, 2] <= 180).all()
    kinds = {shape.geom_type for shape in polygons[east > 180 + 1e-9]}
    assert kinds == {"MultiPolygon"}
