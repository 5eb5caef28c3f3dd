"""Land-cover maps of many kinds: projections, coarse pixels, overviews, years, tiles that lie elsewhere."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.transform import Affine

from curate.catalog.errors import InputError
from curate.chips import ChipPlaces, Lattice
from curate.descriptors.thematic import class_count, dominant, entropy_bits, in_common, naming, open_map
from curate.descriptors.thematic.counting import counted
from curate.descriptors.thematic.rasters import STRANGE, Tile, look
from curate.descriptors.thematic.runs import add_pixels
from curate.descriptors.thematic.sampled import sampled
from curate.legends import WORLDCOVER, legend

CODES = np.array([10, 20, 30, 40, 50, 80], np.uint8)
SINUSOIDAL = "+proj=sinu +R=6371007.181 +units=m +no_defs"


def places(
    lon: float, lat: float, epsg: int, count: int = 6, size: float = 1200.0, shift: int = 0
) -> ChipPlaces:
    """A square of chips north-east of a point."""
    lattice = Lattice(epsg, size)
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
    ix, iy = lattice.index(np.array([x]), np.array([y]))
    i, j = np.meshgrid(ix + shift + np.arange(count), iy + np.arange(count))
    left, top = lattice.left_top(i.ravel(), j.ravel())
    lons, lats = Transformer.from_crs(epsg, 4326, always_xy=True).transform(left + size / 2, top - size / 2)
    return ChipPlaces(
        lattice, np.zeros(i.size, np.int64), i.ravel(), j.ravel(), np.array(lons), np.array(lats)
    )


def patches(seed: int, height: int, width: int, scale: int = 23) -> np.ndarray:
    """Patches of classes with ragged edges, and single pixels in them."""
    random = np.random.default_rng(seed)
    coarse = random.choice(CODES, ((height + 4) // scale + 1, (width + 4) // scale + 1))
    row, col = np.mgrid[:height, :width]
    row, col = row + random.integers(0, 5, row.shape), col + random.integers(0, 5, col.shape)
    return coarse[row // scale, col // scale]


def write(
    path: Path,
    codes: np.ndarray,
    grid: Affine,
    crs: str,
    nodata: float | None = 0,
    overviews: list[int] | None = None,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", height=codes.shape[0], width=codes.shape[1], count=1, dtype=codes.dtype, crs=crs,
        transform=grid, nodata=nodata, tiled=True, blockxsize=256, blockysize=256, compress="deflate",
    ) as file:  # fmt: skip
        file.write(codes, 1)
        if overviews:
            file.build_overviews(overviews, Resampling.nearest)
    return path


def around(
    chips: ChipPlaces, step: float, crs: str = "EPSG:4326", margin: int = 40
) -> tuple[Affine, int, int]:
    """A grid of *step* that covers the chips: its place, rows and columns."""
    transformer = Transformer.from_crs(chips.lattice.epsg, crs, always_xy=True)
    corners = shapely.get_coordinates(chips.squares())
    x, y = transformer.transform(corners[:, 0], corners[:, 1])
    left, top = (np.floor(min(x) / step) - margin) * step, (np.ceil(max(y) / step) + margin) * step
    wide, tall = int((max(x) - left) / step) + margin, int((top - min(y)) / step) + margin
    return Affine(step, 0, left, 0, -step, top), tall, wide


def polygons(chips: ChipPlaces, path: Path) -> np.ndarray:
    """Fractions by burning each chip's polygon, its edges in 64 parts, into the map: a pixel's centre decides."""
    with rasterio.open(path) as file:
        codes, grid, crs = file.read(1), file.transform, file.crs
    transformer = Transformer.from_crs(chips.lattice.epsg, crs.to_wkt(), always_xy=True)
    dense = shapely.segmentize(chips.squares(), chips.lattice.size_m / 64)
    shapes = shapely.transform(dense, lambda p: np.stack(transformer.transform(p[:, 0], p[:, 1]), axis=1))
    found = np.zeros((len(chips), len(WORLDCOVER) + 1))
    for i, shape in enumerate(shapes):
        inside = codes[rasterize([(shape, 1)], codes.shape, transform=grid).astype(bool)]
        found[i, :-1] = [(inside == code).mean() for code in WORLDCOVER]
        found[i, -1] = 1 - found[i, :-1].sum()
    return found


@pytest.mark.parametrize(
    ("lon", "lat", "epsg", "crs", "step"),
    [
        (8.9, 45.1, 32632, "EPSG:4326", 1 / 12000),
        (5.9, 61.5, 32632, "EPSG:4326", 1 / 12000),  # western Norway, three degrees beyond the zone
        (20.9, 79.0, 32633, "EPSG:4326", 1 / 12000),  # Svalbard: six degrees from the zone's middle
        (-70.0, -54.0, 32719, "EPSG:4326", 1 / 12000),
        (6.5, 0.0, 32632, "EPSG:4326", 1 / 12000),
        (-9.0, 39.0, 32629, "EPSG:3035", 10.0),  # Portugal in LAEA Europe: turned by 14°
        (30.0, 66.0, 32636, "EPSG:3035", 10.0),
        (120.0, 45.0, 32651, SINUSOIDAL, 10.0),  # sheared
        (8.9, 45.1, 32632, "EPSG:32632", 10.0),
        (8.9, 45.1, 32632, "EPSG:32633", 10.0),
    ],
)
def test_a_pixel_counts_for_the_chip_that_holds_its_centre(
    lon: float, lat: float, epsg: int, crs: str, step: float, tmp_path: Path
) -> None:
    chips = places(lon, lat, epsg, 5)
    grid, tall, wide = around(chips, step, crs)
    path = write(tmp_path / "map.tif", patches(1, tall, wide), grid, crs)
    rasters = [look(Tile(str(path), (0, 0, 0, 0)))]
    counts, total = counted(chips, [r for r in rasters if r], legend(None))
    assert (total > 0).all() and counts.sum(1).tolist() == total.tolist()
    found = open_map(str(path), []).fractions(chips)
    assert found.sum(1) == pytest.approx(1.0, abs=1e-6)
    assert np.abs(found - polygons(chips, path)).max() < 6 / total.min()  # a few pixels on the edges


def test_every_pixel_of_the_mesh_is_counted_once(tmp_path: Path) -> None:
    chips = places(5.9, 61.5, 32632, 12)
    grid, tall, wide = around(chips, 1 / 12000)
    path = write(tmp_path / "map.tif", patches(2, tall, wide), grid, "EPSG:4326")
    raster = look(Tile(str(path), (0, 0, 0, 0)))
    assert raster is not None
    _, total = counted(chips, [raster], legend(None))
    transformer = Transformer.from_crs(32632, 4326, always_xy=True)
    outline = shapely.transform(
        shapely.segmentize(shapely.union_all(chips.squares()), 100.0),
        lambda p: np.stack(transformer.transform(p[:, 0], p[:, 1]), axis=1),
    )
    inside = rasterize([(outline, 1)], (tall, wide), transform=grid).sum()
    assert abs(int(total.sum()) - int(inside)) <= 8  # of two million: pixels on the outer edge


@given(st.integers(0, 10_000), st.floats(-0.4, 0.4), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_pixels_belong_to_the_cell_that_holds_their_centre(seed: int, turned: float, scale: int) -> None:
    random = np.random.default_rng(seed)
    i, j = np.meshgrid(np.arange(5), np.arange(4))
    size, left, top = random.uniform(25, 60), random.uniform(-40, 20), random.uniform(-40, 20)
    col, row = left + size * (i - turned * j / 2), top + size * (j + turned * i / 2)
    chip = random.permutation(12).reshape(3, 4)
    chip[random.random(chip.shape) < 0.2] = -1
    codes = np.append(CODES, 99) if seed % 2 else CODES  # one without a class
    values = np.kron(random.choice(codes, (150, 170)), np.ones((scale, scale), np.uint8))[:140, :150]
    table = np.full(256, STRANGE, np.uint8)
    table[CODES] = np.arange(len(CODES))
    counts, strange = np.zeros((12, len(CODES)), np.int64), np.zeros(256, np.uint8)
    add_pixels(np.ascontiguousarray(values), 7, -3, row, col, chip, table, counts, strange)
    x, y = np.arange(150) - 3 + 0.5 - left, np.arange(140)[:, None] + 7 + 0.5 - top
    across = (x + turned / 2 * y) / (1 + turned**2 / 4) / size
    down = (y - turned / 2 * x) / (1 + turned**2 / 4) / size
    inside = (across >= 0) & (across < 4) & (down >= 0) & (down < 3)
    owner = np.where(inside, chip[down.clip(0, 2.9).astype(int), across.clip(0, 3.9).astype(int)], -1)
    wanted = [[((owner == c) & (values == code)).sum() for code in CODES] for c in range(12)]
    assert counts.tolist() == wanted
    assert np.flatnonzero(strange).tolist() == ([99] if (values[owner >= 0] == 99).any() else [])


def test_fractions_do_not_depend_on_blocks_tiles_or_other_chips(tmp_path: Path) -> None:
    chips = places(8.9, 45.1, 32632, 12)
    grid, tall, wide = around(chips, 1 / 12000)
    codes = patches(3, tall, wide)
    whole = open_map(str(write(tmp_path / "whole.tif", codes, grid, "EPSG:4326")), []).fractions(chips)
    for n, row in enumerate(range(0, tall, 411)):
        for m, col in enumerate(range(0, wide, 533)):
            part = codes[row : row + 411, col : col + 533]
            write(tmp_path / "tiles" / f"{n}-{m}.tif", part, grid @ Affine.translation(col, row), "EPSG:4326")
    tiles = open_map(str(tmp_path / "tiles"), [])
    assert len(tiles.tiles) > 9
    assert np.array_equal(tiles.fractions(chips), whole)
    some = np.random.default_rng(0).permutation(len(chips))[:17]
    assert np.array_equal(tiles.fractions(chips.take(some)), whole[some])


def test_where_tiles_overlap_the_first_that_says_something_counts(tmp_path: Path) -> None:
    chips = places(8.9, 45.1, 32632, 6)
    grid, tall, wide = around(chips, 1 / 12000)
    first, second = patches(4, tall, wide), patches(5, tall, wide)
    first[:, wide // 2 :] = 0
    first[200:260, 300:420] = 0
    both = np.where(first == 0, second, first)
    a = write(tmp_path / "a.tif", first, grid, "EPSG:4326")
    b = write(tmp_path / "b.tif", second[100:], grid @ Affine.translation(0, 100), "EPSG:4326")
    both[:100] = first[:100]
    expected = open_map(str(write(tmp_path / "both.tif", both, grid, "EPSG:4326")), []).fractions(chips)
    assert np.array_equal(open_map("map", [str(a), str(b)]).fractions(chips), expected)


@pytest.mark.parametrize("factor", [2, 3, 4, 12, 40, 400, 4000])
def test_coarse_pixels_count_by_area(factor: int, tmp_path: Path) -> None:
    """The same map with pixels of 20 m to 40 km, against its copy with pixels of 5 m."""
    chips = places(8.9, 45.1, 32632, 3)
    grid, tall, wide = around(chips, factor / 12000, margin=3)
    codes = patches(6, tall, wide, 2)
    coarse = open_map(str(write(tmp_path / "coarse.tif", codes, grid, "EPSG:4326")), []).fractions(chips)
    assert coarse.sum(1) == pytest.approx(1.0, abs=1e-6)
    raster = look(Tile(str(tmp_path / "coarse.tif"), (0, 0, 0, 0)))
    assert raster is not None
    counts, total = sampled(chips, [raster], legend(None))
    points = np.column_stack([counts, total - counts.sum(1)]) / total[:, None]
    assert np.abs(coarse - points).max() < 0.025
    assert np.abs(coarse - points).mean() < 0.004


def test_overviews_are_read_where_a_resolution_is_given(tmp_path: Path) -> None:
    chips = places(8.9, 45.1, 32632, 6)
    grid, tall, wide = around(chips, 1 / 12000)
    path = write(tmp_path / "map.tif", patches(7, tall, wide), grid, "EPSG:4326", overviews=[2, 4, 8])
    with rasterio.open(path, overview_level=2) as file:
        step = (grid.a * wide / file.width, grid.e * tall / file.height)
        plain = write(
            tmp_path / "plain.tif", file.read(1), Affine(step[0], 0, grid.c, 0, step[1], grid.f), "EPSG:4326"
        )
    expected = open_map(str(plain), []).fractions(chips)
    assert np.array_equal(open_map(str(path), [], resolution_m=80).fractions(chips), expected)
    full = open_map(str(path), []).fractions(chips)
    assert np.array_equal(open_map(str(path), [], resolution_m=10).fractions(chips), full)
    assert 0 < np.abs(full - expected).max() < 0.2


def test_the_year_nearest_to_the_acquisition(tmp_path: Path) -> None:
    chips = places(8.9, 45.1, 32632, 2)
    grid, tall, wide = around(chips, 1 / 12000)
    for year, code in ((2017, 10), (2019, 30), (2022, 80)):
        write(tmp_path / f"lulc_{year}.tif", np.full((tall, wide), code, np.uint8), grid, "EPSG:4326")
    land = open_map(str(tmp_path / "lulc_{year}.tif"), [])
    assert land.years == (2017, 2019, 2022)
    for asked, year, code in ((2015, 2017, 10), (2018, 2019, 30), (2020, 2019, 30), (2021, 2022, 80)):
        then = land.of_year(asked)
        assert (then.fractions(chips)[:, list(WORLDCOVER).index(code)] == 1).all(), asked
        assert then.years_at(chips).tolist() == [year] * 4


@pytest.mark.parametrize(
    ("name", "year"),
    [
        ("ESA_WorldCover_10m_2020_v100_N00E006_Map.tif", 2020),
        ("32T_20220101-20230101.tif", 2022),
        ("MCD12Q1.A2019001.h18v04.061.2022169161004.hdf", 2019),
        ("PROBAV_LC100_global_v3.0.1_2018-conso_Discrete-Classification-map_EPSG-4326.tif", 2018),
        ("U2018_CLC2018_V2020_20u1.tif", 2018),
        ("glcnmo_third_degree.tif", None),
        ("https://host/lc2021/33U_20210101-20220101.tif?se=2030-01-01", 2021),
        ("map_1234567.tif", None),
        ("https://host/2018/N00E006.tif", 2018),
        ("/home/me/2018/map.tif", None),
    ],
)
def test_years_in_names(name: str, year: int | None) -> None:
    assert naming.year_of(name) == year


def test_tiles_of_worldcover_by_name() -> None:
    assert naming.worldcover_tiles(shapely.box(-0.5, -0.5, 3.5, 2.5)) == [
        "S03W003", "S03E000", "S03E003", "N00W003", "N00E000", "N00E003",
    ]  # fmt: skip
    sao_tome = shapely.box(6.5, 0.1, 6.7, 0.4)
    prefix = "s3://esa-worldcover/v200/2021/map"
    one = f"{prefix}/ESA_WorldCover_10m_2021_v200_N00E006_Map.tif"
    box = (6.0, 0.0, 9.0, 3.0)
    assert naming.expand(prefix + "/", sao_tome) == [(one, box)]
    assert naming.expand("s3://esa-worldcover", sao_tome) == [
        (one, box), ("s3://esa-worldcover/v100/2020/map/ESA_WorldCover_10m_2020_v100_N00E006_Map.tif", box),
    ]  # fmt: skip
    assert naming.expand("https://host/v200/2021/map/?sig=key", sao_tome) == [
        (one.replace("s3://esa-worldcover", "https://host") + "?sig=key", box),
    ]  # fmt: skip
    assert naming.expand("https://host/{2018..2019}/{tile}.tif", sao_tome) == [
        ("https://host/2018/N00E006.tif", box), ("https://host/2019/N00E006.tif", box),
    ]  # fmt: skip
    assert naming.worldcover_bounds(one) == (6.0, 0.0, 9.0, 3.0)
    assert naming.worldcover_bounds("ESA_WorldCover_10m_2021_v200_S03W120_Map.tif") == (-120, -3, -117, 0)
    with pytest.raises(InputError, match="2020 and 2021"):
        naming.expand("s3://esa-worldcover/v300/2022/map", sao_tome)
    with pytest.raises(InputError, match="cannot be listed"):
        naming.expand("https://host/{year}.tif", sao_tome)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The folder `tmp_path` behind HTTP."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def worldcover_tile(folder: Path, west: int, south: int, codes: np.ndarray, year: str = "2021_v200") -> Path:
    """A tile with the place and name of one of WorldCover's, in pixels of 3/1200°."""
    name = f"ESA_WorldCover_10m_{year}_N{south:02d}E{west:03d}_Map.tif"
    return write(folder / name, codes, Affine(3 / 1200, 0, west, 0, -3 / 1200, south + 3), "EPSG:4326")


