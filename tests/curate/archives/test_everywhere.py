"""One archive in every form: files, HTTP, S3, stac-geoparquet and a STAC API all give the same scenes and pixels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
import stac_geoparquet.arrow

from curate import stages
from curate.archives import Archive, open_archive
from curate.archives.api import ApiArchive
from curate.archives.found import Found
from curate.archives.pacing import Patience
from curate.catalog import Catalog
from curate.catalog.shards import open_shard, pixels
from curate.engine import Engine
from curate.recipe import Period, Recipe
from curate.sensors import SENSORS
from curate.workspace import Workspace

WORLD = shapely.box(-180, -90, 180, 90)
EVER = Period()
FORMS = ("files", "http", "s3", "table", "table http", "table s3", "api", "rustac")
APIS = ("api", "rustac")
Served = dict[str, tuple[str, str]]  # form -> name of the archive, what its hrefs begin with


def collected(root: Path) -> list[dict[str, Any]]:
    """All items of a static catalog, their hrefs relative to its folder."""
    items = []
    for path in sorted(root.rglob("*.json")):
        thing = json.loads(path.read_text())
        if thing.get("type") != "Feature":
            continue
        thing["links"] = []
        for asset in thing["assets"].values():
            asset["href"] = (path.parent / asset["href"]).resolve().relative_to(root.resolve()).as_posix()
        items.append(thing)
    return items


def write_tables(items: list[dict[str, Any]], folder: Path) -> None:
    """One stac-geoparquet file for each collection."""
    folder.mkdir()
    for name in sorted({item["collection"] for item in items}):
        inside = [item for item in items if item["collection"] == name]
        table = stac_geoparquet.arrow.parse_stac_items_to_arrow(inside).read_all()
        stac_geoparquet.arrow.to_parquet(table, folder / f"{name}.parquet")


def linked(root: Path, folder: Path) -> Path:
    """A folder that shows what *root* holds, to be added to."""
    folder.mkdir(parents=True)
    for path in root.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def at_root(items: list[dict[str, Any]], root: str) -> list[dict[str, Any]]:
    text = json.loads(json.dumps(items))
    for thing in text:
        for asset in thing["assets"].values():
            asset["href"] = f"{root}/{asset['href']}"
    return list(text)


@pytest.fixture
def serve(
    tmp_path: Path,
    file_server: Any,
    s3_store: Any,
    stac_api: Callable[[list[dict[str, Any]]], str],
    rustac_api: Callable[[list[dict[str, Any]]], str],
) -> Iterator[Callable[[Path], Served]]:
    """Puts an archive up in all forms."""
    buckets: list[Path] = []

    def start(root: Path) -> Served:
        items = collected(root)
        store, _ = s3_store
        bucket = linked(root, store / f"bucket-{len(buckets)}-{tmp_path.name.replace('_', '-')[-20:]}")
        buckets.append(bucket)
        write_tables(at_root(items, ".."), bucket / "tables")
        url = file_server(bucket).url
        everything = stac_geoparquet.arrow.parse_stac_items_to_arrow(
            [item for item in items if item["collection"] in PLAIN]
        ).read_all()
        stac_geoparquet.arrow.to_parquet(everything, bucket / "one.parquet")
        return {
            "files": (str(root), str(root.resolve())),
            "http": (f"{url}/catalog.json", url),
            "s3": (f"s3://{bucket.name}/catalog.json", f"s3://{bucket.name}"),
            "table": (str(bucket / "tables"), str(bucket)),
            "table http": (f"{url}/one.parquet", url),
            "table s3": (f"s3://{bucket.name}/tables/*.parquet", f"s3://{bucket.name}"),
            "api": (stac_api(at_root(items, url)), url),
            "rustac": (rustac_api(at_root(items, url)), url),
        }

    yield start
    for bucket in buckets:
        shutil.rmtree(bucket)


PLAIN = ("sentinel-2-l2a", "sentinel-1-rtc", "sentinel-1-grd", "cop-dem-glo-30", "esa-worldcover")


def rows(found: Found, root: str) -> list[dict[str, Any]]:
    """Scenes with hrefs below *root*."""
    assert not found.missing
    scenes: list[dict[str, Any]] = found.scenes.to_pylist()
    for row in scenes:
        for asset in row["assets"]:
            assert asset["href"].startswith(f"{root}/"), asset["href"]
            asset["href"] = asset["href"].removeprefix(f"{root}/").removeprefix("tables/../")
    return scenes


def test_a_simulated_archive_in_every_form(small_archive: Path, serve: Callable[[Path], Served]) -> None:
    forms = serve(small_archive)
    archives = opened(forms)
    asked = {"sentinel-2-l2a": ("B02", "B08"), "sentinel-1-rtc": ("VV", "VH"), "esa-worldcover": ("map",)}
    for name, bands in asked.items():
        for limit in (100.0, 20.0):
            _same(archives, forms, shapely.box(-10, 36, 30, 60), name, bands, limit)


@pytest.mark.slow
@pytest.mark.real
def test_the_sample_archive_in_every_form(real_data: Path, serve: Callable[[Path], Served]) -> None:
    forms = serve(real_data / "archive")
    archives = opened(forms)
    asked = {
        "sentinel-2-l2a": ("B08",),
        "sentinel-1-rtc": ("VV",),
        "sentinel-1-grd": ("VV", "VH"),
        "cop-dem-glo-30": ("elevation",),
    }
    for name, bands in asked.items():
        around = [
            json.dumps(x["geometry"]) for x in collected(real_data / "archive") if x["collection"] == name
        ]
        area = shapely.union_all(shapely.buffer(shapely.centroid(shapely.from_geojson(around)), 0.3))
        _same(archives, forms, area, name, bands, 100.0)
        _same(archives, forms, area, name, bands, 10.0)


def opened(forms: Served) -> dict[str, Archive]:
    archives = {form: open_archive(forms[form][0]) for form in FORMS if form not in APIS}
    for form in APIS:
        api = ApiArchive.open(forms[form][0], Patience(requests_per_s=500))
        assert api is not None
        archives[form] = api
    return archives


def _same(
    archives: dict[str, Archive],
    forms: Served,
    area: shapely.Geometry,
    name: str,
    bands: tuple[str, ...],
    limit: float,
) -> None:
    found = {
        form: archive.search(area, EVER, SENSORS[name], bands, limit) for form, archive in archives.items()
    }
    expected = rows(found["files"], forms["files"][1])
    assert expected or limit < 100
    for form in FORMS[1:]:
        assert rows(found[form], forms[form][1]) == expected, f"{name} by {form}"


@pytest.mark.parametrize("form", ["http", "s3", pytest.param("table http", marks=pytest.mark.slow)])
def test_pixels_through_parts_of_files(
    form: str,
    recipe: Recipe,
    built: Workspace,
    small_archive: Path,
    serve: Callable[[Path], Served],
    file_server: Any,
    s3_store: Any,
    tmp_path: Path,
) -> None:
    name, root = serve(small_archive)[form]
    server = s3_store[1] if form == "s3" else next(s for s in file_server.running if s.url == root)
    server.plan()
    remote = recipe.with_options({"archive": name})
    workspace = stages.start(remote, tmp_path / "catalogs")
    stages.build(remote, workspace, Engine(workers=1))
    ours, theirs = Catalog.open(workspace.catalog), Catalog.open(built.catalog)
    assert ours.table["chip_id"].equals(theirs.table["chip_id"])
    assert np.array_equal(_all_pixels(ours, "s2", 60), _all_pixels(theirs, "s2", 60))
    assert np.array_equal(_all_pixels(ours, "s1", 60), _all_pixels(theirs, "s1", 60))
    assert ours.meta.source["simulated"]
    size = {path.name: path.stat().st_size for path in small_archive.rglob("*.tif")}
    log = [x for x in server.log() if x["path"].endswith(".tif") and x["method"] == "GET"]
    assert log and all(x["range"] and x["status"] == 206 for x in log)
    assert len(size) and sum(x["sent"] for x in log) < 2.0 * sum(
        path.stat().st_size for path in small_archive.rglob("*.tif")
    )


def _all_pixels(catalog: Catalog, prefix: str, side: int) -> Any:
    bands = len(catalog.sensors[prefix].bands)
    cut = []
    for shard, row in zip(
        catalog.table["shard"].to_pylist(), catalog.table["shard_row"].to_pylist(), strict=True
    ):
        cut.append(pixels(open_shard(catalog.chips_folder / shard), prefix, bands, side)[row])
    return np.stack(cut)


def test_a_bucket_that_keeps_its_door_shut(
    small_archive: Path, s3_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from curate.archives.files import Files

    store, _ = s3_store
    bucket = linked(small_archive, store / "shut")
    try:
        assert json.loads(Files().read("s3://shut/catalog.json"))["type"] == "Catalog"
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        monkeypatch.setenv("AWS_REGION", "eu-central-1")  # another connection
        with pytest.raises(OSError, match=r"SIGNATURE|ACCESS_DENIED|403"):
            Files().read("s3://shut/catalog.json")
    finally:
        shutil.rmtree(bucket)


def test_tables_are_equal_whatever_the_order(
    small_archive: Path, serve: Callable[[Path], Served], tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    forms = serve(small_archive)
    path = Path(forms["table"][0]) / "sentinel-2-l2a.parquet"
    table = pq.read_table(path)
    order = np.random.default_rng(1).permutation(table.num_rows)
    shuffled = tmp_path / "tables" / "shuffled.parquet"
    shuffled.parent.mkdir()
    pq.write_table(table.take(pa.array(order)), shuffled, row_group_size=3)
    s2 = SENSORS["sentinel-2-l2a"]
    one = open_archive(forms["table"][0]).search(WORLD, EVER, s2, ("B02",))
    two = open_archive(str(shuffled)).search(WORLD, EVER, s2, ("B02",))
    assert [r["id"] for r in one.scenes.to_pylist()] == [r["id"] for r in two.scenes.to_pylist()]
