"""Major TOM Core: a table of grid cells, and Parquet files that hold each cell's bands as GeoTIFFs.

Every cell of the 10 km grid has a square of 1,068 px of 10 m in its product's own projection. The square reaches
340 m beyond the cell's south-west corner, to the west and to the south. Francis and Czerkawski 2024 (arXiv 2402.12095);
the place of the square was measured on published files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from curate.archives.boxes import Coverage
from curate.archives.duplicates import OLDER_DUPLICATE
from curate.archives.files import Files, Unavailable, is_absent
from curate.archives.found import OUTSIDE, Answer, Found, Limits
from curate.archives.names import product_properties
from curate.archives.patches import Floats, Patches, Strings, answer_of, epsg_of, runs, squares
from curate.catalog.errors import InputError
from curate.chips import to_zone
from curate.grid import Grid
from curate.parquet_rows import row_href
from curate.recipe import Period
from curate.scenes import Rejected
from curate.sensors import Sensor
from curate.signing import hide

SIDE_M = 10_680
MARGIN_M = 340
GRID = Grid(10.0)
TABLE = "metadata.parquet"
PUBLISHED = "resolve/main"  # between a data set's address and its files, where it was published
_DATASETS = {
    "sentinel-2-l1c": "Core-S2L1C",
    "sentinel-2-l2a": "Core-S2L2A",
    "sentinel-1-rtc": "Core-S1RTC",
    "cop-dem-glo-30": "Core-DEM",
}
_COLUMNS = {  # band of ours -> column of theirs, where they differ
    "VV": "vv",
    "VH": "vh",
    "elevation": "DEM",
}
_NEEDED = ("grid_cell", "crs", "parquet_url", "parquet_row")
_WISHED = ("product_id", "cloud_cover", "orbit_state")
_UNITS = {"radar": {"unit": "power"}}
_ROWS_AT_A_TIME = 200_000
_CELL = r"^\d+[UD]_\d+[RL]$"
_PARTS = "images"


@dataclass(frozen=True)
class MajorTomArchive:
    """Data sets of Major TOM Core: a folder or address that holds some of them, or one itself."""

    root: str
    tables: Mapping[str, str]  # sensor -> its metadata table

    @classmethod
    def open(cls, root: str) -> MajorTomArchive:
        """The data sets at *root*: ``metadata.parquet`` there, or in folders ``Core-S2L2A``, ``Core-S1RTC``, ...

        Raises:
            InputError: there is none, or a table is broken or lacks a column.
        """
        root = root.rstrip("/") if "://" in root else str(Path(root).resolve())
        tables = {name: path for name, data in _DATASETS.items() if (path := _table_in(f"{root}/{data}"))}
        single = None if tables else _table_in(root)
        if single is not None:
            tables = {_sensor_of(single): single}
        if not tables:
            raise InputError(
                f"Archive {root} is no Major TOM",
                f"there is no {TABLE}, and no folder {', '.join(_DATASETS.values())} that holds one",
                "Give the folder or the address of one data set, or of all",
            )
        for table in tables.values():
            _columns(table)
        return cls(root, tables)

    @property
    def simulated(self) -> bool:
        return False

    def search(
        self,
        area: shapely.Geometry,
        period: Period,
        sensor: Sensor,
        bands: tuple[str, ...],
        max_cloud_percent: float = 100.0,
    ) -> Found:
        """Cells of the data set of *sensor*; of a sensor that has none here, none."""
        if sensor.name not in self.tables:
            return Found()
        limits = Limits(area, period, max_cloud_percent)
        return Found.of(self._answers(self.tables[sensor.name], limits, sensor, bands), distinct=True)

    def _answers(self, path: str, limits: Limits, sensor: Sensor, bands: tuple[str, ...]) -> Iterator[Answer]:
        parts, answer = _Parts.beside(path), Answer()
        table = _near(path, Coverage(limits.area), answer)
        older = _older(table)
        answer.rejected += [Rejected(name, OLDER_DUPLICATE) for name in _ids(table.filter(pa.array(older)))]
        yield answer
        table = table.filter(pa.array(~older))
        for start in range(0, table.num_rows, _ROWS_AT_A_TIME):
            groups = _groups(table.slice(start, _ROWS_AT_A_TIME).combine_chunks(), sensor, bands, parts)
            yield answer_of(groups, limits, sensor, bands)


@dataclass(frozen=True)
class _Parts:
    """Where the files with the pixels lie."""

    folder: str | None  # None: at the addresses that the table gives
    present: pa.Array | None  # their names, where they can be listed

    @classmethod
    def beside(cls, table: str) -> _Parts:
        """The parts of the data set of *table*: in ``images`` beside it, unless that is not there."""
        folder = f"{table.rpartition('/')[0]}/{_PARTS}"
        if "://" in table:
            return cls(folder, None)
        if not Path(folder).is_dir():
            return cls(None, None)
        return cls(folder, pa.array(sorted(path.name for path in Path(folder).iterdir()), pa.string()))


def _near(path: str, coverage: Coverage, answer: Answer) -> pa.Table:
    """Rows of a metadata table whose cells may meet the area, by product; what they are not goes to *answer*."""
    columns = _columns(path)
    kept = []
    try:
        with Files().open(path) as file:
            parquet = pq.ParquetFile(file)
            schema = pa.schema([parquet.schema_arrow.field(name) for name in columns])
            for batch in parquet.iter_batches(_ROWS_AT_A_TIME, columns=columns):
                table = pa.table(batch).select(columns)
                cells = table["grid_cell"].combine_chunks().cast(pa.string())
                good = pc.fill_null(pc.match_substring_regex(cells, _CELL), False)
                strange = cells.filter(pc.invert(good)).to_pylist()
                answer.rejected += [Rejected(str(name), "no name of a grid cell") for name in strange]
                table, cells = table.filter(good), cells.filter(good)
                if not table.num_rows:
                    continue
                west, south, east, north = _bounds(cells)
                x, y = (east - west) / 2, (north - south) / 2  # more than a square reaches out of its cell
                near = pa.array(coverage.meets(west - x, south - y, east + x, north + y))
                answer.rejected += [
                    Rejected(name, OUTSIDE) for name in cells.filter(pc.invert(near)).to_pylist()
                ]
                kept.append(table.filter(near))
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    table = pa.concat_tables([schema.empty_table(), *kept])
    order = [(name, "ascending") for name in ("product_id", "grid_cell") if name in columns]
    return table.sort_by(order)


def _older(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Rows of a cell that was processed again, and whose newer product is there too; *table* is sorted by product."""
    cells, products = _text(table["grid_cell"]), _products(table)
    acquired = pc.replace_substring_regex(products, r"_N\d{4}_(.*)_\d{8}T\d{6}$", r"_\1")
    keys = pc.binary_join_element_wise(cells, acquired, "\n").dictionary_encode().indices.to_numpy()
    newest = np.zeros(len(np.unique(keys)), np.int64)
    newest[keys] = np.arange(len(keys))  # the last one of each key stays
    older = np.ones(len(keys), bool)
    older[newest] = False
    return older


