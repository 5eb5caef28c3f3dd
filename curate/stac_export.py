"""A catalog's chips as STAC items in one stac-geoparquet file (specification 1.1.0), and their collection beside it.

Every chip is an item: geometry and bounds, the anchor's time as `datetime` and the times of all its scenes as an
interval, grid by the projection extension, the shard that holds its pixels as its asset with the row as
`curate:shard_row`, and all other columns as properties with the prefix `curate:`. Addresses of the scenes' files are
left out.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.catalog import Catalog, CatalogMeta, InputError
from curate.catalog.files import atomic, write_text
from curate.catalog.geoparquet import ROW_GROUP_ROWS, geo_metadata
from curate.catalog.schema import TIMESTAMP

VERSION, STAC_VERSION = "1.1.0", "1.1.0"
PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
ARROW, PARQUET = "application/vnd.apache.arrow.file", "application/vnd.apache.parquet"
_LINK = pa.struct([(name, pa.string()) for name in ("href", "rel", "type", "title")])
_TAKEN = ("chip_id", "geometry", "bbox", "epsg", "transform", "shard")


def export_stac(path: Path, out: Path) -> Path:
    """Write the chips of the catalog *path* to *out*, and their collection as ``.json``; links are relative to them.

    Raises:
        InputError: no such catalog, an empty one, or *out* is the catalog itself.
    """
    catalog = Catalog.open(path)
    if not catalog.table.num_rows:
        raise InputError(f"Catalog {path} is empty", do="Draw a larger sample: curate sample")
    if out.resolve() == path.resolve():
        raise InputError(f"{out} is the catalog itself", "it would be written over", "Name another file")
    beside = out.with_suffix(".json")
    table = items(catalog, out.resolve().parent, beside.name)
    collection = _collection(catalog.meta, table, out.name)
    described = {"version": VERSION, "collections": {catalog.meta.region: collection}}
    metadata = {"geo": geo_metadata(table), "stac-geoparquet": described}
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic(out) as part:
        encoded = {key.encode(): json.dumps(value).encode() for key, value in metadata.items()}
        kept = table.replace_schema_metadata(encoded)
        pq.write_table(kept, part, compression="zstd", row_group_size=ROW_GROUP_ROWS)
    write_text(beside, json.dumps(collection, indent=1) + "\n")
    return out


def items(catalog: Catalog, folder: Path, collection: str) -> pa.Table:
    """The catalog's rows in the columns of stac-geoparquet, with links relative to *folder*.

    Args:
        collection: file of the collection in that folder; an item that names its collection must link to it.
    """
    table, meta, rows = catalog.table, catalog.meta, catalog.table.num_rows
    times = [
        table[name] for sensor in meta.sensors if (name := f"{sensor.prefix}_datetime") in table.column_names
    ]
    numbers = [time.cast(pa.int64()) for time in times]  # Arrow finds the least of numbers only
    codes = pc.binary_join_element_wise("EPSG", pc.cast(table["epsg"], pa.string()), ":")
    link = {"href": collection, "rel": "collection", "type": "application/json", "title": meta.region}
    columns: dict[str, Any] = {
        "type": _constant("Feature", rows),
        "stac_version": _constant(STAC_VERSION, rows),
        "stac_extensions": _constant([PROJECTION], rows),
        "id": table["chip_id"],
        "geometry": table["geometry"],
        "bbox": table["bbox"],
        "links": pa.repeat(pa.scalar([link], pa.list_(_LINK)), rows),
        "assets": _assets(table, os.path.relpath(catalog.chips_folder.resolve(), folder)),
        "collection": _constant(meta.region, rows),
        "datetime": reduce(pc.coalesce, times),
        "start_datetime": pc.min_element_wise(*numbers).cast(TIMESTAMP),
        "end_datetime": pc.max_element_wise(*numbers).cast(TIMESTAMP),
        "gsd": _constant(float(meta.resolution_m), rows),
        "proj:code": codes,
        "proj:transform": table["transform"].cast(pa.list_(pa.float64())),
        "proj:shape": _constant([meta.chip_px, meta.chip_px], rows),
        "curate:simulated": _constant(meta.simulated, rows),
    }
    for field in table.schema:
        if field.name not in _TAKEN and not pa.types.is_map(field.type):
            values = table[field.name]
            texts = pa.types.is_timestamp(field.type)  # readers know STAC's own times, not ours
            columns[f"curate:{field.name}"] = pc.strftime(values, "%Y-%m-%dT%H:%M:%SZ") if texts else values
    return pa.table(columns)


def _constant(value: Any, rows: int) -> pa.Array:
    return pa.repeat(pa.scalar(value), rows)


def _assets(table: pa.Table, folder: str) -> pa.Array:
    """The shard of each chip; none for chips that have not been cut."""
    shard = table["shard"].combine_chunks()
    there = pc.is_valid(shard)
    rows = len(shard)
    fields = {
        "href": pc.binary_join_element_wise(Path(folder).as_posix(), shard, "/"),
        "type": _constant(ARROW, rows),
        "title": _constant("Pixels of all sensors, one row a chip", rows),
        "roles": _constant(["data"], rows),
    }
    asset = pa.StructArray.from_arrays(list(fields.values()), names=list(fields), mask=pc.invert(there))
    return pa.StructArray.from_arrays([asset], names=["pixels"])


def _collection(meta: CatalogMeta, table: pa.Table, file: str) -> dict[str, Any]:
    bounds = geo_metadata(table)["columns"]["geometry"]["bbox"]
    interval = [_said(pc.min(table["start_datetime"])), _said(pc.max(table["end_datetime"]))]
    kind = "Simulated chips" if meta.simulated else "Chips"
    sensors = ", ".join(sensor.sensor for sensor in meta.sensors)
    size = f"{meta.chip_px} px at {meta.resolution_m:g} m"
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": meta.region,
        "description": f"{kind} of {size} of {sensors}; recipe {meta.recipe_hash}.",
        "license": "other",
        "extent": {"spatial": {"bbox": [bounds]}, "temporal": {"interval": [interval]}},
        "links": [],
        "assets": {"items": {"href": file, "type": PARQUET, "roles": ["collection-mirror"]}},
    }


def _said(moment: pa.Scalar) -> str | None:
    value: datetime | None = moment.as_py()
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value else None
