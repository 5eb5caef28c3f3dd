"""Land-cover fractions against sampling point by point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from rasterio.transform import Affine

from curate.catalog.errors import InputError
from curate.chips import ChipPlaces, Lattice
from curate.descriptors.thematic import open_map
from curate.legends import WORLDCOVER

EPSG, SIZE = 32632, 1200.0
CODES = np.array([10, 20, 30, 40, 50, 80], np.uint8)
LEFT, TOP = 499_200.0, 5_000_400.0  # on the lattice of 1200 m
STEP_DEG = 1 / 12_000  # WorldCover's


def places(count: int = 3, left: float = LEFT, top: float = TOP, epsg: int = EPSG) -> ChipPlaces:
    lattice = Lattice(epsg, SIZE)
    ix, iy = lattice.index(np.array([left + 1]), np.array([top - 1]))
    i, j = np.meshgrid(ix + np.arange(count), iy - np.arange(count))
    x, y = lattice.left_top(i.ravel(), j.ravel())
    lon, lat = Transformer.from_crs(epsg, 4326, always_xy=True).transform(x + SIZE / 2, y - SIZE / 2)
    return ChipPlaces(lattice, np.zeros(i.size, np.int64), i.ravel(), j.ravel(), np.array(lon), np.array(lat))


def blocks(seed: int, height: int, width: int, block: int = 37) -> np.ndarray:
    """Fields of classes with borders inside the chips."""
    random = np.random.default_rng(seed)
    coarse = random.choice(CODES, (height // block + 1, width // block + 1))
    return np.kron(coarse, np.ones((block, block), np.uint8))[:height, :width]


def write(path: Path, codes: np.ndarray, transform: Affine, crs: str, nodata: int | None = 0) -> str:
    with rasterio.open(
        path, "w", driver="GTiff", height=codes.shape[0], width=codes.shape[1], count=1, dtype=codes.dtype, crs=crs,
        transform=transform, nodata=nodata, tiled=True, compress="deflate",
    ) as file:  # fmt: skip
        file.write(codes, 1)
    return str(path)


def degrees_map(path: Path, codes: np.ndarray) -> tuple[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """A map in EPSG:4326 around the chips, and a function that reads it at points of the zone."""
    west, north = 8.98, 45.17
    href = write(path, codes, Affine(STEP_DEG, 0, west, 0, -STEP_DEG, north), "EPSG:4326")
    inverse = Transformer.from_crs(EPSG, 4326, always_xy=True)

    def at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        lon, lat = inverse.transform(x, y)
        return pick(codes, (north - np.array(lat)) / STEP_DEG, (np.array(lon) - west) / STEP_DEG)

    return href, at


def utm_map(path: Path, codes: np.ndarray) -> tuple[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    west, north = LEFT - 503.0, TOP + 507.0  # not on the chips' grid
    href = write(path, codes, Affine(10, 0, west, 0, -10, north), f"EPSG:{EPSG}")
    return href, lambda x, y: pick(codes, (north - y) / 10, (x - west) / 10)


def pick(codes: np.ndarray, row: np.ndarray, col: np.ndarray) -> np.ndarray:
    row, col = np.floor(row).astype(int), np.floor(col).astype(int)
    inside = (row >= 0) & (row < codes.shape[0]) & (col >= 0) & (col < codes.shape[1])
    return np.where(inside, codes[row.clip(0, codes.shape[0] - 1), col.clip(0, codes.shape[1] - 1)], 0)


def brute(chips: ChipPlaces, at: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Fractions from points every 10 m, chip by chip."""
    result = np.zeros((len(chips), len(WORLDCOVER) + 1))
    left, top = chips.lattice.left_top(chips.ix, chips.iy)
    for i in range(len(chips)):
        x, y = np.meshgrid(left[i] + np.arange(5, SIZE, 10), top[i] - np.arange(5, SIZE, 10))
        values = at(x.ravel(), y.ravel())
        for k, code in enumerate(WORLDCOVER):
            result[i, k] = (values == code).mean()
        result[i, -1] = 1 - result[i, :-1].sum()
    return result


