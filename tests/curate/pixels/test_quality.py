"""Which chips may stay."""

from __future__ import annotations

import numpy as np
import pytest

from curate.pixels.quality import assess, refuse
from curate.sensors import SENSORS

S2, S1, DEM = SENSORS["sentinel-2-l2a"], SENSORS["sentinel-1-rtc"], SENSORS["cop-dem-glo-30"]


def chips(count: int = 1, bands: int = 2, px: int = 10) -> np.ndarray:
    return np.random.default_rng(1).uniform(0.1, 0.5, (count, bands, px, px))


def test_a_pixel_counts_only_with_data_in_every_band() -> None:
    values = chips()
    values[0, 0, 0, :5] = np.nan
    values[0, 1, 0, 3:8] = np.nan
    quality = assess(values, None, S2)
    assert quality.valid[0] == pytest.approx(0.92)
    assert np.isnan(quality.cloud[0])


def test_the_mask_tells_clouds_and_holes() -> None:
    mask = np.full((1, 10, 10), 4.0)
    mask[0, 0, :4] = (3, 8, 9, 10)  # shadow, cloud, cirrus
    mask[0, 1, :3] = (11, 6, 7)  # snow, water, unclassified are no clouds
    mask[0, 2, :2] = (0, np.nan)
    quality = assess(chips(), mask, S2)
    assert quality.cloud[0] == pytest.approx(0.04)
    assert quality.valid[0] == pytest.approx(0.98)


@pytest.mark.parametrize(("missing", "kept"), [(0, True), (1, True), (2, False), (100, False)])
def test_the_share_of_data_is_inclusive(missing: int, kept: bool) -> None:
    values = chips()
    values.reshape(1, 2, -1)[0, 0, :missing] = np.nan
    quality = assess(values, None, S2)
    assert refuse(quality, values, S2, 0.99, 0.2) == [None if kept else "s2: no data"]


@pytest.mark.parametrize(("cloudy", "kept"), [(0, True), (20, True), (21, False)])
def test_the_share_of_cloud_is_inclusive(cloudy: int, kept: bool) -> None:
    mask = np.full((1, 100), 4.0)
    mask[0, :cloudy] = 9
    values = chips()
    quality = assess(values, mask.reshape(1, 10, 10), S2)
    assert refuse(quality, values, S2, 0.99, 0.2) == [None if kept else "s2: cloud"]


def test_constant_backscatter_is_refused_in_radar_only() -> None:
    values = chips(3)
    values[1, 1] = -12.0
    values[2, 0, 3, 3] = np.nan
    reasons = [None, "s1: constant backscatter", None]
    assert refuse(assess(values, None, S1), values, S1, 0.9, 0.2) == reasons
    assert refuse(assess(values, None, DEM), values, DEM, 0.9, 0.2) == [None] * 3


def test_no_data_comes_first_and_raises_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    values = np.full((1, 2, 10, 10), np.nan)
    assert refuse(assess(values, None, S1), values, S1, 0.99, 0.2) == ["s1: no data"]
    mask = np.full((1, 10, 10), 9.0)
    assert refuse(assess(values, mask, S2), values, S2, 0.99, 0.2) == ["s2: no data"]
    assert not recwarn.list
