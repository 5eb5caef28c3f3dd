"""GeoParquet 1.1 in plain pyarrow: the ``geo`` metadata and an atomic writer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.catalog.files import atomic
from curate.catalog.schema import METADATA_KEY, PLAIN_COLUMNS, UNIQUE_COLUMNS

ROW_GROUP_ROWS = 50_000
_ZSTD_LEVEL = 1


def geo_metadata(table: pa.Table) -> dict[str, Any]:
    """The GeoParquet 1.1 ``geo`` object for a WKB column ``geometry`` covered by ``bbox`` (OGC:CRS84)."""
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": ["MultiPolygon", "Polygon"],
        "covering": {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}},
    }
    if table.num_rows:
        box = table["bbox"].combine_chunks()
        lows = [pc.min(pc.struct_field(box, side)).as_py() for side in ("xmin", "ymin")]
        highs = [pc.max(pc.struct_field(box, side)).as_py() for side in ("xmax", "ymax")]
        column["bbox"] = lows + highs
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def write_geoparquet(
    table: pa.Table,
    path: Path,
    metadata: dict[str, Any],
    group_rows: int = ROW_GROUP_ROWS,
    *,
    quick: bool = False,
) -> None:
    """Write *table* (with ``geometry`` and ``bbox``) to *path* atomically, *metadata* under ``curate``.

    Args:
        quick: encode for a table that is read more often than it is sent (`encodings`).
    """
    groups = (table.slice(first, group_rows) for first in range(0, table.num_rows, group_rows))
    write_row_groups(groups, path, table.schema, table, metadata, quick=quick)


def write_row_groups(
    groups: Iterable[pa.Table],
    path: Path,
    schema: pa.Schema,
    boxes: pa.Table,
    metadata: dict[str, Any],
    *,
    quick: bool = False,
) -> None:
    """Write tables of *schema*, a row group each, as `write_geoparquet` does; *boxes* has ``bbox`` of all rows.

    Each is made while the one before it is written, and none is held longer.
    """
    schema = schema.with_metadata(
        {
            b"geo": json.dumps(geo_metadata(boxes)).encode(),
            METADATA_KEY: json.dumps(metadata, sort_keys=True).encode(),
        }
    )
    encoded = encodings(schema, quick=quick)
    with atomic(path) as part, pq.ParquetWriter(part, schema, **encoded) as file:
        for group in _ahead(groups):
            file.write_table(group)


def _ahead(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """*tables*, each made by another thread while the one before it is used."""
    source = iter(tables)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, source, None)
        while (table := coming.result()) is not None:
            coming = thread.submit(next, source, None)
            yield table


def encodings(schema: pa.Schema, *, quick: bool = False) -> dict[str, Any]:
    """How `pyarrow.parquet.write_table` stores each column.

    Dictionaries stand for texts and whole numbers that repeat; fractions, coordinates, ids and shapes seldom do, and
    looking them up costs time and room. All but the hashes of a pool, which are read as they are, is packed by zstd;
    if *quick* by lz4, in half of the time that reading takes else, but for shapes, of which lz4 leaves thrice as much.
    Nobody looks lists up by their least and most, which are not kept.
    """
    with pa.BufferOutputStream() as empty:
        pq.write_table(schema.empty_table(), empty)
        columns = list(pq.ParquetFile(pa.BufferReader(empty.getvalue())).schema)
    codec = {column.path: "lz4" if quick and column.path != "geometry" else "zstd" for column in columns}
    codec |= {path: "none" for path in codec if path in PLAIN_COLUMNS}
    return {
        "use_dictionary": [
            column.path
            for column in columns
            if column.path not in {*PLAIN_COLUMNS, *UNIQUE_COLUMNS}
            and column.physical_type not in ("FLOAT", "DOUBLE")
        ],
        "compression": codec,
        "write_statistics": [path for path in codec if ".list." not in path],
        "compression_level": {path: _ZSTD_LEVEL for path, name in codec.items() if name == "zstd"},
    }


def read_metadata(path: Path) -> dict[str, Any] | None:
    """The JSON under ``curate`` in a Parquet file's metadata; None where there is none.

    Raises:
        OSError, pyarrow.ArrowInvalid: the file is absent or not Parquet.
    """
    metadata = pq.read_schema(path).metadata or {}
    return json.loads(metadata[METADATA_KEY]) if METADATA_KEY in metadata else None
