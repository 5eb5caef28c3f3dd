"""What numbers mean: the decision on Sentinel-2's offset case by case, units of backscatter, declared scalings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.radiometry import (
    NOISE_FLOOR_DB,
    OFFSET_DN,
    Unknown,
    band_scaling,
    baseline_number,
    coded_decibel,
    described_unit,
    offset_by_dark,
    radar_unit,
    reflectance_offset,
    to_decibel,
)

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
        # a baseline that is no number says nothing, nor does one that stands for none
        ("v2", None, None, UNKNOWN),
        ("99.99", None, None, UNKNOWN),
        ("99.99", None, -0.1, -1000),
        ("N0400", None, None, -1000),
        ("N0400", None, 0.0, DISAGREE),
        ("N0214", None, None, 0),
        ("", None, None, UNKNOWN),
        (4.0, None, None, -1000),  # JSON number
    ],
)
def test_reflectance_offset(baseline: Any, applied: Any, declared: Any, expected: int | str) -> None:
    found = reflectance_offset(baseline, applied, declared, 1e-4)
    assert (found.reason if isinstance(found, Unknown) else found.dn) == expected
    assert OFFSET_DN == -1000


@pytest.mark.parametrize(
    ("baseline", "applied", "declared", "source", "doubtful"),
    [
        ("05.09", True, -0.1, "provider flag", False),
        ("05.09", False, -0.1, "provider flag", True),
        ("02.12", False, None, "baseline 02.12", False),
        (4, None, -0.1, "baseline 04.00", False),
        ("N0510", None, None, "baseline 05.10", False),
        (None, None, 0.0, "declared", False),
    ],
)
def test_what_decided_is_named(
    baseline: Any, applied: Any, declared: Any, source: str, doubtful: bool
) -> None:
    found = reflectance_offset(baseline, applied, declared, 1e-4)
    assert not isinstance(found, Unknown)
    assert (found.source, found.doubtful) == (source, doubtful)


@pytest.mark.parametrize(
    ("text", "number"),
    [("04.00", 4.0), ("05.11", 5.11), (5.09, 5.09), ("N0213", 2.13), ("3", 3.0), ("99.99", None)]
    + [(text, None) for text in (None, "", "N", "latest", "-1", "1.2.3", "nan", True)],
)
def test_baselines_as_numbers(text: Any, number: float | None) -> None:
    assert baseline_number(text) == number


VISIBLE, SWIR = 0.025, 0.05


@pytest.mark.parametrize(
    ("visible", "swir", "expected"),
    [
        (799, 5000, 0),
        (5000, 799, 0),
        (800, 5000, None),
        (1250, 1500, -1000),
        (1251, 1500, None),
        (1250, 1501, None),
        (None, 1010, None),  # one part of the spectrum is not enough
        (1010, None, None),
        (None, 300, 0),
        (None, None, None),
    ],
)
def test_what_dark_pixels_tell(visible: float | None, swir: float | None, expected: int | None) -> None:
    assert offset_by_dark([(visible, VISIBLE), (swir, SWIR)]) == expected


def test_dark_pixels_of_no_band_tell_nothing() -> None:
    assert offset_by_dark([]) is None


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
        ("complex", "", "complex"),
    ],
)
def test_radar_units(declared: str | None, default: str, unit: str) -> None:
    assert radar_unit(declared, default) == unit


@pytest.mark.parametrize("declared", [None, "", "DN", "m"])
def test_units_that_are_none(declared: str | None) -> None:
    assert isinstance(radar_unit(declared, ""), Unknown)


@given(st.floats(-49, 40))
def test_power_and_amplitude_give_the_same_decibel(decibel: float) -> None:
    power = np.array([10 ** (decibel / 10)])
    assert to_decibel(power, "power")[0] == pytest.approx(decibel, abs=1e-9)
    assert to_decibel(np.sqrt(power), "amplitude")[0] == pytest.approx(decibel, abs=1e-9)
    assert to_decibel(np.array([decibel]), "dB")[0] == decibel


@pytest.mark.parametrize("unit", ["power", "amplitude", "complex"])
def test_power_below_the_noise_floor_is_the_floor_and_missing_power_is_missing(unit: str) -> None:
    values = to_decibel(np.array([0.0, -1.0, 1e-30, 1.0, np.nan, np.inf]), unit)
    assert values[:4].tolist() == [NOISE_FLOOR_DB] * 3 + [0.0]
    assert np.isnan(values[4:]).all()


def test_decibel_stay_as_they_are_but_for_the_logarithm_of_nothing() -> None:
    values = to_decibel(np.array([-np.inf, -62.0, 0.0, np.nan, np.inf]), "dB")
    assert values[:3].tolist() == [NOISE_FLOOR_DB, -62.0, 0.0]
    assert np.isnan(values[3:]).all()


@pytest.mark.parametrize(
    ("text", "unit", "number", "decibel"),
    [
        ("coded: dB = 20*log10(DN) - 83", "amplitude", 3976, 20 * np.log10(3976) - 83),
        ("dB = 20 log10(DN)-83.0", "amplitude", 1000, -23.0),
        ("10*log10(DN) + 3", "power", 100, 23.0),
        ("10*LOG10(dn)", "power", 100, 20.0),
    ],
)
def test_formulas_for_decibel(text: str, unit: str, number: float, decibel: float) -> None:
    found = coded_decibel(text)
    assert found is not None and found[0] == unit
    assert to_decibel(np.array([number * found[1]]), unit)[0] == pytest.approx(decibel)


@pytest.mark.parametrize("text", [None, "", "dB", "log10(DN)", "20*log10(x) - 83"])
def test_what_is_no_formula(text: str | None) -> None:
    assert coded_decibel(text) is None


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("Sigma0 VV in dB", "dB"),
        ("Terrain-corrected gamma naught, linear", "power"),
        ("beta-nought amplitude", "amplitude"),
        ("Terrain-corrected gamma naught values", None),
        (
            "Amplitude of signal transmitted with vertical polarization",
            None,
        ),  # of a GRD product: not calibrated
        ("Actual SAR data", None),
        (None, None),
    ],
)
def test_units_in_descriptions(text: str | None, unit: str | None) -> None:
    assert described_unit(text) == unit


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
        (
            {"raster:bands": [{"scale": "x", "offset": [], "nodata": "none", "unit": 1}]},
            (None, None, None, None),
        ),
        (
            {"raster:bands": [{"scale": "1e-4", "offset": float("nan"), "nodata": "0"}]},
            (1e-4, None, 0.0, None),
        ),
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