def test_tiles_behind_a_url_need_not_all_exist(server: str, tmp_path: Path) -> None:
    """Tiles of the sea are not published; chips there are unmapped, and a chip half there is so by half."""
    chips = places(8.93, 45.1, 32632, 9)  # across 9° E
    worldcover_tile(tmp_path / "v200/2021/map", 9, 45, np.full((1200, 1200), 30, np.uint8))
    land = open_map(f"{server}/v200/2021/map", [], area=shapely.box(8.5, 45.1, 9.5, 45.5))
    assert [tile.optional for tile in land.tiles] == [True, True]
    found = land.fractions(chips)
    assert found.sum(1) == pytest.approx(1.0, abs=1e-6)
    centre = chips.lon - 9
    half = chips.lattice.size_m / 2 / 78_700
    expected = np.clip((centre + half) / (2 * half), 0, 1)
    assert found[:, list(WORLDCOVER).index(30)] == pytest.approx(expected, abs=0.03)
    assert ((expected > 0.1) & (expected < 0.9)).any()


def test_a_composed_tile_that_lies_elsewhere_is_bad_input(server: str, tmp_path: Path) -> None:
    right = worldcover_tile(tmp_path, 9, 45, np.full((1200, 1200), 30, np.uint8))
    right.rename(tmp_path / "N45E006.tif")
    land = open_map(f"{server}/{{tile}}.tif", [], area=shapely.box(8.5, 45.1, 8.6, 45.5))
    with pytest.raises(InputError, match="not the tile that its name says"):
        land.fractions(places(8.5, 45.2, 32632, 1))


