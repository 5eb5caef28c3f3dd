"""STAC APIs, against a real server: what it finds, and what it says when the server fails."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
import urllib3
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.archives import READY, open_archive
from curate.archives.api import ApiArchive, interval
from curate.archives.boxes import boxes
from curate.archives.duplicates import OLDER_DUPLICATE, older_rows, tile_of
from curate.archives.found import GATHERED, Found
from curate.archives.pacing import Pace, Patience
from curate.archives.paging import Lost, Pages, Request
from curate.archives.static import StaticArchive
from curate.catalog.errors import InputError
from curate.pixels.dark import low_percentile
from curate.recipe import Period
from curate.scenes import Rejected, scene
from curate.sensors import SENSORS, Sensor
from curate.signing import Signer, hide, unsigned

SERVER = Path(__file__).parent / "stac_server.py"
S2, S1, DEM = (SENSORS[name] for name in ("sentinel-2-l2a", "sentinel-1-rtc", "cop-dem-glo-30"))
BLUE, VV = ("B02",), ("VV",)
EVER = Period()
ALPS = shapely.box(5, 44, 14, 48)
FIJI = shapely.MultiPolygon([shapely.box(176, -20, 180, -14), shapely.box(-180, -20, -176, -14)])
QUICK = Patience(
    connect_s=2, read_s=2, requests_per_s=500, repeats=2, backoff_s=0.02, tries=4, page=20, threads=2
)
ONE_BOX = shapely.box(8, 45, 11, 48)  # asked for in one query


class Server:
    """A running STAC server."""

    def __init__(self, items: Path, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER), str(items)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environment},
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        for _ in range(200):
            try:
                self.plan()
                return
            except OSError:
                time.sleep(0.05)
        raise TimeoutError("the STAC server does not answer")

    def plan(self, **fault: Any) -> None:
        """Misbehave from now on as *fault* says; forget which searches came."""
        body = json.dumps(fault).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/-/plan", body), timeout=5).read()

    def searches(self) -> list[dict[str, Any]]:
        log: list[dict[str, Any]] = json.load(urllib.request.urlopen(f"{self.url}/-/log", timeout=5))
        return log

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def item(
    name: str, west: float, south: float, when: str, sensor: Sensor = S2, **properties: Any
) -> dict[str, Any]:
    """An item of 1° × 1°."""
    bounds = (west, south, west + 1, south + 1)
    keys = {"sentinel-2-l2a": "blue", "sentinel-1-rtc": "vv", "cop-dem-glo-30": "data"}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": sensor.name,
        "geometry": json.loads(shapely.to_geojson(shapely.box(*bounds))),
        "bbox": list(bounds),
        "properties": {"datetime": when, "platform": "sentinel-2a", **properties},
        "links": [],
        "assets": {keys[sensor.name]: {"href": f"https://example.org/{name}.tif"}},
    }


def many_items() -> list[dict[str, Any]]:
    """190 over the Alps and around (60 of them in one box), 60 around Fiji, 50 elsewhere, of three collections."""
    random = np.random.default_rng(7)
    items = []
    for k in range(300):
        west, south = random.uniform(2, 16), random.uniform(42, 50)
        if k < 60:
            west, south = random.uniform(8, 10), random.uniform(45, 47)
        if k >= 190:
            west, south = random.uniform(174, 179), random.uniform(-22, -13)
            west = west if k % 2 else west - 354.5
        if k >= 250:
            west, south = random.uniform(-170, 160), random.uniform(-80, 84)
        time_ = dt.datetime(2022, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=int(k * 131) % 17_000, seconds=k)
        sensor = (S2, S1, S2, S1, S2, DEM)[k % 6]
        extra = {"s2:processing_baseline": "03.01"} if sensor is S2 else {"sat:relative_orbit": k % 175 + 1}
        if k % 40 == 4:
            extra |= {"start_datetime": "2022-06-01T00:00:00Z", "end_datetime": "2022-06-01T10:00:00Z"}
        items.append(item(f"item-{k:03d}", west, south, f"{time_:%Y-%m-%dT%H:%M:%S.%fZ}", sensor, **extra))
    return items


def write_static(items: list[dict[str, Any]], folder: Path) -> Path:
    """The items as a static catalog with one collection per name; its catalog.json."""
    links = []
    for name in sorted({x["collection"] for x in items}):
        (folder / name).mkdir(parents=True)
        inside = [x for x in items if x["collection"] == name]
        for x in inside:
            (folder / name / f"{x['id']}.json").write_text(json.dumps(x))
        to_items = [{"rel": "item", "href": f"./{x['id']}.json"} for x in inside]
        collection = {"type": "Collection", "id": name, "stac_version": "1.0.0", "links": to_items}
        (folder / name / "collection.json").write_text(json.dumps(collection))
        links.append({"rel": "child", "href": f"./{name}/collection.json"})
    root = {"type": "Catalog", "id": "root", "stac_version": "1.0.0", "description": "-", "links": links}
    (folder / "catalog.json").write_text(json.dumps(root))
    return folder / "catalog.json"


def write_lines(items: list[dict[str, Any]], path: Path) -> Path:
    path.write_text("\n".join(map(json.dumps, items)))
    return path


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> StaticArchive:
    return StaticArchive.open(str(write_static(many_items(), tmp_path_factory.mktemp("static"))))


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lines(many_items(), tmp_path_factory.mktemp("items") / "items.ndjson")


@pytest.fixture(scope="module")
def running(lines: Path) -> Iterator[Server]:
    server = Server(lines)
    yield server
    server.stop()


@pytest.fixture
def server(running: Server) -> Server:
    running.plan()
    return running


def opened(server: Server, patience: Patience = QUICK) -> ApiArchive:
    archive = ApiArchive.open(server.url, patience)
    assert archive is not None
    return archive


def scenes(found: Found) -> dict[str, dict[str, Any]]:
    rows = {row["id"]: row for row in found.scenes.to_pylist()}
    assert len(rows) == len(found), "a scene came twice"
    return rows


@contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


@pytest.mark.parametrize("area", [ALPS, FIJI, ONE_BOX], ids=["alps", "fiji", "one box"])
@pytest.mark.parametrize("sensor", [S2, S1, DEM], ids=lambda sensor: sensor.name)
def test_an_api_finds_what_a_static_catalog_of_the_same_items_finds(
    server: Server, static: StaticArchive, area: shapely.Geometry, sensor: Sensor
) -> None:
    bands = {S2.name: BLUE, S1.name: VV, DEM.name: ("elevation",)}[sensor.name]
    for period in (
        EVER,
        Period(start=dt.date(2022, 6, 1), end=dt.date(2022, 12, 31)),
        Period(end=dt.date(2022, 6, 1)),
    ):
        found, expected = (a.search(area, period, sensor, bands) for a in (opened(server), static))
        assert scenes(found) == scenes(expected)
        assert not found.missing and not found.rejected
    assert scenes(static.search(area, EVER, sensor, bands))


def test_pages_are_read_to_the_last(server: Server, static: StaticArchive) -> None:
    found = opened(server, Patience(**{**vars(QUICK), "page": 5})).search(ONE_BOX, EVER, S2, BLUE)
    assert len(server.searches()) == -(-(len(found) + found.other) // 5) > 3
    assert scenes(found) == scenes(static.search(ONE_BOX, EVER, S2, BLUE))


@pytest.mark.parametrize("style", ["GET", "merge"])
def test_other_styles_of_paging(
    lines: Path, static: StaticArchive, style: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(lines, STAC_MERGE="1")
    try:
        archive = opened(server, Patience(**{**vars(QUICK), "page": 5}))
        if style == "GET":
            archive.client.links = [x for x in archive.client.links if x.extra_fields.get("method") != "POST"]
        assert scenes(archive.search(ALPS, EVER, S2, BLUE)) == scenes(static.search(ALPS, EVER, S2, BLUE))
    finally:
        server.stop()


def test_the_url_says_whether_it_is_an_api(server: Server, static: StaticArchive) -> None:
    assert isinstance(open_archive(server.url), ApiArchive)
    folder = str(Path(static.href).parent)

    class Files(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=folder)

        def log_message(self, *arguments: Any) -> None:
            pass

    with serving(Files) as url:
        archive = open_archive(f"{url}/catalog.json")
        assert isinstance(archive, StaticArchive)
        assert scenes(archive.search(ONE_BOX, EVER, S2, BLUE)) == scenes(
            static.search(ONE_BOX, EVER, S2, BLUE)
        )
        with pytest.raises(InputError, match="cannot be read: the answer is no JSON"):
            open_archive(f"{url}/")  # a listing in HTML
        with pytest.raises(InputError, match="HTTP 404"):
            open_archive(f"{url}/absent.json")
    assert set(READY) == {"earth-search", "planetary-computer", "copernicus"}


def cloudy_items() -> list[dict[str, Any]]:
    """Optical items of every cloud cover, some without; a radar one with a cloud cover, which is nobody's."""
    items = []
    for k in range(30):
        cover = {"eo:cloud_cover": 4.0 * k} if k % 5 and k < 26 else {}
        taken = f"2022-05-{k % 28 + 1:02d}T10:30:{k:02d}Z"
        items.append(
            item(f"item-{k:02d}", 8 + k / 30, 45, taken, S2, **{"s2:processing_baseline": "03.01"}, **cover)
        )
    items.append(item("radar", 8, 45, "2022-05-01T05:00:00Z", S1, **{"eo:cloud_cover": 99}))
    return items


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("kind", ["cql2", "refuse", ""])
def test_clouds_are_a_criterion_of_the_search(tmp_path: Path, kind: str, method: str) -> None:
    """Whether the server filters, refuses to, or cannot: the scenes are those of the static catalog."""
    items = cloudy_items()
    static = StaticArchive.open(str(write_static(items, tmp_path / "static")))
    server = Server(write_lines(items, tmp_path / "items.ndjson"), STAC_FILTER=kind)
    try:
        archive = opened(server, Patience(**{**vars(QUICK), "page": 5, "threads": 1}))
        if method == "GET":
            archive.client.links = [x for x in archive.client.links if x.extra_fields.get("method") != "POST"]
        server.plan()
        found, expected = (a.search(ALPS, EVER, S2, BLUE, 40.0) for a in (archive, static))
        asked = [search["asked"] for search in server.searches()]
        everything = archive.search(ALPS, EVER, S2, BLUE)
        server.plan()
        archive.search(ALPS, EVER, S1, VV, 10.0)
        assert not any("filter" in search["asked"] for search in server.searches())
    finally:
        server.stop()
    assert scenes(found) == scenes(expected) and not found.missing
    covers = [row["cloud_cover"] for row in scenes(found).values()]
    assert covers.count(None) == 10 and max(c for c in covers if c is not None) == 36
    assert len(everything) == 30
    cloudy = Counter(x.reason for x in expected.rejected)["cloudier than 40 %"]
    assert cloudy == 30 - len(found) == 12
    assert Counter(x.reason for x in found.rejected)["cloudier than 40 %"] == (
        0 if kind == "cql2" else cloudy
    )
    assert all(("filter" in one) == (kind == "cql2") for one in asked[1 if kind == "refuse" else 0 :])


