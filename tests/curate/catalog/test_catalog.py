"""The contract: what the reader refuses, what the validator names, what other programs read."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from curate.catalog import (
    BandInfo,
    BandStatistics,
    Catalog,
    CatalogMeta,
    InputError,
    Moments,
    SensorInfo,
    read_meta,
)
from curate.catalog.geoparquet import write_geoparquet
from curate.catalog.schema import METADATA_KEY, catalog_schema
from curate.catalog.shards import SensorChips, write_shard
from curate.catalog.statistics import write_statistics
from curate.catalog.validation import violations

ROWS, PX = 6, 8
LEGEND = {10: "Tree cover", 80: "Water"}
S2 = SensorInfo(
    "s2", "sentinel-2-l2a", (BandInfo("B02", 492.4),), "uint16", 1e-4, 0.0, 0, "reflectance", "bilinear"
)
S1 = SensorInfo("s1", "sentinel-1-rtc", (BandInfo("VV"),), "int16", 0.01, 0.0, -32768, "dB", "bilinear")
SCHEMA = catalog_schema(["s2", "s1"], list(LEGEND))


def columns() -> dict[str, list[Any]]:
    """A valid catalog of six chips, one of them across the antimeridian."""
    boxes = [shapely.box(10 + i, 45, 10.01 + i, 45.01) for i in range(ROWS - 1)]
    boxes.append(
        shapely.MultiPolygon([shapely.box(179.99, 0, 180, 0.01), shapely.box(-180, 0, -179.99, 0.01)])
    )
    bounds = [shape.bounds for shape in boxes]
    when = dt.datetime(2023, 5, 6, 10, tzinfo=dt.UTC)
    data: dict[str, list[Any]] = {
        "chip_id": [f"chip{i}" for i in range(ROWS)],
        "geometry": [shapely.to_wkb(shape) for shape in boxes],
        "bbox": [dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)) for box in bounds],
        "lon": [10.005 + i for i in range(ROWS - 1)] + [180.0],
        "lat": [45.005] * ROWS,
        "place": [f"place{i}" for i in range(ROWS)],
        "cell": ["0U_0R"] * ROWS,
        "epsg": [32632] * ROWS,
        "transform": [[10.0, 0.0, 5e5, 0.0, -10.0, 5e6]] * ROWS,
        "season": ["spring"] * ROWS,
        "lc_10": [1.0, 0.5, 0.25, 0.0, 0.0, 1.0],
        "lc_80": [0.0, 0.5, 0.25, 1.0, 0.0, 0.0],
        "lc_unmapped": [0.0, 0.0, 0.5, 0.0, 1.0, 0.0],
        "lc_dominant": [10, 10, 10, 80, None, 10],
        "lc_dominant_name": ["Tree cover"] * 3 + ["Water", None, "Tree cover"],
        "lc_classes": [1, 2, 2, 1, 0, 1],
        "lc_entropy": [0.0, 1.0, 1.0, 0.0, None, 0.0],
        "lc_year": [2021] * (ROWS - 1) + [None],
        "koppen": [15, 15, 1, 30, None, 15],
        "koppen_symbol": ["Cfb", "Cfb", "Af", "EF", None, "Cfb"],
        "koppen_nearest": [False] * ROWS,
        "koppen_purity": [1.0, 1.0, 0.8, 1.0, None, 1.0],
        "stratum": ["Cfb"] * ROWS,
        "split": ["train", "train", "train", "val", "test", "train"],
        "weight": [1.0, 2.0, 3.5, 1.0, 1.0, 1.0],
        "shard": ["shard-a.arrow"] * 4 + ["shard-b.arrow"] * 2,
        "shard_row": [0, 1, 2, 3, 0, 1],
    }
    for prefix in ("s2", "s1"):
        data |= {
            f"{prefix}_id": ["scene"] * ROWS,
            f"{prefix}_datetime": [when] * ROWS,
            f"{prefix}_dt_hours": [0.0] * ROWS,
            f"{prefix}_platform": ["p"] * ROWS,
            f"{prefix}_orbit_state": ["ascending"] * ROWS,
            f"{prefix}_relative_orbit": [7] * ROWS,
            f"{prefix}_baseline": [None] * ROWS,
            f"{prefix}_offset": [0] * ROWS,
            f"{prefix}_offset_source": ["baseline"] * ROWS,
            f"{prefix}_cloud_cover": [1.5] * ROWS,
            f"{prefix}_hrefs": [[{"band": "B02", "href": "a.tif"}]] * ROWS,
            f"{prefix}_valid": [1.0] * ROWS,
            f"{prefix}_cloud": [None] * ROWS,
        }
    return data


def meta(**changes: Any) -> CatalogMeta:
    fields: dict[str, Any] = {
        "region": "eu",
        "chip_px": PX,
        "resolution_m": 10.0,
        "sensors": (S2, S1),
        "landcover": LEGEND,
        "recipe": {"region": "europe"},
        "recipe_hash": "0" * 16,
        "source": {"simulated": True},
        "software": {},
        "chips": "eu/chips/k",
        "statistics": "eu/statistics.json",
        "pool_rows": 100,
    }
    return CatalogMeta(**{**fields, **changes})


def save(
    folder: Path,
    data: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    schema: pa.Schema = SCHEMA,
) -> Path:
    """Write a catalog with its shards and statistics."""
    data = columns() if data is None else data
    fields = [field for field in schema if field.name in data]
    arrays = [pa.array(data[field.name], field.type) for field in fields]
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    path = folder / "eu.parquet"
    write_geoparquet(table, path, meta().to_json() if metadata is None else metadata)
    chips = folder / "eu" / "chips" / "k"
    for name, ids in (("shard-a", range(4)), ("shard-b", range(4, 6))):
        ones = np.ones(len(ids), np.float32)
        write_shard(
            chips / f"{name}.arrow",
            (S2, S1),
            [f"chip{i}" for i in ids],
            {
                "s2": SensorChips(np.ones((len(ids), 1, PX, PX), np.uint16), ones, ones * np.nan),
                "s1": SensorChips(np.ones((len(ids), 1, PX, PX), np.int16), ones, ones * np.nan),
            },
        )
    one = Moments(np.ones(1, np.int64), np.ones(1), np.ones(1))
    write_statistics(
        folder / "eu" / "statistics.json", {s.prefix: BandStatistics.of(s, one) for s in (S2, S1)}
    )
    return path


def test_a_catalog_comes_back(tmp_path: Path) -> None:
    catalog = Catalog.open(save(tmp_path))
    assert catalog.meta == meta()
    assert catalog.table.num_rows == ROWS
    assert catalog.table.schema.equals(SCHEMA)
    assert catalog.meta.simulated
    assert list(catalog.sensors) == ["s2", "s1"]
    assert catalog.chips_folder == tmp_path / "eu" / "chips" / "k"
    catalog.require_pixels()
    assert catalog.statistics()["s2"].bands == ("B02",)
    assert Catalog.open(tmp_path / "eu.parquet", ["lon", "split"]).table.column_names == ["lon", "split"]
    assert violations(tmp_path / "eu.parquet") == []


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    data = columns()
    del data["split"]
    path = save(tmp_path, data)
    with pytest.raises(InputError, match="has no column 'split'"):
        Catalog.open(path)
    with pytest.raises(InputError, match="has no column 'split'"):
        Catalog.open(path, ["split"])
    with pytest.raises(InputError, match="has no column 'nonsense'"):
        Catalog.open(path, ["nonsense"])
    assert Catalog.open(path, ["lon"]).table.num_rows == ROWS


def test_a_column_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    schema = SCHEMA.set(SCHEMA.get_field_index("epsg"), pa.field("epsg", pa.int64()))
    with pytest.raises(InputError, match=r"'epsg'.*int64.*int32"):
        Catalog.open(save(tmp_path, schema=schema))


@pytest.mark.parametrize(
    ("version", "advice"), [(2, "Update this program"), (0, "Make the catalog again"), ("x", "Make")]
)
def test_another_schema_version_is_refused(tmp_path: Path, version: Any, advice: str) -> None:
    path = save(tmp_path, metadata={**meta().to_json(), "schema_version": version})
    for read in (read_meta, Catalog.open, violations):
        with pytest.raises(InputError, match="schema version") as error:
            read(path)  # type: ignore[operator]
        assert advice in str(error.value)


def test_what_is_no_catalog(tmp_path: Path) -> None:
    absent, text, other = tmp_path / "none.parquet", tmp_path / "text.parquet", tmp_path / "other.parquet"
    text.write_text("not parquet")
    pq.write_table(pa.table({"a": [1]}), other)
    for path, why in (
        (absent, "no catalog"),
        (text, "not a readable Parquet"),
        (other, "is no catalog"),
        (tmp_path, "no catalog"),
    ):
        with pytest.raises(InputError, match=why):
            Catalog.open(path)
        with pytest.raises(InputError, match=why):
            violations(path)


def test_a_truncated_catalog_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a readable Parquet"):
        Catalog.open(path)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda m: m.pop("sensors"),
        lambda m: m.update(extra=1),
        lambda m: m.update(landcover=[1]),
        lambda m: m.update(landcover={"x": "y"}),
        lambda m: m["sensors"][0].update(colour="red"),
        lambda m: m.update(sensors=None),
    ],
)
def test_broken_metadata_is_refused(tmp_path: Path, break_it: Callable[[dict[str, Any]], Any]) -> None:
    metadata = json.loads(json.dumps(meta().to_json()))
    break_it(metadata)
    with pytest.raises(InputError, match=r"metadata of catalog .* is broken"):
        Catalog.open(save(tmp_path, metadata=metadata))


@pytest.mark.parametrize("value", [b"[]", b"3", b"null", b"{", b"{}"])
def test_metadata_that_is_no_catalogs(tmp_path: Path, value: bytes) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({METADATA_KEY: value}), path)
    with pytest.raises(InputError):
        read_meta(path)


def test_pixels_are_required_where_they_are_needed(tmp_path: Path) -> None:
    data = columns()
    data["shard"] = [None, *data["shard"][1:]]
    data["shard_row"] = [None, *data["shard_row"][1:]]
    path = save(tmp_path, data)
    assert violations(path) == []  # chips may wait for their pixels
    with pytest.raises(InputError, match=r"1 of 6 chips .* have no pixels"):
        Catalog.open(path).require_pixels()
    with pytest.raises(InputError, match="empty"):
        Catalog.open(save(tmp_path, {name: [] for name in columns()})).require_pixels()


def test_statistics_that_are_not_there_or_broken(tmp_path: Path) -> None:
    catalog = Catalog.open(save(tmp_path))
    path = tmp_path / "eu" / "statistics.json"
    for content in ("{", '{"s2": {}}', '{"s2": 3}', "[]", None):
        path.write_text(content) if content is not None else path.unlink()
        with pytest.raises(InputError, match=r"statistics\.json"):
            catalog.statistics()


def put(name: str, value: Any, row: int = 1) -> Callable[[dict[str, list[Any]]], None]:
    def change(data: dict[str, list[Any]]) -> None:
        data[name] = [*data[name][:row], value, *data[name][row + 1 :]]

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (put("chip_id", "chip0"), "column chip_id: 1 ids occur more than once"),
        (put("split", "training"), "column split: training is not one of"),
        (put("season", "monsoon"), "column season: monsoon is not one of"),
        (put("lon", 181.0), "column lon: 1 values lie outside -180 to 180"),
        (put("lat", -91.0), "column lat: 1 values"),
        (put("lat", float("nan")), "column lat: 1 values"),
        (put("koppen", 31), "column koppen: 1 values"),
        (put("weight", 0.5), "column weight: 1 values"),
        (put("lc_10", 1.5), "column lc_10: 1 values"),
        (put("lc_10", 0.7), "land cover: the fractions of 1 chips do not add up to 1"),
        (put("s2_valid", 1.2), "column s2_valid: 1 values"),
        (put("s1_cloud", -0.1), "column s1_cloud: 1 values"),
        (put("stratum", None), "column stratum: 1 nulls"),
        (put("cell", None), "column cell: 1 nulls"),
        (put("split", None), "column split: 1 nulls"),
        (put("shard_row", 0), "shard shard-a.arrow: its rows are not the chips"),
        (put("shard_row", 99), "shard shard-a.arrow: its rows are not the chips"),
        (put("shard_row", -1), "shard shard-a.arrow: its rows are not the chips"),
        (put("shard_row", None), "column shard_row: 1 chips have a shard but no row"),
        (put("shard", "shard-c.arrow"), "shard shard-c.arrow:"),
        (put("shard", "shard-b.arrow"), "shard shard-b.arrow: its rows are not the chips"),
    ],
)
def test_the_validator_names_each_violation(
    change: Callable[[dict[str, list[Any]]], None], named: str, tmp_path: Path
) -> None:
    data = columns()
    change(data)
    schema = pa.schema([field.with_nullable(True) for field in SCHEMA])
    found = violations(save(tmp_path, data, schema=schema))
    assert any(violation.startswith(named) for violation in found), found


def test_the_validator_names_every_column_that_is_wrong(tmp_path: Path) -> None:
    data = columns()
    del data["lat"]
    schema = SCHEMA.set(SCHEMA.get_field_index("epsg"), pa.field("epsg", pa.int64()))
    data["mine"] = [1] * ROWS
    found = violations(save(tmp_path, data, schema=schema.append(pa.field("mine", pa.int8()))))
    assert found == [
        "column lat: missing",
        "column epsg: type int64 instead of int32",
        "column mine: not in the contract",
    ]


@pytest.mark.parametrize(
    ("geo", "named"),
    [
        (None, "no 'geo' key"),
        (b"{", "not JSON"),
        (
            b'{"version": "1.0.0", "columns": {"geometry": {"encoding": "WKB", "covering": {"bbox": {}}}}}',
            "version '1.0.0'",
        ),
        (
            b'{"version": "1.1.0", "columns": {"geometry": {"encoding": "point", "covering": {"bbox": {}}}}}',
            "WKB",
        ),
        (b'{"version": "1.1.0", "columns": {"geometry": {"encoding": "WKB"}}}', "no bbox covering"),
    ],
)
def test_the_validator_reads_the_geoparquet_metadata(geo: bytes | None, named: str, tmp_path: Path) -> None:
    path = save(tmp_path)
    table = pq.read_table(path)
    metadata = {key: value for key, value in table.schema.metadata.items() if key in (METADATA_KEY, b"geo")}
    metadata.pop(b"geo")
    pq.write_table(table.replace_schema_metadata(metadata | ({b"geo": geo} if geo else {})), path)
    found = violations(path)
    assert len(found) == 1 and named in found[0]


def test_missing_shards_and_statistics_are_named(tmp_path: Path) -> None:
    path = save(tmp_path)
    (tmp_path / "eu" / "chips" / "k" / "shard-b.arrow").write_bytes(b"torn")
    (tmp_path / "eu" / "statistics.json").unlink()
    found = violations(path)
    assert [violation.split(":")[0] for violation in found] == ["statistics", "shard shard-b.arrow"]


def test_a_shard_of_another_kind_is_named(tmp_path: Path) -> None:
    path = save(tmp_path)
    batch = pa.record_batch({"id": [1, 2]})
    with pa.ipc.new_file(str(tmp_path / "eu" / "chips" / "k" / "shard-b.arrow"), batch.schema) as writer:
        writer.write_batch(batch)
    assert violations(path) == ["shard shard-b.arrow: it has no column chip_id"]


def test_a_geoparquet_validator_that_is_not_ours_finds_nothing(tmp_path: Path) -> None:
    import geoparquet_validator

    report = geoparquet_validator.check(str(save(tmp_path)))
    assert {outcome["status"] for outcome in report["outcomes"]} & {"pass"}
    assert geoparquet_validator.failed(report) == []
    for conformance in ("core", "covering"):
        assert geoparquet_validator.conformant(report, conformance), report["outcomes"]


def test_geopandas_and_duckdb_read_it(tmp_path: Path) -> None:
    path = save(tmp_path)
    frame = geopandas.read_parquet(path)
    assert frame.crs.to_string() == "OGC:CRS84"
    assert frame.geometry.is_valid.all() and len(frame) == ROWS
    near = geopandas.read_parquet(path, bbox=(9.9, 44.9, 11.1, 45.1))
    assert near["chip_id"].tolist() == ["chip0", "chip1"]
    query = f"select count(*), sum(weight), min(bbox.xmin) from read_parquet('{path}') where split = 'train'"
    with duckdb.connect() as connection:
        assert connection.execute(query).fetchall() == [(4, 7.5, -180.0)]


def test_hugging_face_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path)
    kinds = [field.type for field in pq.read_schema(path)]
    assert not any(pa.types.is_map(kind) for kind in kinds)  # what it cannot read
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    read = {
        "path": "parquet",
        "data_files": str(path),
        "split": "train",
        "cache_dir": str(tmp_path / "cache"),
    }
    chips = datasets.load_dataset(**read)
    assert chips.num_rows == ROWS and chips[0]["s2_hrefs"] == [{"band": "B02", "href": "a.tif"}]
    assert chips.filter(lambda chip: chip["split"] == "train").num_rows == 4
    assert next(iter(datasets.load_dataset(**read, streaming=True)))["chip_id"] == "chip0"