@pytest.mark.parametrize("is_one_file", [False, True])
def test_maps_in_degrees_across_the_antimeridian(is_one_file: bool, tmp_path: Path) -> None:
    chips = places(179.95, -17.0, 32760, 12)
    assert chips.lon.min() < 0 < chips.lon.max()
    if is_one_file:
        codes = np.full((40, 3600), 10, np.uint8)
        codes[:, :1800] = 80
        write(tmp_path / "world.tif", codes, Affine(0.1, 0, -180, 0, -0.1, -15), "EPSG:4326")
    else:
        for west, code in ((177, 10), (-180, 80)):
            tile = np.full((3600, 3600), code, np.uint8)
            write(tmp_path / f"{west}.tif", tile, Affine(1 / 1200, 0, west, 0, -1 / 1200, -15), "EPSG:4326")
    found = open_map(str(tmp_path), []).fractions(chips)
    assert found.sum(1) == pytest.approx(1, abs=1e-6) and found[:, -1].max() == 0
    east = found[:, list(WORLDCOVER).index(80)]
    assert (east[(chips.lon < 0) & (chips.lon > -179.99)] > 0.9).all()
    assert (east[(chips.lon > 0) & (chips.lon < 179.99)] < 0.1).all()
    assert ((east > 0.1) & (east < 0.9)).any()


