"""Köppen-Geiger classes from monthly normals, against climates made by hand, a slow oracle, and real stations."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from curate.catalog.errors import InputError
from curate.descriptors.koppen import APR_SEP, DAYS, OCT_MAR, classify, classify_dataset
from curate.legends import KOPPEN_CODES, KOPPEN_SYMBOLS

SHARE = np.array([0, 0.1, 0.3, 0.5, 0.8, 0.95, 1, 0.95, 0.8, 0.5, 0.3, 0.1])  # of a northern year's warmth
SUMMER = np.isin(np.arange(12), APR_SEP)


def year(cold: float, hot: float) -> np.ndarray:
    """Temperatures from a cold January to a hot July; those between are nearer to the ends than the mean is."""
    return cold + (hot - cold) * SHARE


def rain(summer: float, winter: float, driest: float | None = None, month: int = 0) -> np.ndarray:
    """Precipitation of the same amount in the months of a half, apart from one month (counted from 0)."""
    p = np.where(SUMMER, float(summer), float(winter))
    if driest is not None:
        p[month] = driest
    return p


# One climate of each class, with the rule that decides; MAP and thresholds by hand.
CLIMATES: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "Af": (year(25, 27), rain(150, 150)),  # driest 150 >= 60
    "Am": (year(25, 27), rain(300, 200, 40)),  # MAP 2840: 40 >= 100 - 113.6
    "Aw": (year(22, 28), rain(200, 20)),  # MAP 1320: 20 < 100 - 52.8
    "BWh": (year(12, 32), rain(5, 5)),  # MAP 60 < 5 (2 * 22.5 + 14)
    "BWk": (year(-10, 24), rain(5, 5)),
    "BSh": (year(14, 30), rain(30, 30)),  # MAP 360: between 5 and 10 times 2 * 22.5 + 14
    "BSk": (year(-8, 22), rain(20, 20)),  # MAP 240: between 5 and 10 times 2 * 7.9 + 14
    "Csa": (year(8, 26), rain(10, 90)),  # driest summer month 10 < 40 and < 90 / 3
    "Csb": (year(7, 20), rain(10, 90)),
    "Csc": (year(1, 11), rain(20, 90)),  # three months over 10 °C
    "Cwa": (year(10, 28), rain(200, 10)),  # driest winter month 10 < 200 / 10
    "Cwb": (year(8, 21), rain(200, 10)),
    "Cwc": (year(1, 11), rain(200, 10)),
    "Cfa": (year(4, 26), rain(100, 80)),
    "Cfb": (year(3, 19), rain(70, 70)),
    "Cfc": (year(1, 11), rain(90, 90)),
    "Dsa": (year(-6, 26), rain(10, 90)),
    "Dsb": (year(-6, 20), rain(10, 90)),
    "Dsc": (year(-8, 11), rain(10, 90)),
    "Dsd": (year(-45, 12), rain(10, 90)),
    "Dwa": (year(-8, 26), rain(150, 10)),
    "Dwb": (year(-15, 20), rain(120, 5)),
    "Dwc": (year(-30, 12), rain(90, 5)),
    "Dwd": (year(-45, 12), rain(90, 5)),
    "Dfa": (year(-8, 25), rain(90, 60)),
    "Dfb": (year(-10, 20), rain(80, 50)),
    "Dfc": (year(-15, 12), rain(60, 40)),
    "Dfd": (year(-42, 12), rain(40, 30)),
    "ET": (year(-20, 6), rain(40, 30)),
    "EF": (year(-40, -3), rain(20, 20)),
}


def symbol(t: Any, p: Any) -> str:
    code = int(classify(np.asarray(t, float), np.asarray(p, float)))
    return KOPPEN_SYMBOLS[code - 1] if code else ""


def oracle(t: list[float], p: list[float]) -> str:
    """Class of one climate, read off table 1 of Peel et al. 2007 and table 2 of Beck et al. 2018 line by line."""
    summer, winter = APR_SEP, OCT_MAR
    if sum(t[i] for i in APR_SEP) <= sum(t[i] for i in OCT_MAR):
        summer, winter = winter, summer
    mean, annual, hot, cold = sum(t) / 12, sum(p), max(t), min(t)
    rain_summer, rain_winter = [p[i] for i in summer], [p[i] for i in winter]
    if annual and sum(rain_winter) / annual > 0.7:
        threshold = 2 * mean
    elif annual and sum(rain_summer) / annual > 0.7:
        threshold = 2 * mean + 28
    else:
        threshold = 2 * mean + 14
    if annual < 10 * threshold:
        return ("BW" if annual < 5 * threshold else "BS") + ("h" if mean >= 18 else "k")
    if hot <= 10:
        return "ET" if hot > 0 else "EF"
    if cold >= 18:
        if min(p) >= 60:
            return "Af"
        return "Am" if min(p) >= 100 - annual / 25 else "Aw"
    first = "C" if cold > 0 else "D"
    dry_summer = min(rain_summer) < 40 and min(rain_summer) < max(rain_winter) / 3
    dry_winter = min(rain_winter) < max(rain_summer) / 10
    if dry_summer and dry_winter:
        second = "w" if sum(rain_summer) > sum(rain_winter) else "s"
    elif dry_summer:
        second = "s"
    elif dry_winter:
        second = "w"
    else:
        second = "f"
    if hot >= 22:
        third = "a"
    elif sum(value > 10 for value in t) >= 4:
        third = "b"
    elif first == "D" and cold < -38:
        third = "d"
    else:
        third = "c"
    return first + second + third


def random_climates(cells: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Climates of all kinds: half on whole numbers, so that boundaries are met; shape (cells, 12)."""
    random = np.random.default_rng(seed)
    mean, swing = random.uniform(-30, 30, (cells, 1)), random.gamma(2, 6, (cells, 1))
    phase = random.choice([0, 6], (cells, 1)) + random.normal(0, 1, (cells, 1))
    wave = np.cos((np.arange(12) - phase) * np.pi / 6)
    t = np.clip(mean - swing * wave + random.normal(0, 1, (cells, 12)), -80, 50)
    season = random.uniform(-1, 1, (cells, 1))
    p = (
        random.gamma(1.5, 40, (cells, 1))
        * np.clip(1 - season * wave, 0, None)
        * random.gamma(4, 0.25, (cells, 12))
    )
    whole = np.arange(cells) % 2 == 0
    t[whole], p[whole] = np.round(t[whole]), np.round(p[whole])
    return t, p