FAULTS = {
    "429 with Retry-After": {"kind": "status", "status": 429, "after": 1, "times": 2},
    "502 burst": {"kind": "status", "status": 502, "times": 5, "skip": 1},
    "503 burst": {"kind": "status", "status": 503, "times": 3, "skip": 2},
    "504 for large pages": {"kind": "status", "status": 504, "above": 6},
    "500 once": {"kind": "status", "status": 500, "times": 1},
    "time-out once": {"kind": "hang", "seconds": 3, "times": 1, "skip": 1},
    "truncated twice": {"kind": "truncate", "times": 2, "skip": 1},
    "HTML once": {"kind": "html", "times": 1, "skip": 1},
    "error document once": {"kind": "error document", "times": 1, "skip": 1},
    "repeated pages": {"kind": "repeat", "times": 3, "skip": 2},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_that_passes_costs_nothing(
    server: Server, static: StaticArchive, fault: dict[str, Any]
) -> None:
    archive = opened(server, Patience(**{**vars(QUICK), "page": 10, "read_s": 1}))
    server.plan(**fault)
    with within(15):
        found = archive.search(ALPS, EVER, S2, BLUE)
    assert not found.missing
    assert scenes(found) == scenes(static.search(ALPS, EVER, S2, BLUE))


LASTING = {
    "503": ({"kind": "status", "status": 503}, "HTTP 503, 4 times"),
    "hang": ({"kind": "hang", "seconds": 3}, "no answer in time, 4 times"),
    "truncated": ({"kind": "truncate"}, "the answer broke off, 4 times"),
    "HTML": ({"kind": "html"}, "the answer is no JSON, 4 times"),
    "repeated page": ({"kind": "repeat"}, "a page repeats itself, 4 times"),
    "forbidden": ({"kind": "status", "status": 403}, 'HTTP 403 ({"detail": "out of order"})'),
}


@pytest.mark.parametrize(("fault", "why"), LASTING.values(), ids=LASTING)
def test_a_fault_that_lasts_leaves_what_came_and_a_list(
    server: Server, static: StaticArchive, fault: dict[str, Any], why: str
) -> None:
    archive = opened(server, Patience(**{**vars(QUICK), "page": 8, "read_s": 0.8}))
    server.plan(**fault, skip=1)
    with within(15):
        found = archive.search(ONE_BOX, EVER, S2, BLUE)
    assert len(found) + found.other == 8
    assert found.missing == [f"sentinel-2-l2a in bbox:8,45,11,48: {why}; 8 items came before"]
    everything = scenes(static.search(ONE_BOX, EVER, S2, BLUE))
    assert len(everything) > 8
    assert scenes(found).items() <= everything.items()
    server.plan()
    assert scenes(archive.search(ONE_BOX, EVER, S2, BLUE)) == everything  # the rerun


def test_a_page_that_repeats_for_ever_ends(server: Server) -> None:
    archive = opened(server, Patience(**{**vars(QUICK), "page": 8}))
    server.plan(kind="repeat", skip=1)
    archive.search(ONE_BOX, EVER, S2, BLUE)
    assert len(server.searches()) == 1 + QUICK.tries


def test_the_page_size_shrinks_and_recovers(server: Server) -> None:
    archive = opened(server, Patience(**{**vars(QUICK), "threads": 1}))
    server.plan(kind="status", status=502, skip=1, times=3)
    archive.search(shapely.box(0, 40, 18, 52), EVER, S2, BLUE)
    limits = [search["limit"] for search in server.searches()]
    assert limits[:5] == [20, 20, 20, 20, 10]
    assert limits[-1] == 20


def test_retry_after_is_waited_for_by_all(server: Server) -> None:
    archive = opened(server)
    server.plan(kind="status", status=429, after=1, times=1)
    archive.search(ALPS, EVER, S2, BLUE)
    times = [search["time"] for search in server.searches()]
    assert times[2] - times[0] > 0.9  # one more may be under way from the other thread


def test_requests_keep_their_pace(server: Server) -> None:
    archive = opened(server, Patience(**{**vars(QUICK), "requests_per_s": 20, "threads": 4, "page": 5}))
    archive.search(ONE_BOX, EVER, S2, BLUE)
    archive.search(ALPS, Period(end=dt.date(2022, 3, 1)), S2, BLUE)
    times = [search["time"] for search in server.searches()]
    assert len(times) > 8
    assert (times[-1] - times[0]) / (len(times) - 1) > 0.045


def test_a_server_that_dies_half_way(lines: Path, static: StaticArchive) -> None:
    server = Server(lines)
    try:
        archive = opened(server, Patience(**{**vars(QUICK), "page": 8, "threads": 1, "lost": 2}))
        server.plan(kind="die", skip=4)
        with within(15):
            found = archive.search(shapely.box(0, 40, 18, 52), EVER, S2, BLUE)
    finally:
        server.stop()
    everything = scenes(static.search(shapely.box(0, 40, 18, 52), EVER, S2, BLUE))
    assert 0 < len(found) < len(everything)
    assert scenes(found).items() <= everything.items()
    reasons = Counter("not asked for" in line for line in found.missing)
    assert reasons[False] == 2 and reasons[True] > 3
    assert "no connection, 4 times" in found.missing[0]
    lost = [
        shapely.box(*map(float, line.split("bbox:")[1].split(": ")[0].split(","))) for line in found.missing
    ]
    for name in everything.keys() - scenes(found).keys():  # all that lacks lies where the list says
        assert any(shapely.intersects(shapely.from_wkb(everything[name]["geometry"]), box) for box in lost)


def test_no_server_at_all() -> None:
    with pytest.raises(InputError, match="no connection"), within(3):
        ApiArchive.open("http://127.0.0.1:9", QUICK)


def test_duplicates_collapse_to_the_newest(tmp_path: Path) -> None:
    when = "2022-05-01T10:30:01.024Z"
    taken = {"s2:processing_baseline": "02.14"}
    items = [
        item("S2A_MSIL2A_20220501T103001_N0214_R108_T32TMS_20220501T120000", 8, 45, when, **taken),
        item(
            "S2A_32TMS_20220501_0_L2A",
            8.05,
            45,
            "2022-05-01T10:30:07Z",
            **{**taken, "s2:processing_baseline": "05.00"},
        ),
        item(
            "S2A_32TMS_20220501_1_L2A",
            8.05,
            45,
            "2022-05-01T10:30:07Z",
            **{**taken, "s2:processing_baseline": "05.00"},
        ),
        item("S2A_32TNS_20220501_0_L2A", 8.05, 45, when, **taken),  # another tile
        item("S2A_32TMS_20220501_2_L2A", 8.9, 45, when, **taken),  # the tile's other half
        item("S2A_32TMS_20220504_0_L2A", 8, 45, "2022-05-04T10:30:01Z", **taken),
        item("S2B_32TMS_20220501_0_L2A", 8, 45, when, **{**taken, "platform": "sentinel-2b"}),
    ]
    for thing in items[1:3]:
        thing["assets"]["blue"]["raster:bands"] = [{"offset": -0.1, "scale": 1e-4}]
    server = Server(write_lines(items, tmp_path / "items.ndjson"))
    try:
        found = opened(server).search(ALPS, EVER, S2, BLUE)
    finally:
        server.stop()
    assert set(scenes(found)) == {items[k]["id"] for k in (2, 3, 4, 5, 6)}
    older = sorted(items[k]["id"] for k in (0, 1))
    assert sorted(x.id for x in found.rejected) == older
    assert {x.reason for x in found.rejected} == {OLDER_DUPLICATE}


def test_the_processing_time_decides_where_baselines_agree() -> None:
    rows = []
    for name in ("S1A_IW_GRDH_20220501T054321_FFFF", "S1A_IW_GRDH_20220501T054321_0001"):
        thing = item(name, 8, 45, "2022-05-01T05:43:21Z", S1, **{"sat:relative_orbit": 66})
        row = scene(thing, "https://example.org/item.json", S1, VV)
        assert not isinstance(row, Rejected)
        rows.append(row)

    def kept(dates: tuple[str, str], platform: str | None = "sentinel-1a") -> list[str]:
        dated = [
            {**row, "processed": date, "platform": platform} for row, date in zip(rows, dates, strict=True)
        ]
        table = pa.Table.from_pylist(dated, schema=GATHERED)
        return [name[-4:] for name in table.filter(pa.array(~older_rows(table)))["id"].to_pylist()]

    assert kept(("", "")) == ["FFFF"]
    assert kept(("2022-05-01T08:00:00Z", "2023-01-01T00:00:00Z")) == ["0001"]
    assert kept(("", ""), platform=None) == ["FFFF", "0001"]


@pytest.mark.parametrize(
    ("name", "tile"),
    [
        ("S2A_MSIL2A_20200101T105431_R051_T31UFS_20201002T123456", "31UFS"),
        ("S2B_31UFS_20200101_0_L2A", "31UFS"),
        ("S2A_T01WCV_20200101T105431_L2A", "1WCV"),
        ("S2A_1WCV_20200101_0_L2A", "1WCV"),
        ("S1A_IW_GRDH_1SDV_20200101T054321_20200101T054346_030000_036F2A_ABCD", None),
    ],
)
def test_tiles_are_read_from_ids(name: str, tile: str | None) -> None:
    assert tile_of(name) == tile


@given(
    st.floats(-180, 179),
    st.floats(-90, 89),
    st.floats(0.01, 60),
    st.floats(0.01, 40),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_boxes_hold_the_area_and_stay_small(w: float, s: float, wide: float, tall: float, seed: int) -> None:
    area = shapely.box(w, s, w + wide, min(90, s + tall))  # perhaps beyond 180
    random = np.random.default_rng(seed)
    bounds = np.array(boxes(area))
    west, south, east, north = bounds.T
    assert (
        (west >= -180) & (west < east) & (east <= 180) & (south >= -90) & (south < north) & (north <= 90)
    ).all()
    assert (north - south <= 4.001).all()
    widest_at = np.where((south <= 0) & (north >= 0), 0, np.minimum(np.abs(south), np.abs(north)))
    large = np.cos(np.radians(widest_at - 4).clip(0)) * (east - west)
    assert (large <= 8.1).all() or len(bounds) == 1
    lon, lat = random.uniform(w, w + wide, 50), random.uniform(s, min(90, s + tall), 50)
    lon = np.where(lon > 180, lon - 360, lon)
    inside = (
        (west[:, None] <= lon) & (lon <= east[:, None]) & (south[:, None] <= lat) & (lat <= north[:, None])
    )
    assert inside.any(0).all()


def test_a_continent_is_asked_for_in_boxes() -> None:
    assert boxes(ONE_BOX) == [(8, 45, 11, 48)]
    assert all((east <= 180 and west >= 176) or east <= -176 for west, _, east, _ in boxes(FIJI))
    assert 2_000 < len(boxes(shapely.box(-180, -90, 180, 90))) < 4_000


def test_periods_as_intervals() -> None:
    assert interval(EVER) is None
    assert interval(Period(start=dt.date(2022, 1, 2))) == "2022-01-02T00:00:00Z/.."
    both = Period(start=dt.date(2022, 1, 2), end=dt.date(2022, 1, 3))
    assert interval(both) == "2022-01-02T00:00:00Z/2022-01-03T23:59:59.999999Z"


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}"
        finally:
            http.shutdown()
            thread.join()


BLOB = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/31/U/FS/B02.tif"


@contextmanager
def token_endpoint(clock: list[float], lives_s: list[float]) -> Iterator[tuple[str, list[str]]]:
    """Tokens that live for the seconds in *lives_s*, one after the other, the last for all others."""
    asked: list[str] = []

    class Tokens(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers.get('Ocp-Apim-Subscription-Key', '')}".strip())
            life_s = lives_s.pop(0) if len(lives_s) > 1 else lives_s[0]
            ends = dt.datetime.fromtimestamp(clock[0] + life_s, dt.UTC)
            token = {
                "msft:expiry": f"{ends:%Y-%m-%dT%H:%M:%SZ}",
                "token": f"se={ends:%H%M}&sig=s3cret{len(asked)}",
            }
            known = "/unknown/" not in self.path
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps(token).encode() if known else b"{}")

        def log_message(self, *arguments: Any) -> None:
            pass

    with serving(Tokens) as url:
        yield f"{url}/token", asked


