"""Targets for dense tasks: a map cut on the grid of each chip of a catalog, in one Arrow file beside it.

A categorical map (land cover) is read by nearest neighbour and kept in its own codes, uint8 or int16; one of measured
values (elevation, height) bilinearly, in its own unit, float32. Rows are in the catalog's order, one record batch for
each block of chips, so that a reader can memory-map the file. Where the map says nothing stands `nodata`, and NaN among
values.

    chip_id   string
    label     list of chip_px × chip_px numbers, row by row from the north-west corner
    known     share of pixels where the map says something
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from glob import glob
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from curate.catalog.errors import InputError
from curate.catalog.files import atomic
from curate.catalog.reader import Catalog
from curate.engine import Engine
from curate.gdal import opened
from curate.legends import legend as legend_called
from curate.pixels.layers import Layer, Reading
from curate.pixels.windows import ChipGrid
from curate.summary import Summary
from curate.workspace import Workspace, read_near

Array = npt.NDArray[Any]
Kind = Literal["classes", "values"]

KEY = b"labels"  # of the metadata
BLOCK = 512  # chips
COLUMNS = ("chip_id", "bbox", "epsg", "transform")
ARCHIVE = {
    "landcover": ("esa-worldcover", "map", "classes"),
    "elevation": ("cop-dem-glo-30", "elevation", "values"),
}
NEEDS = {"landcover": "", "elevation": "Search for it (--set 'descriptors.further=[terrain]'), or: "}
RASTERS = (".tif", ".tiff", ".vrt")


@dataclass(frozen=True)
class LabelInfo:
    """What the labels mean; JSON under the metadata key `labels`."""

    name: str  # of the map
    kind: Kind
    chip_px: int
    nodata: int | None  # code where the map says nothing; None among values, which are NaN there
    classes: dict[int, str]  # code -> name; empty among values
    unit: str  # of values
    simulated: bool  # as the catalog
    recipe_hash: str  # of the catalog


@dataclass(frozen=True)
class _Block:
    """Chips to be labelled, and the files that may show them."""

    epsg: Array
    left: Array
    top: Array
    resolution_m: float
    chip_px: int
    bounds: Array  # (chips, 4) degrees
    tiles: tuple[tuple[str, tuple[float, float, float, float]], ...]
    kind: Kind


def cut_labels(
    path: Path,
    engine: Engine,
    source: str = "landcover",
    kind: str | None = None,
    legend: str | None = None,
    unit: str = "",
    out: Path | None = None,
) -> tuple[Path, Summary]:
    """Cut *source* on the grids of the catalog *path*; the file and what became of the chips.

    Args:
        source: `landcover` or `elevation` of the catalog's own archive, or a file, a folder or a pattern
            (`heights/**/*.tif`) of rasters.
        kind: of a file's numbers; of the archive's maps it is known.
        legend: of classes (`curate.legends`); the catalog's own by default.

    Raises:
        InputError: no such map or kind, a map without a coordinate reference system, or chips without a grid.
    """
    if kind not in (None, *get_args(Kind)):
        raise InputError(f"There is no kind {kind!r} of labels", do="Choose classes or values")
    catalog = Catalog.open(path, COLUMNS)
    files, known = _files(catalog, source)
    chosen = cast(Kind, kind or known or "classes")
    names = dict(catalog.meta.landcover) if legend is None else dict(legend_called(legend).names)
    name = re.sub(r"[^A-Za-z0-9]+", "-", Path(source).stem).strip("-") or "map"
    info = LabelInfo(
        name=name,
        kind=chosen,
        chip_px=catalog.meta.chip_px,
        nodata=0 if chosen == "classes" else None,
        classes=names if chosen == "classes" else {},
        unit=unit or ("m" if source == "elevation" else ""),
        simulated=catalog.meta.simulated,
        recipe_hash=catalog.meta.recipe_hash,
    )
    out = out or path.parent / catalog.meta.region / f"labels-{info.name}.arrow"
    blocks = list(_blocks(catalog, _bounded(files), chosen))
    waiting: dict[int, Array] = {}
    unseen = 0
    schema = _schema(info)
    ids, written = catalog.table["chip_id"], 0
    with atomic(out) as part, pa.ipc.new_file(str(part), schema) as writer:
        for position, found in engine.map(label_block, blocks, "labels"):
            waiting[position] = found
            while (ready := waiting.pop(written, None)) is not None:
                batch = _batch(ids.slice(written * BLOCK, BLOCK), ready, info, schema)
                unseen += int((np.asarray(batch["known"]) == 0).sum())
                writer.write_batch(batch)
                written += 1
    rejected = {"the map says nothing there": unseen} if unseen else {}
    rows = catalog.table.num_rows
    return out, Summary("labels", "chips", rows, rows - unseen, rejected, {"file": out.name, **asdict(info)})


def label_block(block: _Block) -> Array:
    """Labels (chips, chip_px, chip_px) as float64, NaN where no file says anything; the first that does counts."""
    px = block.chip_px
    labels = np.full((len(block.left), px, px), np.nan)
    boxes = shapely.box(*block.bounds.T)
    for href, bounds in block.tiles:
        near = shapely.intersects(boxes, shapely.box(*bounds)) & np.isnan(labels).any((1, 2))
        for zone in np.unique(block.epsg[near]):
            rows = np.flatnonzero(near & (block.epsg == zone))
            grid = ChipGrid(int(zone), px, block.resolution_m, block.left[rows], block.top[rows])
            labels[rows] = np.where(np.isnan(labels[rows]), _read(href, grid, block.kind), labels[rows])
    return labels


def _read(href: str, grid: ChipGrid, kind: Kind) -> Array:
    """A map on the chips' grid, NaN where it says nothing: classes by nearest neighbour, 0 meaning none."""
    reading = (
        Reading(href, None, 0.0, "nearest") if kind == "classes" else Reading(href, None, None, "bilinear")
    )
    layer = Layer(reading, grid, np.zeros(len(grid.left), np.int64))
    layer.load(0)
    values, failed = layer.take(0)
    for why in failed.values():
        raise InputError(f"Map {href} cannot be read", why, "Fetch the file again, or leave it out")
    return values


