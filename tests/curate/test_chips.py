"""Chips: every place on Earth in exactly one, squares without gaps, on Sentinel-2's grids."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from curate.chips import ChipPlaces, Lattice, places_in
from curate.grid import Grid

GRID = Grid(10)


def around(lon: float, lat: float, reach: int = 1, grid: Grid = GRID) -> tuple[np.ndarray, np.ndarray]:
    """The cell at a point and its neighbours."""
    height = grid.row_height_deg
    width = height / max(np.cos(np.radians(lat)), 0.02)
    lons, lats = np.meshgrid(
        lon + width * np.arange(-reach, reach + 1),
        np.clip(lat + height * np.arange(-reach, reach + 1), -90, 90),
    )
    return tuple(np.unique(np.stack(grid.at(lons.ravel(), lats.ravel())), axis=1))


def chips_around(lon: float, lat: float, size_m: float = 1200.0, grid: Grid = GRID) -> list[ChipPlaces]:
    row, col = around(lon, lat, grid=grid)
    epsg = grid.epsg(row, col)
    return [
        places_in(grid, row[epsg == zone], col[epsg == zone], int(zone), size_m) for zone in np.unique(epsg)
    ]


PLACES = [
    (13.4, 52.5),
    (151.2, -33.9),
    (0.001, 0.001),
    (179.98, -17.0),
    (-179.9, 66.0),
    (5.0, 60.0),
    (40.0, 83.9),
]


@pytest.mark.parametrize(("lon", "lat"), PLACES)
def test_a_points_chip_is_owned_by_one_cell_of_its_zone(lon: float, lat: float) -> None:
    random = np.random.default_rng(4)
    for places in chips_around(lon, lat):
        indices = set(zip(places.ix.tolist(), places.iy.tolist(), strict=True))
        assert len(indices) == len(places), "two cells own one chip"
        epsg = places.lattice.epsg
        height = GRID.row_height_deg / 3
        x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(
            lon + random.uniform(-height, height, 400), lat + random.uniform(-height, height, 400)
        )
        ix, iy = places.lattice.index(np.array(x), np.array(y))
        left, top = places.lattice.left_top(ix, iy)
        centres = Transformer.from_crs(epsg, 4326, always_xy=True).transform(left + 600, top - 600)
        home = GRID.epsg(*GRID.at(*map(np.array, centres))) == epsg
        for pair in set(zip(ix[home].tolist(), iy[home].tolist(), strict=True)):
            assert pair in indices


@pytest.mark.parametrize(("lon", "lat"), PLACES)
def test_a_cell_owns_the_chips_whose_centre_it_holds(lon: float, lat: float) -> None:
    row, col = around(lon, lat, reach=0)
    epsg = int(GRID.epsg(row, col)[0])
    places = places_in(GRID, row, col, epsg, 1200.0)
    west, south, east, north = (float(side[0]) for side in GRID.bounds(row, col))
    turned = np.where(places.lon < west - 1e-9, places.lon + 360, places.lon)
    assert ((turned >= west - 1e-9) & (turned < east + 1e-9)).all()
    assert ((places.lat >= south) & (places.lat < north)).all()
    assert 45 < len(places) < 95  # about 100 km² by 1.44 km²


@given(st.floats(-179, 179), st.floats(-79, 83), st.sampled_from([80.0, 600.0, 1200.0, 2560.0]))
@settings(max_examples=40, deadline=None)
def test_no_chip_of_a_cell_is_missed(lon: float, lat: float, size_m: float) -> None:
    grid = Grid(10 if size_m < 1000 else 60)
    row, col = grid.at(np.array([lon]), np.array([lat]))
    epsg = int(grid.epsg(row, col)[0])
    places = places_in(grid, row, col, epsg, size_m)
    west, south, east, north = (float(side[0]) for side in grid.bounds(row, col))
    random = np.random.default_rng(5)
    edge = np.concatenate([random.uniform(0, 1, 200), [0, 1]])
    lons = west + (east - west) * np.concatenate([edge, edge, 0 * edge, 0 * edge + 1])
    lats = south + (north - south) * np.concatenate([0 * edge, 0 * edge + 1, edge, edge])
    x, y = map(np.array, Transformer.from_crs(4326, epsg, always_xy=True).transform(lons, lats))
    lattice = Lattice(epsg, size_m)
    for shift in ((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)):
        ix, iy = lattice.index(x + shift[0] * size_m, y + shift[1] * size_m)
        left, top = lattice.left_top(ix, iy)
        centre = Transformer.from_crs(epsg, 4326, always_xy=True).transform(
            left + size_m / 2, top - size_m / 2
        )
        found_row, found_col = grid.at(*map(np.array, centre))
        mine = (found_row == row) & (found_col == col)
        wanted = set(zip(ix[mine].tolist(), iy[mine].tolist(), strict=True))
        assert wanted <= set(zip(places.ix.tolist(), places.iy.tolist(), strict=True))


@pytest.mark.parametrize("latitude", [89.95, -89.95, 84.3, -80.3])
@pytest.mark.parametrize("size_m", [80.0, 1200.0])
def test_polar_cells_share_the_chips_around_the_pole(latitude: float, size_m: float) -> None:
    reach = 6000.0
    grid = GRID
    lons = np.linspace(-180, 179.9, 400)
    lats = np.full(400, latitude)
    if abs(latitude) < 89:
        lons, lats = np.linspace(-1, 1, 40), np.full(40, latitude)
    row, col = np.unique(np.stack(grid.at(lons, lats)), axis=1)
    epsg = int(grid.epsg(row, col)[0])
    assert epsg == (32661 if latitude > 0 else 32761)
    places = places_in(grid, row, col, epsg, size_m)
    pairs = set(zip(places.ix.tolist(), places.iy.tolist(), strict=True))
    assert len(pairs) == len(places)
    if abs(latitude) > 89:
        side = np.arange(-reach // size_m, reach // size_m).astype(int)
        assert {(i, j) for i in side for j in side} <= pairs


@pytest.mark.parametrize("size_m", [80.0, 160.0])
def test_the_round_cell_at_the_south_pole_owns_the_chips_at_its_rim(size_m: float) -> None:
    row, col = GRID.at(np.array([0.0]), np.array([-90.0]))
    assert int(GRID.col_count(row)[0]) == 1
    places = places_in(GRID, row, col, 32761, size_m)
    side = np.arange(-int(12_000 / size_m), int(12_000 / size_m))
    ix, iy = (index.ravel() for index in np.meshgrid(side, side))
    left, top = Lattice(32761, size_m).left_top(ix, iy)
    lon, lat = Transformer.from_crs(32761, 4326, always_xy=True).transform(
        left + size_m / 2, top - size_m / 2
    )
    mine = GRID.at(np.array(lon), np.array(lat))[0] == row
    assert set(zip(ix[mine], iy[mine], strict=True)) == set(zip(places.ix, places.iy, strict=True))


@pytest.mark.parametrize(("lon", "lat"), PLACES)
def test_squares_tile_without_gap_or_overlap(lon: float, lat: float) -> None:
    for places in chips_around(lon, lat):
        squares = places.squares()
        assert shapely.area(squares) == pytest.approx(1200.0**2)
        assert shapely.union_all(squares).area == pytest.approx(len(places) * 1200.0**2)
        left, top = places.lattice.left_top(places.ix, places.iy)
        ix, iy = places.lattice.index(left + 1, top - 1)
        assert np.array_equal(ix, places.ix) and np.array_equal(iy, places.iy)


def test_chips_lie_on_sentinel_2s_sixty_metre_grid_in_both_hemispheres() -> None:
    # the upper left corners of tiles 33UVP and 56HLH, from their product metadata
    for epsg, tile_x, tile_y in ((32633, 399960, 5500020), (32756, 300000, 6300040)):
        assert tile_y % 60 == (40 if epsg > 32700 else 0)
        left, top = Lattice(epsg, 1200.0).left_top(np.arange(300, 310), np.arange(-4000, -3990))
        assert np.all((left - tile_x) % 60 == 0)
        assert np.all((top - tile_y) % 60 == 0)


@pytest.mark.parametrize(("lon", "lat"), [*PLACES, (10.0, 89.9), (-120.0, -89.95)])
def test_footprints_are_the_squares_seen_in_longitude_and_latitude(lon: float, lat: float) -> None:
    for places in chips_around(lon, lat):
        places = places.take(np.arange(0, len(places), 1 + len(places) // 250))
        footprints = places.footprints()
        assert {shape.geom_type for shape in footprints} <= {"Polygon", "MultiPolygon"}
        assert shapely.is_valid(footprints).all()
        bounds = shapely.bounds(footprints)
        assert (bounds[:, 0] >= -180).all() and (bounds[:, 2] <= 180).all()
        forward = Transformer.from_crs(4326, places.lattice.epsg, always_xy=True)

        def project(points: np.ndarray, forward: Transformer = forward) -> np.ndarray:
            return np.stack(forward.transform(points[:, 0], points[:, 1]), axis=1)

        back = shapely.buffer(shapely.transform(shapely.segmentize(footprints, 0.002), project), 1.0)
        squares = places.squares()
        near_pole = abs(lat) > 89
        difference = shapely.area(shapely.symmetric_difference(back, squares)) / 1200.0**2
        assert difference.max() < (0.6 if near_pole else 0.01)
        if not near_pole:
            assert shapely.covers(shapely.buffer(back, 1.0), squares).all()


def test_footprints_around_the_pole_do_not_overlap_and_cover_it() -> None:
    row, col = np.unique(np.stack(GRID.at(np.linspace(-180, 179.9, 400), np.full(400, 89.95))), axis=1)
    places = places_in(GRID, row, col, 32661, 1200.0)
    inner = places.take((np.abs(places.ix + 0.5) < 3) & (np.abs(places.iy + 0.5) < 3))
    footprints = inner.footprints()
    corner = footprints[(np.abs(inner.ix + 0.5) < 1) & (np.abs(inner.iy + 0.5) < 1)]
    assert len(corner) == 4
    bounds = shapely.bounds(corner)
    assert bounds[:, 3] == pytest.approx(90.0)
    assert bounds[:, 2] - bounds[:, 0] == pytest.approx(90.0)  # a quarter of the circle each
    assert shapely.union_all(corner).area == pytest.approx(shapely.area(corner).sum(), rel=1e-6)


def test_footprints_across_the_antimeridian_have_a_part_on_each_side() -> None:
    crossing = 0
    for places in chips_around(179.999, -17.0):  # Fiji
        for shape, square in zip(places.footprints(), places.squares(), strict=True):
            if shape.geom_type == "MultiPolygon":
                crossing += 1
                west, east = sorted(part.bounds for part in shape.geoms)
                assert west[0] == -180 and east[2] == 180
                assert west[2] < -179.9 and east[0] > 179.9
            assert shape.area == pytest.approx(square.area / 111_000**2 / np.cos(np.radians(17)), rel=0.02)
    assert crossing > 10


@pytest.mark.parametrize(("lon", "lat"), PLACES)
def test_footprints_run_counter_clockwise(lon: float, lat: float) -> None:
    for places in chips_around(lon, lat):
        for shape in shapely.get_parts(places.footprints()):
            assert shape.exterior.is_ccw