def test_tokens_are_kept_per_container_and_replaced_at_80_percent_of_their_life() -> None:
    clock = [1_700_000_000.0]
    with token_endpoint(clock, [3000]) as (url, asked):
        signer = Signer(url, key="my-key", now=lambda: clock[0])
        first = signer.sign(BLOB)
        assert first.startswith(f"{BLOB}?se=") and "sig=s3cret1" in first
        clock[0] += 2390
        assert signer.sign(BLOB) == first
        clock[0] += 20
        assert "sig=s3cret2" in signer.sign(BLOB)
        signer.sign(BLOB.replace("sentinel2-l2", "other"))
    path = "/token/sentinel2l2a01"
    assert asked == [f"{path}/sentinel2-l2 my-key"] * 2 + [f"{path}/other my-key"]


def test_a_token_that_arrives_expired_is_asked_for_again() -> None:
    clock = [1_700_000_000.0]
    with token_endpoint(clock, [-60, 3000]) as (url, asked):
        assert "sig=s3cret2" in Signer(url, now=lambda: clock[0]).sign(BLOB)
    with token_endpoint(clock, [-60]) as (url, asked):
        with pytest.raises(InputError, match="the token has expired"):
            Signer(url, now=lambda: clock[0]).sign(BLOB)
        assert len(asked) == 3


