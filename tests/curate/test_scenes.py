"""Items of many providers as rows of one table."""

from __future__ import annotations

import copy
import csv
import datetime as dt
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import shapely

from curate.archives.files import Unavailable
from curate.catalog.errors import InputError
from curate.pixels.dark import low_percentile
from curate.scenes import SCENES, LowPercentile, Rejected, acquisition_time, scene, table
from curate.sensors import SENSORS, Sensor

S2, S1, DEM = SENSORS["sentinel-2-l2a"], SENSORS["sentinel-1-rtc"], SENSORS["cop-dem-glo-30"]
LANDSAT = SENSORS["landsat-c2-l2"]
HREF = "/archive/s2/item.json"
SQUARE = {"type": "Polygon", "coordinates": [[[10, 45], [11, 45], [11, 46], [10, 46], [10, 45]]]}


def item(version: str = "1.0.0", **properties: Any) -> dict[str, Any]:
    """A Sentinel-2 item as providers of that STAC version write it."""
    if version == "1.0.0":
        declared: dict[str, Any] = {"raster:bands": [{"nodata": 0, "scale": 1e-4, "offset": -0.1}]}
    else:
        declared = {"bands": [{"name": "x"}], "nodata": 0, "raster:scale": 1e-4, "raster:offset": -0.1}
    assets = {key: {"href": f"./{key}.tif", **copy.deepcopy(declared)} for key in ("blue", "B8A")}
    assets["SCL"] = {"href": "./scl.tif"}
    return {
        "type": "Feature",
        "stac_version": version,
        "id": "scene-1",
        "collection": "sentinel-2-l2a",
        "geometry": copy.deepcopy(SQUARE),
        "bbox": [10, 45, 11, 46],
        "properties": {
            "datetime": "2023-05-06T10:20:30.500Z",
            "platform": "sentinel-2b",
            "s2:processing_baseline": "05.09",
            "eo:cloud_cover": 12.5,
            "sat:orbit_state": "descending",
            "sat:relative_orbit": 22,
            **properties,
        },
        "assets": assets,
        "links": [],
    }


def row(thing: dict[str, Any], href: str = HREF, bands: tuple[str, ...] = ("B02", "B8A")) -> dict[str, Any]:
    found = scene(thing, href, S2, bands)
    assert not isinstance(found, Rejected), found.reason
    return found


def reason(thing: dict[str, Any], sensor: Any = S2, bands: tuple[str, ...] = ("B02", "B8A")) -> str:
    found = scene(thing, HREF, sensor, bands)
    assert isinstance(found, Rejected)
    return found.reason


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_a_scene_of_either_stac_version(version: str) -> None:
    found = row(item(version))
    assert found["datetime"] == dt.datetime(2023, 5, 6, 10, 20, 30, 500_000, tzinfo=dt.UTC)
    assert (found["offset"], found["baseline"], found["relative_orbit"]) == (-1000, "05.09", 22)
    assert found["bbox"] == {"xmin": 10, "ymin": 45, "xmax": 11, "ymax": 46}
    by_band = {asset["band"]: asset for asset in found["assets"]}
    assert list(by_band) == ["B02", "B8A", "SCL"]
    blue = by_band["B02"]
    assert (blue["scale"], blue["nodata"], blue["unit"]) == (1e-4, 0, "reflectance")
    assert blue["offset"] == pytest.approx(-0.1)
    assert (by_band["SCL"]["scale"], by_band["SCL"]["offset"], by_band["SCL"]["unit"]) == (1, 0, "class")
    assert table([found]).schema.equals(SCENES)


def test_the_providers_flag_wins_over_the_declared_offset() -> None:
    found = row(item(**{"earthsearch:boa_offset_applied": True}))
    assert found["offset"] == 0
    assert {asset["offset"] for asset in found["assets"]} == {0.0}


@pytest.mark.parametrize(
    ("base", "href", "expected"),
    [
        ("/a/b/item.json", "./x/B02.tif", "/a/b/x/B02.tif"),
        ("file:///a/b/item.json", "../B02.tif", "file:///a/B02.tif"),
        ("https://host/a/b/item.json", "./B02.tif", "https://host/a/b/B02.tif"),
        ("https://host/a/b/item.json", "../B02.tif", "https://host/a/B02.tif"),
        ("s3://bucket/a/item.json", "B02.tif", "s3://bucket/a/B02.tif"),
        ("/a/b/item.json", "https://host/B02.tif", "https://host/B02.tif"),
        ("https://host/item.json", "s3://bucket/B02.tif", "s3://bucket/B02.tif"),
        ("/a/item.json", "/abs/B02.tif", "/abs/B02.tif"),
    ],
)
def test_relative_hrefs_start_at_the_item(base: str, href: str, expected: str) -> None:
    thing = item()
    thing["assets"]["blue"]["href"] = href
    assert row(thing, base)["assets"][0]["href"] == expected


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        {},
        {"type": "Polygon", "coordinates": []},
        {"type": "Point", "coordinates": [1, 2]},
        {"type": "Nonsense", "coordinates": [1]},
        {"type": "Polygon"},
        {"type": "Polygon", "coordinates": [[[1, 1], [2, 2], [1, 1]]]},
        {"type": "Polygon", "coordinates": [[[10, 45], [10, 45], [10, 45], [10, 45]]]},
    ],
)
def test_no_footprint(geometry: Any) -> None:
    thing = item()
    thing["geometry"] = geometry
    assert reason(thing) == "no footprint"
    del thing["geometry"]
    assert reason(thing) == "no footprint"


