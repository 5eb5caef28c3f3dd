"""Items of many providers as rows of one table."""

from __future__ import annotations

import copy
import datetime as dt
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import shapely

from curate.scenes import SCENES, Rejected, acquisition_time, scene, table
from curate.sensors import SENSORS

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


def test_landsat_takes_its_usual_scaling_where_the_item_is_silent() -> None:
    thing = item()
    thing["assets"] = {"red": {"href": "red.tif"}}
    found = scene(thing, HREF, LANDSAT, ("red",))
    assert not isinstance(found, Rejected)
    assert (found["assets"][0]["scale"], found["assets"][0]["offset"]) == (2.75e-5, -0.2)


def test_the_table_does_not_depend_on_the_order_of_rows() -> None:
    rows = [
        row({**item(datetime=f"2020-01-0{day}T00:00:00Z"), "id": name}) for day in (2, 1) for name in "ba"
    ]
    assert table(rows).equals(table(rows[::-1]))
    assert table(rows)["id"].to_pylist() == ["a", "b", "a", "b"]
    assert table([]).schema.equals(SCENES)


@pytest.mark.real
def test_every_recorded_item_is_a_scene_or_has_a_reason(real_data: Path) -> None:
    reasons: Counter[tuple[str, str]] = Counter()
    for path in sorted((real_data / "stac").glob("*.ndjson")):
        for line in path.open():
            thing = json.loads(line)
            for sensor in SENSORS.values():
                found = scene(thing, "/x/item.json", sensor, tuple(band.name for band in sensor.bands))
                kind = found.reason if isinstance(found, Rejected) else "scene"
                reasons[sensor.name, kind] += 1
                if not isinstance(found, Rejected):
                    assert table([found]).num_rows == 1
                    shape = shapely.from_wkb(found["geometry"])
                    assert shape.is_valid and shape.geom_type in ("Polygon", "MultiPolygon")
                    assert -180 <= shape.bounds[0] <= shape.bounds[2] <= 180
    assert {kind for _, kind in reasons} <= {
        "scene",
        "no footprint",
        "acquisition time unknown",
        "bands missing",
        "unit of backscatter unknown",
        "reflectance offset unknown",
        "bands declare different reflectance offsets",
        "baseline and declared reflectance offset disagree",
    }
    assert reasons["sentinel-2-l2a", "scene"] >= 40
    assert reasons["sentinel-1-rtc", "scene"] >= 3
    assert reasons["sentinel-2-l2a", "baseline and declared reflectance offset disagree"] < 5


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
