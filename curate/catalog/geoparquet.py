"""GeoParquet 1.1 in plain pyarrow: the ``geo`` metadata and an atomic writer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.catalog.files import atomic
from curate.catalog.schema import METADATA_KEY, PLAIN_COLUMNS

ROW_GROUP_ROWS = 50_000


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
    table: pa.Table, path: Path, metadata: dict[str, Any], group_rows: int = ROW_GROUP_ROWS
) -> None:
    """Write *table* (with ``geometry`` and ``bbox``) to *path* atomically, *metadata* under ``curate``."""
    table = table.replace_schema_metadata(
        {
            b"geo": json.dumps(geo_metadata(table)).encode(),
            METADATA_KEY: json.dumps(metadata, sort_keys=True).encode(),
        }
    )
    with atomic(path) as part:
        pq.write_table(table, part, row_group_size=group_rows, **encodings(table.schema, level=3))


def encodings(schema: pa.Schema, level: int) -> dict[str, Any]:
    """How `pyarrow.parquet.write_table` stores each column: zstd of *level*, dictionaries; hashes as they are."""
    with pa.BufferOutputStream() as empty:
        pq.write_table(schema.empty_table(), empty)
        paths = [column.path for column in pq.ParquetFile(pa.BufferReader(empty.getvalue())).schema]
    packed = [path for path in paths if path not in PLAIN_COLUMNS]
    return {
        "use_dictionary": packed,
        "compression": {path: "zstd" if path in packed else "none" for path in paths},
        "compression_level": dict.fromkeys(packed, level),
    }


def read_metadata(path: Path) -> dict[str, Any] | None:
    """The JSON under ``curate`` in a Parquet file's metadata; None where there is none.

    Raises:
        OSError, pyarrow.ArrowInvalid: the file is absent or not Parquet.
    """
    metadata = pq.read_schema(path).metadata or {}
    return json.loads(metadata[METADATA_KEY]) if METADATA_KEY in metadata else None