def test_only_blobs_that_need_it_are_signed() -> None:
    clock = [1_700_000_000.0]
    with token_endpoint(clock, [3000]) as (url, asked):
        signer = Signer(url, now=lambda: clock[0])
        for href in ("https://example.org/a/B02.tif", "s3://eodata/a.tif", "/data/a.tif"):
            assert signer.sign(href) == href
        public = BLOB.replace("sentinel2l2a01", "unknown")
        assert [signer.sign(public), signer.sign(public)] == [public, public]
        assert len(asked) == 1
        assert signer.sign(f"{BLOB}?a=b").startswith(f"{BLOB}?a=b&se=")
        assert hide(f"cannot read '{signer.sign(BLOB)}': gone") == f"cannot read '{BLOB}': gone"


def test_an_old_signature_is_replaced_where_there_is_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_700_000_000.0]  # 2023-11-14T22:13:20Z
    with token_endpoint(clock, [3000]) as (url, asked):
        signer = Signer(url, now=lambda: clock[0])
        mine = f"{BLOB}?se=2023-11-14T23%3A00%3A00Z&sp=r&sig=mine"
        assert signer.sign(mine) == mine and not asked
        clock[0] += 3600
        signed = signer.sign(f"{mine}&a=b")
        assert signed.startswith(f"{BLOB}?a=b&se=") and "mine" not in signed and "s3cret1" in signed
        assert "mine" not in signer.sign(f"{BLOB}?sig=mine")
        private = mine.replace("sentinel2l2a01", "unknown")
        assert signer.sign(private) == private
    monkeypatch.setattr("curate.signing._http", lambda: urllib3.PoolManager(retries=False))
    assert Signer("http://127.0.0.1:9", now=lambda: clock[0]).sign(mine) == mine


