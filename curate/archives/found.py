"""What a search brought: scenes gathered as Arrow batches, so that a million of them fit into memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from curate.archives.boxes import Coverage
from curate.archives.duplicates import OLDER_DUPLICATE, older_rows, processing_time
from curate.catalog.errors import InputError
from curate.catalog.files import atomic
from curate.catalog.geoparquet import ROW_GROUP_ROWS, geo_metadata
from curate.catalog.schema import BBOX, METADATA_KEY
from curate.pixels.dark import low_percentile
from curate.recipe import Period
from curate.scenes import SCENES, Rejected, arrangement, scene
from curate.sensors import Sensor

SIMULATED_KEY = "curate:simulated"

PROCESSED = "processed"  # when an item was processed, ISO 8601; empty where unknown
GATHERED = SCENES.append(pa.field(PROCESSED, pa.string(), nullable=False))
BATCH_ROWS = 10_000
OUTSIDE = "outside area or period"
_BLOCK_ROWS = 200_000  # whose assets are unpacked together

Row = dict[str, Any]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Limits:
    """Which scenes a search is for."""

    area: shapely.Geometry
    period: Period
    max_cloud_percent: float = 100.0
    _lock: threading.Lock = field(
        default_factory=threading.Lock, repr=False
    )  # GEOS prepares while it compares

    def __post_init__(self) -> None:
        shapely.prepare(self.area)

    def coverage(self) -> Coverage:
        """Where the area lies, in few numbers."""
        with self._lock:
            return self._coverage

    @cached_property
    def _coverage(self) -> Coverage:
        return Coverage(self.area)

    def near(self, bbox: Any) -> bool:
        """Whether an item with this ``bbox`` may lie in the area; one without may."""
        if not isinstance(bbox, list | tuple) or len(bbox) not in (4, 6):
            return True
        west, south, east, north = (
            np.array([side], float) for side in (*bbox[:2], *bbox[len(bbox) // 2 :][:2])
        )
        return bool(self.coverage().meets(west, south, east, north)[0])

    def judge(self, row: Row | Rejected) -> Row | Rejected:
        """*row*, or why it is not wanted; a scene whose cloud cover is unknown is."""
        if isinstance(row, Rejected):
            return row
        if not self.period.holds(row["datetime"]) or not self._meets(row):
            return Rejected(row["id"], OUTSIDE)
        cloud = row["cloud_cover"]
        if cloud is not None and cloud > self.max_cloud_percent:
            return Rejected(row["id"], f"cloudier than {self.max_cloud_percent:g} %")
        return row

    def _meets(self, row: Row) -> bool:
        shape = shapely.from_wkb(row["geometry"])
        with self._lock:
            return bool(shapely.intersects(self.area, shape))


@dataclass
class Answer:
    """What one question to an archive brought: one collection, or a box of it."""

    batches: list[pa.RecordBatch] = field(default_factory=list)  # of GATHERED
    rejected: list[Rejected] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # what the archive could not be made to give, and why
    simulated: bool = False  # an item says of itself that it is no measurement
    _rows: list[Row] = field(default_factory=list)

    def take(self, item: Any, href: str, sensor: Sensor, bands: tuple[str, ...], limits: Limits) -> None:
        """Take in what a STAC item is: a wanted scene, or why not."""
        if not isinstance(item, dict) or not item.get("id"):
            self.rejected.append(Rejected(href, "no STAC item"))
            return

        def low(band: str, nodata: float | None) -> float:
            if not limits.near(item.get("bbox")):
                raise InputError(f"Band {band} is not needed")
            return low_percentile(band, nodata)

        row = limits.judge(scene(item, href, sensor, bands, low))
        if isinstance(row, Rejected):
            self.rejected.append(row)
            return
        properties = item.get("properties") or {}
        self.simulated = self.simulated or bool(properties.get(SIMULATED_KEY))
        self._rows.append({**row, PROCESSED: processing_time(properties)})
        if len(self._rows) >= BATCH_ROWS:
            self.close()

    def close(self) -> Answer:
        """Turn the rows that wait into a batch."""
        if self._rows:
            self.batches.append(pa.RecordBatch.from_pylist(self._rows, schema=GATHERED))
            self._rows = []
        return self

    @property
    def table(self) -> pa.Table:
        return pa.Table.from_batches(self.close().batches, schema=GATHERED)


@dataclass
class Found:
    """What a search brought, one scene per acquisition."""

    rejected: list[Rejected] = field(default_factory=list)
    other: int = 0  # items outside the area or the period
    missing: list[str] = field(default_factory=list)  # what the archive could not be made to give, and why
    simulated: bool = False  # an item says of itself that it is no measurement
    _chunks: list[pa.Table] = field(default_factory=list)  # of GATHERED without assets
    _assets: list[pa.Buffer] = field(default_factory=list)  # of each chunk, packed: hrefs differ in little
    _order: Positions = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def of(cls, answers: Iterator[Answer], *, overlapping: bool = False, distinct: bool = False) -> Found:
        """All answers as one.

        Args:
            overlapping: questions overlap, so that an id that came before is the same item again.
            distinct: no acquisition comes twice, so that none needs to be looked for.
        """
        found = cls()
        seen: set[str] = set()
        for answer in answers:
            table, refused = answer.table, answer.rejected
            if overlapping:
                ids = table["id"].to_pylist()
                new = [name not in seen for name in ids]
                refused = [one for one in refused if one.id not in seen]
                seen.update(ids, (one.id for one in refused))
                table = table if all(new) else table.filter(pa.array(new, pa.bool_()))
            if table.num_rows:
                found._chunks.append(table.drop_columns(["assets"]).combine_chunks())
                found._assets.append(_packed(table.select(["assets"]).combine_chunks()))
            found.other += sum(one.reason == OUTSIDE for one in refused)
            found.rejected += [one for one in refused if one.reason != OUTSIDE]
            found.missing += answer.missing
            found.simulated = found.simulated or answer.simulated
        found._settle(distinct)
        return found

    def _settle(self, distinct: bool) -> None:
        """Leave out older duplicates, and arrange the rest."""
        if not self._chunks:
            return
        slim = pa.concat_tables(self._chunks)
        older = np.zeros(slim.num_rows, bool) if distinct else older_rows(slim)
        self.rejected += [
            Rejected(name, OLDER_DUPLICATE) for name in slim["id"].filter(pa.array(older)).to_pylist()
        ]
        order = arrangement(slim).to_numpy().astype(np.int64)
        self._order = order[~older[order]]

    @property
    def sensor(self) -> str:
        """Whose scenes these are; empty where there are none."""
        return str(self._chunks[0]["sensor"][0]) if self._chunks else ""

    def column(self, name: str) -> pa.Array:
        """A column of all scenes, in any order."""
        return pa.chunked_array([chunk[name].chunk(0) for chunk in self._chunks]).combine_chunks()

    def __len__(self) -> int:
        return len(self._order)

    def tables(self, rows: int = 50_000) -> Iterator[pa.Table]:
        """The scenes as tables of `SCENES` of up to *rows* rows, in the order of `arrangement`.

        They are fetched a block at a time: all assets of a million scenes would need gigabytes.
        """
        block = max(rows, _BLOCK_ROWS)
        for first in range(0, len(self._order), block):
            table = self._rows(self._order[first : first + block])
            for start in range(0, table.num_rows, rows):
                yield table.slice(start, rows)

    def _rows(self, wanted: Positions) -> pa.Table:
        """The rows at *wanted*, in that order."""
        starts = np.cumsum([0] + [chunk.num_rows for chunk in self._chunks])
        by_chunk = np.argsort(wanted, kind="stable")
        bounds = np.searchsorted(wanted[by_chunk], starts)
        parts = []
        for k, (low, high) in enumerate(pairwise(bounds)):
            if high > low:
                rows = pa.array(wanted[by_chunk[low:high]] - starts[k])
                assets = _unpacked(self._assets[k]).take(rows)["assets"]
                parts.append(self._chunks[k].take(rows).append_column(SCENES.field("assets"), assets))
        back = np.empty(len(wanted), np.int64)
        back[by_chunk] = np.arange(len(wanted))
        return pa.concat_tables(parts).combine_chunks().take(pa.array(back)).select(SCENES.names)

    @property
    def scenes(self) -> pa.Table:
        """All scenes as one table of `SCENES`."""
        return pa.concat_tables([SCENES.empty_table(), *self.tables()])


def _packed(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _unpacked(buffer: pa.Buffer) -> pa.Table:
    return pa.ipc.open_stream(buffer).read_all().combine_chunks()


def write_scenes(parts: Iterable[Found], path: Path, root: str, metadata: dict[str, Any]) -> None:
    """Write scenes of several sensors as one GeoParquet table of `SCENES`, sorted by sensor, a slice at a time.

    Args:
        root: hrefs below it are written relative to it, so that they hold where the folder goes.
    """
    named = sorted((found for found in parts if len(found)), key=lambda found: found.sensor)
    boxes = [found.column("bbox") for found in named]
    geo = geo_metadata(pa.table({"bbox": pa.concat_arrays(boxes)} if boxes else {"bbox": pa.array([], BBOX)}))
    about = {b"geo": json.dumps(geo).encode(), METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()}
    schema = SCENES.with_metadata(about)
    with (
        atomic(path) as part,
        pq.ParquetWriter(part, schema, compression="zstd", compression_level=9) as writer,
    ):
        for found in named:
            for table in found.tables(ROW_GROUP_ROWS):
                writer.write_table(_relative(table, root).cast(schema), row_group_size=ROW_GROUP_ROWS)


def _relative(table: pa.Table, root: str) -> pa.Table:
    assets = table["assets"].combine_chunks()
    values = assets.flatten()
    href = values.field("href")
    inside = pc.starts_with(href, root)
    if not pc.any(inside).as_py():
        return table
    short = pc.if_else(inside, pc.utf8_slice_codeunits(href, len(root)), href)
    fields = list(values.type)
    columns = [short if one.name == "href" else values.field(one.name) for one in fields]
    lists = pa.ListArray.from_arrays(
        pc.subtract(assets.offsets, assets.offsets[0]),
        pa.StructArray.from_arrays(columns, fields=fields),
        type=assets.type,
    )
    return table.set_column(table.schema.get_field_index("assets"), SCENES.field("assets"), lists)
