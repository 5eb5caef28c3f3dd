"""What numbers mean: the decision on Sentinel-2's offset case by case, units of backscatter, declared scalings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.radiometry import OFFSET_DN, Unknown, band_scaling, radar_unit, reflectance_offset, to_decibel

DISAGREE = "baseline and declared reflectance offset disagree"
UNKNOWN = "reflectance offset unknown"


@pytest.mark.parametrize(
    ("baseline", "applied", "declared", "expected"),
    [
        # the flag says that the provider has removed it: it decides, whatever else is said
        ("05.09", True, None, 0),
        ("05.09", True, -0.1, 0),
        ("02.12", True, None, 0),
        (None, True, None, 0),
        (None, True, -0.1, 0),
        # the flag says that it has not been removed
        ("05.09", False, None, -1000),
        ("05.09", False, -0.1, -1000),
        ("05.09", False, 0.0, -1000),  # bands left at their default
        ("02.12", False, None, 0),  # there never was one
        ("02.12", False, 0.0, 0),
        # no flag: baseline and declaration
        ("04.00", None, None, -1000),
        ("04.00", None, -0.1, -1000),
        ("05.11", None, -0.1, -1000),
        ("04.00", None, 0.0, DISAGREE),
        ("03.01", None, None, 0),
        ("03.01", None, 0.0, 0),
        ("03.01", None, -0.1, DISAGREE),
        ("03.01", False, -0.1, DISAGREE),
        ("04.00", None, -0.2, DISAGREE),
        # neither flag nor baseline: what is declared, or nothing
        (None, None, -0.1, -1000),
        (None, None, 0.0, 0),
        (None, False, -0.1, -1000),
        (None, None, None, UNKNOWN),
        (None, False, None, UNKNOWN),
        # a baseline that is no number says nothing
        ("N0400", None, None, UNKNOWN),
        ("N0400", None, -0.1, -1000),
        ("", None, None, UNKNOWN),
        (4.0, None, None, -1000),  # JSON number
    ],
)
def test_reflectance_offset(baseline: Any, applied: Any, declared: Any, expected: int | str) -> None:
    found = reflectance_offset(baseline, applied, declared, 1e-4)
    assert (found.reason if isinstance(found, Unknown) else found) == expected
    assert OFFSET_DN == -1000


@pytest.mark.parametrize(
    ("declared", "default", "unit"),
    [
        ("dB", "", "dB"),
        ("DB", "power", "dB"),
        ("decibels", "", "dB"),
        (None, "power", "power"),
        ("linear power", "", "power"),
        ("Amplitude", "power", "amplitude"),
        (" intensity ", "", "power"),
    ],
)
def test_radar_units(declared: str | None, default: str, unit: str) -> None:
    assert radar_unit(declared, default) == unit


@pytest.mark.parametrize("declared", [None, "", "DN", "m"])
def test_units_that_are_none(declared: str | None) -> None:
    assert isinstance(radar_unit(declared, ""), Unknown)


@given(st.floats(-60, 40))
def test_power_and_amplitude_give_the_same_decibel(decibel: float) -> None:
    power = np.array([10 ** (decibel / 10)])
    assert to_decibel(power, "power")[0] == pytest.approx(decibel, abs=1e-9)
    assert to_decibel(np.sqrt(power), "amplitude")[0] == pytest.approx(decibel, abs=1e-9)
    assert to_decibel(np.array([decibel]), "dB")[0] == decibel


def test_no_power_is_no_measurement() -> None:
    values = to_decibel(np.array([0.0, -1.0, np.nan, np.inf, 1.0]), "power")
    assert np.isnan(values[:4]).all()
    assert values[4] == 0.0


@pytest.mark.parametrize(
    ("asset", "expected"),
    [
        ({}, (None, None, None, None)),
        (
            {"raster:bands": [{"scale": 1e-4, "offset": -0.1, "nodata": 0, "unit": "1"}]},
            (1e-4, -0.1, 0.0, "1"),
        ),
        ({"raster:bands": [{"nodata": "nan"}]}, (None, None, "nan", None)),
        (
            {"bands": [{"raster:scale": 1e-4, "raster:offset": 0, "nodata": -32768}]},
            (1e-4, 0, -32768.0, None),
        ),
        # STAC 1.1: what all bands share may stand on the asset
        (
            {"bands": [{"name": "B02"}], "raster:scale": 2.0, "raster:offset": 1.0, "nodata": 0},
            (2.0, 1.0, 0.0, None),
        ),
        ({"bands": [{"raster:scale": 3.0}], "raster:scale": 2.0}, (3.0, None, None, None)),
        ({"raster:bands": []}, (None, None, None, None)),
        ({"raster:bands": [None]}, (None, None, None, None)),
        ({"raster:scale": 1e-4, "unit": "dB"}, (1e-4, None, None, "dB")),
        ({"raster:bands": [{"nodata": None}]}, (None, None, None, None)),
    ],
)
def test_declared_scalings(asset: dict[str, Any], expected: tuple[Any, ...]) -> None:
    found = band_scaling(asset)
    scale, offset, nodata, unit = expected
    assert (found["scale"], found["offset"], found["unit"]) == (scale, offset, unit)
    if nodata == "nan":
        assert np.isnan(found["nodata"])
    else:
        assert found["nodata"] == nodata