def test_a_footprint_that_crosses_itself_or_has_heights_is_mended() -> None:
    thing = item()
    thing["geometry"] = {
        "type": "Polygon",
        "coordinates": [[[0, 0, 5], [2, 2, 5], [2, 0, 5], [0, 2, 5], [0, 0, 5]]],
    }
    shape = shapely.from_wkb(row(thing)["geometry"])
    assert shape.is_valid and not shape.has_z
    assert shape.area == pytest.approx(2)


@pytest.mark.parametrize(
    ("ring", "area"),
    [
        ([[179, -17], [-179, -17], [-179, -16], [179, -16], [179, -17]], 2.0),
        ([[-179, -17], [-179, -16], [179, -16], [179, -17], [-179, -17]], 2.0),
        ([[179, -17], [181, -17], [181, -16], [179, -16], [179, -17]], 2.0),
        ([[-181, -17], [-179, -17], [-179, -16], [-181, -16], [-181, -17]], 2.0),
        # with points on the line itself, as some providers write
        ([[179, 0], [180, 0], [-180, 0], [-179, 0], [-179, 1], [-180, 1], [180, 1], [179, 1], [179, 0]], 2.0),
        ([[179.5, 0], [-179, 0], [-179, 1], [180, 1], [179.5, 0]], 1.25),
    ],
)
def test_footprints_across_the_antimeridian_are_split(ring: list[list[float]], area: float) -> None:
    thing = item()
    thing["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    found = row(thing)
    shape = shapely.from_wkb(found["geometry"])
    assert shape.is_valid
    assert shape.geom_type == "MultiPolygon"
    assert shape.area == pytest.approx(area)
    assert (found["bbox"]["xmin"], found["bbox"]["xmax"]) == (-180, 180)
    assert not shapely.contains_xy(shape, 0, shape.centroid.y)


def test_a_footprint_around_the_pole_covers_it() -> None:
    thing = item()
    ring = [[lon, 80 + lat] for lon, lat in ((-170, 0), (-90, 1), (0, 0), (90, 1), (170, 0), (-170, 0))]
    thing["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    shape = shapely.from_wkb(row(thing)["geometry"])
    assert shape.is_valid
    assert shapely.contains_xy(shape, [0, 100, 179.9, -179.9], [89, 85, 85, 85]).all()
    assert not shapely.contains_xy(shape, [0, 100], [79, 79]).any()


def test_a_hole_across_the_antimeridian_stays_a_hole() -> None:
    thing = item()
    outer = [[178, -18], [-178, -18], [-178, -14], [178, -14], [178, -18]]
    hole = [[179, -17], [179, -15], [-179, -15], [-179, -17], [179, -17]]
    thing["geometry"] = {"type": "Polygon", "coordinates": [outer, hole]}
    shape = shapely.from_wkb(row(thing)["geometry"])
    assert shape.area == pytest.approx(16 - 4)
    assert not shapely.contains_xy(shape, [179.5, -179.5], [-16, -16]).any()


def test_global_footprints_stay_global() -> None:
    thing = item()
    thing["geometry"] = json.loads(shapely.to_geojson(shapely.box(-180, -90, 180, 90)))
    assert shapely.from_wkb(row(thing)["geometry"]).area == 360 * 180


@pytest.mark.parametrize(
    ("properties", "time"),
    [
        ({"datetime": "2020-01-01T00:00:00Z"}, "2020-01-01T00:00:00+00:00"),
        ({"datetime": "2020-01-01T02:00:00+02:00"}, "2020-01-01T00:00:00+00:00"),
        ({"datetime": "2020-01-01T00:00:00"}, "2020-01-01T00:00:00+00:00"),
        ({"datetime": "2020-01-01T00:00:00.123456789Z"}, "2020-01-01T00:00:00.123456+00:00"),
        (
            {
                "datetime": None,
                "start_datetime": "2020-01-01T00:00:00Z",
                "end_datetime": "2020-01-01T00:00:20Z",
            },
            "2020-01-01T00:00:10+00:00",
        ),
        (
            {
                "datetime": None,
                "start_datetime": "2020-01-01T00:00:00Z",
                "end_datetime": "2020-01-02T00:00:00Z",
            },
            "2020-01-01T12:00:00+00:00",
        ),
        (
            {
                "datetime": None,
                "start_datetime": "2020-01-01T00:00:00Z",
                "end_datetime": "2020-02-01T00:00:00Z",
            },
            None,
        ),
        ({"datetime": None, "start_datetime": "2020-01-01T00:00:00Z"}, None),
        ({"datetime": None}, None),
        ({"datetime": "yesterday"}, None),
        ({"datetime": 20200101}, None),
        ({"datetime": "9999-12-31T23:59:59-05:00"}, None),  # past the last year in UTC
        ({"datetime": "0001-01-01T00:00:00+05:00"}, None),
        ({}, None),
    ],
)
def test_acquisition_times(properties: dict[str, Any], time: str | None) -> None:
    found = acquisition_time(properties)
    assert (None if found is None else found.isoformat()) == time


def test_a_scene_without_a_time_is_refused_unless_it_is_static() -> None:
    thing = item(datetime=None)
    assert reason(thing) == "acquisition time unknown"
    thing["assets"] = {"data": {"href": "dem.tif"}}
    found = scene(thing, HREF, DEM, ("elevation",))
    assert not isinstance(found, Rejected)
    assert found["datetime"] is None and found["offset"] is None


def test_missing_assets() -> None:
    for broken in ({}, None, {"blue": None}, {"blue": {}}, {"blue": {"href": ""}}):
        thing = item()
        thing["assets"] = broken
        assert reason(thing) == "bands missing"
    thing = item()
    del thing["assets"]
    assert reason(thing) == "bands missing"
    thing = item()
    thing["assets"]["B02"] = thing["assets"].pop("blue")
    thing["assets"]["blue"] = None  # the other name of the band serves
    assert row(thing)["assets"][0]["href"].endswith("blue.tif")


def test_a_scene_without_its_mask_is_kept() -> None:
    thing = item()
    del thing["assets"]["SCL"]
    assert [asset["band"] for asset in row(thing)["assets"]] == ["B02", "B8A"]


def test_offsets_that_are_not_settled_refuse_the_scene() -> None:
    thing = item(**{"s2:processing_baseline": "03.01"})
    assert "disagree" in reason(thing)
    thing = item()
    thing["assets"]["blue"]["raster:bands"][0]["offset"] = 0
    assert reason(thing) == "bands declare different reflectance offsets"
    thing = item()
    del thing["properties"]["s2:processing_baseline"]
    for key in ("blue", "B8A"):
        del thing["assets"][key]["raster:bands"]
    assert reason(thing) == "reflectance offset unknown"


def darkest(visible: float, swir: float | None = None) -> LowPercentile:
    """A read of scenes whose dark pixels have these numbers in the visible and in the short-wave infrared."""

    def read(href: str, nodata: float | None) -> float:
        value = swir if "nir" in href or "B12" in href or "B8A" in href else visible
        if value is None:
            raise InputError("unreadable")
        return value

    return read


def refuse_to_read(href: str, nodata: float | None) -> float:
    raise AssertionError("no pixel of this scene needs to be read")


def settled(thing: dict[str, Any], read: LowPercentile) -> tuple[int, str] | str:
    found = scene(thing, HREF, S2, ("B02", "B8A"), read)
    return found.reason if isinstance(found, Rejected) else (found["offset"], found["offset_source"])


def undeclared(**properties: Any) -> dict[str, Any]:
    """An item that declares no offset."""
    thing = item(**properties)
    for key in ("blue", "B8A"):
        del thing["assets"][key]["raster:bands"]
    return thing


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (item(), (-1000, "baseline 05.09")),
        (item(**{"earthsearch:boa_offset_applied": True}), (0, "provider flag")),
        (undeclared(**{"s2:processing_baseline": "02.14"}), (0, "baseline 02.14")),
        (item(**{"s2:processing_baseline": None}), (-1000, "declared")),
        (
            undeclared(**{"s2:processing_baseline": None, "processing:version": "05.12"}),
            (-1000, "baseline 05.12"),
        ),
        (
            undeclared(
                **{
                    "s2:processing_baseline": None,
                    "s2:product_uri": "S2A_MSIL2A_20200101T101031_N0213_R022.SAFE",
                }
            ),
            (0, "baseline 02.13"),
        ),
        (
            undeclared(
                **{
                    "s2:processing_baseline": None,
                    "sentinel:processing_baseline": "04.00",
                    "sentinel:boa_offset_applied": True,
                }
            ),
            (0, "provider flag"),
        ),
    ],
)
def test_the_offset_and_what_decided_it_are_written_per_row_without_reading_pixels(
    thing: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert settled(thing, refuse_to_read) == expected
    found = row(thing)
    assert (found["offset"], found["offset_source"]) == expected
    assert table([found])["offset_source"].to_pylist() == [expected[1]]


DISPUTED = item(**{"s2:processing_baseline": "03.01"})
SILENT = undeclared(**{"s2:processing_baseline": "99.99"})


@pytest.mark.parametrize("thing", [DISPUTED, SILENT, undeclared(**{"s2:processing_baseline": None})])
@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (darkest(120, 300), (0, "percentile")),  # forest
        (darkest(9300, 180), (0, "percentile")),  # snow is black in the short-wave infrared only
        (darkest(300, 2900), (0, "percentile")),  # desert
        (darkest(1030, 1020), (-1000, "percentile")),  # water
        (darkest(1180, 1450), (-1000, "percentile")),  # forest
        (darkest(1290, 1180), "dark pixels not decisive"),  # thin cloud without the offset looks so, too
        (darkest(2900, 7700), "dark pixels not decisive"),  # bright sand
        (darkest(1030, 6000), "dark pixels not decisive"),
        (darkest(1030), "dark pixels unreadable"),
    ],
)
def test_dark_pixels_settle_what_metadata_leave_open(
    thing: dict[str, Any], read: LowPercentile, expected: tuple[int, str] | str
) -> None:
    found = settled(thing, read)
    if isinstance(expected, str):
        assert isinstance(found, str) and found.endswith(expected)
        assert found.startswith(("baseline and declared", "reflectance offset unknown"))
    else:
        assert found == expected
    assert isinstance(scene(thing, HREF, S2, ("B02", "B8A")), Rejected)  # without a read it is refused


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (
            darkest(100, 150),
            (0, "percentile"),
        ),  # Earth Search: S2B_20HMD_20221023_0_L2A, S2B_33UXP_20250302_0_L2A
        (darkest(1030, 1020), (-1000, "provider flag")),
        (darkest(2900, 7700), (-1000, "provider flag")),
        (darkest(1030), "provider flag in doubt, dark pixels unreadable"),  # broken or absent
    ],
)
def test_a_flag_that_denies_the_removal_is_checked(
    read: LowPercentile, expected: tuple[int, str] | str
) -> None:
    thing = item(**{"s2:processing_baseline": "04.00", "earthsearch:boa_offset_applied": False})
    assert settled(thing, read) == expected