def test_a_server_that_fails_is_no_sea(tmp_path: Path) -> None:
    land = open_map("http://127.0.0.1:9/v200/2021/map", [], area=shapely.box(8.5, 45, 8.6, 45.1))
    with pytest.raises(InputError, match="cannot be read"):
        land.fractions(places(8.5, 45.0, 32632, 1))


def test_a_wrong_file_for_a_tile_is_bad_input(tmp_path: Path) -> None:
    right = worldcover_tile(tmp_path, 9, 45, np.full((1200, 1200), 30, np.uint8))
    wrong = right.rename(right.with_name("ESA_WorldCover_10m_2021_v200_N45E006_Map.tif"))
    with pytest.raises(InputError, match="not the tile that its name says") as error:
        open_map(str(wrong), []).fractions(places(8.5, 45.2, 32632, 1))
    assert "9, 45, 12, 48" in str(error.value)


def test_a_map_that_lies_elsewhere_is_bad_input(tmp_path: Path) -> None:
    path = worldcover_tile(tmp_path, 9, 45, np.full((1200, 1200), 30, np.uint8))
    with pytest.raises(InputError, match="does not cover the region"):
        open_map(str(path), [], area=shapely.box(20, 45, 21, 46))


def test_a_map_without_nodata_and_with_nothing_in_it_is_bad_input(tmp_path: Path) -> None:
    """0 is no class of the legend: were it taken for one, or for none, the sea would be a silent zero."""
    chips = places(8.9, 45.1, 32632, 2)
    grid, tall, wide = around(chips, 1 / 12000)
    codes = patches(8, tall, wide)
    codes[150:] = 0
    legend_file = tmp_path / "legend.csv"
    legend_file.write_text("code,name\n" + "".join(f"{code},{name}\n" for code, name in WORLDCOVER.items()))
    path = write(tmp_path / "map.tif", codes, grid, "EPSG:4326", nodata=None)
    with pytest.raises(InputError, match=r"does not name: 0\..*-a_nodata"):
        open_map(str(path), [], str(legend_file)).fractions(chips)
    shares = open_map(str(path), []).fractions(chips)  # WorldCover's own legend knows 0 as no data
    assert shares[:, -1].max() > 0.5
    legend_file.write_text(legend_file.read_text() + "0,\n")
    assert np.array_equal(open_map(str(path), [], str(legend_file)).fractions(chips), shares)


