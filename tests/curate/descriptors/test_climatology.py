"""A climate map from the user's own monthly normals, in the shapes in which such files come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from curate.catalog.errors import InputError
from curate.descriptors.climatic import open_map
from curate.descriptors.koppen import DAYS, classify

LAT, LON = np.arange(59.75, 30, -0.5), np.arange(-19.75, 20, 0.5)


def normals(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Temperature, °C, and precipitation, mm a month, shape (12, lat, lon); no data in one corner."""
    random = np.random.default_rng(seed)
    shape = (len(LAT), len(LON))
    warmth = 30 - 0.6 * (LAT - 30)[:, None] + random.normal(0, 3, shape)
    t = warmth - 12 * np.cos(np.arange(12) * np.pi / 6)[:, None, None]
    p = random.gamma(2, 30, (12, *shape))
    t[:, :10, :10] = np.nan
    return t, p


def dataset(t: np.ndarray, p: np.ndarray, t_units: str = "degC", p_units: str = "mm/month") -> xr.Dataset:
    grid = {"month": np.arange(1, 13), "lat": LAT, "lon": LON}
    dims = ("month", "lat", "lon")
    return xr.Dataset(
        {
            "tas": (dims, t, {"units": t_units}),
            "pr": (dims, p, {"units": p_units}),
        },
        grid,
    )


def saved(content: xr.Dataset, path: Path, engine: str = "h5netcdf") -> str:
    content.to_netcdf(path, engine=engine)
    return str(path)


def centres() -> tuple[np.ndarray, np.ndarray]:
    lon, lat = np.meshgrid(LON, LAT)
    return lon.ravel(), lat.ravel()


def test_points_have_the_class_of_their_cell(tmp_path: Path) -> None:
    t, p = normals()
    expected = classify(t, p)
    climate = open_map(saved(dataset(t, p), tmp_path / "normals.nc"))
    assert climate.frame.shape == (len(LAT), len(LON))
    np.testing.assert_array_equal(climate.codes, expected)
    found = climate.at(*centres())
    known = expected.ravel() > 0
    np.testing.assert_array_equal(found.code[known], expected.ravel()[known])
    assert len(np.unique(found.code)) > 5 and (~known).sum() == 100
    assert not found.nearest[known].any()


def test_the_file_may_be_in_another_order_and_other_units(tmp_path: Path) -> None:
    """South up, longitudes from 0 to 360, time for month, kelvin and kg m-2 s-1, the classic format."""
    t, p = normals()
    rate = p / (np.array(DAYS) * 86_400)[:, None, None]
    other = dataset(t + 273.15, rate, "K", "kg m-2 s-1")
    other = other.assign_coords(lon=np.mod(LON, 360)).sortby("lon").sortby("lat")
    other = other.assign_coords(month=np.array([f"2001-{m:02d}-15" for m in range(1, 13)], "datetime64[ns]"))
    other = other.rename(month="time", lat="latitude", lon="longitude")
    assert other["longitude"].values.max() > 340 and other["latitude"].values[0] < 40
    climate = open_map(saved(other, tmp_path / "other.nc", "scipy"))
    np.testing.assert_array_equal(climate.codes, classify(t, p))


def test_daily_minimum_and_maximum_make_the_mean(tmp_path: Path) -> None:
    t, p = normals()
    content = dataset(t, p)
    content["tmin"], content["tmax"] = content["tas"] - 4, content["tas"] + 4
    for name in ("tmin", "tmax"):
        content[name].attrs["units"] = "degC"
    climate = open_map(saved(content.drop_vars("tas"), tmp_path / "daily.nc"))
    np.testing.assert_array_equal(climate.codes, classify(t, p))


def test_a_gaussian_grid_has_its_own_rows(tmp_path: Path) -> None:
    t, p = normals()
    lat = LAT + np.linspace(0.2, -0.2, len(LAT)) ** 3 * 20
    content = dataset(t, p).assign_coords(lat=lat)
    found = open_map(saved(content, tmp_path / "gauss.nc")).at(np.full(len(lat), LON[40]), lat)
    np.testing.assert_array_equal(found.code, classify(t, p)[:, 40])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.assign(tas=d["tas"].assign_attrs(units="K")), "has the value"),
        (lambda d: d.assign(tas=(d["tas"] + 273.15).assign_attrs(units="degC")), "degC|°C"),
        (lambda d: d.assign(pr=(d["pr"] * 3.8e-10).assign_attrs(units="mm")), "rate per second"),
        (lambda d: d.assign(pr=d["pr"].assign_attrs(units="inches")), "unknown units"),
        (lambda d: d.drop_vars("pr"), "no precipitation"),
        (lambda d: d.drop_vars("tas"), "no temperature"),
        (lambda d: d.isel(month=slice(0, 11)), "no 12 months"),
        (lambda d: d.rename(lat="cell"), "no lat axis"),
        (lambda d: d.isel(lat=[0]), "no grid"),
    ],
)
def test_what_is_no_climatology_is_refused_with_its_name(change: object, said: str, tmp_path: Path) -> None:
    path = saved(change(dataset(*normals())), tmp_path / "mine.nc")  # type: ignore[operator]
    with pytest.raises(InputError, match=said) as raised:
        open_map(path)
    assert "mine.nc" in str(raised.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no climatology"):
        open_map(str(tmp_path / "absent.nc"))
    with pytest.raises(InputError, match="local disk"):
        open_map("https://example.org/normals.nc")
    broken = Path(saved(dataset(*normals()), tmp_path / "broken.nc"))
    broken.write_bytes(broken.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"broken\.nc cannot be read"):
        open_map(str(broken))
    broken.write_text("no data")
    with pytest.raises(InputError, match=r"broken\.nc cannot be read"):
        open_map(str(broken))


@pytest.mark.real
def test_the_real_climatology_of_laos(real_data: Path) -> None:
    """Daily minimum and maximum, precipitation in mm per day, NaN beyond the border."""
    folder = real_data / "climate"
    climate = open_map(str(folder / "laos_monthly_climate.nc"))
    beck = open_map(str(folder / "koppen_beck2023_1991-2020_0p1.tif"))
    raw = xr.open_dataset(folder / "laos_monthly_climate.nc", engine="h5netcdf")
    days = np.array(DAYS)[:, None, None]
    expected = classify((raw.tmin.values + raw.tmax.values) / 2, raw.precipitation.values * days)
    np.testing.assert_array_equal(climate.codes, expected)
    lon, lat = np.meshgrid(raw.lon.values, raw.lat.values)
    inside = expected.ravel() > 0
    assert 0.8 < inside.mean() < 1
    map_class = beck.at(lon.ravel()[inside], lat.ravel()[inside]).code
    assert (map_class == expected.ravel()[inside]).mean() > 0.6
    assert climate.at(np.array([102.6]), np.array([17.97])).symbols[0] == "Aw"  # Vientiane
