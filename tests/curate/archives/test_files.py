"""Files behind HTTP and in S3 stores: what faults cost, and what the environment says."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rasterio
import shapely

from curate import gdal, stages
from curate.archives import open_archive
from curate.archives.files import Files, HttpFile, Unavailable, is_glob
from curate.archives.pacing import Patience
from curate.archives.static import StaticArchive
from curate.archives.table import TableArchive
from curate.catalog.errors import InputError
from curate.catalog.geoparquet import read_metadata
from curate.engine import Engine
from curate.recipe import Period, Recipe
from curate.sensors import SENSORS

QUICK = Patience(
    requests_per_s=500, repeats=2, backoff_s=0.01, tries=3, threads=8, read_s=0.7, connect_s=1, longest_s=2
)
S2 = SENSORS["sentinel-2-l2a"]
AREA = shapely.box(9, 44, 13, 48)
EVER = Period()


def item(k: int) -> dict[str, Any]:
    shape = shapely.box(10 + k / 100, 45, 11, 46)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"item-{k:03d}",
        "collection": S2.name,
        "geometry": json.loads(shapely.to_geojson(shape)),
        "bbox": list(shape.bounds),
        "properties": {
            "datetime": f"2023-05-{k % 28 + 1:02d}T10:00:{k // 28:02d}Z",
            "s2:processing_baseline": "03.01",
        },
        "links": [],
        "assets": {"blue": {"href": f"./{k}/B02.tif", "type": "image/tiff"}},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static catalog of 60 items, and the same as a table."""
    import stac_geoparquet.arrow

    folder = tmp_path_factory.mktemp("files")
    items = [item(k) for k in range(60)]
    for thing in items:
        (folder / f"{thing['id']}.json").write_text(json.dumps(thing))
    links = [{"rel": "item", "href": f"./{thing['id']}.json"} for thing in items]
    collection = {"type": "Collection", "id": S2.name, "stac_version": "1.0.0", "links": links}
    (folder / "collection.json").write_text(json.dumps(collection))
    child = [{"rel": "child", "href": "./collection.json"}]
    root = {"type": "Catalog", "id": "root", "stac_version": "1.0.0", "description": "-", "links": child}
    (folder / "catalog.json").write_text(json.dumps(root))
    table = stac_geoparquet.arrow.parse_stac_items_to_arrow(items).read_all()
    stac_geoparquet.arrow.to_parquet(table, folder / "items.parquet")
    (folder / "long.bin").write_bytes(bytes(range(256)) * 2000)
    return folder


def ids(found: Any) -> list[str]:
    return sorted(found.scenes["id"].to_pylist())