def test_strange_codes_beside_the_chips_do_not_matter(tmp_path: Path) -> None:
    chips = places(8.9, 45.1, 32632, 2)
    grid, tall, wide = around(chips, 1 / 12000, margin=60)
    codes = patches(9, tall, wide)
    codes[:20] = 77
    path = write(tmp_path / "map.tif", codes, grid, "EPSG:4326")
    assert open_map(str(path), []).fractions(chips)[:, -1].max() == 0


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "float32"])
def test_numbers_of_any_type(dtype: str, tmp_path: Path) -> None:
    """CORINE's rasters are int8 or int16, with 1 to 44 or 111 to 523, and -128 where there is nothing."""
    chips = places(-8.9, 39.1, 32629, 3)
    grid, tall, wide = around(chips, 100.0, "EPSG:3035", 4)
    random = np.random.default_rng(10)
    numbers = random.choice([1, 12, 23, 44], (tall, wide)).astype(dtype)
    nothing = random.random((tall, wide)) < 0.1
    numbers[nothing] = 48 if dtype == "uint16" else -128
    if dtype == "float32":
        numbers[nothing] = np.nan
    short = open_map(str(write(tmp_path / "a.tif", numbers, grid, "EPSG:3035", None)), [], "corine")
    assert short.codes[:2] == (111, 112) and len(short.codes) == 44
    found = short.fractions(chips)
    assert found.sum(1) == pytest.approx(1, abs=1e-6)
    assert 0.02 < found[:, -1].mean() < 0.2
    assert found[:, [short.codes.index(code) for code in (111, 211, 311, 523)]].min() > 0.05
    long = np.zeros((tall, wide), np.int16)
    for number, code in ((1, 111), (12, 211), (23, 311), (44, 523)):
        long[numbers == number] = code
    path = write(tmp_path / "b.tif", long, grid, "EPSG:3035", 0)
    assert np.array_equal(open_map(str(path), [], "corine").fractions(chips), found)


