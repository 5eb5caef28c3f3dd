"""Check a catalog against the contract: every violation by name, none in silence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.catalog import shards
from curate.catalog.errors import InputError
from curate.catalog.reader import read_meta
from curate.catalog.schema import SEASONS, SPLITS, CatalogMeta, catalog_schema, landcover_column

SUM_TOLERANCE = 1e-4  # of land-cover fractions, stored as float32


def violations(path: Path) -> list[str]:
    """What is wrong with the catalog *path*; an empty list where nothing is.

    Raises:
        InputError: it cannot be read at all, or has another schema version.
    """
    meta = read_meta(path)
    table = pq.read_table(path)
    expected = catalog_schema([sensor.prefix for sensor in meta.sensors], list(meta.landcover), meta.further)
    found = [*_geo(path, table), *_columns(table, expected)]
    if found:
        return found  # the checks of values need the columns
    return [*_values(table, expected, meta), *_pixels(path, table, meta)]


def _geo(path: Path, table: pa.Table) -> Iterator[str]:
    text = (pq.read_schema(path).metadata or {}).get(b"geo")
    if text is None:
        yield "metadata: no 'geo' key, so it is no GeoParquet"
        return
    try:
        geo: dict[str, Any] = json.loads(text)
    except ValueError:
        yield "metadata: 'geo' is not JSON"
        return
    if geo.get("version") != "1.1.0":
        yield f"metadata: GeoParquet version {geo.get('version')!r} instead of '1.1.0'"
    column = geo.get("columns", {}).get("geometry", {})
    if column.get("encoding") != "WKB":
        yield "metadata: column 'geometry' is not declared as WKB"
    if "bbox" not in column.get("covering", {}):
        yield "metadata: column 'geometry' declares no bbox covering"


def _columns(table: pa.Table, expected: pa.Schema) -> Iterator[str]:
    for field in expected:
        if field.name not in table.column_names:
            yield f"column {field.name}: missing"
        elif not table.schema.field(field.name).type.equals(field.type):
            yield f"column {field.name}: type {table.schema.field(field.name).type} instead of {field.type}"
    for name in table.column_names:
        if name not in expected.names:
            yield f"column {name}: not in the contract"


def _values(table: pa.Table, expected: pa.Schema, meta: CatalogMeta) -> Iterator[str]:
    for field in expected:
        nulls = table[field.name].null_count
        if nulls and not field.nullable:
            yield f"column {field.name}: {nulls:,} nulls"
    ids = table["chip_id"]
    twice = table.num_rows - pc.count_distinct(ids).as_py()
    if twice:
        yield f"column chip_id: {twice:,} ids occur more than once"
    yield from _allowed(table, "split", SPLITS)
    yield from _allowed(table, "season", SEASONS)
    yield from _range(table, "lon", -180, 180)
    yield from _range(table, "lat", -90, 90)
    yield from _range(table, "koppen", 1, 30)
    yield from _range(table, "koppen_purity", 0, 1)
    yield from _range(table, "weight", 1 - 1e-9, np.inf)
    shares = [landcover_column(code) for code in meta.landcover] + ["lc_unmapped"]
    for name in shares:
        yield from _range(table, name, 0, 1)
    total = np.sum([table[name].to_numpy().astype(np.float64) for name in shares], axis=0)
    off = int((np.abs(total - 1) > SUM_TOLERANCE).sum())
    if off:
        yield f"land cover: the fractions of {off:,} chips do not add up to 1"
    for sensor in meta.sensors:
        for name in ("valid", "cloud"):
            yield from _range(table, f"{sensor.prefix}_{name}", 0, 1)


def _allowed(table: pa.Table, name: str, values: tuple[str, ...]) -> Iterator[str]:
    strange = sorted({str(value) for value in table[name].unique().to_pylist()} - set(values))
    if strange:
        yield f"column {name}: {', '.join(strange[:3])} is not one of {', '.join(values)}"


def _range(table: pa.Table, name: str, low: float, high: float) -> Iterator[str]:
    values = table[name].drop_null().to_numpy().astype(np.float64)
    outside = int((~((values >= low) & (values <= high))).sum())
    if outside:
        yield f"column {name}: {outside:,} values lie outside {low:g} to {high:g}"


def _pixels(path: Path, table: pa.Table, meta: CatalogMeta) -> Iterator[str]:
    """The shards hold the chips that the rows say, and the statistics are there."""
    folder = path.parent / meta.chips
    cut = table.filter(pc.is_valid(table["shard"]))
    lost = pc.sum(pc.is_null(cut["shard_row"])).as_py() or 0
    if lost:
        yield f"column shard_row: {lost:,} chips have a shard but no row in it"
        cut = cut.filter(pc.is_valid(cut["shard_row"]))
    if cut.num_rows and not (path.parent / meta.statistics).exists():
        yield f"statistics: {meta.statistics} does not exist"
    digests = {entry.shard: entry.digest for entry in shards.read_manifest(folder)}
    for name in cut["shard"].unique().to_pylist():
        if name in digests and (folder / name).exists() and digests[name] != shards.checksum(folder / name):
            yield f"shard {name}: its bytes are not those that were written"
            continue
        rows = cut.filter(pc.equal(cut["shard"], name))
        try:
            held = shards.open_shard(folder / name).column("chip_id")
        except InputError as error:
            yield f"shard {name}: {error.why}"
            continue
        except KeyError:
            yield f"shard {name}: it has no column chip_id"
            continue
        at = rows["shard_row"].to_numpy()
        if (
            at.min() < 0
            or at.max() >= len(held)
            or held.take(pa.array(at)).to_pylist() != rows["chip_id"].to_pylist()
        ):
            yield f"shard {name}: its rows are not the chips that the catalog says"