def grid(cells: int = 60) -> xr.Dataset:
    """Random climates, months first, without units; none lies on a boundary."""
    t, p = (values[1::2] for values in random_climates(2 * cells))
    coords = {"lat": np.arange(6) * 0.5, "lon": np.arange(cells // 6) * 0.5, "month": np.arange(1, 13)}
    cubes = {name: (("lat", "lon", "month"), v.reshape(6, -1, 12)) for name, v in (("tas", t), ("pr", p))}
    return xr.Dataset(cubes, coords).transpose("month", ...)


def with_units(ds: xr.Dataset, **units: str) -> xr.Dataset:
    """The dataset with units, for which "" stands for none."""
    ds = ds.copy()
    for name in ("tas", "pr"):
        ds[name].attrs["units"] = units.get(name, {"tas": "degC", "pr": "mm"}[name])
    return ds


def reject(*_: Any, **__: Any) -> None:
    raise AssertionError("computed")


@pytest.mark.parametrize("expected", KOPPEN_SYMBOLS)
def test_a_climate_of_each_class_north_and_south(expected: str) -> None:
    t, p = CLIMATES[expected]
    assert symbol(t, p) == oracle(t.tolist(), p.tolist()) == expected
    assert symbol(np.roll(t, 6), np.roll(p, 6)) == expected


def test_the_oracle_agrees_on_climates_of_all_classes() -> None:
    t, p = random_climates(10_000)
    expected = [KOPPEN_CODES[oracle(*pair)] for pair in zip(t.tolist(), p.tolist(), strict=True)]
    np.testing.assert_array_equal(classify(t, p), expected)
    assert set(expected) == set(range(1, 31))


WET = rain(100, 100)


@pytest.mark.parametrize(
    ("t", "p", "expected"),
    [
        (year(18, 27), WET, "Af"),  # A: coldest >= 18
        (year(17.99, 27), WET, "Cfa"),
        (year(0.01, 19), WET, "Cfb"),  # C: coldest > 0
        (year(0, 19), WET, "Dfb"),
        (year(-30, 10), WET, "ET"),  # C, D: warmest > 10
        (year(-30, 10.01), WET, "Dfc"),
        (year(5, 10), WET, "ET"),  # also without a frost
        (year(-30, 0), WET, "EF"),  # T: warmest > 0
        (year(-30, 0.01), WET, "ET"),
        (year(5, 22), WET, "Cfa"),  # a: warmest >= 22
        (year(5, 21.99), WET, "Cfb"),
        ([5, 5, 5, 5, 5, 12, 12, 12, 10, 5, 5, 5], WET, "Cfc"),  # b: four months over 10, and 10 is not over
        ([5, 5, 5, 5, 5, 12, 12, 12, 10.01, 5, 5, 5], WET, "Cfb"),
        (year(-38, 12), WET, "Dfc"),  # d: coldest < -38
        (year(-38.01, 12), WET, "Dfd"),
        (year(-45, 22), WET, "Dfa"),  # a and b come before d
        ([-45, -40, -20, 0, 5, 11, 15, 14, 11, 0, -20, -40], WET, "Dfb"),
        (year(25, 27), rain(100, 100, 60), "Af"),  # f: driest >= 60
        (year(25, 27), rain(100, 100, 59.9), "Am"),  # m: 59.9 >= 100 - 1159.9 / 25
        (year(20, 22), [60] * 11 + [0], "Aw"),  # MAP 660: 0 < 73.6
        (year(20, 22), [145, 145, 145, 145, 145, 145, 145, 145, 145, 145, 0, 50], "Aw"),  # MAP 1500: 0 < 40
        (year(20, 22), [140, 140, 140, 140, 140, 140, 140, 140, 140, 140, 60, 40], "Am"),  # MAP 1500: 40 >= 40
        (year(20, 22), [140, 140, 140, 140, 140, 140, 140, 140, 140, 140, 61, 39], "Aw"),
        ([18] * 12, [25] * 12, "BSh"),  # h: MAT >= 18; MAP 300 >= 5 * 50
        ([17.99] * 12, [25] * 12, "BSk"),
        ([18] * 12, [20] * 12, "BWh"),  # MAP 240 < 5 * 50
        ([13] * 12, [20] * 12, "BSk"),  # S: MAP 240 = 6 * 40
        ([17] * 12, [20] * 12, "BSk"),  # MAP 240 = 5 * 48 is not desert
        ([17] * 12, [19.99] * 12, "BWk"),
        ([17] * 12, [40] * 12, "Cfb"),  # B: MAP < 10 * 48, and 480 is not
        ([17] * 12, [39.99] * 12, "BSk"),
        (year(5, 25), rain(40, 130), "Cfa"),  # s: driest in summer < 40
        (year(5, 25), rain(39.9, 130), "Csa"),
        (year(5, 25), rain(30, 90), "Cfa"),  # s: driest in summer < wettest in winter / 3
        (year(5, 25), rain(29.9, 90), "Csa"),
        (year(5, 20), rain(150, 15), "Cfb"),  # w: driest in winter < wettest in summer / 10
        (year(5, 20), rain(150, 14.9), "Cwb"),
        (year(-5, 20), rain(150, 14.9), "Dwb"),
        (year(5, 25), rain(56, 24), "Cfa"),  # MAT 15.5, MAP 480 >= 10 * (2 MAT + 14): 70 % in summer is not more
        (year(5, 25), rain(56.1, 24), "BSk"),  # more than 70 % in summer: MAP 480.6 < 10 * (2 MAT + 28)
        (year(5, 25), rain(21, 49), "BSk"),  # 70 % in winter is not more: MAP 420 < 10 * (2 MAT + 14)
        (year(5, 25), rain(21, 49.1), "Cfa"),  # more than 70 % in winter: MAP 420.6 >= 10 * 2 MAT
        ([-5] * 12, [0] * 12, "BWk"),  # a threshold of 4
        ([-7] * 12, [0] * 12, "EF"),  # a threshold of 0, and MAP is not less
    ],
)  # fmt: skip
def test_boundaries_belong_where_the_tables_say(t: Any, p: Any, expected: str) -> None:
    assert symbol(t, p) == oracle(list(map(float, t)), list(map(float, p))) == expected


@pytest.mark.parametrize(
    ("driest_summer", "driest_winter", "expected"), [(10, 5, "Cwa"), (5, 9, "Csa"), (5, 5, "Csa")]
)
def test_where_both_seasons_are_dry_the_one_with_less_rain_counts(
    driest_summer: float, driest_winter: float, expected: str
) -> None:
    p = rain(100, 100, driest_winter)
    p[6] = driest_summer
    assert symbol(year(5, 25), p) == expected


def test_where_no_half_is_warmer_october_to_march_is_summer() -> None:
    t, p = [15.0] * 12, rain(80, 10)
    assert symbol(t, p) == oracle(t, p.tolist()) == "Csb"
    assert symbol(t, np.roll(p, 6)) == "BSk"  # most falls in summer: MAP 540 < 10 * (2 MAT + 28)


@settings(max_examples=300, deadline=None)
@given(
    hnp.arrays(np.int64, (3, 12), elements=st.integers(-300, 200)),
    hnp.arrays(np.int64, (3, 12), elements=st.integers(0, 1200)),
)
def test_the_hemisphere_does_not_matter(t: np.ndarray, p: np.ndarray) -> None:
    t, p = t / 5, p / 3
    assume((t[:, APR_SEP].sum(axis=1) != t[:, OCT_MAR].sum(axis=1)).all())
    np.testing.assert_array_equal(classify(t, p), classify(np.roll(t, 6, axis=1), np.roll(p, 6, axis=1)))


@settings(max_examples=300, deadline=None)
@given(
    hnp.arrays(np.int64, (3, 12), elements=st.integers(-300, 200)),
    hnp.arrays(np.int64, (3, 12), elements=st.integers(0, 400)),
)
def test_every_climate_has_a_class_and_the_one_of_the_oracle(t: np.ndarray, p: np.ndarray) -> None:
    t = t / 4
    expected = [KOPPEN_CODES[oracle(*pair)] for pair in zip(t.tolist(), p.tolist(), strict=True)]
    assert classify(t, p).tolist() == expected


def test_months_may_be_first_or_last_and_arrays_of_any_shape_and_type() -> None:
    t, p = random_climates(70_000)  # more than one block
    codes = classify(t, p)
    assert codes.dtype == np.int8
    np.testing.assert_array_equal(classify(t.T, p.T), codes)
    np.testing.assert_array_equal(classify(t.T.copy(), p.T.copy()), codes)
    np.testing.assert_array_equal(classify(t.reshape(70, 1000, 12), p.reshape(70, 1000, 12)).ravel(), codes)
    np.testing.assert_array_equal(classify(t[::2].astype(int), p[::2].astype(int)), codes[::2])
    np.testing.assert_array_equal(classify(t[::2].astype("f4"), p[::2].astype("f4")), codes[::2])
    np.testing.assert_array_equal(classify(t[:12], p[:12], axis=1), codes[:12])
    np.testing.assert_array_equal(classify(t[:12].T, p[:12].T, axis=0), codes[:12])
    assert classify(t[0], p[0]).shape == ()
    assert classify(t[:0], p[:0]).shape == (0,)


def test_a_month_without_a_value_is_no_class() -> None:
    t, p = random_climates(50)
    codes = classify(t, p)
    for values, row, month in ((t, 3, 0), (p, 7, 6), (t, 9, 11)):
        values[row, month] = np.nan
        codes[row] = 0
    np.testing.assert_array_equal(classify(t, p), codes)
    masked = np.ma.masked_invalid(t).filled(-9999), np.ma.masked_invalid(p).filled(-9999)
    hidden = (np.ma.masked_equal(values, -9999) for values in masked)
    np.testing.assert_array_equal(classify(*hidden), codes)
    assert not classify(np.full((5, 12), np.nan), np.full((5, 12), np.nan)).any()


def test_memory_does_not_grow_with_the_cells() -> None:
    def peak(cells: int) -> int:
        t, p = np.zeros((12, cells), np.float32), np.full((12, cells), 50, np.float32)
        tracemalloc.start()
        classify(t, p)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    assert peak(400_000) - peak(200_000) < 300_000  # of 96 bytes a cell that come in, one goes out
    assert peak(200_000) < 64e6


def test_data_arrays_keep_their_grid_and_name_their_codes() -> None:
    ds = grid()
    ds["lat"].attrs["units"] = "degrees_north"
    codes = classify(ds["tas"], ds["pr"])
    assert (codes.name, codes.dtype, codes.dims) == ("koppen", np.int8, ("lat", "lon"))
    assert codes["lat"].attrs == {"units": "degrees_north"}
    assert codes.attrs["flag_meanings"].split()[1:] == list(KOPPEN_SYMBOLS)
    np.testing.assert_array_equal(codes, classify(ds["tas"].values, ds["pr"].values))
    xr.testing.assert_equal(classify(ds["tas"].transpose("lat", "month", "lon"), ds["pr"]), codes)
    scenarios = xr.concat([ds["pr"], 2 * ds["pr"]], "scenario")
    assert classify(ds["tas"], scenarios).sizes == {"lat": 6, "lon": 10, "scenario": 2}


def test_lazy_is_eager_and_stays_lazy() -> None:
    ds = with_units(grid(), tas="degC", pr="mm")
    expected = classify(ds["tas"], ds["pr"])
    chunked = ds.chunk(lat=4, lon=5, month=5)
    with dask.config.set(scheduler=reject):
        lazy = classify(chunked["tas"], chunked["pr"])
        half = classify(ds["tas"], chunked["pr"])
        whole = classify_dataset(chunked)
    assert lazy.chunksizes == {"lat": (4, 2), "lon": (5, 5)}
    for codes in (lazy, half, whole):
        assert codes.dtype == np.int8
        xr.testing.assert_identical(codes.compute(scheduler="threads"), expected)
    broken = chunked.assign(pr=chunked["pr"] - 1e4)
    with pytest.raises(InputError, match="Monthly pr has the value -"):
        classify_dataset(with_units(broken)).compute(scheduler="threads")


def test_months_are_put_in_order() -> None:
    ds = grid()
    expected = classify(ds["tas"], ds["pr"])
    other = ds.isel(month=np.random.default_rng(0).permutation(12))
    xr.testing.assert_identical(classify(other["tas"], ds["pr"]), expected)
    xr.testing.assert_identical(classify_dataset(with_units(other, pr="mm")), expected)
    plain = ds.drop_vars("month")
    xr.testing.assert_identical(classify(plain["tas"], ds["pr"]), expected)
    dates = np.arange("2001-01", "2002-01", dtype="datetime64[M]").astype("datetime64[ns]")
    xr.testing.assert_identical(classify_dataset(with_units(ds.assign_coords(month=dates))), expected)


@pytest.mark.parametrize(
    ("units", "per_day"),
    [("mm", False), ("mm/month", False), ("mm month-1", False), ("kg m-2", False), ("mm per month", False)]
    + [(units, True) for units in ("mm/day", "mm d-1", "mm day^-1", "mm / day", "kg m-2 d-1")]
    + [
        (units, True)
        for units in ("kg m-2 s-1", "kg m**-2 s**-1", "kg/m2/s", "mm/s", "m s-1", "m/s", "m/day")
    ],
)
def test_precipitation_in_other_units(units: str, per_day: bool) -> None:
    ds = grid()
    expected = classify(ds["tas"], ds["pr"])
    seconds = 86_400 if units.endswith(("s", "s-1", "s**-1")) else 1
    depth = 1000 if units.startswith(("m ", "m/")) else 1
    days = xr.DataArray(list(DAYS), dims="month") if per_day else 1
    ds["pr"] = ds["pr"] / days / seconds / depth
    shuffled = ds.isel(month=[6, 5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7])
    xr.testing.assert_identical(classify_dataset(with_units(ds, pr=units)), expected)
    xr.testing.assert_identical(classify_dataset(with_units(shuffled, pr=units)), expected)


@pytest.mark.parametrize("units", ["degC", "deg C", "Celsius", "degrees_Celsius", "°C", "C", "K", "kelvin"])
def test_temperature_in_other_units(units: str) -> None:
    ds = grid()
    expected = classify(ds["tas"], ds["pr"])
    ds["tas"] = ds["tas"] + (273.15 if units.lower().startswith("k") else 0)
    xr.testing.assert_identical(classify_dataset(with_units(ds, tas=units)), expected)
    swing = ds.rename(tas="tasmax").assign(tasmin=ds["tas"] - 8, tasmax=ds["tas"] + 8)
    for name in ("tasmin", "tasmax"):
        swing[name].attrs["units"] = units
    swing["pr"].attrs["units"] = "mm"
    xr.testing.assert_identical(classify_dataset(swing), expected)
    xr.testing.assert_identical(classify_dataset(swing, ("tasmin", "tasmax")), expected)


@pytest.mark.parametrize("units", ["", "degF", "m", "mm/year", "inches", "kg m-3 s-1", "mm d", "0.1 mm", "1"])
def test_unknown_units_are_refused_not_guessed(units: str) -> None:
    for name in ("tas", "pr"):
        with pytest.raises(InputError, match=rf"Variable {name} has .*units.* Set dataset\[\"{name}\"\]"):
            classify_dataset(with_units(grid(), **{name: units}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t, p: (t + 273.15, p), "temperature has the value .*°C: normals lie from -90 to 60 °C"),
        (lambda t, p: (t * 10, p), "temperature has the value"),
        (lambda t, p: (np.where(t > 5, -9999, t), p), "temperature has the value -9999"),
        (lambda t, p: (t, p - 500), "precipitation has the value -.*normals lie from 0 to 20000 mm"),
        (lambda t, p: (t, p + 1e20), "precipitation has the value 1e\\+20"),
        (lambda t, p: (t, np.where(p > 5, np.inf, p)), "precipitation has the value inf"),
        (lambda t, p: (t, p / 30 / 86_400), "wettest month of precipitation .* rate per second"),
        (lambda t, p: (t, p / 30 / 86_400_000), "wettest month of precipitation .* rate per second"),
        (lambda t, p: (t[:, :11], p[:, :11]), "no 12 months"),
        (lambda t, p: (t, p[:-1]), "precipitation \\(19, 12\\)"),
        (lambda t, p: (t[:12], p[:12]), "axis=0 or axis=-1"),
        (lambda t, p: (t[0, 0], p[0, 0]), "no 12 months"),
        (lambda t, p: (xr.DataArray(t), p), "Only one"),
        (lambda t, p: (xr.DataArray(t, dims=("x", "time")), xr.DataArray(p, dims=("x", "time"))), "groupby"),
    ],
)
def test_what_is_no_climate_is_refused(change: Callable[..., tuple[Any, Any]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        classify(*change(*random_climates(20)))


def test_cubes_that_do_not_fit_are_refused() -> None:
    ds = with_units(grid())
    with pytest.raises(InputError, match=r"has months \[0, 1.*expected are 1 to 12"):
        classify_dataset(ds.assign_coords(month=np.arange(12)))
    with pytest.raises(InputError, match="tas has no 12 months"):
        classify_dataset(ds.isel(month=slice(6)))
    with pytest.raises(InputError, match="different grids"):
        classify(ds["tas"], ds["pr"].assign_coords(lat=ds["lat"] + 0.25))
    with pytest.raises(InputError, match=r"no variable 'tmean'.*\['pr', 'tas'\]"):
        classify_dataset(ds, "tmean")
    with pytest.raises(InputError, match="no variable 'tp'"):
        classify_dataset(ds, precipitation="tp")


def test_rounding_below_zero_is_no_rain() -> None:
    t, p = CLIMATES["Csa"]
    assert symbol(t, np.where(p == 10, -1e-9, p)) == "Csa"


@pytest.mark.real
@pytest.mark.parametrize(("source", "classes", "main"), [("wc", 76.5, 88.3), ("cru", 74.5, 87.1)])
def test_stations_agree_with_the_map(source: str, classes: float, main: float, real_data: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(real_data / "climate" / "station_monthly_normals.parquet")
    t, p = (
        np.stack([table[f"{source}_{kind}{month:02}"].to_numpy() for month in range(1, 13)]) for kind in "tp"
    )
    beck, codes = table["beck2023_0p1"].to_numpy(), classify(t, p)
    both = (beck > 0) & (codes > 0)
    letter = np.array(["", *(name[0] for name in KOPPEN_SYMBOLS)])
    assert both.sum() > 23_000
    np.testing.assert_array_equal(codes > 0, ~np.isnan(t + p).any(axis=0))
    assert round(100 * float(np.mean(codes[both] == beck[both])), 1) >= classes
    assert round(100 * float(np.mean(letter[codes[both]] == letter[beck[both]])), 1) >= main