SECRETS = {
    "SAS": (
        "https://a.blob.core.windows.net/c/x.parquet?sv=2&st=1&se=3&sr=c&sp=rl&skoid=k&sig=S3cret%3D",
        "",
    ),
    "S3": ("https://b.s3.amazonaws.com/x.tif?X-Amz-Credential=S3cret&X-Amz-Signature=S3cret", ""),
    "older S3": ("https://b.example.org/x.tif?AWSAccessKeyId=S3cret&Expires=1&Signature=S3cret", ""),
    "Google": ("https://storage.googleapis.com/b/x.tif?X-Goog-Signature=S3cret", ""),
    "with others": ("https://example.org/x.tif?a=1&sig=S3cret&x-amz-date=S3cret&b=2", "?a=1&b=2"),
    "a person": ("https://me:S3cret@example.org/x.tif", ""),
}


@pytest.mark.parametrize(("href", "rest"), SECRETS.values(), ids=SECRETS)
def test_secrets_in_hrefs_are_neither_kept_nor_said(href: str, rest: str) -> None:
    bare = href.partition("?")[0].replace("me:S3cret@", "") + rest
    assert unsigned(href) == bare
    assert unsigned(f"{href}#row=1&column=B02") == f"{bare}#row=1&column=B02"
    for text in ("{} is gone", "'{}': HTTP 404", "in {}: HTTP 403", "({}), twice", "{}"):
        assert hide(text.format(href)) == text.format(bare)