@pytest.mark.parametrize("make", [degrees_map, utm_map])
def test_fractions_are_those_of_points_every_ten_metres(make: Callable, tmp_path: Path) -> None:
    href, at = make(tmp_path / "map.tif", blocks(1, 900, 900))
    chips = places()
    found = open_map("map", [href]).fractions(chips)
    assert found.shape == (9, len(WORLDCOVER) + 1)
    assert found.sum(1) == pytest.approx(1.0)
    assert np.abs(found - brute(chips, at)).max() < (0.01 if make is degrees_map else 1e-6)
    assert (found[:, :-1] > 0).sum() > 30


def test_the_order_of_chips_is_kept(tmp_path: Path) -> None:
    href, _ = utm_map(tmp_path / "map.tif", blocks(2, 900, 900))
    chips, land = places(), open_map("map", [href])
    turned = np.random.default_rng(3).permutation(len(chips))
    assert np.array_equal(land.fractions(chips.take(turned)), land.fractions(chips)[turned])


def test_a_chips_fractions_do_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    href, _ = degrees_map(tmp_path / "map.tif", blocks(4, 900, 900))
    chips, land = places(), open_map("map", [href])
    together = land.fractions(chips)
    for i in range(len(chips)):
        alone = land.fractions(chips.take(np.array([i])))
        assert np.abs(alone - together[i]).max() < 0.01


def test_two_adjoining_tiles_are_one_map(tmp_path: Path) -> None:
    codes = blocks(5, 900, 900)
    west, north = LEFT - 503.0, TOP + 507.0
    whole = write(tmp_path / "whole.tif", codes, Affine(10, 0, west, 0, -10, north), f"EPSG:{EPSG}")
    cut = 180
    tiles = [
        write(tmp_path / "a.tif", codes[:, :cut], Affine(10, 0, west, 0, -10, north), f"EPSG:{EPSG}"),
        write(
            tmp_path / "b.tif", codes[:, cut:], Affine(10, 0, west + 10 * cut, 0, -10, north), f"EPSG:{EPSG}"
        ),
    ]
    chips = places()
    expected = open_map("map", [whole]).fractions(chips)
    assert np.array_equal(open_map("map", tiles).fractions(chips), expected)
    assert np.array_equal(open_map("map", tiles[::-1]).fractions(chips), expected)
    assert expected[:, -1].max() == 0


def test_nodata_and_what_lies_outside_are_unmapped(tmp_path: Path) -> None:
    codes = blocks(6, 300, 300)
    codes[:, 100:150] = 0
    href, at = utm_map(tmp_path / "map.tif", codes)
    chips = places()
    found = open_map("map", [href]).fractions(chips)
    assert np.abs(found - brute(chips, at)).max() < 1e-6
    assert found[:, -1].min() < 0.01 and found[:, -1].max() > 0.9
    far = open_map("map", [href]).fractions(places(left=LEFT + 120_000))
    assert (far[:, -1] == 1).all() and (far[:, :-1] == 0).all()


@pytest.mark.parametrize("nodata", [None, 255])
def test_a_map_without_nodata_may_have_a_class_0(tmp_path: Path, nodata: int | None) -> None:
    legend = tmp_path / "legend.csv"
    legend.write_text("code,name\n0,Other\n100,Cropland\n")
    codes = np.zeros((400, 400), np.uint8)
    codes[:, 170:] = 100
    path = tmp_path / "map.tif"
    href = write(path, codes, Affine(10, 0, LEFT, 0, -10, TOP), f"EPSG:{EPSG}", nodata=nodata)
    found = open_map("map", [href], str(legend)).fractions(places(2))
    assert found[:, -1].max() == 0
    assert found[0].tolist() == [1, 0, 0]
    assert found[1] == pytest.approx([50 / 120, 70 / 120, 0])


