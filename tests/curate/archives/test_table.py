"""stac-geoparquet of several makers and layouts: real items give the scenes that their JSON gives."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rustac
import shapely
import stac_geoparquet.arrow

from curate.archives import found as gathering
from curate.archives import open_archive
from curate.archives.boxes import Coverage
from curate.archives.found import Answer, Found, Limits
from curate.archives.table import TableArchive
from curate.catalog.errors import InputError
from curate.recipe import Period
from curate.sensors import SENSORS

S2 = SENSORS["sentinel-2-l2a"]
EVER = Period()
WORLD = shapely.box(-180, -90, 180, 90)
FIJI = shapely.MultiPolygon([shapely.box(176, -20, 180, -14), shapely.box(-180, -20, -176, -14)])
Writer = Callable[[list[dict[str, Any]], Path], None]


def by_stac_geoparquet(items: list[dict[str, Any]], path: Path) -> None:
    stac_geoparquet.arrow.to_parquet(stac_geoparquet.arrow.parse_stac_items_to_arrow(items).read_all(), path)


def by_rustac(items: list[dict[str, Any]], path: Path) -> None:
    async def write() -> None:
        await rustac.write(str(path), items)

    asyncio.run(write())


def without_bounds(items: list[dict[str, Any]], path: Path) -> None:
    by_stac_geoparquet(items, path)
    pq.write_table(pq.read_table(path).drop_columns(["bbox"]), path, row_group_size=4)


def with_texts(items: list[dict[str, Any]], path: Path) -> None:
    by_stac_geoparquet(items, path)
    table = pq.read_table(path)
    place = table.schema.get_field_index("datetime")
    texts = pa.array([None if t is None else t.isoformat() for t in table["datetime"].to_pylist()])
    pq.write_table(table.set_column(place, "datetime", texts), path, row_group_size=3)


WRITERS = [by_stac_geoparquet, by_rustac, without_bounds, with_texts]


def item(
    name: str, west: float, south: float, when: str = "2022-05-01T10:00:00Z", **more: Any
) -> dict[str, Any]:
    shape = shapely.box(west, south, west + 1, south + 1)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": S2.name,
        "geometry": json.loads(shapely.to_geojson(shape)),
        "bbox": list(shape.bounds),
        "properties": {"datetime": when, "s2:processing_baseline": "03.01", **more},
        "links": [],
        "assets": {"blue": {"href": f"https://example.org/{name}.tif", "type": "image/tiff"}},
    }


def of_json(items: list[dict[str, Any]], base: str, limits: Limits, bands: tuple[str, ...]) -> Found:
    answer = Answer()
    for thing in items:
        answer.take(thing, base, S2, bands, limits)
    return Found.of(iter([answer]))


def rows(found: Found) -> list[dict[str, Any]]:
    scenes: list[dict[str, Any]] = found.scenes.to_pylist()
    return scenes


@pytest.mark.real
@pytest.mark.parametrize("write", WRITERS)
def test_recorded_items_by_every_maker(
    real_data: Path, tmp_path: Path, write: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(href: str, nodata: float | None) -> float:
        raise InputError(f"{href} lies nowhere")

    monkeypatch.setattr(gathering, "low_percentile", unreadable)
    lines = (real_data / "stac" / "sentinel_items.ndjson").read_text().splitlines()
    by_collection: dict[str, list[dict[str, Any]]] = {}
    for thing in map(json.loads, lines):
        optical = str(thing.get("collection")).startswith(("sentinel-2", "sentinel-s2"))
        if optical and (thing.get("geometry") or {}).get("coordinates") and thing.get("bbox"):
            by_collection.setdefault(thing["collection"], []).append(thing)
    taken = 0
    for name, items in by_collection.items():
        for thing in items:
            thing["collection"] = S2.name
            thing["links"] = []
        path = tmp_path / f"{name}.parquet"
        write(items, path)
        for bands in (("B02",), ("B02", "B08", "B11")):
            limits = Limits(WORLD, EVER, 90.0)
            expected = of_json(items, str(path), limits, bands)
            found = open_archive(str(path)).search(WORLD, EVER, S2, bands, 90.0)
            assert rows(found) == rows(expected)
            assert sorted(map(str, found.rejected)) == sorted(map(str, expected.rejected))
            taken += len(found)
    assert taken > 100


@pytest.mark.parametrize("write", WRITERS)
def test_across_the_antimeridian(tmp_path: Path, write: Writer) -> None:
    inside = [item("west", -178, -18), item("east", 178, -18)]
    crossing = item("crossing", 179.5, -17)
    halves = [[[[179.5, -17], [180, -17], [180, -16], [179.5, -16], [179.5, -17]]]]
    halves += [[[[-180, -17], [-179.5, -17], [-179.5, -16], [-180, -16], [-180, -17]]]]
    crossing["geometry"] = {"type": "MultiPolygon", "coordinates": halves}
    crossing["bbox"] = [179.5, -17, -179.5, -16]
    elsewhere = [item(f"far-{k}", k * 5 - 100, 40) for k in range(30)]
    write([*elsewhere, *inside, crossing], tmp_path / "items.parquet")
    found = open_archive(str(tmp_path / "items.parquet")).search(FIJI, EVER, S2, ("B02",))
    assert {row["id"] for row in rows(found)} == {"west", "east", "crossing"}


@pytest.mark.parametrize("write", WRITERS)
def test_the_period_has_both_of_its_ends(tmp_path: Path, write: Writer) -> None:
    items = [item(f"day-{k:02d}", 10, 45, f"2022-05-{k:02d}T23:59:59.500000Z") for k in range(1, 21)]
    spans = {"start_datetime": "2022-05-07T00:00:00Z", "end_datetime": "2022-05-07T12:00:00Z"}
    items.append(item("span", 10, 45, **spans))
    items[-1]["properties"]["datetime"] = None
    write(items, tmp_path / "items.parquet")
    period = Period(start=dt.date(2022, 5, 5), end=dt.date(2022, 5, 8))
    found = open_archive(str(tmp_path / "items.parquet")).search(WORLD, period, S2, ("B02",))
    assert {row["id"] for row in rows(found)} == {"day-05", "day-06", "day-07", "day-08", "span"}


def test_only_what_may_match_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [item(f"item-{k:04d}", k % 40 * 4 - 80, k // 40 * 2 - 40) for k in range(1200)]
    by_stac_geoparquet(items, tmp_path / "items.parquet")
    pq.write_table(pq.read_table(tmp_path / "items.parquet"), tmp_path / "items.parquet", row_group_size=40)
    read: list[int] = []
    original = pq.ParquetFile.read_row_group

    def counting(self: pq.ParquetFile, group: int, **options: Any) -> pa.Table:
        read.append(group)
        return original(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    found = open_archive(str(tmp_path / "items.parquet")).search(
        shapely.box(0, -10, 9, -9.5), EVER, S2, ("B02",)
    )
    assert {row["id"] for row in rows(found)} == {"item-0620", "item-0621", "item-0622"}
    assert read == [15]  # the rows of one latitude of 30
    other = open_archive(str(tmp_path / "items.parquet"))
    assert len(other.search(WORLD, Period(start=dt.date(2023, 1, 1)), S2, ("B02",))) == 0
    assert len(other.search(WORLD, EVER, SENSORS["landsat-c2-l2"], ("red",))) == 0
    assert read == [15]


def test_files_of_a_folder_may_differ_and_one_may_be_broken(tmp_path: Path) -> None:
    by_stac_geoparquet([item("one", 10, 45)], tmp_path / "a.parquet")
    by_rustac([item("two", 11, 45, **{"eo:cloud_cover": 50.0})], tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes(b"PAR1 this is none")
    found = open_archive(str(tmp_path)).search(WORLD, EVER, S2, ("B02",))
    assert {row["id"] for row in rows(found)} == {"one", "two"}
    assert len(found.rejected) == 1 and found.rejected[0].id.endswith("c.parquet")
    assert found.rejected[0].reason.startswith("unreadable file")
    found = open_archive(str(tmp_path)).search(WORLD, EVER, S2, ("B02",), 20.0)
    assert {row["id"] for row in rows(found)} == {"one"}
    assert "cloudier than 20 %" in {x.reason for x in found.rejected}


def test_simulated_rows_say_so(tmp_path: Path) -> None:
    by_stac_geoparquet([item("one", 10, 45, **{"curate:simulated": True})], tmp_path / "a.parquet")
    assert open_archive(str(tmp_path)).search(WORLD, EVER, S2, ("B02",)).simulated


@pytest.mark.parametrize("name", ["none.parquet", "empty/*.parquet", "other.parquet", "text.parquet"])
def test_what_is_no_table_of_items(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    pq.write_table(pa.table({"id": ["a"], "x": [1]}), tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(InputError, match=r"stac-geoparquet"):
        TableArchive.open(str(tmp_path / name))


def test_coverage_never_loses_what_meets_the_area() -> None:
    random = np.random.default_rng(3)
    for area in (FIJI, shapely.box(0.3, 0.3, 0.4, 0.4), shapely.Point(10, 50).buffer(15), WORLD):
        west, south = random.uniform(-180, 170, 2000), random.uniform(-90, 85, 2000)
        east, north = west + random.uniform(0, 10, 2000), south + random.uniform(0, 5, 2000)
        met = shapely.intersects(area, shapely.box(west, south, east, north))
        may = Coverage(area).meets(west, south, east, north)
        assert not (met & ~may).any()
        assert may.sum() <= 2 * met.sum() + 40
    unknown = np.full(1, np.nan)
    assert Coverage(FIJI).meets(unknown, unknown, unknown, unknown).all()
