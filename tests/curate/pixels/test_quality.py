"""Which chips may stay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from curate.catalog import SensorInfo
from curate.pixels import quality as of
from curate.pixels.quality import Quality, clouds, share
from curate.radiometry import NOISE_FLOOR_DB, to_decibel
from curate.scenes import Rejected, scene
from curate.sensors import SENSORS, Sensor

S2, S1, DEM = SENSORS["sentinel-2-l2a"], SENSORS["sentinel-1-rtc"], SENSORS["cop-dem-glo-30"]


def stored(values: np.ndarray, sensor: Sensor) -> tuple[np.ndarray, SensorInfo]:
    """Physical values, NaN where no data is, as a shard would hold them."""
    names = tuple(band.name for band in sensor.bands) * values.shape[1]
    info = sensor.stored_info(names[: values.shape[1]], "bilinear")
    limits = np.iinfo(info.dtype)
    numbers = np.clip(np.rint(np.nan_to_num(values) / info.scale), sensor.stored.lowest, limits.max)
    return np.where(np.isnan(values), info.nodata, numbers).astype(info.dtype), info


def assess(values: np.ndarray, cloud: np.ndarray | None) -> Quality:
    """Quality by pixels that have data in every band and, where there is one, in the mask."""
    data = ~np.isnan(values).any(axis=1)
    if cloud is None:
        return Quality(share(data), np.full(len(values), np.nan, np.float32))
    return Quality(share(data & (cloud != of.NO_DATA)), share(cloud == of.CLOUD))


def refuse(
    quality: Quality, values: np.ndarray, sensor: Sensor, min_valid: float, max_cloud: float
) -> list[str | None]:
    return of.refuse(quality, *stored(values, sensor), sensor, min_valid, max_cloud)


def constant_share(values: np.ndarray) -> np.ndarray:
    pixels, info = stored(values, S1)
    return of.constant_share(pixels, info.nodata)


def implausible(values: np.ndarray) -> np.ndarray:
    return of.implausible(*stored(values, S1))


def chips(count: int = 1, bands: int = 2, px: int = 10) -> np.ndarray:
    return np.random.default_rng(1).uniform(0.1, 0.5, (count, bands, px, px))


def backscatter(count: int = 1, bands: int = 2, px: int = 64, mean_db: float = -12.0) -> np.ndarray:
    """Multilook speckle around one mean."""
    power = np.random.default_rng(2).gamma(4.4, 10 ** (mean_db / 10) / 4.4, (count, bands, px, px))
    return 10 * np.log10(power)


def test_the_mask_tells_clouds_and_holes() -> None:
    codes = np.full((1, 10, 10), 4.0)
    codes[0, 0, :4] = (3, 8, 9, 10)  # shadow, cloud, cirrus
    codes[0, 1, :3] = (11, 6, 7)  # snow, water, unclassified are no clouds
    codes[0, 2, :2] = (0, np.nan)
    assert S2.mask is not None
    quality = assess(chips(), clouds(codes, S2.mask))
    assert quality.cloud[0] == pytest.approx(0.04)
    assert quality.valid[0] == pytest.approx(0.98)


@pytest.mark.parametrize(
    ("name", "codes", "expected"),
    [
        # USGS QA_PIXEL: fill; clear land; clear water; cloud with high confidence; shadow; cirrus; dilated; snow
        (
            "landsat-c2-l2",
            [1, 21824, 21952, 22280, 23888, 54596, 21826, 30048],
            [of.NO_DATA, 0, 0, 1, 1, 1, 1, 0],
        ),
        # HLS Fmask: clear; water; cloud; shadow; next to a cloud; high aerosol; snow; fill
        ("hls2-s30", [0, 32, 2, 8, 4, 192, 16, 255], [0, 0, 1, 1, 0, 0, 0, of.NO_DATA]),
        # MODIS state: clear land, cloudy, mixed, state not set, shadow, cirrus small, average, own algorithm, fill
        (
            "modis-09A1-061",
            [8, 9, 10, 11, 12, 8 + 256, 8 + 512, 8 + 1024, 65535],
            [0, 1, 1, 0, 1, 0, 1, 1, of.NO_DATA],
        ),
    ],
)
def test_masks_by_bits(name: str, codes: list[int], expected: list[int]) -> None:
    mask = SENSORS[name].mask
    assert mask is not None
    found = clouds(np.array(codes, np.float64), mask)
    assert found.tolist() == expected


@pytest.mark.real
def test_the_mask_of_a_real_landsat_scene(real_data: Path) -> None:
    (path,) = (real_data / "archive" / "landsat-c2-l2").glob("LC08_L2SP_*/QA_PIXEL.tif")
    with rasterio.open(path) as file:
        codes = file.read(1)
    item = json.loads(next(path.parent.glob("*.json")).read_text())
    mask = SENSORS["landsat-c2-l2"].mask
    assert mask is not None
    found = clouds(codes.astype(np.float64), mask)
    assert np.array_equal(found == of.NO_DATA, codes == 1)
    assert 100 * (found[codes != 1] == of.CLOUD).mean() == pytest.approx(
        item["properties"]["eo:cloud_cover"], abs=5
    )


@pytest.mark.parametrize(("missing", "kept"), [(0, True), (1, True), (2, False), (100, False)])
def test_the_share_of_data_is_inclusive(missing: int, kept: bool) -> None:
    values = chips()
    values.reshape(1, 2, -1)[0, 0, :missing] = np.nan
    quality = assess(values, None)
    assert refuse(quality, values, S2, 0.99, 0.2) == [None if kept else "s2: no data"]


@pytest.mark.parametrize(("cloudy", "kept"), [(0, True), (20, True), (21, False)])
def test_the_share_of_cloud_is_inclusive(cloudy: int, kept: bool) -> None:
    cloud = np.zeros((1, 100))
    cloud[0, :cloudy] = 1
    values = chips()
    quality = assess(values, cloud.reshape(1, 10, 10))
    assert refuse(quality, values, S2, 0.99, 0.2) == [None if kept else "s2: cloud"]


def test_constant_backscatter_is_refused_in_radar_only() -> None:
    values = backscatter(3, px=10)
    values[1, 1] = -12.0
    values[2, 0, 3, 3] = np.nan
    reasons = [None, "s1: constant backscatter", None]
    assert refuse(assess(values, None), values, S1, 0.9, 0.2) == reasons
    assert refuse(assess(values, None), values, DEM, 0.9, 0.2) == [None] * 3


@pytest.mark.parametrize(("rows", "kept"), [(0, True), (7, True), (8, False), (32, False), (64, False)])
def test_a_chip_with_a_filled_block_is_refused(rows: int, kept: bool) -> None:
    values = backscatter()
    values[0, 1, :rows] = NOISE_FLOOR_DB
    assert constant_share(values)[0] == (rows // 8) / 8
    reason = None if kept else "s1: constant backscatter"
    assert refuse(assess(values, None), values, S1, 0.99, 0.2) == [reason]


def test_single_pixels_below_the_noise_floor_are_no_filled_block() -> None:
    values = backscatter(mean_db=-30.0)
    lost = np.random.default_rng(3).random(values.shape) < 0.5  # calm water after noise removal
    values[lost] = NOISE_FLOOR_DB
    assert refuse(assess(values, None), values, S1, 0.99, 0.2) == [None]


def test_missing_pixels_are_no_filled_block() -> None:
    values = backscatter()
    values[0, :, :8] = np.nan
    assert constant_share(values)[0] == 0
    assert refuse(assess(values, None), values, S1, 0.8, 0.2) == [None]


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        (backscatter(), False),
        (backscatter(mean_db=-35), False),  # water across the polarisation
        (backscatter(mean_db=5), False),  # city
        (10 ** (backscatter() / 10), True),  # linear power taken for dB
        (10 ** (backscatter() / 20), True),  # amplitude taken for dB
        (backscatter() + 83, True),  # numbers of which 83 should have been taken
        (backscatter(mean_db=25), True),  # uncalibrated numbers taken for power
        (backscatter() * 100, True),  # hundredths of dB taken for dB
        (np.full((1, 2, 64, 64), np.nan), False),  # no data is another reason
    ],
)
def test_backscatter_that_cannot_be_true(
    values: np.ndarray, wrong: bool, recwarn: pytest.WarningsRecorder
) -> None:
    assert implausible(values).tolist() == [wrong]
    if not np.isnan(values).all():
        reason = "s1: implausible backscatter" if wrong else None
        assert refuse(assess(values, None), values, S1, 0.99, 0.2) == [reason]
    assert not recwarn.list


def test_one_band_that_cannot_be_true_is_enough() -> None:
    values = backscatter(2)
    values[1, 1] += 60
    assert implausible(values).tolist() == [False, True]


def test_no_data_comes_first_and_raises_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    values = np.full((1, 2, 10, 10), np.nan)
    assert refuse(assess(values, None), values, S1, 0.99, 0.2) == ["s1: no data"]
    assert refuse(assess(values, np.ones((1, 10, 10))), values, S2, 0.99, 0.2) == ["s2: no data"]
    assert not recwarn.list


def real_backscatter(folder: Path, sensor: Sensor) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Id, unit, numbers and dB of every radar scene of the sample archive, as one chip of one band."""
    for path in sorted(folder.glob(f"{sensor.name}/*/*.json")):
        row = scene(json.loads(path.read_text()), str(path), sensor, ("VV",))
        assert not isinstance(row, Rejected)
        (asset,) = row["assets"]
        with rasterio.open(asset["href"]) as file:
            numbers = file.read(1).astype(np.float64)[None, None]
            fill = asset["nodata"] if asset["nodata"] is not None else file.nodata
        if fill is not None:
            numbers[numbers == fill] = np.nan
        yield (
            row["id"],
            asset["unit"],
            numbers,
            to_decibel(numbers * asset["scale"] + asset["offset"], asset["unit"]),
        )


