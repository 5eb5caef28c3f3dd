"""Elevation and slope of chips against planes of known slope, and pixel by pixel on a real tile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pyproj import Geod, Transformer
from rasterio.transform import Affine

from curate.catalog.errors import InputError
from curate.chips import ChipPlaces, places_in
from curate.descriptors import zones
from curate.descriptors.terrain import Terrain, open_descriptor, slope_deg
from curate.grid import Grid
from curate.recipe import Recipe
from curate.workspace import Workspace

SECOND = 1 / 3600


def write(path: Path, z: np.ndarray, transform: Affine, crs: str | None, nodata: float | None = None) -> str:
    with rasterio.open(
        path, "w", driver="GTiff", height=z.shape[0], width=z.shape[1], count=1, dtype="float32", crs=crs,
        transform=transform, nodata=nodata, tiled=True,
    ) as file:  # fmt: skip
        file.write(z.astype(np.float32), 1)
    return str(path)


def plane_deg(path: Path, lon: float, lat: float, east: float, north: float, step_x: float = SECOND) -> str:
    """A DEM in degrees whose heights rise by *east* and *north* metres a metre in the zone of its middle."""
    transform = Affine(step_x, 0, lon - 0.2, 0, -SECOND, lat + 0.12)
    shape = (864, round(0.4 / step_x))
    col, row = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    zone = 32600 + int((lon + 180) // 6) + 1
    x, y = Transformer.from_crs(4326, zone, always_xy=True).transform(
        transform.c + step_x * col, transform.f - SECOND * row
    )
    return write(path, 100 + east * (x - x.mean()) + north * (y - y.mean()), transform, "EPSG:4326")


def test_the_slope_of_a_plane() -> None:
    z = np.add.outer(-0.3 * np.arange(6) * 20, 0.4 * np.arange(5) * 10)  # 20 m rows, 10 m columns
    np.testing.assert_allclose(slope_deg(z, 10.0, 20.0), np.degrees(np.arctan(0.5)))
    z[2, 2] = np.nan
    assert np.isnan(slope_deg(z, 10.0, 20.0)).sum() == 8  # the eight around; its own height does not matter


@pytest.mark.parametrize(("lat", "step_x"), [(1.5, SECOND), (45.0, SECOND), (62.0, 2 * SECOND)])
def test_slopes_are_of_true_metres_at_any_latitude(
    lat: float,
    step_x: float,
    cell_of: Callable[..., ChipPlaces],
    candidates: Callable[..., Any],
    tmp_path: Path,
) -> None:
    places = cell_of(9.0, lat)
    east = Terrain("east", (plane_deg(tmp_path / "e.tif", 9.0, lat, 0.2, 0.0, step_x),))
    both = Terrain("both", (plane_deg(tmp_path / "b.tif", 9.0, lat, 0.3, -0.4, step_x),))
    found, steep = east.describe(candidates(places)), both.describe(candidates(places))
    np.testing.assert_allclose(found["terrain_slope_deg"], np.degrees(np.arctan(0.2)), rtol=2e-3)
    np.testing.assert_allclose(steep["terrain_slope_deg"], np.degrees(np.arctan(0.5)), rtol=2e-3)
    left, _ = places.lattice.left_top(places.ix, places.iy)
    rise = np.diff(found["terrain_elevation_m"][np.argsort(left)]).sum()
    assert rise == pytest.approx(0.2 * np.ptp(left), abs=3)
    np.testing.assert_allclose(found["terrain_spread_m"], 0.2 * 1200 / np.sqrt(12), rtol=0.03)


def test_a_model_in_metres(
    cell_of: Callable[..., ChipPlaces], candidates: Callable[..., Any], tmp_path: Path
) -> None:
    places = cell_of(9.0, 46.0)
    left, top = places.lattice.left_top(places.ix, places.iy)
    west, north = left.min() - 90, top.max() + 90
    x = west + 15 + 30 * np.arange(500)
    path = write(
        tmp_path / "utm.tif",
        np.tile(0.1 * (x - west), (500, 1)),
        Affine(30, 0, west, 0, -30, north),
        "EPSG:32632",
    )
    found = Terrain("utm", (path,)).describe(candidates(places))
    np.testing.assert_allclose(found["terrain_elevation_m"], 0.1 * (left + 600 - west), rtol=1e-5)
    np.testing.assert_allclose(found["terrain_slope_deg"], np.degrees(np.arctan(0.1)), rtol=1e-3)


def test_what_the_model_does_not_know(
    cell_of: Callable[..., ChipPlaces], candidates: Callable[..., Any], tmp_path: Path
) -> None:
    places = cell_of(9.0, 46.0)
    left, top = places.lattice.left_top(places.ix, places.iy)
    west, north, half = left.min(), top.max(), np.median(left)
    z = np.full((400, 400), 7.0)
    z[:, : int((half - west) // 30)] = -9999
    path = write(tmp_path / "half.tif", z, Affine(30, 0, west, 0, -30, north), "EPSG:32632", -9999)
    found = Terrain("half", (path,)).describe(candidates(places))
    np.testing.assert_array_equal(np.isnan(found["terrain_elevation_m"]), left < half)
    assert np.nanmax(np.abs(found["terrain_elevation_m"] - 7)) < 1e-6
    silent = write(
        tmp_path / "silent.tif", z - 32767 * (z < 0), Affine(30, 0, west, 0, -30, north), "EPSG:32632"
    )
    again = Terrain("silent", (silent,)).describe(candidates(places))  # a fill that nobody declared
    np.testing.assert_array_equal(np.isnan(again["terrain_elevation_m"]), left < half)
    far = Terrain("far", (path,)).describe(candidates(cell_of(20.0, 50.0)))
    assert all(np.isnan(values).all() for values in far.values())


def test_two_tiles_side_by_side_are_as_one(
    cell_of: Callable[..., ChipPlaces], candidates: Callable[..., Any], tmp_path: Path
) -> None:
    places = cell_of(9.0, 46.0)
    random, at = np.random.default_rng(0), Affine(SECOND, 0, 8.8, 0, -SECOND, 46.12)
    z = random.normal(500, 100, (864, 1440))
    whole = Terrain("one", (write(tmp_path / "one.tif", z, at, "EPSG:4326"),))
    parts = Terrain(
        "two",
        (
            write(tmp_path / "a.tif", z[:, :700], at, "EPSG:4326"),
            write(tmp_path / "b.tif", z[:, 700:], at @ Affine.translation(700, 0), "EPSG:4326"),
        ),
    )
    one, two = whole.describe(candidates(places)), parts.describe(candidates(places))
    for name in ("terrain_elevation_m", "terrain_spread_m"):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-9)
    np.testing.assert_allclose(two["terrain_slope_deg"], one["terrain_slope_deg"], rtol=0.03)


def test_chips_at_the_antimeridian_are_known_on_both_sides(
    candidates: Callable[..., Any], tmp_path: Path
) -> None:
    grid = Grid()
    tiles = (
        write(
            tmp_path / "a.tif",
            np.full((720, 720), 5.0),
            Affine(SECOND, 0, 179.8, 0, -SECOND, -16.4),
            "EPSG:4326",
        ),
        write(
            tmp_path / "b.tif",
            np.full((720, 720), 9.0),
            Affine(SECOND, 0, -180, 0, -SECOND, -16.4),
            "EPSG:4326",
        ),
    )
    places = places_in(
        grid, *grid.at(np.array([180.0 - 1e-9, -179.98]), np.array([-16.5, -16.5])), 32760, 600.0
    )
    whole = Terrain("both", tiles).describe(candidates(places))["terrain_elevation_m"]
    side = 300 / 111_000 / np.cos(np.radians(16.5)) * 1.1  # half a chip, degrees
    west, east = (places.lon > 0) & (places.lon < 180 - side), (places.lon < 0) & (places.lon > -180 + side)
    assert west.any() and east.any()
    np.testing.assert_allclose(whole[west], 5)
    np.testing.assert_allclose(whole[east], 9)
    between = whole[~west & ~east]
    assert ((between >= 5) & (between <= 9)).all()


def test_a_chip_does_not_depend_on_those_beside_it(
    cell_of: Callable[..., ChipPlaces],
    candidates: Callable[..., Any],
    some: Callable[..., np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(zones, "STRIP_ROWS", 48)
    places, random = cell_of(9.0, 46.0, 600.0), np.random.default_rng(0)
    z = random.normal(500, 100, (864, 1440))
    path = write(tmp_path / "z.tif", z, Affine(SECOND, 0, 8.8, 0, -SECOND, 46.12), "EPSG:4326")
    whole = Terrain("z", (path,)).describe(candidates(places))
    rows = some(places)
    part = Terrain("z", (path,)).describe(candidates(places.take(rows)))
    for name, values in part.items():
        np.testing.assert_array_equal(values, whole[name][rows])
    single = Terrain("z", (path,)).describe(candidates(places.take(rows[:1])))
    assert single["terrain_slope_deg"][0] == whole["terrain_slope_deg"][rows[0]]


def test_models_that_cannot_be_used(tmp_path: Path) -> None:
    workspace, recipe = Workspace(tmp_path, "x"), Recipe()

    def named(path: object) -> Recipe:
        return recipe.with_options({"descriptors.terrain": str(path)})

    with pytest.raises(InputError, match="cannot be read"):
        open_descriptor(named(tmp_path / "absent.tif"), workspace)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no raster"):
        open_descriptor(named(tmp_path / "empty"), workspace)
    bare = write(tmp_path / "bare.tif", np.ones((9, 9)), Affine(30, 0, 0, 0, -30, 0), None)
    with pytest.raises(InputError, match="no coordinate reference system"):
        open_descriptor(named(bare), workspace)


@pytest.mark.real
def test_the_real_model_of_sao_tome_pixel_by_pixel(
    cell_of: Callable[..., ChipPlaces], candidates: Callable[..., Any], real_data: Path
) -> None:
    """Chips on the volcano: membership by exact projection of every pixel, slopes from geodesic distances."""
    path = next((real_data / "archive" / "cop-dem-glo-30").rglob("*.tif"))
    places = cell_of(6.57, 0.27)
    found = Terrain("glo30", (str(path),)).describe(candidates(places))
    assert 200 < np.nanmean(found["terrain_elevation_m"]) < 2024
    with rasterio.open(path) as source:
        z, at = source.read(1).astype(float), source.transform
    bounds = (
        places.lon.min() - 0.02,
        places.lon.max() + 0.02,
        places.lat.min() - 0.02,
        places.lat.max() + 0.02,
    )
    cols = slice(int((bounds[0] - at.c) / at.a), int((bounds[1] - at.c) / at.a))
    rows = slice(int((at.f - bounds[3]) / at.a), int((at.f - bounds[2]) / at.a))
    col, row = np.meshgrid(np.arange(cols.start, cols.stop), np.arange(rows.start, rows.stop))
    lon, lat = at.c + at.a * (col + 0.5), at.f - at.a * (row + 0.5)
    x, y = Transformer.from_crs(4326, places.lattice.epsg, always_xy=True).transform(lon, lat)
    ix, iy = places.lattice.index(x, y)
    geod = Geod(ellps="WGS84")
    middle = float(places.lat.mean())
    dx = geod.inv(6.5, middle, 6.5 + at.a, middle)[2]
    dy = geod.inv(6.5, middle, 6.5, middle + at.a)[2]
    steep = slope_deg(np.pad(z, 1, constant_values=np.nan), dx, dy)[rows, cols]
    height = z[rows, cols]
    for i in range(len(places)):
        mine = (ix == places.ix[i]) & (iy == places.iy[i])
        assert mine.sum() > 1000
        assert found["terrain_elevation_m"][i] == pytest.approx(height[mine].mean(), abs=1e-6)
        assert found["terrain_spread_m"][i] == pytest.approx(height[mine].std(), abs=1e-4)
        assert found["terrain_slope_deg"][i] == pytest.approx(steep[mine].mean(), rel=1e-4)
    assert found["terrain_slope_deg"].max() > 15
