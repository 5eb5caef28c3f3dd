"""Shards: Arrow IPC files, uncompressed, in which a chip's pixels are one fixed-size row.

A memory-mapped shard is a numpy array of shape (chips, bands, rows, columns) without a copy, and pyarrow,
polars and DuckDB open it as a table. Beside the pixels each row carries the chip's quality, its masks as bits, and the
moments and histograms of its bands, so that the statistics of any catalog are sums over rows and cost no second look
at pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.catalog.errors import InputError
from curate.catalog.files import Hashed, append_line, atomic, write_text
from curate.catalog.schema import METADATA_KEY, SensorInfo
from curate.catalog.statistics import BINS, Moments, histograms

MANIFEST = "manifest.jsonl"
_NOTE = ".note.json"  # of a shard that has not reached the manifest yet


@dataclass(frozen=True)
class SensorChips:
    """The chips of one sensor in a shard, one per row."""

    pixels: npt.NDArray[Any]  # (n, bands, rows, columns), stored integers
    valid: npt.NDArray[np.float32]  # (n,) share of pixels with data in every band
    cloud: npt.NDArray[np.float32]  # (n,) share of cloud and shadow, NaN where there is no mask
    valid_mask: npt.NDArray[np.bool_] | None = None  # (n, rows, columns); None: where every band has data
    cloud_mask: npt.NDArray[np.bool_] | None = None  # (n, rows, columns); counts where `cloud` is not NaN
    moments: Moments | None = None  # (n, bands); None: to be computed
    histograms: npt.NDArray[np.uint32] | None = None  # (n, bands, BINS); None: to be computed


@dataclass(frozen=True)
class ManifestEntry:
    """What became of one planned shard: its chips are in `shard`, or were rejected for a reason."""

    plan: str  # name of the plan the shard was made from
    shard: str | None  # file name; None where every chip was rejected
    chips: tuple[str, ...]
    rejected: tuple[tuple[str, str, str], ...]  # chip id, reason, detail
    digest: str | None  # SHA-256 of the file, as sha256sum prints it


def shard_schema(sensors: Sequence[SensorInfo], chip_px: int) -> pa.Schema:
    """Arrow schema of a shard for *sensors* and square chips of *chip_px* pixels."""
    fields = [pa.field("chip_id", pa.string(), nullable=False)]
    bits = pa.binary(-(-(chip_px**2) // 8))
    for sensor in sensors:
        bands, prefix = len(sensor.bands), sensor.prefix
        values = pa.from_numpy_dtype(np.dtype(sensor.dtype))
        fields += [
            pa.field(prefix, pa.list_(values, bands * chip_px * chip_px), nullable=False),
            pa.field(f"{prefix}_sum", pa.uint64(), nullable=False),
            pa.field(f"{prefix}_valid", pa.float32(), nullable=False),
            pa.field(f"{prefix}_cloud", pa.float32()),
            pa.field(f"{prefix}_valid_mask", bits, nullable=False),
            pa.field(f"{prefix}_cloud_mask", bits),
            pa.field(f"{prefix}_count", pa.list_(pa.int64(), bands), nullable=False),
            pa.field(f"{prefix}_mean", pa.list_(pa.float64(), bands), nullable=False),
            pa.field(f"{prefix}_m2", pa.list_(pa.float64(), bands), nullable=False),
            pa.field(f"{prefix}_histogram", pa.list_(pa.uint32(), bands * BINS), nullable=False),
        ]
    return pa.schema(fields)


def write_shard(
    path: Path, sensors: Sequence[SensorInfo], chip_ids: Sequence[str], chips: Mapping[str, SensorChips]
) -> str:
    """Write one shard atomically; its SHA-256, taken on the way to the disk."""
    chip_px = chips[sensors[0].prefix].pixels.shape[-1]
    columns: list[pa.Array] = [pa.array(chip_ids, pa.string())]
    for sensor in sensors:
        stored = chips[sensor.prefix]
        moments = Moments.of_chips(stored.pixels, sensor) if stored.moments is None else stored.moments
        counts = histograms(stored.pixels, sensor) if stored.histograms is None else stored.histograms
        valid, cloud = stored.valid_mask, stored.cloud_mask
        cloud = np.zeros((len(stored.pixels), chip_px, chip_px), bool) if cloud is None else cloud
        columns += [
            _rows(stored.pixels),
            pa.array(checksums(stored.pixels)),
            pa.array(stored.valid, pa.float32()),
            pa.array(stored.cloud, pa.float32(), from_pandas=True),
            _bits((stored.pixels != sensor.nodata).all(1) if valid is None else valid),
            _bits(cloud, known=~np.isnan(stored.cloud)),
            _rows(moments.count),
            _rows(moments.mean),
            _rows(moments.m2),
            _rows(counts),
        ]
    schema = shard_schema(sensors, chip_px).with_metadata(
        {METADATA_KEY: json.dumps({"chip_px": chip_px, "sensors": [asdict(s) for s in sensors]}).encode()}
    )
    batch = pa.record_batch(columns, schema=schema)
    with (
        atomic(path) as part,
        Hashed(part) as file,
        pa.PythonFile(file, "w") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        writer.write_batch(batch)
    return file.digest.hexdigest()


def _rows(values: npt.NDArray[Any]) -> pa.Array:
    flat = np.ascontiguousarray(values).reshape(len(values), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])


def _bits(mask: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Masks (n, rows, columns) as one fixed-size value each, first pixel in the highest bit; null where not *known*."""
    packed = np.packbits(mask.reshape(len(mask), -1), axis=1)
    nulls = None if known is None or known.all() else pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.Array.from_buffers(pa.binary(packed.shape[1]), len(mask), [nulls, pa.py_buffer(packed)])