@pytest.mark.real
def test_no_real_radar_scene_is_taken_for_filled_or_implausible(real_data: Path) -> None:
    medians = {}
    for sensor in (SENSORS["sentinel-1-grd"], S1):
        for name, _, _, decibel in real_backscatter(real_data / "archive", sensor):
            quality = assess(decibel, None)
            assert refuse(quality, decibel, sensor, 0.2, 1.0) == [None], name
            medians[name] = float(np.nanmedian(decibel))
    assert len(medians) == 96
    assert min(medians.values()) > -20 and max(medians.values()) < -2


@pytest.mark.real
def test_real_radar_scenes_in_a_wrong_unit_are_refused(real_data: Path) -> None:
    wrong = 0
    for name, unit, numbers, decibel in real_backscatter(real_data / "archive", SENSORS["sentinel-1-grd"]):
        guesses = [10 ** (decibel / 10), 10 ** (decibel / 20)]  # linear numbers taken for dB
        if unit == "amplitude" or np.nanmax(np.abs(numbers)) > 1000:
            guesses.append(numbers)  # coded numbers taken for dB
            guesses.append(to_decibel(np.abs(numbers), "amplitude"))  # and for an amplitude without its scale
        for guess in guesses:
            assert implausible(guess).all(), name
            wrong += 1
    assert wrong >= 350


@pytest.mark.real
def test_uncalibrated_numbers_in_ground_range_are_refused_as_amplitude(real_data: Path) -> None:
    paths = list((real_data / "other" / "s1_grd_gcp").rglob("*.tif*"))
    assert paths
    for path in paths:
        with rasterio.open(path) as file:
            numbers = file.read(1).astype(np.float64)[None, None]
        numbers[numbers == 0] = np.nan
        assert implausible(to_decibel(numbers, "amplitude")).all()
