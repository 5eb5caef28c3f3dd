"""Windows of bands on the chips' grid: exact where grids agree, interpolated or averaged where they do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from scipy import ndimage

from curate.catalog.errors import InputError
from curate.pixels.layers import Layer, Reading, runs
from curate.pixels.windows import ChipGrid

EPSG = 32633
LEFT, TOP = 600_000.0, 5_000_040.0
CHIP = 120


def read_band(
    href: str,
    nodata: float | None,
    chips: ChipGrid,
    resampling: str,
    usual: float | None = None,
    power: bool = False,
) -> np.ndarray:
    """All chips in one batch; a chip that cannot be read is an error."""
    layer = Layer(Reading(href, nodata, usual, resampling, power), chips, np.zeros(len(chips.left), int))
    layer.load(0)
    values, failed = layer.take(0)
    for why in failed.values():
        raise InputError(why)
    return values


def write(
    path: Path,
    values: np.ndarray,
    resolution: float,
    left: float = LEFT,
    top: float = TOP,
    nodata: float | None = 0,
    epsg: int = EPSG,
    **options: object,
) -> str:
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype=values.dtype, crs=f"EPSG:{epsg}",
        transform=Affine(resolution, 0, left, 0, -resolution, top), nodata=nodata, **options,
    ) as file:  # fmt: skip
        file.write(values, 1)
    return str(path)


def grid(cols: object, rows: object, px: int = CHIP, resolution: float = 10.0, epsg: int = EPSG) -> ChipGrid:
    """Chips at whole chip steps from the raster's corner."""
    step = px * resolution
    return ChipGrid(
        epsg, px, resolution, LEFT + step * np.asarray(cols, float), TOP - step * np.asarray(rows, float)
    )


def noise(seed: int, height: int, width: int, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 10_000, (height, width)).astype(dtype)


def cut(values: np.ndarray, chips: ChipGrid, left: float = LEFT, top: float = TOP) -> np.ndarray:
    """Chips out of an array that lies on their grid."""
    step, size = chips.resolution_m, chips.size_px
    rows, cols = (
        np.round((top - chips.top) / step).astype(int),
        np.round((chips.left - left) / step).astype(int),
    )
    return np.stack([values[r : r + size, c : c + size] for r, c in zip(rows, cols, strict=True)])


def upsampled(values: np.ndarray, factor: int) -> np.ndarray:
    """Bilinear interpolation at the centres of the finer pixels, by scipy; the border is repeated."""
    height, width = (side * factor for side in values.shape)
    rows, cols = (np.arange(height) + 0.5) / factor - 0.5, (np.arange(width) + 0.5) / factor - 0.5
    return ndimage.map_coordinates(
        values.astype(float), np.meshgrid(rows, cols, indexing="ij"), order=1, mode="nearest"
    )


def test_an_aligned_band_is_read_as_it_is(tmp_path: Path) -> None:
    values = noise(1, 600, 480)
    chips = grid([0, 1, 3, 2], [0, 4, 2, 2])
    found = read_band(write(tmp_path / "b.tif", values, 10), 0, chips, "bilinear")
    assert found.shape == (4, CHIP, CHIP)
    assert np.array_equal(found, cut(values, chips))