@pytest.mark.parametrize(
    "flag", [{}, {"s2:processing_baseline": "04.00", "earthsearch:boa_offset_applied": False}]
)
def test_a_network_that_fails_decides_no_offset(flag: dict[str, Any]) -> None:
    def read(href: str, nodata: float | None) -> float:
        raise Unavailable("HTTP 503")

    thing = item(**flag) if flag else SILENT
    with pytest.raises(Unavailable, match="503"):
        scene(thing, HREF, S2, ("B02", "B8A"), read)


def test_what_is_not_wanted_is_refused_before_a_pixel_is_read() -> None:
    asked = []

    def refusal(footprint: shapely.Geometry, time: dt.datetime | None, cloud: float | None) -> str:
        asked.append((footprint.bounds, time, cloud))
        return "elsewhere"

    when = dt.datetime(2023, 5, 6, 10, 20, 30, 500_000, tzinfo=dt.UTC)
    found = scene(SILENT, HREF, S2, ("B02", "B8A"), refuse_to_read, refusal)
    assert found == Rejected("scene-1", "elsewhere")
    assert asked == [((10, 45, 11, 46), when, 12.5)]


def test_dark_pixels_are_read_where_the_item_lies_and_with_its_nodata() -> None:
    asked = []

    def read(href: str, nodata: float | None) -> float:
        asked.append((href, nodata))
        return 100.0

    thing = copy.deepcopy(DISPUTED)
    thing["assets"]["swir22"] = {"href": "../x/B12.tif"}
    scene(thing, HREF, S2, ("B8A",), read)
    assert asked == [("/archive/s2/blue.tif", 0), ("/archive/x/B12.tif", None)]