EVERYTHING = [f"item-{k:03d}" for k in range(60)]
PASSING = {
    "429 with Retry-After": {"kind": "status", "status": 429, "after": 1, "times": 2},
    "502": {"kind": "status", "status": 502, "times": 2, "skip": 3},
    "503": {"kind": "status", "status": 503, "times": 2, "skip": 2},
    "504": {"kind": "status", "status": 504, "times": 1, "skip": 1},
    "time-out": {"kind": "hang", "seconds": 2, "times": 1, "skip": 1},
    "truncated": {"kind": "truncate", "times": 2, "skip": 1},
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_that_passes_costs_nothing(folder: Path, file_server: Any, fault: dict[str, Any]) -> None:
    server = file_server(folder)
    archive = StaticArchive.open(f"{server.url}/catalog.json", Files(QUICK))
    server.plan(**fault)
    found = archive.search(AREA, EVER, S2, ("B02",))
    assert ids(found) == EVERYTHING and not found.missing and not found.rejected
    table = TableArchive.open(f"{server.url}/items.parquet", Files(QUICK))
    server.plan(**{**fault, "skip": 0})
    found = table.search(AREA, EVER, S2, ("B02",))
    assert ids(found) == EVERYTHING and not found.missing and not found.rejected


LASTING = {
    "503": ({"kind": "status", "status": 503}, "HTTP 503"),
    "time-out": ({"kind": "hang", "seconds": 2}, "no answer in time"),
    "truncated": ({"kind": "truncate"}, "the answer broke off"),
}


@pytest.mark.parametrize(("fault", "why"), LASTING.values(), ids=LASTING)
def test_a_fault_that_lasts_leaves_a_list(folder: Path, file_server: Any, fault: Any, why: str) -> None:
    server = file_server(folder)
    archive = StaticArchive.open(f"{server.url}/catalog.json", Files(QUICK))
    table = TableArchive.open(f"{server.url}/items.parquet", Files(QUICK))
    server.plan(**fault, path="item-017.json")
    found = archive.search(AREA, EVER, S2, ("B02",))
    assert ids(found) == [name for name in EVERYTHING if name != "item-017"]
    assert found.missing == [f"{S2.name} in {server.url}/item-017.json: {why}"]
    server.plan(**fault)
    found = table.search(AREA, EVER, S2, ("B02",))
    assert len(found) == 0 and found.missing == [f"{S2.name} in {server.url}/items.parquet: {why}"]


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_is_refused_is_no_fault_that_passes(folder: Path, file_server: Any, status: int) -> None:
    server = file_server(folder)
    archive = StaticArchive.open(f"{server.url}/catalog.json", Files(QUICK))
    server.plan(kind="status", status=status, path="item-017.json")
    found = archive.search(AREA, EVER, S2, ("B02",))
    assert len(found) == 59 and not found.missing
    assert [x.reason for x in found.rejected] == [f"unreadable item: HTTP {status}"]
    assert sum("item-017" in x["path"] for x in server.log()) == 1  # asked for once


def test_a_server_that_dies_half_way(folder: Path, file_server: Any) -> None:
    server = file_server(folder)
    archive = StaticArchive.open(f"{server.url}/catalog.json", Files(QUICK))
    server.plan(kind="die", path="item-030")
    found = archive.search(AREA, EVER, S2, ("B02",))
    assert 0 < len(found) < 60
    lost = {line.rpartition("/")[2].partition(".json")[0] for line in found.missing}
    assert lost == set(EVERYTHING) - set(ids(found))
    assert all("no connection" in line or "broke off" in line for line in found.missing)


def test_after_many_failures_no_more_is_asked_for(tmp_path: Path, file_server: Any) -> None:
    links = [{"rel": "item", "href": f"./{k}.json"} for k in range(2000)]
    catalog = {"type": "Catalog", "id": "root", "stac_version": "1.0.0", "description": "-", "links": links}
    (tmp_path / "catalog.json").write_text(json.dumps(catalog))
    server = file_server(tmp_path)
    archive = StaticArchive.open(
        f"{server.url}/catalog.json", Files(Patience(**{**vars(QUICK), "repeats": 0}))
    )
    server.plan(kind="status", status=503)
    found = archive.search(AREA, EVER, S2, ("B02",))
    assert len(server.log()) < 700
    assert (
        "1,488 files and what they link to: not asked for, after 512 failures in a row" in found.missing[-1]
    )


def test_many_files_are_read_side_by_side(folder: Path, file_server: Any) -> None:
    server = file_server(folder)
    archive = StaticArchive.open(f"{server.url}/catalog.json", Files(QUICK))
    server.plan(kind="hang", seconds=0.2)
    started = time.monotonic()
    assert len(archive.search(AREA, EVER, S2, ("B02",))) == 60
    assert time.monotonic() - started < 5  # 62 × 0.2 s one after the other


def test_parts_of_a_file(folder: Path, file_server: Any) -> None:
    server = file_server(folder)
    content = (folder / "long.bin").read_bytes()
    file = HttpFile(Files(QUICK), f"{server.url}/long.bin")
    for at, size in ((0, 10), (100_000, 5_000), (len(content) - 7, 7), (len(content) - 3, 100), (5, 0)):
        assert file.seek(at) == at
        assert file.read(size) == content[at : at + size]
    assert file.size() == len(content)
    assert all(x["range"] for x in server.log()) and sum(x["sent"] for x in server.log()) < 80_000
    server.plan(kind="whole")
    with pytest.raises(OSError, match="no range requests"):
        HttpFile(Files(QUICK), f"{server.url}/long.bin")
    assert server.log()
    small = HttpFile(Files(QUICK), f"{server.url}/catalog.json")  # one small enough is taken whole
    assert small.read() == (folder / "catalog.json").read_bytes()


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, file_server: Any) -> None:
    path = tmp_path / "long.bin"
    path.write_bytes(b"a" * 200_000)
    file = HttpFile(Files(QUICK), f"{file_server(tmp_path).url}/long.bin")
    path.write_bytes(b"b" * 200_001)
    with pytest.raises(OSError, match="changed"):
        file.read(10)