def _files(catalog: Catalog, source: str) -> tuple[list[str], Kind | None]:
    if source not in ARCHIVE:
        path = Path(source)
        files = sorted(str(p) for p in path.rglob("*") if p.suffix in RASTERS) if path.is_dir() else [source]
        files = sorted(glob(source, recursive=True)) if "*" in source else files  # noqa: PTH207
        if not files:
            raise InputError(f"Map {source} has no raster", f"no {', '.join(RASTERS)} lies in it")
        return files, None
    collection, band, kind = ARCHIVE[source]
    workspace = Workspace(catalog.path.parent.resolve(), catalog.path.stem)
    files = []
    if workspace.scenes.exists():
        everywhere = np.array([-180.0, -90.0, 180.0, 90.0])
        table = read_near(workspace.scenes, everywhere, ["id", "sensor", "assets"]).sort_by("id")
        for row in table.to_pylist():  # a few files a site
            if row["sensor"] == collection:
                files += [workspace.absolute(a["href"]) for a in row["assets"] if a["band"] == band]
    if not files:
        raise InputError(
            f"The archive of catalog {catalog.path} has no map of {source}",
            f"there is no item of {collection} among its scenes",
            f"{NEEDS[source]}Name a file or a folder with --map",
        )
    return files, "classes" if kind == "classes" else "values"


def _bounded(files: Sequence[str]) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Files with their boxes in longitude and latitude."""
    from rasterio.warp import transform_bounds

    found = []
    for href in files:
        with opened(href, "Map") as source:
            if source.crs is None:
                raise InputError(f"Map {href} has no coordinate reference system")
            west, south, east, north = transform_bounds(source.crs, "OGC:CRS84", *source.bounds)
        found.append((href, (west, south, east, north) if west <= east else (-180.0, south, 180.0, north)))
    return found


def _blocks(
    catalog: Catalog, tiles: Sequence[tuple[str, tuple[float, float, float, float]]], kind: Kind
) -> Iterator[_Block]:
    """The catalog's chips in blocks, each with the tiles near its chips."""
    table = catalog.table
    transform = table["transform"].combine_chunks().flatten().to_numpy().reshape(-1, 6)
    box = table["bbox"].combine_chunks()
    bounds = np.stack([box.field(side).to_numpy() for side in ("xmin", "ymin", "xmax", "ymax")], 1)
    boxes = shapely.box(*np.array([b for _, b in tiles]).T)
    for start in range(0, table.num_rows, BLOCK):
        rows = slice(start, start + BLOCK)
        near = shapely.STRtree(boxes).query(shapely.box(*bounds[rows].T), "intersects")[1]
        yield _Block(
            table["epsg"].to_numpy()[rows], transform[rows, 2], transform[rows, 5], catalog.meta.resolution_m,
            catalog.meta.chip_px, bounds[rows], tuple(tiles[i] for i in np.unique(near)), kind,
        )  # fmt: skip


def _schema(info: LabelInfo) -> pa.Schema:
    values = pa.float32() if info.kind == "values" else pa.uint8() if _small(info.classes) else pa.int16()
    fields = [
        pa.field("chip_id", pa.string(), nullable=False),
        pa.field("label", pa.list_(values, info.chip_px**2), nullable=False),
        pa.field("known", pa.float32(), nullable=False),
    ]
    return pa.schema(fields, {KEY: json.dumps(asdict(info)).encode()})


def _small(classes: Mapping[int, str]) -> bool:
    return max(classes, default=0) < 256


def _batch(ids: pa.ChunkedArray, labels: Array, info: LabelInfo, schema: pa.Schema) -> pa.RecordBatch:
    known = ~np.isnan(labels)
    if info.kind == "classes":
        known &= np.isin(labels, list(info.classes))
        labels = np.where(known, labels, info.nodata or 0)
    dtype = schema.field("label").type.value_type.to_pandas_dtype()
    flat = pa.array(np.ascontiguousarray(labels.astype(dtype)).ravel())
    columns = [
        ids.combine_chunks(),
        pa.FixedSizeListArray.from_arrays(flat, info.chip_px**2),
        pa.array(known.mean((1, 2)), pa.float32()),
    ]
    return pa.record_batch(columns, schema=schema)