def test_a_baseline_written_as_a_number_is_text_in_the_table() -> None:
    assert table([row(item(**{"s2:processing_baseline": 5.09}))])["baseline"].to_pylist() == ["5.09"]


@pytest.mark.parametrize(
    ("declared", "unit", "nodata"),
    [
        ({}, "power", None),
        ({"raster:bands": [{"unit": "dB"}]}, "dB", None),  # a nodata of power is a value in dB
        ({"raster:bands": [{"unit": "dB", "nodata": -99}]}, "dB", -99),
        ({"raster:bands": [{"unit": "dB", "scale": 1e-4, "nodata": 0}]}, "dB", 0),
        ({"bands": [{"unit": "amplitude"}]}, "amplitude", None),
        ({"description": "Sigma nought backscatter in dB"}, "dB", None),
        ({"description": "Terrain-corrected gamma naught values of signal transmitted with"}, "power", None),
    ],
)
def test_radar_scenes(declared: dict[str, Any], unit: str, nodata: float | None) -> None:
    thing = item()
    thing["assets"] = {key: {"href": f"{key}.tif", **declared} for key in ("vv", "vh")}
    found = scene(thing, HREF, S1, ("VV", "VH"))
    assert not isinstance(found, Rejected)
    assert {(asset["unit"], asset["nodata"]) for asset in found["assets"]} == {(unit, nodata)}


