"""stac-geoparquet: items as rows of Parquet files, millions of them without an API.

Of a file only those row groups are read that can hold what is wanted, by their statistics; of these the columns that
decide; and the assets only where one row of a batch is wanted. Rows become STAC items again and go through the same
door as all others.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from curate.archives.files import Files, Unavailable
from curate.archives.found import Answer, Found, Limits
from curate.archives.kept import Kept, question_of
from curate.catalog.errors import InputError
from curate.console import watched
from curate.recipe import Period
from curate.scenes import Rejected
from curate.sensors import Band, Sensor
from curate.signing import hide

_ADVICE = "Give a stac-geoparquet file, a folder of them, or a pattern such as 's3://bucket/items/*.parquet'"
_NOT_PROPERTIES = (
    "id",
    "type",
    "collection",
    "stac_version",
    "stac_extensions",
    "links",
    "assets",
    "geometry",
)
_HEAVY = ("bbox", "proj:geometry", "proj:projjson", "proj:centroid", "proj:wkt2")  # and read by nobody
_DECIDING = ("id", "collection", "datetime", "bbox")
_TELLING = "schema-calibration"  # assets whose presence alone says something, of Sentinel-1 GRD
_ASSET_MEMBERS = frozenset(  # of assets and their bands: all that rows of scenes are made from
    ("href", "scale", "offset", "nodata", "unit", "raster:scale", "raster:offset", "description")
)
_BATCH_ROWS = 8_192
_UNBOUNDED = (-np.inf, np.inf)

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TableArchive:
    """Files of stac-geoparquet, on disk, behind HTTP or in an S3 store; their layouts may differ."""

    href: str
    paths: tuple[str, ...]
    files: Files = field(default_factory=Files)
    kept: Kept | None = None

    @classmethod
    def open(cls, href: str, files: Files | None = None, kept: Kept | None = None) -> TableArchive:
        """The files that *href* names, the first of which is looked into.

        Raises:
            InputError: there are none, or the first is no stac-geoparquet.
        """
        files = files or Files()
        try:
            paths = tuple(files.matching(href))
            if not paths:
                raise InputError(f"Archive {href} is empty", "there is no Parquet file", _ADVICE)
            with _opened(files, paths[0]) as file:
                names = set(file.schema_arrow.names)
        except (OSError, pa.ArrowInvalid) as error:
            why = " ".join(str(error).split())[:300]
            raise InputError(f"Archive {href} cannot be read", why, _ADVICE) from error
        if lacking := sorted({"id", "geometry", "assets"} - names):
            raise InputError(
                f"Archive {href} is no stac-geoparquet",
                f"{paths[0]} has no column {', '.join(lacking)}",
                _ADVICE,
            )
        return cls(href, paths, files, kept)

    @property
    def simulated(self) -> bool:
        """False: a row says it of itself, and `Found.simulated` passes it on."""
        return False

    def search(
        self,
        area: shapely.Geometry,
        period: Period,
        sensor: Sensor,
        bands: tuple[str, ...],
        max_cloud_percent: float = 100.0,
    ) -> Found:
        """Scenes of the collection that bears the sensor's name; rows elsewhere are not looked at, nor counted."""
        limits = Limits(area, period, max_cloud_percent)
        with ThreadPoolExecutor(max(1, min(len(self.paths), self._threads))) as pool:
            ask = partial(self._answer, limits=limits, sensor=sensor, bands=bands)
            return Found.of(watched(pool.map(ask, self.paths), "search", len(self.paths)))

    @property
    def _threads(self) -> int:
        return 8 if "://" in self.href else 1

    def _answer(self, path: str, limits: Limits, sensor: Sensor, bands: tuple[str, ...]) -> Answer:
        def ask() -> Answer:
            answer = Answer()
            try:
                with _opened(self.files, path) as file:
                    for item in _Reader(file, sensor, bands, limits).items():
                        answer.take(item, path, sensor, bands, limits)
            except Unavailable as error:
                answer.missing.append(f"{sensor.name} in {path}: {error}")
            except (OSError, ValueError, pa.ArrowException) as error:
                answer.rejected.append(
                    Rejected(hide(path), f"unreadable file: {' '.join(str(error).split())[:120]}")
                )
            return answer.close()

        if self.kept is None or "://" not in path:
            return ask()
        return self.kept.recall(question_of(path, sensor.name, limits, sensor, bands), ask)


def _opened(files: Files, path: str) -> pq.ParquetFile:
    return pq.ParquetFile(files.open(path), pre_buffer="://" in path)