def _bounds(cells: pa.Array) -> tuple[Floats, Floats, Floats, Floats]:
    """West, south, east and north of cells given by name, degrees."""
    return GRID.bounds(*GRID.parse(cells.to_numpy(zero_copy_only=False).astype(str)))


def _groups(
    table: pa.Table, sensor: Sensor, bands: tuple[str, ...], parts: _Parts
) -> Iterator[Patches | Rejected]:
    """Cells of one product in one projection each."""
    west, south, _, _ = _bounds(_text(table["grid_cell"]))
    products, ids = _products(table).to_numpy(zero_copy_only=False), _ids(table)
    crs = _text(table["crs"])
    files, absent = _files(table, _with_dark(sensor, bands), parts)
    clouds = _clouds(table)
    states = table["orbit_state"].to_pylist() if "orbit_state" in table.column_names else None
    keys = pa.StructArray.from_arrays([pa.array(products, pa.string()), crs], ["product", "crs"])
    for rows in runs(_codes(keys)):
        product, epsg = str(products[rows[0]]), epsg_of(crs[int(rows[0])].as_py())
        properties = _properties(product, sensor, states[rows[0]] if states else None)
        why = (
            "coordinate reference system unknown"
            if epsg is None
            else "no name of a Sentinel product"
            if properties is None
            else ""
        )
        if why or epsg is None or properties is None:
            yield from (Rejected(name, why) for name in ids[rows])
            continue
        lost = absent[rows]
        yield from (Rejected(name, "its Parquet file is not there") for name in ids[rows[lost]])
        rows = rows[~lost]
        if not len(rows):
            continue
        x, y = to_zone(epsg).transform(west[rows], south[rows])
        yield Patches(
            ids[rows],
            squares(epsg, x - MARGIN_M, y - MARGIN_M + SIDE_M, SIDE_M),
            {band: hrefs[rows] for band, hrefs in files.items()},
            properties,
            _UNITS.get(sensor.kind, {}),
            None if clouds is None else clouds[rows],
        )


