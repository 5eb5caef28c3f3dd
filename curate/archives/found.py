"""What a search brought: scenes gathered as Arrow batches, so that a million of them fit into memory."""

from __future__ import annotations

import datetime as dt
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
from curate.archives.files import Unavailable, passing_fault, signed
from curate.catalog.files import atomic
from curate.catalog.geoparquet import geo_metadata
from curate.catalog.schema import BBOX, METADATA_KEY
from curate.pixels.dark import low_percentile
from curate.recipe import Period
from curate.scenes import SCENES, SCENES_PER_GROUP, Rejected, arrangement, scene
from curate.sensors import Sensor

SIMULATED_KEY = "curate:simulated"

PROCESSED = "processed"  # when an item was processed, ISO 8601; empty where unknown
GATHERED = SCENES.append(pa.field(PROCESSED, pa.string(), nullable=False))
BATCH_ROWS = 10_000
OUTSIDE = "outside area or period"
_BLOCK_ROWS = 200_000  # whose assets are unpacked together
_LOST = 20  # scenes whose dark pixels could not be read one after the other, after which no further is tried
_BROKEN = (ValueError, TypeError, AttributeError, KeyError, OverflowError, shapely.GEOSException)

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

    def refusal(
        self, footprint: shapely.Geometry, time: dt.datetime | None, cloud_percent: float | None
    ) -> str | None:
        """Why a scene is not wanted, None where it is; one whose cloud cover is unknown is."""
        if not self.period.holds(time) or not self._meets(footprint):
            return OUTSIDE
        if cloud_percent is not None and cloud_percent > self.max_cloud_percent:
            return f"cloudier than {self.max_cloud_percent:g} %"
        return None

    def _meets(self, footprint: shapely.Geometry) -> bool:
        with self._lock:
            return bool(shapely.intersects(self.area, footprint))


def dark_pixels(href: str, nodata: float | None) -> float:
    """`low_percentile` of a band; a fault of the network is told apart from a broken or absent file.

    Raises:
        Unavailable: the band cannot be read now, and perhaps can be later.
        InputError, OSError, rasterio.errors.RasterioError: it is absent or broken, or has next to no data.
    """
    signed(href)  # of a token that is not to be had, GDAL would tell as of an absent file
    try:
        return low_percentile(href, nodata)
    except Exception as error:
        if why := passing_fault(error, href):
            raise Unavailable(why) from error
        raise


@dataclass
class Answer:
    """What one question to an archive brought: one collection, or a box of it."""

    batches: list[pa.RecordBatch] = field(default_factory=list)  # of GATHERED
    rejected: list[Rejected] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # what the archive could not be made to give, and why
    simulated: bool = False  # an item says of itself that it is no measurement
    _rows: list[Row] = field(default_factory=list)
    _lost: int = 0  # scenes, one after the other

    def take(self, item: Any, href: str, sensor: Sensor, bands: tuple[str, ...], limits: Limits) -> None:
        """Take in what a STAC item is: a wanted scene, or why not. No item raises."""
        if not isinstance(item, dict) or not item.get("id"):
            self.rejected.append(Rejected(href, "no STAC item"))
            return
        name = _printable(str(item["id"]))
        try:
            row = scene(item, href, sensor, bands, self._low, limits.refusal)
            if isinstance(row, Rejected):
                self.rejected.append(Rejected(name, row.reason))
                return
            said = item.get("properties")
            properties = said if isinstance(said, dict) else {}
            self._rows.append({**row, PROCESSED: processing_time(properties)})
            self.simulated = self.simulated or bool(properties.get(SIMULATED_KEY))
        except Unavailable as error:
            self.lacks_pixels(name, error)
        except _BROKEN as error:
            self.rejected.append(_broken(name, error))
        if len(self._rows) >= BATCH_ROWS:
            self.close()

    def lacks_pixels(self, name: str, error: Unavailable) -> None:
        """Take note that the scene *name* is open, because its dark pixels could not be read."""
        self.missing.append(f"{name}: dark pixels could not be read: {error}")

    def _low(self, href: str, nodata: float | None) -> float:
        if self._lost >= _LOST:
            raise Unavailable(f"not asked for, after {self._lost} failures in a row")
        try:
            darkest = dark_pixels(href, nodata)
        except Unavailable:
            self._lost += 1
            raise
        self._lost = 0
        return darkest

    def close(self) -> Answer:
        """Turn the rows that wait into a batch; those that do not fit into the table are refused."""
        rows, self._rows = self._rows, []
        try:
            self._add(rows)
        except _BROKEN:  # few answers have such a row: it is looked for only then
            for row in rows:
                try:
                    self._add([row])
                except _BROKEN as error:
                    self.rejected.append(_broken(_printable(row["id"]), error))
        return self

    def _add(self, rows: list[Row]) -> None:
        if rows:
            self.batches.append(pa.RecordBatch.from_pylist(rows, schema=GATHERED))

    @property
    def table(self) -> pa.Table:
        return pa.Table.from_batches(self.close().batches, schema=GATHERED)


def _broken(name: str, error: Exception) -> Rejected:
    return Rejected(name, f"broken item: {type(error).__name__}")


def _printable(text: str) -> str:
    """*text* without what no file can hold: halves of surrogate pairs."""
    return text.encode("utf-8", "backslashreplace").decode()


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
            for table in found.tables(SCENES_PER_GROUP):
                writer.write_table(_relative(table, root).cast(schema), row_group_size=SCENES_PER_GROUP)


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