class _Reader:
    """Reads the wanted rows of one file as items."""

    def __init__(self, file: pq.ParquetFile, sensor: Sensor, bands: tuple[str, ...], limits: Limits) -> None:
        self._file, self._sensor, self._limits = file, sensor, limits
        self._coverage = limits.coverage()
        schema = file.schema_arrow
        names = set(schema.names)
        self._deciding = [name for name in _DECIDING if name in names]
        self._keys = _asset_keys(schema, sensor, bands)
        self._properties = [n for n in schema.names if n not in (*_NOT_PROPERTIES, *_HEAVY)]
        columns = {"id", "collection", "geometry", "stac_version"} & names
        self._columns = [*sorted(columns), *self._properties, *_leaves(file.schema, self._keys)]

    def items(self) -> Iterator[dict[str, Any]]:
        """Wanted rows as STAC items, their geometry a shape."""
        for group in range(self._file.num_row_groups):
            if not self._may_hold(group):
                continue
            slim = self._file.read_row_group(group, columns=self._deciding)
            wanted = self._wanted(slim)
            if not wanted.any():
                continue
            at = 0
            batches = self._file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=self._columns)
            for batch in batches:
                rows = np.flatnonzero(wanted[at : at + batch.num_rows])
                at += batch.num_rows
                if len(rows):
                    yield from self._rows(batch.take(pa.array(rows)))
                if not wanted[at:].any():
                    break

    def _may_hold(self, group: int) -> bool:
        """Whether the statistics of row group *group* leave it possible that a row of it is wanted."""
        known = _Statistics(self._file.metadata.row_group(group))
        first, last = known.text("collection")
        if first is not None and last is not None and not first <= self._sensor.name <= last:
            return False
        start, end = _instants(self._limits.period)
        first_time, last_time = known.times("datetime")
        if not self._sensor.static and not known.nulls("datetime"):
            if last_time is not None and start is not None and last_time < start:
                return False
            if first_time is not None and end is not None and first_time >= end:
                return False
        if known.nulls("bbox.xmin"):
            return True
        (west, most_west), (south, _) = known.numbers("bbox.xmin"), known.numbers("bbox.ymin")
        (least_east, east), (_, north) = known.numbers("bbox.xmax"), known.numbers("bbox.ymax")
        if most_west > 0 > least_east:  # one of its boxes may run across the antimeridian
            west, east = east, west
        return bool(self._coverage.meets(*(np.array([side]) for side in (west, south, east, north)))[0])

    def _wanted(self, slim: pa.Table) -> Flags:
        """Rows of the sensor's collection whose bounds meet the area's, within the period as far as is known."""
        wanted = np.ones(slim.num_rows, bool)
        if "collection" in slim.column_names:
            name = slim["collection"].cast(pa.string())
            wanted &= _true(pc.or_kleene(pc.equal(name, self._sensor.name), pc.is_null(name)))
        if "datetime" in slim.column_names and not self._sensor.static:
            time = _as_time(slim["datetime"])
            start, end = _instants(self._limits.period)
            for limit, compare in ((start, pc.greater_equal), (end, pc.less)):
                if limit is not None and time is not None:
                    inside = compare(time, pa.scalar(limit, time.type))
                    wanted &= _true(pc.or_kleene(inside, pc.is_null(time)))
        if "bbox" in slim.column_names and pa.types.is_struct(slim["bbox"].type):
            box = slim["bbox"].combine_chunks()
            sides = [_floats(pc.struct_field(box, side)) for side in ("xmin", "ymin", "xmax", "ymax")]
            wanted &= self._coverage.meets(*sides)
        return wanted

    def _rows(self, batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
        columns = {name: _plain(batch.column(name)) for name in batch.schema.names if name != "assets"}
        shapes = shapely.from_wkb(_wkb(batch.column("geometry")), on_invalid="ignore")
        assets = batch.column("assets")
        names = [f.name for f in assets.type] if pa.types.is_struct(assets.type) else []
        by_key = {name: _assets(assets.field(name)) for name in names if name in self._keys}
        rest = [name for name in self._properties if name in columns]
        for i in range(batch.num_rows):
            item = {
                "id": columns["id"][i],
                "collection": columns["collection"][i] if "collection" in columns else None,
                "geometry": shapes[i],
                "properties": {name: columns[name][i] for name in rest if columns[name][i] is not None},
                "assets": {key: values[i] for key, values in by_key.items() if values[i]},
            }
            if "stac_version" in columns:
                item["stac_version"] = columns["stac_version"][i]
            yield item


class _Statistics:
    """What a row group says of its columns: lowest and highest values, and whether some may be null."""

    def __init__(self, group: Any) -> None:
        self._columns = {group.column(j).path_in_schema: group.column(j) for j in range(group.num_columns)}

    def _range(self, name: str) -> tuple[Any, Any]:
        column = self._columns.get(name)
        statistics = column.statistics if column is not None else None
        if statistics is None or not statistics.has_min_max:
            return None, None
        return statistics.min, statistics.max

    def nulls(self, name: str) -> bool:
        column = self._columns.get(name)
        statistics = column.statistics if column is not None else None
        return statistics is None or not statistics.has_null_count or statistics.null_count > 0

    def text(self, name: str) -> tuple[str | None, str | None]:
        first, last = self._range(name)
        return (first, last) if isinstance(first, str) and not self.nulls(name) else (None, None)

    def numbers(self, name: str) -> tuple[float, float]:
        first, last = self._range(name)
        return _UNBOUNDED if first is None else (float(first), float(last))

    def times(self, name: str) -> tuple[dt.datetime | None, dt.datetime | None]:
        first, last = self._range(name)
        if not isinstance(first, dt.datetime):
            return None, None
        return _utc(first), _utc(last)


def _utc(time: dt.datetime) -> dt.datetime:
    return time.astimezone(dt.UTC) if time.tzinfo else time.replace(tzinfo=dt.UTC)


def _instants(period: Period) -> tuple[dt.datetime | None, dt.datetime | None]:
    """The period's first instant, and the first one after it."""
    start = dt.datetime.combine(period.start, dt.time(), dt.UTC) if period.start else None
    end = dt.datetime.combine(period.end, dt.time(), dt.UTC) + dt.timedelta(days=1) if period.end else None
    return start, end


def _asset_keys(schema: pa.Schema, sensor: Sensor, bands: tuple[str, ...]) -> list[str]:
    """Assets in the file that can be one of *bands*, or say something of them."""
    names = {*bands, *sensor.cloud_bands, *(name for dark in sensor.dark for name in dark.bands)}
    wanted: list[Band] = [sensor.band(name) for name in names] + ([sensor.mask.band] if sensor.mask else [])
    keys = {key for band in wanted for key in band.asset_keys}
    assets = schema.field("assets").type
    present = [one.name for one in assets] if pa.types.is_struct(assets) else []
    return [key for key in present if key in keys or key.startswith(_TELLING)]


def _leaves(schema: Any, keys: list[str]) -> list[str]:
    """The leaf columns of the assets *keys* that hold `_ASSET_MEMBERS`; else the first leaf, to count rows by."""
    paths = [schema.column(i).path for i in range(len(schema))]
    inside = [path for path in paths if path.startswith("assets.")]
    heads = tuple(f"assets.{key}." for key in keys)
    wanted = [
        path for path in inside if path.startswith(heads) and _ASSET_MEMBERS.intersection(path.split(".")[2:])
    ]
    return wanted or inside[:1]


def _as_time(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """A column of instants, also where they are texts; None where it holds something else."""
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("us", "UTC"), safe=False)
    try:
        return column.cast(pa.string()).cast(pa.timestamp("us", "UTC"))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _true(flags: pa.ChunkedArray) -> Flags:
    found: Flags = flags.fill_null(False).to_numpy().astype(bool)
    return found


def _floats(column: pa.Array) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return numbers


def _plain(column: pa.Array) -> list[Any]:
    """Values as an item's JSON has them: times as texts."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.string())
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return [None] * len(column)
    values: list[Any] = column.to_pylist()
    return values


def _wkb(column: pa.Array) -> npt.NDArray[np.object_]:
    storage = column.storage if isinstance(column, pa.ExtensionArray) else column
    values: npt.NDArray[np.object_] = storage.to_numpy(zero_copy_only=False)
    return values


def _assets(column: pa.StructArray) -> list[dict[str, Any] | None]:
    """One asset of each row; None where a row has none.

    In most files all rows say the same of an asset but for its href, which is then read once.
    """
    fields = [one for one in column.type if one.name != "href"]
    hrefs = [one.name for one in column.type if one.name == "href"]
    if not hrefs or not fields or column.null_count:
        return [None if value is None else _present(value) for value in column.to_pylist()]
    arrays = [column.field(one.name) for one in fields]
    rest = pa.StructArray.from_arrays(arrays, fields=fields)
    if not rest.equals(rest.take(pa.array(np.zeros(len(rest), np.int64)))):
        return [_present(value) for value in column.to_pylist()]
    same = _present(rest[0].as_py())
    return [{"href": href, **same} if href else None for href in column.field("href").to_pylist()]


def _present(value: Any) -> Any:
    """*value* without the members that are null, because a row has a member for whatever another row has."""
    if isinstance(value, dict):
        return {key: _present(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_present(inner) for inner in value]
    return value