def _text(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks().cast(pa.string())


def _products(table: pa.Table) -> pa.Array:
    """Product names; empty where there is none, as for elevation, and where it is the cell's."""
    if "product_id" not in table.column_names:
        return pa.array([""] * table.num_rows, pa.string())
    names = pc.fill_null(_text(table["product_id"]), "")
    return pc.if_else(pc.equal(names, _text(table["grid_cell"])), "", names)


def _ids(table: pa.Table) -> Strings:
    """Ids of scenes: a product has many cells, and a cell may have several products."""
    cells, products = _text(table["grid_cell"]), _products(table)
    both = pc.binary_join_element_wise(products, cells, "_")
    ids: Strings = pc.if_else(pc.equal(products, ""), cells, both).to_numpy(zero_copy_only=False)
    return ids


def _properties(product: str, sensor: Sensor, state: Any) -> dict[str, Any] | None:
    if sensor.static:
        return {}
    properties = product_properties(product)
    if properties is not None and isinstance(state, str):
        properties["sat:orbit_state"] = state.lower()
    return properties


def _with_dark(sensor: Sensor, bands: tuple[str, ...]) -> tuple[str, ...]:
    """*bands*, and those by which a product without a telling baseline shows whether it carries an offset."""
    return tuple(dict.fromkeys([*bands, *(name for dark in sensor.dark for name in dark.bands)]))


def _files(table: pa.Table, bands: tuple[str, ...], parts: _Parts) -> tuple[dict[str, Any], Any]:
    """Addresses of every band's raster, and which rows have no file."""
    urls = pc.fill_null(_text(table["parquet_url"]), "")
    absent = pc.equal(urls, "")
    if parts.folder is not None:
        names = pc.replace_substring_regex(urls, r"^.*/|\?.*$", "")
        urls = pc.binary_join_element_wise(f"{parts.folder}/", names, "")
        if parts.present is not None:
            absent = pc.or_(absent, pc.invert(pc.is_in(names, value_set=parts.present)))
    numbers = pc.fill_null(table["parquet_row"].combine_chunks().cast(pa.int64()), -1)
    absent = pc.or_(absent, pc.less(numbers, 0))
    rows = numbers.cast(pa.string())
    files = {}
    for band in bands:
        before, after = row_href("", "\n", _COLUMNS.get(band, band)).split("\n")
        joined = pc.binary_join_element_wise(urls, rows, before)
        files[band] = pc.binary_join_element_wise(joined, after, "").to_numpy(zero_copy_only=False)
    return files, absent.to_numpy(zero_copy_only=False)


def _clouds(table: pa.Table) -> Any:
    """Cloud cover of the cells, percent, NaN where unknown."""
    if "cloud_cover" not in table.column_names:
        return None
    return table["cloud_cover"].combine_chunks().cast(pa.float64()).to_numpy(zero_copy_only=False)


def _codes(values: pa.Array) -> Any:
    keys = pc.binary_join_element_wise(values.field(0), values.field(1), "\n", null_handling="replace")
    return keys.dictionary_encode().indices.to_numpy().astype(np.int64)


def is_majortom(path: Path) -> bool:
    """Whether *path* is a folder of Major TOM Core."""
    folders = [path / name for name in _DATASETS.values()] + [path]
    return any((folder / TABLE).is_file() and _is_table(folder / TABLE) for folder in folders)


def _is_table(path: Path) -> bool:
    try:
        return set(_NEEDED) <= set(pq.read_schema(path).names)
    except (OSError, pa.ArrowException):
        return False


def _table_in(folder: str) -> str | None:
    """The metadata table of the data set at *folder*; None where there is none.

    Raises:
        InputError: it cannot be told whether there is one.
    """
    if "://" not in folder:
        path = f"{folder}/{TABLE}"
        return path if Path(path).is_file() else None
    for path in (f"{folder}/{TABLE}", f"{folder}/{PUBLISHED}/{TABLE}"):
        try:
            with Files().open(path):
                return path
        except OSError as error:
            if not is_absent(error):
                raise _unreadable(path, error) from error
    return None


def _columns(table: str) -> list[str]:
    """The columns of a table that are read.

    Raises:
        InputError: it is broken, or lacks one.
    """
    try:
        with Files().open(table) as file:
            there = pq.ParquetFile(file).schema_arrow.names
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(table, error) from error
    missing = [name for name in _NEEDED if name not in there]
    if missing:
        raise InputError(
            f"{table} is no table of Major TOM",
            f"it lacks {', '.join(missing)}",
            "Give the metadata.parquet that was published with the data set, and its folder",
        )
    return [*_NEEDED, *(name for name in _WISHED if name in there)]


def _sensor_of(table: str) -> str:
    """Which sensor's data set *table* describes, by the first product it names."""
    columns = _columns(table)
    if "product_id" not in columns:
        return "cop-dem-glo-30"
    with Files().open(table) as file:
        first = next(pq.ParquetFile(file).iter_batches(1, columns=["product_id"]), None)
    name = "" if first is None or not first.num_rows else str(first["product_id"][0])
    kinds = {"_MSIL2A_": "sentinel-2-l2a", "_MSIL1C_": "sentinel-2-l1c"}
    optical = next((sensor for part, sensor in kinds.items() if part in name), None)
    return optical or ("sentinel-1-rtc" if name.startswith("S1") else "cop-dem-glo-30")


def _unreadable(table: str, error: Exception) -> InputError:
    do = (
        "Try again later"
        if isinstance(error, Unavailable)
        else "Check the address and your rights"
        if "://" in table and isinstance(error, OSError)
        else "Download it again"
    )
    return InputError(hide(f"{table} cannot be read"), hide(" ".join(str(error).split())), do)