def test_radar_in_an_unknown_unit_is_refused() -> None:
    thing = item()
    thing["assets"] = {"vv": {"href": "vv.tif"}}
    assert reason(thing, SENSORS["sentinel-1-grd"], ("VV",)) == "unit of backscatter unknown"


def test_backscatter_that_is_not_calibrated_is_refused_whatever_the_sensor() -> None:
    thing = item()
    said = (
        "Amplitude of signal transmitted with vertical polarization, radiometric terrain correction applied."
    )
    thing["assets"] = {
        "vv": {"href": "vv.tif", "description": said},
        "schema-calibration-vv": {"href": "c.xml"},
    }
    for name in ("sentinel-1-grd", "sentinel-1-rtc"):
        assert reason(thing, SENSORS[name], ("VV",)) == "backscatter not calibrated"
    thing["assets"]["vv"]["raster:bands"] = [{"unit": "dB"}]
    assert not isinstance(scene(thing, HREF, S1, ("VV",)), Rejected)


def test_numbers_coded_by_a_formula_for_decibel() -> None:
    thing = item()
    coded = {"unit": "coded: dB = 20*log10(DN) - 83", "nodata": 0, "scale": 7}
    thing["assets"] = {"hh": {"href": "hh.tif", "raster:bands": [coded]}}
    found = scene(thing, HREF, SENSORS["sentinel-1-grd"], ("HH",))
    assert not isinstance(found, Rejected)
    asset = found["assets"][0]
    assert (asset["band"], asset["unit"], asset["offset"], asset["nodata"]) == ("HH", "amplitude", 0, 0)
    assert asset["scale"] == pytest.approx(10 ** (-83 / 20))


@pytest.mark.parametrize(
    "broken",
    [
        {"assets": []},
        {"assets": {"blue": 3, "B8A": "x"}},
        {"assets": {"blue": {"href": 3}, "B8A": {"href": "x"}}},
        {"properties": [1]},
        {
            "properties": {
                "datetime": "2020-01-01T00:00:00Z",
                "sat:relative_orbit": "orbit",
                "eo:cloud_cover": "?",
            }
        },
        {"properties": {"datetime": "2020-01-01T00:00:00Z", "sat:relative_orbit": 1e9, "eo:cloud_cover": -1}},
        {"collection": 7},
        {"id": None},
    ],
)
def test_what_is_no_item_is_no_scene_and_no_crash(broken: dict[str, Any]) -> None:
    found = scene({**item(), **broken}, HREF, S2, ("B02", "B8A"))
    if not isinstance(found, Rejected):
        assert table([found]).num_rows == 1


def test_scalings_that_are_no_numbers_count_as_silence() -> None:
    thing = item()
    for key in ("blue", "B8A"):
        thing["assets"][key]["raster:bands"] = [
            {"scale": "tiny", "offset": None, "nodata": "none", "unit": 3}
        ]
    blue = row(thing)["assets"][0]
    assert (blue["scale"], blue["nodata"]) == (1e-4, None)
    assert blue["offset"] == pytest.approx(-0.1)


def test_bands_of_one_sensor_have_their_own_unit() -> None:
    thing = item(platform="LANDSAT_9")
    thing["assets"] = {"red": {"href": "r.tif"}, "lwir11": {"href": "t.tif"}, "qa_pixel": {"href": "q.tif"}}
    found = scene(thing, HREF, LANDSAT, ("red", "lwir11"))
    assert not isinstance(found, Rejected)
    red, thermal, mask = found["assets"]
    assert (red["unit"], thermal["unit"], mask["band"]) == ("reflectance", "K", "QA_PIXEL")
    assert (thermal["scale"], thermal["offset"]) == (0.00341802, 149.0)


def test_a_sensor_that_leaves_its_scale_to_the_item_is_refused_where_the_item_is_silent() -> None:
    olci = SENSORS["sentinel-3-olci-1-efr-ntc"]
    thing = item()
    thing["assets"] = {"Oa01_radianceData": {"href": "oa01.nc"}}
    assert reason(thing, olci, ("Oa01",)) == "scale unknown"
    thing["assets"]["Oa01_radianceData"]["raster:scale"] = 0.0139
    assert not isinstance(scene(thing, HREF, olci, ("Oa01",)), Rejected)