@pytest.mark.parametrize("resolution", [20, 60])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("tiled", [True, False])
def test_a_coarser_band_is_interpolated_with_its_neighbours_outside_the_chip(
    resolution: int, dtype: str, tiled: bool, tmp_path: Path
) -> None:
    factor = resolution // 10
    values = noise(2, 600 // factor, 600 // factor, dtype)
    chips = grid([0, 1, 2, 1, 4], [0, 1, 1, 2, 4])
    options = {"tiled": True, "blockxsize": 16, "blockysize": 16} if tiled else {}
    found = read_band(write(tmp_path / "b.tif", values, resolution, **options), 0, chips, "bilinear")
    expected = cut(upsampled(values, factor), chips)
    # GDAL rounds to the file's type: half a DN, 0.00005 of reflectance
    assert np.abs(found - expected).max() <= (0.5 + 1e-6 if dtype == "uint16" else 0.01)


@pytest.mark.parametrize("resolution", [20, 60])
def test_neighbouring_chips_are_seamless(resolution: int, tmp_path: Path) -> None:
    factor = resolution // 10
    href = write(tmp_path / "b.tif", noise(3, 600 // factor, 600 // factor, "float32"), resolution)
    small = read_band(href, 0, grid([0, 1, 0, 1], [0, 0, 1, 1]), "bilinear")
    large = read_band(href, 0, grid([0], [0], px=240), "bilinear")
    mosaic = np.block([[small[0], small[1]], [small[2], small[3]]])
    assert np.abs(mosaic - large[0]).max() < 3e-3  # float32 of numbers up to 10,000


def test_cubic_and_nearest_are_what_they_say(tmp_path: Path) -> None:
    values = noise(4, 100, 100)
    href = write(tmp_path / "b.tif", values, 20)
    chips = grid([0], [0])
    nearest = read_band(href, 0, chips, "nearest")
    assert np.array_equal(nearest[0], np.kron(values, np.ones((2, 2)))[:CHIP, :CHIP])
    rows, cols = np.mgrid[0:100, 0:100]
    plane = (1000 + 3 * cols + 5 * rows).astype("float32")
    cubic = read_band(write(tmp_path / "plane.tif", plane, 20), 0, grid([0], [0], px=60), "cubic")
    inner = upsampled(plane, 2)[:60, :60]
    assert np.abs(cubic[0] - inner)[4:-4, 4:-4].max() < 0.01  # a cubic keeps planes


def field(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth field in metres of zone 33, hundreds of DN over a chip."""
    return 5000 + 2000 * np.sin((x - LEFT) / 900) + 1500 * np.cos((y - TOP) / 700)


def centres(left: float, top: float, step: float, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.meshgrid(left + (np.arange(width) + 0.5) * step, top - (np.arange(height) + 0.5) * step)


@pytest.mark.parametrize(("dx", "dy"), [(3.7, 0.0), (5.0, -5.0), (0.4, 9.1)])
def test_a_grid_with_fractional_offset_is_interpolated(dx: float, dy: float, tmp_path: Path) -> None:
    left, top = LEFT - 200 + dx, TOP + 200 + dy
    values = field(*centres(left, top, 10, 400, 400)).astype("float32")
    chips = grid([0, 1, 2], [0, 1, 0])
    found = read_band(write(tmp_path / "b.tif", values, 10, left, top), 0, chips, "bilinear")
    for i in range(3):
        expected = field(*centres(chips.left[i], chips.top[i], 10, CHIP, CHIP))
        assert np.abs(found[i] - expected).max() < 0.5  # curvature of the field within a pixel
    # and against scipy, which knows no projection
    rows = (top - (chips.top[0] - (np.arange(CHIP) + 0.5) * 10)) / 10 - 0.5
    cols = ((chips.left[0] + (np.arange(CHIP) + 0.5) * 10) - left) / 10 - 0.5
    exact = ndimage.map_coordinates(values, np.meshgrid(rows, cols, indexing="ij"), order=1, output=float)
    assert np.abs(found[0] - exact).max() < 0.05


@pytest.mark.parametrize("epsg", [32634, 32632, 4326])
def test_a_band_in_another_projection_is_warped(epsg: int, tmp_path: Path) -> None:
    chips = grid([0, 1], [0, 1])
    forward = Transformer.from_crs(EPSG, epsg, always_xy=True)
    step = 1e-4 if epsg == 4326 else 10.0
    x, y = forward.transform([LEFT, LEFT + 2400, LEFT, LEFT + 2400], [TOP, TOP, TOP - 2400, TOP - 2400])
    left, top = min(x) - 40 * step, max(y) + 40 * step
    height, width = int((top - min(y)) / step) + 40, int((max(x) - left) / step) + 40
    back = Transformer.from_crs(epsg, EPSG, always_xy=True)
    values = field(*back.transform(*centres(left, top, step, height, width))).astype("float32")
    href = write(tmp_path / "b.tif", values, step, left, top, epsg=epsg)
    found = read_band(href, 0, chips, "bilinear")
    for i in range(2):
        expected = field(*centres(chips.left[i], chips.top[i], 10, CHIP, CHIP))
        # DN; the field has up to 3 DN a metre. Pixels of 1e-4 degrees are narrower than 10 m and are averaged
        assert np.abs(found[i] - expected).max() < (2 if epsg == 4326 else 0.2)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_band_without_a_projection_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "b.tif"
    with rasterio.open(path, "w", driver="GTiff", height=50, width=50, count=1, dtype="uint16") as file:
        file.write(noise(1, 50, 50), 1)
    with pytest.raises(InputError, match="no coordinate reference system"):
        read_band(str(path), 0, grid([0], [0]), "bilinear")


@pytest.mark.parametrize("declared", ["file", "item", "both"])
def test_nodata_is_nan(declared: str, tmp_path: Path) -> None:
    values = noise(5, 240, 240)
    values[30:60, 40:50] = 7
    values[200, 200] = 7
    in_file, said = (7 if declared != "item" else None), (7.0 if declared != "file" else None)
    chips = grid([0, 1], [0, 1])
    found = read_band(write(tmp_path / "b.tif", values, 10, nodata=in_file), said, chips, "bilinear")
    expected = cut(np.where(values == 7, np.nan, values.astype(float)), chips)
    assert np.isnan(found).sum() >= 301
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert np.nanmax(np.abs(found - expected)) < 1e-6


def test_nan_is_no_data_whatever_is_declared(tmp_path: Path) -> None:
    values = noise(6, 120, 120, "float32")
    values[:10] = np.nan
    for nodata in (None, float("nan"), -9999.0):
        found = read_band(
            write(tmp_path / f"{nodata}.tif", values, 10, nodata=nodata), None, grid([0], [0]), "bilinear"
        )
        assert np.isnan(found[0, :10]).all() and not np.isnan(found[0, 10:]).any()


@pytest.mark.parametrize("said", [0.0, None])
def test_nodata_does_not_bleed_into_interpolated_values(said: float | None, tmp_path: Path) -> None:
    values = np.full((120, 120), 5000, np.uint16)
    values[40:80, 40:80] = 0
    found = read_band(write(tmp_path / "b.tif", values, 20, nodata=0), said, grid([0, 1], [0, 1]), "bilinear")
    assert set(np.unique(found[~np.isnan(found)])) == {5000.0}
    assert np.isnan(found[0, 90:, 90:]).all()


@pytest.mark.parametrize("resolution", [10, 20, 60])
def test_a_chip_partly_outside_the_raster_has_no_data_there(resolution: int, tmp_path: Path) -> None:
    factor = resolution // 10
    values = noise(7, 240 // factor, 240 // factor, "float32")
    chips = ChipGrid(EPSG, CHIP, 10.0, np.array([LEFT + 1800.0, LEFT - 600.0]), np.array([TOP - 1800.0, TOP]))
    found = read_band(write(tmp_path / "b.tif", values, resolution), 0, chips, "bilinear")
    fine = upsampled(values, factor) if factor > 1 else values
    assert np.isnan(found[0, 60:]).all() and np.isnan(found[0, :, 60:]).all()
    assert np.abs(found[0, :60, :60] - fine[180:240, 180:240]).max() < 0.01
    assert np.isnan(found[1, :, :60]).all()
    assert np.abs(found[1, :, 60:] - fine[:120, :60]).max() < 0.01


def test_a_chip_wholly_outside_has_no_data(tmp_path: Path) -> None:
    href = write(tmp_path / "b.tif", noise(8, 120, 120), 10)
    assert np.isnan(read_band(href, 0, grid([50], [50]), "bilinear")).all()
    assert np.isnan(read_band(href, None, grid([50], [50]), "bilinear")).all()


@pytest.mark.parametrize("resolution", [10, 20, 60])
def test_a_chips_pixels_do_not_depend_on_the_chips_read_beside_it(resolution: int, tmp_path: Path) -> None:
    """Else a catalog would change with the budget, because other chips share the shard."""
    href = write(tmp_path / "b.tif", noise(9, 2400 // resolution, 2400 // resolution), resolution)
    beside = ChipGrid(
        EPSG, CHIP, 10.0, np.array([LEFT + 1200.0, LEFT - 5 * 1200.0]), np.array([TOP, TOP + 6000.0])
    )
    together, alone = (read_band(href, 0, chips, "bilinear")[0] for chips in (beside, grid([1], [0])))
    assert np.array_equal(together, alone)


def test_nor_do_they_where_the_band_is_warped(tmp_path: Path) -> None:
    left, top = Transformer.from_crs(EPSG, 32634, always_xy=True).transform(LEFT - 500, TOP + 500)
    href = write(tmp_path / "b.tif", noise(10, 600, 600), 10, left - 200, top + 200, epsg=32634)
    for first in range(3):
        together = read_band(href, 0, grid([1, first, 2], [1, 2, first]), "bilinear")[0]
        assert np.array_equal(together, read_band(href, 0, grid([1], [1]), "bilinear")[0], equal_nan=True)


def test_a_finer_band_is_averaged(tmp_path: Path) -> None:
    values = noise(11, 480, 480, "float32")
    chips = grid([0, 1], [0, 1])
    found = read_band(write(tmp_path / "b.tif", values, 5), 0, chips, "bilinear")
    means = values.astype(float).reshape(240, 2, 240, 2).mean(axis=(1, 3))
    assert np.abs(found - cut(means, chips)).max() < 0.01


def test_codes_are_never_mixed(tmp_path: Path) -> None:
    codes = np.random.default_rng(12).choice([3, 8, 11], (240, 240)).astype(np.uint8)
    found = read_band(write(tmp_path / "b.tif", codes, 5), None, grid([0], [0]), "nearest")
    assert set(np.unique(found)) <= {3, 8, 11}


@pytest.mark.parametrize("place", [grid([0, 3], [0, 3]), grid([3.05], [3.05])], ids=["aligned", "warped"])
def test_a_truncated_file_raises(place: ChipGrid, tmp_path: Path) -> None:
    path = Path(write(tmp_path / "b.tif", noise(13, 600, 600), 10, tiled=True, compress="deflate"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 5])
    with pytest.raises((RasterioError, InputError)):
        read_band(str(path), 0, place, "bilinear")


@pytest.mark.parametrize(
    "make", [lambda p: None, lambda p: p.write_bytes(b""), lambda p: p.write_text("II*")]
)
def test_what_is_no_raster_is_bad_input(make: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "b.tif"
    make(path)
    with pytest.raises(InputError, match=r"b\.tif"):
        read_band(str(path), 0, grid([0], [0]), "bilinear")


@pytest.mark.real
def test_real_bands_of_three_resolutions_against_plain_reads(real_data: Path) -> None:
    folder = next((real_data / "archive" / "sentinel-2-l2a").glob("S2A_MSIL2A_20170613T101031_87_48"))
    with rasterio.open(folder / "B04.tif") as file:
        values, transform, epsg = file.read(1), file.transform, file.crs.to_epsg()
    chips = ChipGrid(epsg, 60, 10.0, np.array([transform.c + 300]), np.array([transform.f - 300]))
    found = read_band(str(folder / "B04.tif"), 0, chips, "bilinear")
    assert np.array_equal(found[0], values[30:90, 30:90])
    with rasterio.open(folder / "B05.tif") as file:
        coarse = upsampled(file.read(1), 2)
    assert (
        np.abs(read_band(str(folder / "B05.tif"), 0, chips, "bilinear")[0] - coarse[30:90, 30:90]).max()
        <= 0.5
    )


def complex_noise(seed: int, height: int, width: int) -> np.ndarray:
    parts = np.random.default_rng(seed).normal(0, 0.3, (2, height, width))
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def test_complex_numbers_are_read_as_power(tmp_path: Path) -> None:
    values = complex_noise(5, 300, 300)
    values[7, 9] = 0
    path = write(tmp_path / "slc.tif", values, 10)
    chips = grid([0, 1], [1, 0])
    expected = np.abs(cut(values, chips).astype(np.complex128)) ** 2
    expected[expected == 0] = np.nan
    found = read_band(path, 0, chips, "bilinear", power=True)
    assert np.allclose(found, expected, rtol=1e-6, equal_nan=True)


def test_power_is_averaged_not_the_complex_numbers(tmp_path: Path) -> None:
    """Phases are random: the mean of the numbers themselves would tend to nothing."""
    values = complex_noise(6, 600, 600)
    path = write(tmp_path / "slc.tif", values, 5, nodata=None)
    found = read_band(path, None, grid([0], [0]), "bilinear", power=True)
    power = np.abs(values[:240, :240].astype(np.complex128)) ** 2
    assert np.allclose(found[0], power.reshape(120, 2, 120, 2).mean((1, 3)))


def test_power_in_another_zone(tmp_path: Path) -> None:
    power = np.full((400, 400), 0.04) + np.linspace(0, 0.04, 400)[:, None]
    path = write(tmp_path / "slc.tif", np.sqrt(power).astype(np.complex64) * 1j, 10, nodata=None)
    x, y = Transformer.from_crs(32633, 32634, always_xy=True).transform(LEFT + 2000, TOP - 2000)
    chips = ChipGrid(32634, 60, 10.0, np.array([x - 300]), np.array([y + 300]))
    found = read_band(path, None, chips, "bilinear", power=True)
    assert np.nanmean(found) == pytest.approx(0.06, abs=0.001) and not np.isnan(found).any()


def test_a_chip_beyond_a_complex_band_has_no_data(tmp_path: Path) -> None:
    path = write(tmp_path / "slc.tif", complex_noise(7, 130, 130), 10, nodata=None)
    found = read_band(path, None, grid([0, 5], [0, 5]), "bilinear", power=True)
    assert not np.isnan(found[0]).any() and np.isnan(found[1]).all()


def test_complex_numbers_that_nobody_announced_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "slc.tif", complex_noise(8, 130, 130), 10)
    with pytest.raises(InputError, match="complex"):
        read_band(path, None, grid([0], [0]), "bilinear")
    real = write(tmp_path / "real.tif", noise(8, 130, 130), 10)
    with pytest.raises(InputError, match="not complex"):
        read_band(real, None, grid([0], [0]), "bilinear", power=True)


@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9))), st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_runs_cover_every_unit_once_and_nothing_else(units: set[tuple[int, int]], most: int) -> None:
    found = runs(list(units), most)
    covered = [
        (y, x) for top, bottom, left, right in found for y in range(top, bottom) for x in range(left, right)
    ]
    assert sorted(covered) == sorted(units)
    assert all((bottom - top) * (right - left) <= most for top, bottom, left, right in found)


@pytest.mark.parametrize("resolution", [10, 20, 60])
@pytest.mark.parametrize("per_batch", [3, 10, 100])
def test_every_block_is_read_once_and_dropped_when_no_chip_needs_it(
    resolution: int, per_batch: int, tmp_path: Path
) -> None:
    """Whatever the batches and the order in which threads load them."""
    size = 12_000 // resolution
    path = write(
        tmp_path / "b.tif", noise(21, size, size), resolution, tiled=True, blockxsize=256, blockysize=256
    )
    rows, cols = np.divmod(np.arange(100), 10)
    chips = grid(cols, rows)
    batch = np.arange(100) // per_batch
    layer = Layer(Reading(path, 0, None, "bilinear"), chips, batch)
    for number in np.random.default_rng(1).permutation(batch[-1] + 1).tolist():
        layer.load(number)
    found = np.concatenate([layer.take(number)[0] for number in range(batch[-1] + 1)])
    assert layer.decoded == (-(-size // 256)) ** 2
    assert (layer._place < 0).all() and len(layer._free) == len(layer._held)
    assert np.array_equal(found, read_band(path, 0, chips, "bilinear"))


def test_a_missing_pixel_leaves_its_neighbours_their_own_values(tmp_path: Path) -> None:
    values = np.full((120, 120), 100, np.uint16)
    values[10, 10] = 0
    for method in ("bilinear", "cubic"):
        found = read_band(write(tmp_path / "b.tif", values, 20), 0, grid([0], [0]), method)[0]
        assert np.isnan(found[20:22, 20:22]).all() and np.isnan(found).sum() == 4
        assert np.abs(found[~np.isnan(found)] - 100).max() < 1e-3