@pytest.mark.parametrize("make", [degrees_map, utm_map])
def test_codes_without_a_name_are_bad_input(make: Callable, tmp_path: Path) -> None:
    codes = blocks(7, 900, 900)
    codes[codes == 50] = 51
    href, _ = make(tmp_path / "map.tif", codes)
    with pytest.raises(InputError, match="51") as error:
        open_map("map", [href]).fractions(places())
    assert "map.tif" in str(error.value)


def test_a_truncated_map_is_bad_input(tmp_path: Path) -> None:
    href, _ = utm_map(tmp_path / "map.tif", np.random.default_rng(8).choice(CODES, (900, 900)))
    path = Path(href)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    with pytest.raises(InputError, match=r"map\.tif"):
        open_map("map", [href]).fractions(places())


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_maps_by_path(tmp_path: Path) -> None:
    for name in ("b.tif", "a.tif"):
        utm_map(tmp_path / name, blocks(9, 300, 300))
    assert [Path(tile.href).name for tile in open_map(str(tmp_path), []).tiles] == ["a.tif", "b.tif"]
    assert len(open_map(str(tmp_path / "a.tif"), []).tiles) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no raster"):
        open_map(str(tmp_path / "empty"), [])
    with pytest.raises(InputError, match="cannot be read"):
        open_map(str(tmp_path / "none.tif"), [])
    bare = tmp_path / "bare.tif"
    with rasterio.open(bare, "w", driver="GTiff", height=9, width=9, count=1, dtype="uint8") as file:
        file.write(np.ones((9, 9), np.uint8), 1)
    with pytest.raises(InputError, match="no coordinate reference system"):
        open_map(str(bare), [])


def test_a_map_across_the_antimeridian(tmp_path: Path) -> None:
    """Fiji's zone 60 reaches over ±180°; a tile in its projection covers both sides."""
    codes = np.full((600, 600), 10, np.uint8)
    codes[:, 300:] = 80
    left, top = 816_000.0, 8_116_000.0 + 40
    lattice = Lattice(32760, SIZE)
    ix, iy = lattice.index(np.array([left + 1200.0]), np.array([top - 1200.0]))
    x, y = lattice.left_top(ix, iy)
    href = write(tmp_path / "fiji.tif", codes, Affine(10, 0, left - 600, 0, -10, top + 600), "EPSG:32760")
    land = open_map("fiji", [href])
    chips = places(3, float(x[0]), float(y[0]), 32760)
    assert chips.lon.min() < 0 < chips.lon.max()
    found = land.fractions(chips)
    assert found[:, -1].max() == 0
    assert found[:, list(WORLDCOVER).index(10)].sum() > 1 and found[:, list(WORLDCOVER).index(80)].sum() > 1


@pytest.mark.real
def test_real_worldcover_against_the_file_itself(real_data: Path) -> None:
    path = real_data / "landcover" / "ESA_WorldCover_10m_2021_v200_N00E006_Map.tif"
    lon, lat = 6.6, 0.2  # São Tomé
    x, y = Transformer.from_crs(4326, EPSG, always_xy=True).transform(lon, lat)
    chips = places(10, x - 6000, y + 6000)
    found = open_map(str(path), []).fractions(chips)
    assert found.sum(1) == pytest.approx(1.0)
    inverse = Transformer.from_crs(EPSG, 4326, always_xy=True)
    with rasterio.open(path) as file:

        def at(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
            lons, lats = map(np.array, inverse.transform(xs, ys))
            grid = file.transform
            cols, rows = (lons - grid.c) / grid.a, (lats - grid.f) / grid.e
            first_row, first_col = int(rows.min()), int(cols.min())
            window = ((first_row, int(rows.max()) + 1), (first_col, int(cols.max()) + 1))
            return pick(file.read(1, window=window), rows - first_row, cols - first_col)

        expected = brute(chips, at)
    assert np.abs(found - expected).max() < 0.01
    assert found[:, 0].mean() > 0.3  # forest