def test_polar_chips_are_looked_up_at_points(tmp_path: Path) -> None:
    chips = places(10.0, 86.0, 32661, 3)
    codes = np.full((300, 3600), 10, np.uint8)
    codes[:, 1900:] = 70
    path = write(tmp_path / "map.tif", codes, Affine(0.1, 0, -180, 0, -0.02, 90), "EPSG:4326")
    found = open_map(str(path), []).fractions(chips)
    assert found.sum(1) == pytest.approx(1, abs=1e-6) and found[:, -1].max() == 0
    east = found[:, list(WORLDCOVER).index(70)]
    assert (east[chips.lon > 10.3] > 0.9).all() and (east[chips.lon < 9.7] < 0.1).all()


def test_tiles_in_two_zones_are_one_map(tmp_path: Path) -> None:
    """Annual maps come in a file for each zone; chips on the seam are looked up in both."""
    chips = places(11.9, 45.1, 32632, 12)
    edge = 741_000.0  # in the middle of a column of chips
    to_33 = Transformer.from_crs(32632, 32633, always_xy=True)
    west = round(float(to_33.transform(edge, 4_999_000.0)[0]) - 400, -1)
    for epsg, left, code in ((32632, edge - 13_000, 10), (32633, west, 80)):
        codes = np.full((2400, 1300), code, np.uint8)
        write(tmp_path / f"{epsg}.tif", codes, Affine(10, 0, left, 0, -10, 5_020_000), f"EPSG:{epsg}")
    found = open_map(str(tmp_path), []).fractions(chips)
    assert found.sum(1) == pytest.approx(1, abs=1e-6)
    left, right = found[:, list(WORLDCOVER).index(10)], found[:, list(WORLDCOVER).index(80)]
    assert (left == 1).any() and (right > 0.99).any()
    seam = (left > 0.05) & (right > 0.05)
    assert seam.any() and found[seam, -1].max() < 0.2


