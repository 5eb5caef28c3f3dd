"""Items that are not what they should be, and networks that fail: each is counted or said, none ends a search."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely

from curate.archives import files as reading
from curate.archives import found as gathering
from curate.archives.files import Files, Unavailable
from curate.archives.found import OUTSIDE, Answer, Found, Limits, dark_pixels
from curate.archives.kept import Kept
from curate.archives.pacing import Patience
from curate.archives.patches import Patches, answer_of
from curate.archives.static import StaticArchive
from curate.archives.table import TableArchive
from curate.catalog.errors import InputError
from curate.recipe import Period
from curate.sensors import SENSORS
from curate.signing import sign

S2, DEM = SENSORS["sentinel-2-l2a"], SENSORS["cop-dem-glo-30"]
AREA = shapely.box(9, 44, 13, 48)
NAN = float("nan")
DENIED = {"s2:processing_baseline": "04.00", "earthsearch:boa_offset_applied": False}
QUICK = Patience(requests_per_s=500, repeats=0, backoff_s=0.01, tries=2, read_s=2, connect_s=2)


def item(name: Any = "a", west: float = 10.0, **properties: Any) -> dict[str, Any]:
    """An item that needs no pixel, unless *properties* say otherwise."""
    shape = shapely.box(west, 45, west + 1, 46)
    return {
        "type": "Feature",
        "id": name,
        "collection": S2.name,
        "geometry": json.loads(shapely.to_geojson(shape)),
        "bbox": list(shape.bounds),
        "properties": {"datetime": "2022-05-01T10:00:00Z", "s2:processing_baseline": "03.01", **properties},
        "links": [],
        "assets": {key: {"href": f"https://example.org/{key}.tif"} for key in ("blue", "swir22")},
    }


def silent(**changes: Any) -> dict[str, Any]:
    """An item whose offset only pixels tell."""
    return {**item(**{"s2:processing_baseline": None}), **changes}


def taken(*items: Any, sensor: Any = S2, bands: tuple[str, ...] = ("B02",), area: Any = AREA) -> Answer:
    answer = Answer()
    for thing in items:
        answer.take(thing, "https://example.org/item.json", sensor, bands, Limits(area, Period()))
    return answer.close()


def squared(corner: float) -> dict[str, Any]:
    ring = [[10, 45], [corner, 45], [11, 46], [10, 46], [10, 45]]
    return {"type": "Polygon", "coordinates": [ring]}


def at(href: str) -> dict[str, Any]:
    return {"blue": {"href": href}, "swir22": {"href": href}}


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (item(datetime="9999-12-31T23:59:59-05:00"), "acquisition time unknown"),
        ({**item(), "geometry": squared(NAN)}, "no footprint"),
        ({**item(), "geometry": squared(float("inf"))}, "no footprint"),
        ({**item(), "geometry": shapely.Polygon([(10, 45), (NAN, 45), (11, 46), (10, 45)])}, "no footprint"),
        ({**item(), "geometry": "somewhere"}, "no footprint"),
        (silent(assets=at("http://[bad/x.tif")), "reflectance offset unknown, dark pixels unreadable"),
        (silent(assets=at("//[bad/x.tif")), "broken item: ValueError"),
        (item("\ud800"), "broken item: UnicodeEncodeError"),
        (item(platform="\udfff"), "broken item: UnicodeEncodeError"),
        ({**item("\ud800"), "assets": {}}, "bands missing"),
        ({**item(), "properties": [1]}, "acquisition time unknown"),
        (
            {**item(), "assets": {"blue": {"href": "x.tif", "raster:bands": [{"nodata": 10**400}]}}},
            "broken item",
        ),
    ],
)
def test_a_broken_item_is_counted_and_costs_itself_only(broken: dict[str, Any], reason: str) -> None:
    answer = taken(item("before"), broken, item("after"))
    assert answer.table["id"].to_pylist() == ["before", "after"]
    assert [x.reason.startswith(reason) for x in answer.rejected] == [True], answer.rejected
    assert answer.rejected[0].id.encode()
    assert answer.missing == []


@pytest.mark.parametrize("bbox", ["abcd", [[1], 2, 3, 4], ["west", 45, 11, 46], [None] * 4, {"x": 1}])
def test_a_footprint_decides_whatever_the_bbox_holds(bbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "low_percentile", lambda href, nodata: 100.0)
    assert taken(silent(bbox=bbox)).table["offset"].to_pylist() == [0]


def test_a_static_layer_with_odd_properties_or_times_is_a_scene() -> None:
    layer = {**item(), "assets": {"data": {"href": "dem.tif"}}, "properties": [1]}
    dated = {**layer, "id": "b", "properties": {"created": "9999-12-31T23:59:59-05:00"}}
    answer = taken(layer, dated, sensor=DEM, bands=("elevation",))
    assert answer.rejected == [] and answer.table["id"].to_pylist() == ["a", "b"]


def test_what_nobody_foresaw_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (ValueError, TypeError, AttributeError, KeyError, OverflowError, shapely.GEOSException):

        def fail(*_: Any, kind: Any = kind) -> Any:
            raise kind("unforeseen")

        monkeypatch.setattr(gathering, "scene", fail)
        assert [x.reason for x in taken(item()).rejected] == [f"broken item: {kind.__name__}"]


@pytest.mark.parametrize("properties", [{"s2:processing_baseline": None}, DENIED])
@pytest.mark.parametrize(
    "unwanted",
    [
        ({"west": 100.0}, OUTSIDE),
        ({"datetime": "2021-05-01T10:00:00Z"}, OUTSIDE),
        ({"eo:cloud_cover": 99}, "cloudier than 50 %"),
    ],
)
def test_no_pixel_is_read_of_what_is_not_wanted(
    properties: dict[str, Any], unwanted: tuple[dict[str, Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(href: str, nodata: float | None) -> float:
        raise AssertionError("no pixel needs to be read")

    monkeypatch.setattr(gathering, "low_percentile", refuse)
    thing = item(**{**properties, **unwanted[0]})
    thing["bbox"] = [10, 45, 11, 46]  # which says otherwise
    limits = Limits(AREA, Period.model_validate({"start": "2022-01-01"}), 50.0)
    answer = Answer()
    answer.take(thing, "x", S2, ("B02",), limits)
    assert [x.reason for x in answer.rejected] == [unwanted[1]]
    assert Found.of(iter([answer])).other == (unwanted[1] == OUTSIDE)


@pytest.mark.parametrize("properties", [{"s2:processing_baseline": None}, DENIED])
def test_a_network_fault_leaves_a_scene_open_and_a_rerun_asks_again(
    properties: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "HTTP response code: 503"

    def low(href: str, nodata: float | None) -> float:
        if why:
            raise InputError(f"Band {href} cannot be read", why)
        return 100.0

    monkeypatch.setattr(gathering, "low_percentile", low)
    asked: list[int] = []

    def ask() -> Answer:
        asked.append(1)
        return taken(item("sure"), item("open", **properties))

    kept = Kept(tmp_path)
    for number in (1, 2):
        answer = kept.recall("question", ask)
        assert answer.missing == ["open: dark pixels could not be read: HTTP response code: 503"]
        assert answer.table["id"].to_pylist() == ["sure"] and not answer.rejected
        assert len(asked) == number
    why = ""
    for _ in range(2):
        answer = kept.recall("question", ask)
        assert answer.missing == [] and answer.table["offset"].to_pylist() == [0, 0]
    assert len(asked) == 3
    why = "HTTP response code: 404"
    answer = ask()
    assert answer.missing == [] and answer.rejected[0].reason.endswith(", dark pixels unreadable")


def test_a_network_that_is_gone_is_not_asked_for_every_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def low(href: str, nodata: float | None) -> float:
        asked.append(href)
        raise InputError("Band cannot be read", "CURL error: Could not resolve host: example.org")

    monkeypatch.setattr(gathering, "low_percentile", low)
    answer = taken(*(silent(id=f"item-{k}") for k in range(30)))
    assert len(answer.missing) == 30 and len(asked) == 20
    assert answer.missing[-1].endswith("not asked for, after 20 failures in a row")


def test_patches_whose_pixels_a_network_keeps_back_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def low(href: str, nodata: float | None) -> float:
        raise InputError("Band cannot be read", "CURL error: Empty reply from server")

    monkeypatch.setattr(gathering, "low_percentile", low)
    shapes = shapely.box([10, 10.1], 45, [10.1, 10.2], 45.1)
    files = {"B02": np.array(["https://example.org/a.tif", "https://example.org/b.tif"], object)}
    group = Patches(np.array(["a", "b"], object), shapes, files, {"datetime": "2022-05-01T10:00:00Z"})
    answer = answer_of([group], Limits(AREA, Period()), S2, ("B02",))
    assert [line.partition(":")[0] for line in answer.missing] == ["a", "b"]
    assert not answer.rejected and not answer.batches


class Faulty(BaseHTTPRequestHandler):
    """Answers as the path says: a status; ``cut`` ends in the header; ``late-503`` fails after the first parts."""

    tiff = b""
    parts = 0

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        name = self.path.strip("/").partition(".")[0]
        if name == "drop":
            self.connection.close()
            return
        body = {"text": b"hello" * 100, "cut": b"II*\0"}.get(name, self.tiff)
        status = int(name) if name.isdigit() else 206 if "Range" in self.headers else 200
        first, last = 0, len(body) - 1
        if "Range" in self.headers:
            start, _, end = self.headers["Range"].removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(end), last)
        if name.startswith("late"):
            Faulty.parts += 1
            status = int(name[-3:]) if Faulty.parts > 2 else status
        part = body[first : last + 1] if status in (200, 206) else b""
        self.send_response(status)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
        self.send_header("Content-Length", str(100_000 if name == "cut" else len(part)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in (("MAX_RETRY", "0"), ("RETRY_DELAY", "0"), ("TIMEOUT", "2")):
        monkeypatch.setenv(f"GDAL_HTTP_{name}", value)
    numbers = np.random.default_rng(0).integers(1, 9999, (1500, 1500)).astype("uint16")
    profile = {"driver": "GTiff", "width": 1500, "height": 1500, "count": 1, "dtype": "uint16"}
    with rasterio.open(tmp_path / "a.tif", "w", crs="EPSG:32632", **profile) as file:
        file.write(numbers, 1)
    monkeypatch.setattr(Faulty, "tiff", (tmp_path / "a.tif").read_bytes())
    monkeypatch.setattr(Faulty, "parts", 0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("404", False),
        ("403", False),
        ("410", False),
        ("text", False),
        ("408", True),
        ("429", True),
        ("500", True),
        ("503", True),
        ("504", True),
        ("drop", True),
        ("cut", True),
        ("late-503", True),
    ],
)
def test_what_gdal_says_of_a_network_is_told_from_a_broken_file(name: str, passes: bool, faulty: str) -> None:
    with pytest.raises(Unavailable if passes else InputError):
        dark_pixels(f"{faulty}/{name}.tif", None)


def test_a_broken_file_on_disk_and_a_refused_connection(tmp_path: Path, faulty: str) -> None:
    assert dark_pixels(f"{faulty}/whole.tif", None) > 0
    (tmp_path / "half.tif").write_bytes(Faulty.tiff[: len(Faulty.tiff) // 2])
    for name in ("half.tif", "none.tif"):
        with pytest.raises(InputError):
            dark_pixels(str(tmp_path / name), None)
    with pytest.raises(Unavailable, match="connect"):
        dark_pixels("http://127.0.0.1:9/x.tif", None)


def no_token(href: str) -> str:
    if "secret" in href:
        raise InputError("No token for container c of a can be had", "HTTP 503", "Try again later")
    return sign(href)


def test_a_token_that_is_not_to_be_had_is_said_and_ends_nothing(
    faulty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "sign", no_token)
    with pytest.raises(Unavailable, match="No token for container"):
        Files(QUICK).get(f"{faulty}/secret.json")
    with pytest.raises(Unavailable, match="No token for container"):
        dark_pixels(f"{faulty}/secret.tif", None)
    with pytest.raises(OSError, match="no address"):
        Files(QUICK).get("http://[bad/x.json")
    (tmp_path / "item.json").write_text(json.dumps(item()))
    links = [
        {"rel": "item", "href": f"{faulty}/secret.json"},
        {"rel": "item", "href": "http://[bad/x.json"},
        {"rel": "item", "href": str(tmp_path / "item.json")},
    ]
    root = {"type": "Collection", "id": S2.name, "links": links}
    (tmp_path / "catalog.json").write_text(json.dumps(root))
    found = StaticArchive.open(str(tmp_path / "catalog.json"), Files(QUICK)).search(
        AREA, Period(), S2, ("B02",)
    )
    assert len(found) == 1 and len(found.missing) == 1 and "No token" in found.missing[0]
    assert [x.reason for x in found.rejected] == ["item link to no address"]
    table = TableArchive("x", (f"{faulty}/secret.parquet",), Files(QUICK))
    found = table.search(AREA, Period(), S2, ("B02",))
    assert len(found) == 0 and "No token" in found.missing[0]