def test_composites_may_span_their_days() -> None:
    span = {
        "datetime": None,
        "start_datetime": "2025-02-26T00:00:00Z",
        "end_datetime": "2025-03-05T23:59:59Z",
    }
    thing = item(**span)
    modis = SENSORS["modis-09A1-061"]
    thing["assets"] = {"sur_refl_b01": {"href": "b01.tif"}}
    found = scene(thing, HREF, modis, ("b01",))
    assert not isinstance(found, Rejected)
    assert found["datetime"].day == 1 and found["datetime"].month == 3
    assert reason(item(**span)) == "acquisition time unknown"


def test_bands_for_the_cloud_detector_come_along_where_all_are_there() -> None:
    l1c = SENSORS["sentinel-2-l1c"]
    thing = item()
    thing["assets"] = {band.asset_keys[0]: {"href": f"{band.name}.tif"} for band in l1c.bands}
    found = scene(thing, HREF, l1c, ("B02", "B03"))
    assert not isinstance(found, Rejected)
    names = [asset["band"] for asset in found["assets"]]
    assert names[:2] == ["B02", "B03"] and set(names) == {"B03", *l1c.cloud_bands}
    del thing["assets"]["cirrus"]
    found = scene(thing, HREF, l1c, ("B02", "B03"))
    assert not isinstance(found, Rejected)
    assert [asset["band"] for asset in found["assets"]] == ["B02", "B03"]


def test_landsat_takes_its_usual_scaling_where_the_item_is_silent() -> None:
    thing = item(platform="LANDSAT_9")
    thing["assets"] = {"red": {"href": "red.tif"}}
    found = scene(thing, HREF, LANDSAT, ("red",))
    assert not isinstance(found, Rejected)
    assert (found["assets"][0]["scale"], found["assets"][0]["offset"]) == (2.75e-5, -0.2)


@pytest.mark.parametrize(
    ("platform", "expected"), [("landsat-8", None), ("landsat-7", "of another platform"), (None, None)]
)
def test_another_platforms_scenes_in_one_collection_are_refused(
    platform: str | None, expected: str | None
) -> None:
    thing = item(platform=platform)
    thing["assets"] = {"red": {"href": "red.tif"}}
    found = scene(thing, HREF, LANDSAT, ("red",))
    assert (found.reason if isinstance(found, Rejected) else None) == expected


def test_a_radar_item_without_a_collection_has_no_usual_unit() -> None:
    thing = item(platform="sentinel-1a")
    thing["assets"] = {"vv": {"href": "vv.tif"}, "vh": {"href": "vh.tif"}}
    rtc = SENSORS["sentinel-1-rtc"]
    thing["collection"] = "sentinel-1-rtc"
    assert not isinstance(scene(thing, HREF, rtc, ("VV", "VH")), Rejected)
    del thing["collection"]
    assert reason(thing, rtc, ("VV", "VH")) == "unit of backscatter unknown"


def test_bands_that_declare_different_offsets_are_refused_without_a_look_at_pixels() -> None:
    thing = item(**{"s2:processing_baseline": "99.99"})
    for number, asset in enumerate(thing["assets"].values()):
        asset["raster:bands"] = [{"scale": 1e-4, "offset": -0.1 * (number % 2)}]
    found = scene(thing, HREF, S2, ("B02", "B8A"), lambda href, nodata: 100.0)
    assert isinstance(found, Rejected) and found.reason == "bands declare different reflectance offsets"


def test_a_span_that_ends_before_it_starts_is_no_time() -> None:
    span = {"start_datetime": "2022-01-01T00:00:00Z", "end_datetime": "2020-01-01T00:00:00Z"}
    assert acquisition_time(span) is None


def test_orbit_states_are_lower_case() -> None:
    assert row(item(**{"sat:orbit_state": "ASCENDING"}))["orbit_state"] == "ascending"


def test_the_table_does_not_depend_on_the_order_of_rows() -> None:
    rows = [
        row({**item(datetime=f"2020-01-0{day}T00:00:00Z"), "id": name}) for day in (2, 1) for name in "ba"
    ]
    assert table(rows).equals(table(rows[::-1]))
    assert table(rows)["id"].to_pylist() == ["a", "b", "a", "b"]
    assert table([]).schema.equals(SCENES)


