"""The sensors' entries: complete, consistent, and true to what providers serve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.building import bands_of
from curate.catalog.errors import InputError
from curate.catalog.schema import SensorInfo
from curate.recipe import Recipe
from curate.sensor_tables import page
from curate.sensors import SENSORS, Sensor, sensor

EVERY = pytest.mark.parametrize("what", SENSORS.values(), ids=SENSORS)
ISSUE = {
    "sentinel-2-l1c", "sentinel-2-l2a", "sentinel-1-grd", "sentinel-1-rtc", "sentinel-1-slc", "landsat-c2-l2",
    "hls2-s30", "hls2-l30", "cop-dem-glo-30", "cop-dem-glo-90", "sentinel-3-olci-1-efr-ntc",
    "sentinel-3-synergy-syn-l2-netcdf", "modis-09A1-061", "modis-43A4-061", "esa-worldcover",
}  # fmt: skip


def test_all_sensors_are_there() -> None:
    assert set(SENSORS) == ISSUE


@EVERY
def test_an_entry_is_complete(what: Sensor) -> None:
    names = [band.name for band in what.bands]
    assert len(set(names)) == len(names) > 0
    assert what.default and set(what.default_bands) <= set(names)
    assert {name for dark in what.dark for name in dark.bands} <= set(names)
    assert set(what.cloud_bands) <= set(names)
    assert all(band.asset_keys and band.resolution_m > 0 for band in what.bands)
    keys = [key for band in what.bands for key in band.asset_keys]
    assert len(set(keys)) == len(keys), "two bands would take one asset"
    if what.kind == "optical":
        assert all(band.wavelength_nm and 350 < band.wavelength_nm < 13_000 for band in what.bands)
    assert what.source_unit or what.kind == "radar"


@EVERY
def test_what_is_stored_fits_its_type(what: Sensor) -> None:
    limits = np.iinfo(what.stored.dtype)
    assert limits.min <= what.stored.nodata < what.stored.lowest <= limits.max
    for band in what.bands:
        kept = what.stored_as(band)
        assert (kept.dtype, kept.nodata, kept.lowest) == (
            what.stored.dtype,
            what.stored.nodata,
            what.stored.lowest,
        )
        unit = band.unit or what.source_unit
        assert kept.unit == ("dB" if what.kind == "radar" else unit)
        highest = {"K": 400, "reflectance": 2, "dB": 40, "m": 9000, "class": 200}.get(kept.unit, 600)
        assert highest / kept.scale <= limits.max


@EVERY
def test_metadata_of_all_bands_survive_json(what: Sensor) -> None:
    info = what.stored_info(tuple(band.name for band in what.bands), "bilinear")
    again = SensorInfo.from_json(json.loads(json.dumps(info, default=vars)))
    assert again == info
    assert again.scales == tuple(what.stored_as(band).scale for band in what.bands)


def test_the_default_bands_of_a_recipe_stay_the_ten_of_sentinel_2() -> None:
    ten = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
    assert bands_of(Recipe(), "sentinel-2-l2a") == ten
    assert bands_of(Recipe(), "sentinel-1-rtc") == ("VV", "VH")
    assert bands_of(Recipe(), "landsat-c2-l2") == ("blue", "green", "red", "nir08", "swir16", "swir22")
    wanted = Recipe().with_options({"sensors.bands": {"sentinel-2-l2a": ["B09", "B01", "B02"]}})
    assert bands_of(wanted, "sentinel-2-l2a") == ("B01", "B02", "B09")


def test_level_2a_has_no_cirrus_band() -> None:
    assert [band.name for band in SENSORS["sentinel-2-l1c"].bands if band.name == "B10"] == ["B10"]
    assert len(SENSORS["sentinel-2-l1c"].bands) == 13
    assert len(SENSORS["sentinel-2-l2a"].bands) == 12


def test_an_unknown_sensor_is_named() -> None:
    with pytest.raises(InputError, match="sentinel-9"):
        sensor("sentinel-9")


def test_the_page_of_sensors_is_up_to_date() -> None:
    path = Path(__file__).parents[2] / "docs" / "sensors.md"
    assert path.read_text(encoding="utf-8") == page(), "python -m curate.sensor_tables > docs/sensors.md"


def assets_of(folder: Path, collection: str) -> list[dict[str, Any]]:
    items = [json.loads(line) for path in sorted((folder / "stac").glob("*.ndjson")) for line in path.open()]
    return [item["assets"] for item in items if item.get("collection") == collection and item.get("assets")]


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "collection", "least"),
    [
        ("sentinel-2-l2a", "sentinel-2-l2a", 26),  # Earth Search, Planetary Computer, Copernicus Data Space
        ("sentinel-2-l2a", "sentinel-2-c1-l2a", 7),
        ("sentinel-2-l2a", "sentinel-s2-l2a-cogs", 1),
        ("sentinel-2-l1c", "sentinel-2-l1c", 5),
        ("landsat-c2-l2", "landsat-c2-l2", 14),
        ("landsat-c2-l2", "landsat-8-c2-l2", 20),
        ("hls2-l30", "HLSL30.v1.5", 10),
        ("modis-09A1-061", "modis-09A1-061", 1),
        ("modis-43A4-061", "modis-43A4-061", 1),
        ("cop-dem-glo-90", "cop-dem-glo-90", 1),
        ("esa-worldcover", "esa-worldcover", 1),
    ],
)
def test_every_band_and_mask_is_found_in_recorded_items(
    name: str, collection: str, least: int, real_data: Path
) -> None:
    what = SENSORS[name]
    wanted = [*what.bands, *([what.mask.band] if what.mask else [])]
    recorded = assets_of(real_data, collection)
    for assets in recorded:
        missing = [band.name for band in wanted if not set(band.asset_keys) & set(assets)]
        assert not missing, (collection, missing)
    assert len(recorded) >= least


@pytest.mark.real
def test_declared_wavelengths_agree_with_the_entries(real_data: Path) -> None:
    """To 3 % and 20 nm: providers round, and some give the band of another satellite."""
    compared = 0
    for name, collection in (
        ("sentinel-2-l2a", "sentinel-2-l2a"),
        ("sentinel-2-l1c", "sentinel-2-l1c"),
        ("landsat-c2-l2", "landsat-c2-l2"),
        ("modis-43A4-061", "modis-43A4-061"),
    ):
        for assets in assets_of(real_data, collection):
            for band in SENSORS[name].bands:
                asset = next(assets[key] for key in band.asset_keys if key in assets)
                (declared,) = asset.get("eo:bands") or asset.get("bands") or [{}]
                centre = declared.get("center_wavelength", declared.get("eo:center_wavelength"))
                if centre is not None and band.wavelength_nm is not None:
                    assert centre * 1000 == pytest.approx(band.wavelength_nm, rel=0.03, abs=20), band
                    compared += 1
    assert compared > 300