def test_no_server_at_all() -> None:
    with pytest.raises(Unavailable, match="no connection"):
        Files(QUICK).read("http://127.0.0.1:9/catalog.json")
    with pytest.raises(InputError, match=r"items\.parquet cannot be read: no connection"):
        TableArchive.open("http://127.0.0.1:9/items.parquet", Files(QUICK))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", ["a.parquet", "b/c.parquet", "b/d/e.geoparquet"]),
        ("*.parquet", ["a.parquet"]),
        ("**/*.parquet", ["a.parquet", "b/c.parquet"]),
        ("b/?.parquet", ["b/c.parquet"]),
        ("[ab].parquet", ["a.parquet"]),
        ("b/d", ["b/d/e.geoparquet"]),
        ("a.parquet", ["a.parquet"]),
        ("none*.parquet", []),
    ],
)
@pytest.mark.parametrize("where", ["disk", "s3"])
def test_patterns(tmp_path: Path, s3_store: Any, pattern: str, names: list[str], where: str) -> None:
    root = tmp_path if where == "disk" else s3_store[0] / "patterns"
    shown = str(root) if where == "disk" else "s3://patterns"
    try:
        for name in (
            "a.parquet",
            "b/c.parquet",
            "b/d/e.geoparquet",
            "b/x.txt",
            ".hidden.parquet",
            "_tmp/y.parquet",
        ):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"")
        found = Files().matching(f"{shown}/{pattern}".rstrip("/"))
        assert found == [f"{shown}/{name}" for name in names]
    finally:
        if where == "s3":
            shutil.rmtree(root)
    assert not is_glob("https://example.org/a?sig=b*")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment without any word of AWS."""
    import os

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    yield monkeypatch
    monkeypatch.undo()
    gdal.set_environment()


ENDPOINTS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "nothing": ({}, {}),
    "plain": (
        {"AWS_ENDPOINT_URL": "http://localhost:9000"},
        {"AWS_S3_ENDPOINT": "localhost:9000", "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"},
    ),
    "secure": (
        {"AWS_ENDPOINT_URL": "https://eodata.dataspace.copernicus.eu/", "AWS_DEFAULT_REGION": "default"},
        {
            "AWS_S3_ENDPOINT": "eodata.dataspace.copernicus.eu",
            "AWS_HTTPS": "YES",
            "AWS_VIRTUAL_HOSTING": "FALSE",
            "AWS_REGION": "default",
        },
    ),
    "AWS's own": (
        {"AWS_ENDPOINT_URL": "https://s3.eu-central-1.amazonaws.com"},
        {"AWS_S3_ENDPOINT": "s3.eu-central-1.amazonaws.com", "AWS_HTTPS": "YES"},
    ),
    "the user's stay": (
        {"AWS_ENDPOINT_URL": "http://a:1", "AWS_S3_ENDPOINT": "b:2", "AWS_VIRTUAL_HOSTING": "TRUE"},
        {"AWS_HTTPS": "NO"},
    ),
    "anonymous": ({"AWS_NO_SIGN_REQUEST": "true"}, {}),
}


@pytest.mark.parametrize(("given", "wanted"), ENDPOINTS.values(), ids=ENDPOINTS)
def test_gdal_is_told_of_the_store(
    bare: pytest.MonkeyPatch, given: dict[str, str], wanted: dict[str, str]
) -> None:
    import os

    assert gdal.s3_environment(given) == wanted
    for name, value in given.items():
        bare.setenv(name, value)
    for _ in range(2):  # again, with what the first time set
        gdal.set_environment()
        assert {n: v for n, v in os.environ.items() if n.startswith("AWS_")} == {**wanted, **given}
    for name in given:
        bare.delenv(name)
    gdal.set_environment()
    assert not [name for name in os.environ if name.startswith("AWS_")]


def test_gdals_own_variables_serve_the_other_readers() -> None:
    assert (
        gdal.s3_endpoint({"AWS_S3_ENDPOINT": "localhost:9000", "AWS_HTTPS": "NO"}) == "http://localhost:9000"
    )
    assert gdal.s3_endpoint({"AWS_S3_ENDPOINT": "example.org"}) == "https://example.org"
    assert gdal.s3_endpoint({}) is None


def test_the_copernicus_store_needs_its_endpoint(bare: pytest.MonkeyPatch) -> None:
    href = "s3://eodata/Sentinel-2/MSI/L2A/B02_10m.jp2"
    with (
        pytest.raises(
            InputError, match=r"Set AWS_ENDPOINT_URL=https://eodata\.dataspace\.copernicus\.eu and AWS_ACC"
        ),
        gdal.opened(href, "Band"),
    ):
        pass


def test_an_expired_or_wrong_key_is_said(s3_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store, server = s3_store
    (store / "chips").mkdir(exist_ok=True)
    with rasterio.open(
        store / "chips" / "a.tif", "w", driver="GTiff", width=9, height=9, count=1, dtype="uint8"
    ):
        pass
    with gdal.opened("s3://chips/a.tif") as source:
        assert source.width == 9
    server.plan(kind="status", status=403)
    with pytest.raises(InputError, match="cannot be read"), gdal.opened("s3://chips/b.tif"):
        pass
    shutil.rmtree(store / "chips")


@pytest.mark.parametrize("status", [403, 503])
def test_a_store_that_cannot_be_asked_is_said(
    s3_store: Any, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    _, server = s3_store
    server.plan(kind="status", status=status)
    names = ("s3://bucket/items", "s3://bucket/items/*.parquet", "majortom:s3://bucket/items")
    for name in names if status == 403 else names[:1]:
        with pytest.raises(InputError, match=r"Check the bucket's name, AWS_ENDPOINT_URL"):
            open_archive(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(InputError, match=r"Archive s3://bucket/items cannot be read.*Set AWS_ACCESS_KEY_ID"):
        open_archive("s3://bucket/items")


def test_a_region_that_cannot_be_told_is_said(bare: pytest.MonkeyPatch) -> None:
    def resolve(bucket: str) -> str:
        raise OSError(f"When resolving region for bucket '{bucket}': HTTP status 404")

    bare.setattr("pyarrow.fs.resolve_s3_region", resolve)
    with pytest.raises(
        InputError, match=r"s3://nowhere-1/items cannot be read: When resolving region.*Set AWS_"
    ):
        open_archive("s3://nowhere-1/items")


SIGNATURE = "?sv=2022&se=2099-01-01T00%3A00%3A00Z&sp=r&sig=S3cret"


def test_the_signature_of_an_archive_is_written_nowhere(
    folder: Path, file_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    server = file_server(folder)
    url = f"{server.url}/items.parquet"
    options = {"archive": url + SIGNATURE, "region": "bbox:10.5,45.2,10.9,45.8"}
    options |= {"sensors.anchor": S2.name, "sensors.partners": [], "sensors.bands": {S2.name: ["B02"]}}
    recipe = Recipe().with_options({**options, "descriptors.landcover": "none.tif"})
    workspace = stages.start(recipe, tmp_path / "catalogs")
    assert not stages.search(recipe, workspace, Engine(workers=1)).reused
    assert all("sig=S3cret" in one["query"] for one in server.log() if one["path"] == "/items.parquet")
    assert server.log()
    assert (read_metadata(workspace.scenes) or {})["archive"] == url
    assert workspace.load_recipe().archive == url
    assert stages.search(recipe.with_options({"archive": url}), workspace, Engine(workers=1)).reused
    files = [path for path in (tmp_path / "catalogs").rglob("*") if path.is_file()]
    assert len(files) > 2 and not any(b"S3cret" in path.read_bytes() for path in files)
    other = recipe.with_options({"region": "bbox:100,10,100.5,10.5"})
    with pytest.raises(InputError, match="has no usable") as caught:
        stages.search(other, workspace, Engine(workers=1))
    assert "S3cret" not in str(caught.value) and url in str(caught.value)
    for status in (403, 503):
        server.plan(kind="status", status=status)
        with pytest.raises(InputError, match=f"HTTP {status}") as caught:
            open_archive(url + SIGNATURE)
        assert "S3cret" not in str(caught.value)
    assert "S3cret" not in "".join(capsys.readouterr())