# collections of the recorded items, by the sensor whose products they are
RECORDED = {
    "sentinel-2-l2a": (
        "sentinel-2-l2a",
        "sentinel-2-c1-l2a",
        "sentinel-s2-l2a-cogs",
        "sentinel2-l2a-example",
    ),
    "sentinel-2-l1c": ("sentinel-2-l1c", "sentinel2-l1c-example"),
    "sentinel-1-rtc": ("sentinel-1-rtc", "sentinel1-rtc-aws"),
    "sentinel-1-grd": ("sentinel-1-grd", "sentinel1-grd"),
    "sentinel-1-slc": ("sentinel1-slc",),
    "landsat-c2-l2": ("landsat-c2-l2", "landsat-c2l2-sr", "landsat-8-c2-l2"),
    "hls2-l30": ("HLSL30.v1.5",),
    "modis-09A1-061": ("modis-09A1-061",),
    "modis-43A4-061": ("modis-43A4-061",),
    "cop-dem-glo-30": ("cop-dem-glo-30",),
    "cop-dem-glo-90": ("cop-dem-glo-90",),
    "esa-worldcover": ("esa-worldcover",),
}
OUTCOMES: dict[str, dict[str, int]] = {
    "sentinel-2-l2a": {
        "baseline 02.12": 15,
        "baseline 05.00": 2,
        "baseline 05.12": 2,
        "baseline 05.11": 13,
        "provider flag": 16,
        "no footprint": 20,
        "baseline 05.10": 4,
        "baseline 02.14": 48,
    },
    "sentinel-2-l1c": {"baseline 05.11": 10, "baseline 02.09": 1},
    "sentinel-1-rtc": {"scene": 6},
    "sentinel-1-grd": {"backscatter not calibrated": 1, "bands missing": 7},
    "sentinel-1-slc": {"backscatter not calibrated": 1},
    "landsat-c2-l2": {"scene": 48, "of another platform": 1},
    "hls2-l30": {"scene": 10},
    "modis-09A1-061": {"scene": 1},
    "modis-43A4-061": {"scene": 1},
    "cop-dem-glo-30": {"no footprint": 10, "scene": 10},
    "cop-dem-glo-90": {"scene": 1},
    "esa-worldcover": {"scene": 1},
}


def recorded(folder: Path) -> list[dict[str, Any]]:
    """Items recorded from public APIs and tools, those of search responses after them."""
    items = [json.loads(line) for path in sorted(folder.glob("*.ndjson")) for line in path.open()]
    for path in sorted((folder / "responses").glob("*.json")):
        items += json.loads(path.read_text())["features"]
    return items


@pytest.mark.real
def test_every_recorded_item_is_a_scene_or_has_a_reason(real_data: Path) -> None:
    items = recorded(real_data / "stac")
    assert len(items) == 414
    for sensor in SENSORS.values():
        for bands in (sensor.default, sensor.bands):
            rows = [scene(thing, HREF, sensor, tuple(band.name for band in bands)) for thing in items]
            good = [found for found in rows if not isinstance(found, Rejected)]
            assert table(good).num_rows == len(good)
            for found in good:
                shape = shapely.from_wkb(found["geometry"])
                assert shape.is_valid and shape.geom_type in ("Polygon", "MultiPolygon")
                assert -180 <= shape.bounds[0] <= shape.bounds[2] <= 180
            assert all(found.reason for found in rows if isinstance(found, Rejected))


def outcomes(items: list[dict[str, Any]], sensor: Sensor) -> dict[str, int]:
    """How many items of the sensor's collections became scenes, and for which reason the others did not."""
    counts: Counter[str] = Counter()
    for thing in items:
        if thing.get("collection") in RECORDED[sensor.name]:
            bands = ("IW3-HH",) if sensor.name == "sentinel-1-slc" else tuple(b.name for b in sensor.default)
            found = scene(thing, HREF, sensor, bands)
            counts[found.reason if isinstance(found, Rejected) else found["offset_source"] or "scene"] += 1
    return dict(counts)


@pytest.mark.real
@pytest.mark.parametrize("name", RECORDED)
def test_what_becomes_of_the_recorded_items_of_a_sensor(name: str, real_data: Path) -> None:
    assert outcomes(recorded(real_data / "stac"), SENSORS[name]) == OUTCOMES[name]


@pytest.mark.real
def test_recorded_flags_and_baselines_give_the_offset_that_the_index_tells_of(real_data: Path) -> None:
    """Earth Search writes an offset of -0.1 on items whose pixels have none; its flag says so."""
    index = {
        (line["file"], int(line["line"])): line
        for line in csv.DictReader((real_data / "stac" / "items_index.csv").open())
    }
    seen: Counter[tuple[str, int]] = Counter()
    for path in sorted((real_data / "stac").glob("*.ndjson")):
        for number, text in enumerate(path.open()):
            found = scene(json.loads(text), HREF, S2, tuple(band.name for band in S2.default))
            flags = index[path.name, number]
            if isinstance(found, Rejected):
                continue
            if flags["boa_offset_applied_True"] == "1":
                kind, expected = "flag", 0
            elif flags["baseline_ge_04.00"] == "1":
                kind, expected = "new", -1000
            elif flags["baseline_lt_04.00"] == "1":
                kind, expected = "old", 0
            else:
                continue
            assert found["offset"] == expected, found["id"]
            seen[kind, expected] += 1
    assert seen["flag", 0] >= 7 and seen["new", -1000] >= 12 and seen["old", 0] >= 17


