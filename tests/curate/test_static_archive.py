"""Static STAC catalogs: nested, broken in places, linked in circles."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pystac
import pytest
import shapely

from curate.archives import open_archive
from curate.archives.found import Found
from curate.archives.static import StaticArchive
from curate.catalog.errors import InputError
from curate.recipe import Period
from curate.sensors import SENSORS

S2 = SENSORS["sentinel-2-l2a"]
AREA = shapely.box(9, 44, 13, 48)
EVER = Period()


def item(name: str, west: float = 10.0, day: int = 1) -> pystac.Item:
    shape = shapely.box(west, 45, west + 1, 46)
    thing = pystac.Item(
        name,
        json.loads(shapely.to_geojson(shape)),
        list(shape.bounds),
        dt.datetime(2023, 5, day, tzinfo=dt.UTC),
        {"s2:processing_baseline": "03.01"},
    )
    thing.add_asset("blue", pystac.Asset("./B02.tif"))
    return thing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """catalog > collection sentinel-2-l2a > {2 items, catalog '2023' > 1 item}, and another collection."""
    catalog = pystac.Catalog("root", "A root")
    extent = pystac.Extent(
        pystac.SpatialExtent([[-180, -90, 180, 90]]), pystac.TemporalExtent([[dt.datetime(2020, 1, 1), None]])
    )
    collection = pystac.Collection("sentinel-2-l2a", "S2", extent)
    other = pystac.Collection("sentinel-1-rtc", "S1", extent)
    catalog.add_children([collection, other])
    collection.add_items([item("near", day=1), item("far", west=100)])
    nested = pystac.Catalog("2023", "A year")
    collection.add_child(nested)
    late = item("late", day=20)
    nested.add_item(late)
    late.set_collection(collection)
    other.add_item(item("radar"))
    catalog.normalize_and_save(str(tmp_path), pystac.CatalogType.SELF_CONTAINED)
    return tmp_path


def search(where: Path | str, period: Period = EVER) -> Found:
    return open_archive(str(where)).search(AREA, period, S2, ("B02",))


def names(found: Found) -> list[str]:
    return sorted(found.scenes["id"].to_pylist())


def edit(path: Path, change: object) -> None:
    document = json.loads(path.read_text())
    change(document)  # type: ignore[operator]
    path.write_text(json.dumps(document))


def test_scenes_of_a_collection_and_of_the_catalogs_in_it(folder: Path) -> None:
    found = search(folder)
    assert names(found) == ["late", "near"]
    assert (found.other, found.rejected) == (1, [])
    href = found.scenes["assets"][0].as_py()[0]["href"]
    assert Path(href).parent.is_dir() and Path(href).name == "B02.tif"
    assert names(search(folder / "catalog.json")) == ["late", "near"]


def test_the_period_has_both_of_its_ends(folder: Path) -> None:
    day = dt.date(2023, 5, 20)
    assert names(search(folder, Period(start=day, end=day))) == ["late"]
    assert names(search(folder, Period(end=dt.date(2023, 5, 19)))) == ["near"]
    assert search(folder, Period(start=dt.date(2023, 5, 21))).other == 3


def test_a_broken_item_costs_itself_only(folder: Path) -> None:
    (folder / "sentinel-2-l2a" / "near" / "near.json").write_text("{ not json")
    found = search(folder)
    assert names(found) == ["late"]
    assert [rejected.reason for rejected in found.rejected] == ["unreadable item: JSONDecodeError"]
    assert found.rejected[0].id.endswith("near.json")


@pytest.mark.parametrize("content", [b"[1, 2]", b"\xff\xfe", b"", b"null"])
def test_items_that_are_no_objects(folder: Path, content: bytes) -> None:
    (folder / "sentinel-2-l2a" / "near" / "near.json").write_bytes(content)
    found = search(folder)
    assert names(found) == ["late"] and len(found.rejected) == 1


def test_an_absent_item_costs_itself_only(folder: Path) -> None:
    (folder / "sentinel-2-l2a" / "near" / "near.json").unlink()
    found = search(folder)
    assert names(found) == ["late"]
    assert found.rejected[0].reason == "unreadable item: FileNotFoundError"


def test_a_link_without_a_target(folder: Path) -> None:
    edit(folder / "sentinel-2-l2a" / "collection.json", lambda c: c["links"].insert(0, {"rel": "item"}))
    found = search(folder)
    assert names(found) == ["late", "near"]
    assert [rejected.reason for rejected in found.rejected] == ["item link without a target"]


@pytest.mark.parametrize("target", ["../catalog.json", "./collection.json", "./2023/catalog.json"])
def test_links_in_a_circle_end(folder: Path, target: str) -> None:
    link = {"rel": "child", "href": target}
    for path in ("collection.json", "2023/catalog.json"):
        here = target if path == "collection.json" else "../" + target
        edit(
            folder / "sentinel-2-l2a" / path,
            lambda c, here=here: c["links"].append({**link, "href": here}),
        )
    assert names(search(folder)) == ["late", "near"]


def test_an_item_that_is_linked_twice_is_found_once(folder: Path) -> None:
    edit(
        folder / "sentinel-2-l2a" / "2023" / "catalog.json",
        lambda c: c["links"].append({"rel": "item", "href": "../near/near.json"}),
    )
    assert names(search(folder)) == ["late", "near"]


def test_an_item_without_its_asset_is_rejected_with_a_reason(folder: Path) -> None:
    edit(folder / "sentinel-2-l2a" / "near" / "near.json", lambda i: i.update(assets={}))
    found = search(folder)
    assert [(rejected.id, rejected.reason) for rejected in found.rejected] == [("near", "bands missing")]


def test_a_collection_that_is_not_there(folder: Path) -> None:
    found = open_archive(str(folder)).search(AREA, EVER, SENSORS["landsat-c2-l2"], ("red",))
    assert (len(found), found.rejected, found.other) == (0, [], 0)


@pytest.mark.parametrize(
    "content", ["{}", "[]", "not json", '{"type": "Feature", "links": []}', '{"type": "Catalog"}']
)
def test_what_is_no_catalog(tmp_path: Path, content: str) -> None:
    path = tmp_path / "catalog.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"catalog\.json"):
        open_archive(str(path))


def test_what_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path, tmp_path / "none" / "catalog.json"):
        with pytest.raises(InputError, match="cannot be read"):
            open_archive(str(path))


def test_simulated_archives_say_so(folder: Path) -> None:
    assert not open_archive(str(folder)).simulated
    edit(folder / "catalog.json", lambda c: c.update({"curate:simulated": True}))
    assert open_archive(str(folder)).simulated


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_address[1]}"
    running.shutdown()
    running.server_close()


def test_a_catalog_behind_http(folder: Path, server: str) -> None:
    (folder / "sentinel-2-l2a" / "near" / "near.json").unlink()
    found = search(f"{server}/catalog.json")
    assert names(found) == ["late"]
    assert found.scenes["assets"][0].as_py()[0]["href"] == f"{server}/sentinel-2-l2a/2023/late/B02.tif"
    assert found.rejected[0].reason == "unreadable item: HTTP 404"


def test_an_address_that_answers_with_an_error(server: str) -> None:
    with pytest.raises(InputError, match="404"):
        StaticArchive.open(f"{server}/none.json")