def test_what_is_no_secret_stays() -> None:
    for href in (
        "https://example.org/x.tif?st=1&sp=2",
        "s3://bucket/items/??.parquet",
        "/data/what?",
        "abfs://container@account.dfs.core.windows.net/x",
        "http://127.0.0.1:9000/me@home:1@2.tif",
    ):
        assert unsigned(href) == href and hide(href) == href


def test_hrefs_of_scenes_are_without_signatures() -> None:
    thing = item("item", 8, 45, "2022-05-01T10:30:00Z", **{"s2:processing_baseline": "03.01"})
    thing["assets"]["blue"]["href"] = f"{BLOB}?se=2023&sig=S3cret"
    thing["assets"]["scl"] = {"href": "https://example.org/scl.tif?X-Amz-Signature=S3cret"}
    row = scene(thing, "https://example.org/item.json?sig=S3cret", S2, BLUE)
    assert not isinstance(row, Rejected)
    assert [x["href"] for x in row["assets"]] == [BLOB, "https://example.org/scl.tif"]


def test_an_estimated_count_is_no_loss(server: Server, static: StaticArchive) -> None:
    archive = opened(server, Patience(**{**vars(QUICK), "page": 8}))
    server.plan(kind="counts", more=5)
    found = archive.search(ONE_BOX, EVER, S2, BLUE)
    assert not found.missing
    assert scenes(found) == scenes(static.search(ONE_BOX, EVER, S2, BLUE))
    once = -(-(len(found) + found.other) // 8)
    assert len(server.searches()) == 2 * once


@pytest.mark.parametrize(
    ("rounds", "why"),
    [
        (["ab", "ab"], None),
        (["ab", "abcde"], None),
        (["abc", "cde"], None),  # all five in the end
        (["ab", "abc"], "counted 5 items and sent 3"),
        (["ab", ""], "counted 5 items and sent 0"),
        (["", ""], None),
        (["abcde"], None),
    ],
)
def test_fewer_items_than_counted_are_asked_for_once_more(rounds: list[str], why: str | None) -> None:
    asked: list[str] = []

    class Answers:
        def request(self, href: str, *arguments: Any) -> str:
            asked.append(href)
            features = [{"id": name} for name in rounds[len(asked) - 1]]
            return json.dumps({"features": features, "numberMatched": 5})

    pages: Any = Pages(Answers(), Pace(1000), QUICK)  # type: ignore[arg-type]
    came: list[str] = []
    try:
        came.extend(one["id"] for one in pages.walk(Request("https://example.org/search")))
    except Lost as lost:
        assert why is not None and why in str(lost)
    else:
        assert why is None
    assert came == sorted({*"".join(rounds)}) and len(asked) == len(rounds)


@pytest.mark.parametrize("status", [404, 422, 500, 501])
def test_a_server_that_fails_at_the_filter_is_asked_without(tmp_path: Path, status: int) -> None:
    items = cloudy_items()
    static = StaticArchive.open(str(write_static(items, tmp_path / "static")))
    environment = {"STAC_FILTER": "refuse", "STAC_REFUSES_WITH": str(status)}
    server = Server(write_lines(items, tmp_path / "items.ndjson"), **environment)
    try:
        archive = opened(server, Patience(**{**vars(QUICK), "threads": 1}))
        server.plan()
        found = archive.search(ALPS, EVER, S2, BLUE, 40.0)
        asked = ["filter" in search["asked"] for search in server.searches()]
    finally:
        server.stop()
    assert not found.missing
    assert scenes(found) == scenes(static.search(ALPS, EVER, S2, BLUE, 40.0))
    tries = QUICK.tries if status == 500 else 1
    assert asked[: tries + 1] == [True] * tries + [False] and not any(asked[tries:])


def test_many_threads_ask_for_one_token() -> None:
    clock = [1_700_000_000.0]
    with token_endpoint(clock, [3000]) as (url, asked):
        signer = Signer(url, now=lambda: clock[0])
        threads = [threading.Thread(target=signer.sign, args=(BLOB,)) for _ in range(16)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert len(asked) == 1


@pytest.mark.real
def test_the_sample_archive_through_an_api(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same scenes as from its files, around all its sites; the items that are served have absolute asset hrefs."""
    root, elsewhere = real_data / "archive", "https://example.org"

    def low(href: str, nodata: float | None) -> float:
        return low_percentile(href.removeprefix(elsewhere), nodata)

    monkeypatch.setattr("curate.archives.found.low_percentile", low)
    items = []
    for path in sorted(root.glob("*/*/*.json")):
        thing = json.loads(path.read_text())
        for asset in thing["assets"].values():
            asset["href"] = elsewhere + os.path.normpath(path.parent / asset["href"])
        items.append(thing)
    static = StaticArchive.open(str(root / "catalog.json"))
    server = Server(write_lines(items, tmp_path / "items.ndjson"))
    try:
        archive = opened(server)
        for name, bands in {
            "sentinel-2-l2a": ("B08",),
            "sentinel-1-rtc": VV,
            "cop-dem-glo-30": ("elevation",),
        }.items():
            around = [json.dumps(x["geometry"]) for x in items if x["collection"] == name]
            area = shapely.union_all(shapely.buffer(shapely.centroid(shapely.from_geojson(around)), 0.3))
            expected = static.search(area, EVER, SENSORS[name], bands)
            kept = scenes(expected)
            for row in kept.values():
                row["assets"] = [{**asset, "href": elsewhere + asset["href"]} for asset in row["assets"]]
            found = archive.search(area, EVER, SENSORS[name], bands)
            assert not found.missing and kept
            assert scenes(found) == kept
            assert Counter(found.rejected) == Counter(expected.rejected)
    finally:
        server.stop()


@pytest.mark.real
def test_recorded_items_end_as_scenes_or_as_rejections(real_data: Path, tmp_path: Path) -> None:
    text = (real_data / "stac" / "sentinel_items.ndjson").read_text()
    items = [
        x
        for x in map(json.loads, text.splitlines())
        if x.get("geometry") and x["geometry"].get("coordinates")
    ]
    for thing in items:
        thing["collection"] = "sentinel-2-l2a"  # whatever they are: the search must bear them
    shapes = shapely.make_valid(shapely.from_geojson([json.dumps(thing["geometry"]) for thing in items]))
    area = shapely.union_all(shapely.buffer(shapely.point_on_surface(shapes), 0.2))
    server = Server(write_lines(items, tmp_path / "items.ndjson"))
    try:
        archive = opened(server)
        found = archive.search(area, EVER, S2, BLUE)
    finally:
        server.stop()
    assert not found.missing
    came = set(scenes(found)) | {x.id for x in found.rejected}
    assert came == {x["id"] for x in items}


@pytest.mark.real
def test_recorded_responses_as_pages(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each recorded page is served after the other; every item of them is a scene or counted, for every sensor."""

    def unreadable(href: str, nodata: float | None) -> float:
        raise InputError(f"{href} lies nowhere")

    monkeypatch.setattr("curate.archives.found.low_percentile", unreadable)
    pages = [
        json.loads(path.read_text()) for path in sorted((real_data / "stac" / "responses").glob("*.json"))
    ]
    names = {str(x["id"]) for page in pages for x in page["features"]}

    class Recorded(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            root = f"http://{self.headers['Host']}"
            number = int(self.path.partition("token=")[2] or 0)
            if self.path.startswith("/search"):
                links = [{"rel": "next", "method": "GET", "href": f"{root}/search?token={number + 1}"}]
                page = {k: v for k, v in pages[number].items() if k not in ("numberMatched", "context")}
                self.reply({**page, "links": links if number + 1 < len(pages) else []})
                return
            links = [{"rel": "search", "method": "GET", "href": f"{root}/search"}]
            about = {"type": "Catalog", "id": "recorded", "stac_version": "1.0.0", "description": "-"}
            conforms = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
            self.reply({**about, "links": links, "conformsTo": conforms})

        def reply(self, document: Any) -> None:
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with serving(Recorded) as url:
        archive = ApiArchive.open(url, Patience(**{**vars(QUICK), "threads": 1}))
        assert archive is not None
        for sensor in SENSORS.values():
            found = archive.search(shapely.box(-1, 40, 1, 42), EVER, sensor, (sensor.bands[0].name,))
            everywhere = archive.search(shapely.box(-2, -2, 2, 2), EVER, sensor, (sensor.bands[0].name,))
            assert not found.missing and not everywhere.missing
            for brought in (found, everywhere):
                told = len(brought) + brought.other + len(brought.rejected)
                assert told == len(names), f"{sensor.name}: {told} of {len(names)}"