@pytest.mark.real
def test_recorded_items_at_the_antimeridian_stay_small(real_data: Path) -> None:
    ids = {
        "S2A_T01LAC_20200717T221944_L1C",
        "S2A_T01WCS_20230625T234624_L2A",
        "S2A_T01KAB_20230821T221944_L2A",
    }
    seen = set()
    for line in (real_data / "stac" / "sentinel_items.ndjson").open():
        thing = json.loads(line)
        if thing["id"] in ids:
            found = scene(thing, HREF, S2, ("B02",))
            assert not isinstance(found, Rejected)
            assert shapely.from_wkb(found["geometry"]).area < 4
            seen.add(thing["id"])
    assert seen == ids


# what each archived site's numbers carry, as its producers say; satclip does not say it
CARRY = {"S2A_MSIL2A_20220706T085611_N0400": -1000}
NOT_TOLD = "S2_L2A_satclip_patch"


def told_by_dark_pixels(folder: Path, sensor: Sensor, added: int = 0) -> dict[str, int | None]:
    """Offset by scene of the sample archive as its pixels alone tell it, with *added* to all its numbers."""

    def read(href: str, nodata: float | None) -> float:
        return max(1.0, low_percentile(href, nodata) + added)

    def nameless(thing: dict[str, Any]) -> dict[str, Any]:
        """The item without a word on its offset."""
        told = ("baseline", "offset", "product", "version")
        keep = {key: v for key, v in thing["properties"].items() if not any(word in key for word in told)}
        assets = {key: {"href": asset["href"]} for key, asset in thing["assets"].items()}
        return {
            **thing,
            "id": "x",
            "properties": keep | {"datetime": "2020-01-01T00:00:00Z"},
            "assets": assets,
        }

    told: dict[str, int | None] = {}
    for path in sorted(folder.glob(f"{sensor.name}/*/*.json")):
        thing = json.loads(path.read_text())
        found = scene(nameless(thing), str(path), sensor, ("B8A",), read)
        if isinstance(found, Rejected) and found.reason == "bands missing":
            found = scene(nameless(thing), str(path), sensor, ("B11",), read)
        told[thing["id"]] = None if isinstance(found, Rejected) else found["offset"]
    return told


@pytest.mark.real
@pytest.mark.parametrize("added", [0, 1000])
def test_dark_pixels_are_never_wrong_about_real_scenes_whose_offset_is_known(
    added: int, real_data: Path
) -> None:
    """Each scene as it is, and with 1000 more, as if the offset had not been removed."""
    told = told_by_dark_pixels(real_data / "archive", S2, added)
    known = {name: offset for name, offset in told.items() if not name.startswith(NOT_TOLD)}
    assert len(known) == 104
    right = 0
    for name, offset in known.items():
        truth = next((dn for start, dn in CARRY.items() if name.startswith(start)), 0)
        if added and truth:
            continue
        assert offset in (None, truth - added), name
        right += offset is not None
    assert right >= (
        55 if added == 0 else 12
    )  # half of the scenes are overcast, most of the rest without water


@pytest.mark.real
def test_dark_pixels_tell_the_mixed_offsets_of_satclip_apart(real_data: Path) -> None:
    told = told_by_dark_pixels(real_data / "archive", S2)
    mixed = Counter(offset for name, offset in told.items() if name.startswith(NOT_TOLD))
    assert mixed == {0: 7, -1000: 2, None: 4}


@pytest.mark.real
def test_the_cirrus_band_tells_the_offset_of_level_1c(real_data: Path) -> None:
    l1c = SENSORS["sentinel-2-l1c"]
    assert set(told_by_dark_pixels(real_data / "archive", l1c).values()) == {0}
    assert set(told_by_dark_pixels(real_data / "archive", l1c, 1000).values()) == {-1000}


@pytest.mark.real
def test_real_radar_scenes_of_four_producers_are_in_decibel_or_become_it(real_data: Path) -> None:
    units: Counter[tuple[str, float]] = Counter()
    for path in (real_data / "archive").glob("sentinel-1-grd/*/*.json"):
        if path.name != "collection.json":
            found = scene(json.loads(path.read_text()), str(path), SENSORS["sentinel-1-grd"], ("VV", "VH"))
            assert not isinstance(found, Rejected)
            units.update((asset["unit"], round(asset["scale"], 9)) for asset in found["assets"])
    assert units == {("dB", 1e-4): 150, ("dB", 1.0): 20, ("amplitude", round(10 ** (-83 / 20), 9)): 20}