def test_what_fractions_amount_to() -> None:
    shares = np.array(
        [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25, 0.25, 0, 0.5], [0.02, 0.9, 0.08, 0], [0, 0, 0, 1]], np.float32
    )
    assert dominant(shares).tolist() == [0, 0, 0, 1, -1]
    assert class_count(shares, 0.05).tolist() == [1, 2, 2, 2, 0]
    assert class_count(shares, 0.0).tolist() == [1, 2, 2, 3, 0]
    assert entropy_bits(shares)[:3] == pytest.approx([0, 1, 1])
    assert entropy_bits(shares)[3] == pytest.approx(
        -(0.02 * np.log2(0.02) + 0.9 * np.log2(0.9) + 0.08 * np.log2(0.08)), abs=1e-6
    )
    assert np.isnan(entropy_bits(shares)[4])


def test_two_legends_compared_in_common_classes(tmp_path: Path) -> None:
    chips = places(8.9, 45.1, 32632, 4)
    grid, tall, wide = around(chips, 1 / 12000)
    codes = patches(11, tall, wide)
    path = str(write(tmp_path / "wc.tif", codes, grid, "EPSG:4326"))
    own, common = open_map(path, []), open_map(path, [], classes="common")
    assert np.allclose(in_common(own.fractions(chips), own.legend), common.fractions(chips), atol=1e-6)
    to_io = np.zeros(256, np.uint8)
    to_io[[10, 20, 30, 40, 50, 80]] = [2, 6, 11, 5, 7, 1]
    other = str(write(tmp_path / "io.tif", to_io[codes], grid, "EPSG:4326"))
    assert np.array_equal(
        open_map(other, [], "io", classes="common").fractions(chips), common.fractions(chips)
    )


@pytest.mark.real
def test_real_worldcover_against_polygons(real_data: Path) -> None:
    """Chips of 1.2 km on the north coast of São Tomé, each burnt as a polygon into the tile."""
    path = real_data / "landcover" / "ESA_WorldCover_10m_2021_v200_N00E006_Map.tif"
    chips = places(6.6, 0.3, 32632, 14)
    found = open_map(str(path), []).fractions(chips)
    with rasterio.open(path) as file:
        window = file.window(6.55, 0.25, 6.8, 0.5).round_offsets().round_lengths()
        codes, grid = file.read(1, window=window), file.window_transform(window)
    transformer = Transformer.from_crs(32632, 4326, always_xy=True)
    shapes = shapely.transform(
        chips.squares(), lambda p: np.stack(transformer.transform(p[:, 0], p[:, 1]), axis=1)
    )
    for shares, shape in zip(found, shapes, strict=True):
        inside = codes[rasterize([(shape, 1)], codes.shape, transform=grid).astype(bool)]
        expected = [(inside == code).mean() for code in WORLDCOVER]
        assert np.abs(shares[:-1] - expected).max() < 3e-4
    water, trees = (found[:, list(WORLDCOVER).index(code)] for code in (80, 10))
    assert water.max() > 0.5 and trees.max() > 0.5


@pytest.mark.real
def test_real_glcnmo_shows_one_class_in_most_chips(real_data: Path) -> None:
    """Pixels of 37 km: a chip of 1.2 km lies in one, or in two by its area."""
    path = real_data / "landcover" / "glcnmo_third_degree.tif"
    chips = places(10.0, 50.0, 32632, 40)
    found = open_map(str(path), [], "glcnmo").fractions(chips)
    assert found.sum(1) == pytest.approx(1, abs=1e-6)
    assert (found.max(1) == 1).mean() > 0.8
    with rasterio.open(path) as file:
        numbers = np.array([value[0] for value in file.sample(zip(chips.lon, chips.lat, strict=True))])
    pure = found.max(1) == 1
    assert np.array(legend("glcnmo").codes)[found[pure, :-1].argmax(1)].tolist() == numbers[pure].tolist()
