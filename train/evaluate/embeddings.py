"""Embeddings as tables that a sampler, a GIS and others' tools read: what `train embed` does.

One Parquet file a sensor, one row an image, columns named as in Major TOM's embedding tables (Czerkawski et al. 2024,
arXiv 2412.05600: unique_id, embedding, timestamp, product_id, grid_cell, grid_row_u, grid_col_r, geometry, centre_lat,
centre_lon), and `chip_id` and `sensor` besides. The metadata key `train` holds the model's card; where there are
geometries the file is GeoParquet. Parts are written as they are made, and a killed run goes on from them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.catalog import InputError
from curate.catalog.files import atomic, sweep, write_text
from curate.catalog.geoparquet import geo_metadata
from train.evaluate.embed import embedded
from train.evaluate.images import Encoder, Images

CARD = b"train"  # metadata key
PART_ROWS = 4096
PLACE = ("geometry", "bbox", "lon", "lat", "cell", "split")
BBOX = pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])


def columns_for(prefixes: Sequence[str]) -> list[str]:
    """Columns of a catalog that an embedding table of these sensors takes over."""
    return [*PLACE, *(f"{prefix}_{name}" for prefix in prefixes for name in ("id", "datetime"))]


def write_embeddings(
    model: Encoder,
    images: Images,
    card: dict[str, Any],
    folder: Path,
    batch_size: int = 128,
    joined: bool = False,
    say: Callable[[object], None] = print,
) -> list[Path]:
    """Write `folder/PREFIX.parquet` for each sensor of *images*; those files.

    Args:
        joined: write `all.parquet` too, all sensors' vectors side by side.

    Raises:
        InputError: the folder holds embeddings of another model or of other images.
    """
    sensors = tuple(sensor.prefix for sensor in images.config.sensors)
    prefixes = (*sensors, "all") if joined and len(sensors) > 1 else sensors
    mark = _fingerprint(images, card, prefixes)
    parts = folder / "parts"
    _claim(folder, parts, mark, prefixes)
    starts = range(0, len(images), PART_ROWS)
    for start in starts:
        stop = min(start + PART_ROWS, len(images))
        if all((parts / _part(prefix, start)).exists() for prefix in prefixes):
            continue
        batches = [found for _, found in embedded(model, images, batch_size, start, stop)]
        vectors = {prefix: np.concatenate([batch[prefix] for batch in batches]) for prefix in sensors}
        if "all" in prefixes:
            vectors["all"] = np.concatenate([vectors[prefix] for prefix in sensors], axis=1)
        for prefix in prefixes:
            table = embedding_table(images, vectors[prefix], prefix, start, stop)
            with atomic(parts / _part(prefix, start)) as part:
                pq.write_table(table, part, compression="zstd")
        say(f"embedded {stop:,} of {len(images):,} images")
    written = []
    for prefix in prefixes:
        path = folder / f"{prefix}.parquet"
        _join(
            [parts / _part(prefix, start) for start in starts], path, {**card, "sensor": prefix, "mark": mark}
        )
        written.append(path)
    shutil.rmtree(parts)
    return written


def embedding_table(
    images: Images, vectors: npt.NDArray[np.float32], prefix: str, start: int, stop: int
) -> pa.Table:
    """Rows *start* to *stop* of *images* with their *vectors* [stop - start, D]."""
    size = vectors.shape[1]
    known = {name: values[start:stop] for name, values in images.columns.items()}
    ids = pa.array(known["chip_id"].astype(str), pa.string())
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).ravel())
    columns: dict[str, pa.Array] = {
        "unique_id": ids,
        "chip_id": ids,
        "sensor": pa.array([prefix] * len(ids), pa.string()),
        "embedding": pa.FixedSizeListArray.from_arrays(flat, size),
    }
    optional: Mapping[str, tuple[str, pa.DataType]] = {
        "timestamp": (f"{prefix}_datetime", pa.timestamp("us", tz="UTC")),
        "product_id": (f"{prefix}_id", pa.string()),
        "grid_cell": ("cell", pa.string()),
        "centre_lat": ("lat", pa.float64()),
        "centre_lon": ("lon", pa.float64()),
        "split": ("split", pa.string()),
        "geometry": ("geometry", pa.binary()),
        "bbox": ("bbox", BBOX),
    }
    for name, (source, kind) in optional.items():
        if source in known:
            columns[name] = pa.array(known[source], from_pandas=True).cast(kind)
    if "grid_cell" in columns:
        columns |= _rows_and_columns(columns["grid_cell"])
    return pa.table(columns)


def _rows_and_columns(cells: pa.Array) -> dict[str, pa.Array]:
    """Signed row and column of Major TOM cells, "650U_155R": (650, 155), downwards and leftwards negative."""
    found = pc.extract_regex(cells, r"^(?P<row>\d+)(?P<up>[UD])_(?P<col>\d+)(?P<right>[RL])$")

    def signed(number: str, way: str, negative: str) -> pa.Array:
        value = pc.struct_field(found, number).cast(pa.int16())
        return pc.if_else(pc.equal(pc.struct_field(found, way), negative), pc.negate(value), value)

    return {"grid_row_u": signed("row", "up", "D"), "grid_col_r": signed("col", "right", "L")}


def read_embeddings(path: Path) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float32], dict[str, Any]]:
    """Ids [n], vectors [n, D] and the model's card of an embedding table.

    Raises:
        InputError: it cannot be read, or is no such table.
    """
    try:
        table = pq.read_table(path)
        card = json.loads((table.schema.metadata or {})[CARD])
        column = table["embedding"].combine_chunks()
    except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
        raise InputError(
            f"{path} is no table of embeddings",
            f"{type(error).__name__}: {error}",
            "Make one with: train embed",
        ) from error
    vectors = column.flatten().to_numpy().reshape(len(column), -1)
    return table["chip_id"].to_numpy(zero_copy_only=False).astype(str), vectors, card


def _part(prefix: str, start: int) -> str:
    return f"{prefix}-{start:09d}.parquet"


def _fingerprint(images: Images, card: dict[str, Any], prefixes: Sequence[str]) -> str:
    """A digest of model, images and sensors: equal where a killed run may go on."""
    about = [card["weights"], *prefixes, json.dumps(images.config.to_json(), sort_keys=True, default=str)]
    text = "\n".join([*about, *map(str, images.ids)])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _claim(folder: Path, parts: Path, mark: str, prefixes: Sequence[str]) -> None:
    """Go on in *parts* where they are of the same run, else begin anew; others' finished tables stay untouched."""
    for prefix in prefixes:
        path = folder / f"{prefix}.parquet"
        if path.exists() and read_embeddings(path)[2].get("mark") != mark:
            raise InputError(
                f"{path} holds embeddings of another model or of other images",
                do="Choose another folder with --out",
            )
    note = parts / "mark.txt"
    if parts.exists() and (not note.exists() or note.read_text(encoding="utf-8") != mark):
        shutil.rmtree(parts)
    parts.mkdir(parents=True, exist_ok=True)
    write_text(note, mark)
    sweep(folder)
    sweep(parts)


def _join(parts: Sequence[Path], path: Path, card: dict[str, Any]) -> None:
    """One file of all *parts*, a row group each."""
    schema = pq.read_schema(parts[0])
    metadata = {CARD: json.dumps(card).encode()}
    if {"geometry", "bbox"} <= set(schema.names):
        boxes = pa.concat_tables(pq.read_table(part, columns=["bbox"]) for part in parts)
        metadata[b"geo"] = json.dumps(geo_metadata(boxes)).encode()
    schema = schema.with_metadata(metadata)

    def tables() -> Iterator[pa.Table]:
        for part in parts:
            yield pq.read_table(part).replace_schema_metadata(metadata)

    with atomic(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in tables():
            writer.write_table(table)
