"""Chips of a catalog as files for other programs: GeoTIFFs for GIS, tars in the layout of WebDataset."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.catalog.errors import InputError
from curate.catalog.files import atomic
from curate.catalog.reader import Catalog
from curate.catalog.schema import SPLITS, SensorInfo
from curate.catalog.shards import open_shard, pixels

PER_TAR = 1000  # chips


def export(
    catalog: Catalog,
    format: str,
    out: Path,
    split: str | None = None,
    limit: int | None = None,
    progress: Callable[[], None] = lambda: None,
) -> int:
    """Write chips in seat order into the folder *out*; how many.

    Args:
        format: geotiff (one file a chip and sensor, in a folder for each split) or webdataset (tars of `PER_TAR`).
        split: train, val or test; None for all.
        limit: the first so many chips of the catalog (of the split).
        progress: called once a chip.

    Raises:
        InputError: an unknown format or split, or chips without pixels.
    """
    ways = {"geotiff": _geotiffs, "webdataset": _tars}
    if format not in ways:
        raise InputError(f"There is no format {format!r}", do=f"Choose among {', '.join(ways)}: --format")
    if split is not None and split not in SPLITS:
        raise InputError(f"There is no split {split!r}", do=f"Choose among {', '.join(SPLITS)}: --split")
    catalog.require_pixels()
    table = catalog.table
    if split is not None:
        table = table.filter(pc.equal(table["split"], split))
    table = table.slice(0, limit)
    out.mkdir(parents=True, exist_ok=True)
    ways[format](catalog, table, out, progress)
    return int(table.num_rows)


def _chips(catalog: Catalog, table: pa.Table) -> Iterator[tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]]:
    """Rows of *table* without geometry, and their stored pixels by sensor prefix."""
    plain = table.drop_columns(["geometry", "bbox"])
    for start in range(0, plain.num_rows, PER_TAR):
        for row in plain.slice(start, PER_TAR).to_pylist():
            batch = open_shard(catalog.chips_folder / row["shard"])
            found = {}
            for info in catalog.meta.sensors:
                stored = pixels(batch, info.prefix, len(info.bands), catalog.meta.chip_px)
                if row["shard_row"] >= len(stored):
                    raise InputError(
                        f"Shard {row['shard']} has no row {row['shard_row']}",
                        do=f"See what is wrong with: curate chips verify {catalog.path}",
                    )
                found[info.prefix] = stored[row["shard_row"]]
            yield row, found


def _geotiffs(catalog: Catalog, table: pa.Table, out: Path, progress: Callable[[], None]) -> None:
    for row, stored in _chips(catalog, table):
        for info in catalog.meta.sensors:
            write_geotiff(
                out / row["split"] / f"{row['chip_id']}_{info.prefix}.tif", row, info, stored[info.prefix]
            )
        progress()


def write_geotiff(path: Path, row: dict[str, Any], info: SensorInfo, stored: npt.NDArray[Any]) -> None:
    """One sensor of a chip: stored integers with CRS, band names, nodata, scale, offset and unit."""
    import rasterio
    from rasterio.transform import Affine

    tags = {"chip_id": row["chip_id"], "split": row["split"], "scene": row[f"{info.prefix}_id"]}
    if (time := row[f"{info.prefix}_datetime"]) is not None:
        tags["datetime"] = time.isoformat()
    profile = {"driver": "GTiff", "count": len(stored), "dtype": stored.dtype, "nodata": info.nodata}
    profile |= {"height": stored.shape[1], "width": stored.shape[2], "compress": "deflate", "predictor": 2}
    with (
        atomic(path) as part,
        rasterio.open(
            part, "w", **profile, crs=f"EPSG:{row['epsg']}", transform=Affine(*row["transform"])
        ) as file,
    ):
        file.write(stored)
        file.update_tags(**tags)
        file.scales, file.offsets = info.scales, (info.offset,) * len(stored)
        for i, band in enumerate(info.bands, 1):
            file.set_band_description(i, band.name)
            file.set_band_unit(i, band.unit or info.unit)


def _tars(catalog: Catalog, table: pa.Table, out: Path, progress: Callable[[], None]) -> None:
    """`<split>-000000.tar`, with `<chip>.<sensor>.npy` and `<chip>.json` of each chip."""
    for split in SPLITS:
        rows = table.filter(pc.equal(table["split"], split))
        for number, start in enumerate(range(0, rows.num_rows, PER_TAR)):
            with atomic(out / f"{split}-{number:06d}.tar") as part, tarfile.open(part, "w") as tar:
                for row, stored in _chips(catalog, rows.slice(start, PER_TAR)):
                    key = row["chip_id"].replace(".", "_")  # a sample's name ends at its first dot
                    for info in catalog.meta.sensors:
                        _add(tar, f"{key}.{info.prefix}.npy", _npy(stored[info.prefix]))
                    _add(tar, f"{key}.json", json.dumps(_about(catalog, row), default=str).encode())
                    progress()


def _about(catalog: Catalog, row: dict[str, Any]) -> dict[str, Any]:
    sensors = {
        info.prefix: {
            "bands": info.band_names,
            "scales": info.scales,
            "offset": info.offset,
            "nodata": info.nodata,
            "unit": info.unit,
        }
        for info in catalog.meta.sensors
    }
    return row | {"sensors": sensors, "simulated": catalog.meta.simulated}


def _npy(stored: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(stored))
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)  # time, owner and rights are always the same
    entry.size, entry.mode = len(content), 0o644
    tar.addfile(entry, io.BytesIO(content))