@lru_cache(maxsize=256)
def open_shard(path: Path) -> pa.RecordBatch:
    """The one record batch of a shard, memory-mapped.

    Raises:
        InputError: the shard is missing or cannot be read.
    """
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).get_batch(0)
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: it holds no batch
        raise InputError(
            f"Shard {path} cannot be read", str(error), "Cut it again with: curate cut"
        ) from error


def pixels(shard: pa.RecordBatch, prefix: str, bands: int, chip_px: int) -> npt.NDArray[Any]:
    """Stored integers of one sensor as a read-only view of shape (n, bands, chip_px, chip_px)."""
    values: npt.NDArray[Any] = shard.column(prefix).flatten().to_numpy(zero_copy_only=True)
    return values.reshape(shard.num_rows, bands, chip_px, chip_px)


def moments(shard: pa.RecordBatch, prefix: str) -> Moments:
    """Per-chip moments of one sensor, each field of shape (n, bands)."""
    count, mean, m2 = (
        shard.column(f"{prefix}_{name}").flatten().to_numpy().reshape(shard.num_rows, -1)
        for name in ("count", "mean", "m2")
    )
    return Moments(count, mean, m2)


def mask(shard: pa.RecordBatch, prefix: str, what: str, chip_px: int) -> npt.NDArray[np.bool_]:
    """Masks of one sensor, (n, chip_px, chip_px); all False where a chip has none.

    Args:
        what: valid (data in every band) or cloud (cloud, cirrus or cloud shadow).
    """
    column = shard.column(f"{prefix}_{what}_mask")
    width = column.type.byte_width
    packed = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * width :][: len(column) * width]
    found = np.unpackbits(packed.reshape(len(column), width), axis=1, count=chip_px**2).astype(bool)
    found[column.is_null().to_numpy(zero_copy_only=False)] = False
    return found.reshape(len(column), chip_px, chip_px)


def counts(shard: pa.RecordBatch, prefix: str, bands: int) -> npt.NDArray[np.uint32]:
    """Per-chip histograms of one sensor, (n, bands, `BINS`)."""
    values: npt.NDArray[np.uint32] = shard.column(f"{prefix}_histogram").flatten().to_numpy()
    return values.reshape(shard.num_rows, bands, BINS)


def checksums(chips: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Sum of each chip's bytes as little-endian 64-bit words, modulo 2^64, zeros at the end: as fast as memory is read.

    Args:
        chips: the first axis counts chips.
    """
    flat = np.ascontiguousarray(chips).reshape(len(chips), -1).view(np.uint8)
    whole = flat.shape[1] // 8 * 8
    found: npt.NDArray[np.uint64] = flat[:, :whole].view("<u8").sum(1, dtype=np.uint64)
    if whole < flat.shape[1]:
        rest = np.zeros((len(flat), 8), np.uint8)
        rest[:, : flat.shape[1] - whole] = flat[:, whole:]
        found += rest.view("<u8")[:, 0]
    return found


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def note(folder: Path, entry: ManifestEntry) -> None:
    """Write down *entry* beside its shard: a process that may not touch the manifest keeps what it did from a kill."""
    write_text(folder / f"{entry.plan}{_NOTE}", json.dumps(asdict(entry), sort_keys=True))


def record_notes(folder: Path) -> None:
    """Move what killed runs have noted into the manifest."""
    for path in sorted(folder.glob(f"*{_NOTE}")):
        append_line(folder / MANIFEST, path.read_text(encoding="utf-8"))
        path.unlink()


def record(folder: Path, entry: ManifestEntry) -> None:
    """Append *entry* to the folder's manifest; call it after the shard has its final name."""
    append_line(folder / MANIFEST, json.dumps(asdict(entry), sort_keys=True))
    (folder / f"{entry.plan}{_NOTE}").unlink(missing_ok=True)


def read_manifest(folder: Path) -> list[ManifestEntry]:
    """Entries of the folder's manifest, oldest first, then what a killed run has noted beside its shards.

    A line torn by a kill is passed over.
    """
    path = folder / MANIFEST
    entries: list[ManifestEntry] = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    lines += [one.read_text(encoding="utf-8") for one in sorted(folder.glob(f"*{_NOTE}"))]
    for line in lines:
        try:
            fields = json.loads(line)
        except json.JSONDecodeError:
            continue
        rejected = tuple((chip, reason, detail) for chip, reason, detail in fields["rejected"])
        entries.append(ManifestEntry(**{**fields, "chips": tuple(fields["chips"]), "rejected": rejected}))
    return entries
