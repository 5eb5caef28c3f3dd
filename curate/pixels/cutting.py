"""Cut planned shards: every band of a scene is opened once for all of the shard's chips in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.errors import RasterioError

from curate.catalog import shards
from curate.catalog.errors import InputError
from curate.catalog.files import digest
from curate.catalog.schema import SensorInfo
from curate.catalog.shards import ManifestEntry, SensorChips
from curate.pixels import cloudless
from curate.pixels.plan import UNREADABLE
from curate.pixels.quality import Quality, assess, clouds, refuse, share
from curate.pixels.windows import ChipGrid, read_band
from curate.radiometry import to_decibel
from curate.recipe import Pixels
from curate.sensors import Band, Sensor, sensor

Floats = npt.NDArray[np.float64]
_CLOUDS_AT_M = 60.0  # resolution at which clouds are told where there is no mask


@dataclass(frozen=True)
class Asset:
    """One band of one scene: value = DN × scale + offset, in *unit*."""

    href: str
    scale: float
    offset: float
    nodata: float | None
    unit: str


@dataclass(frozen=True)
class ShardTask:
    """A shard to be cut: chips in the order of its rows, and for each sensor the scene of each chip."""

    name: str
    folder: Path
    keys: tuple[str, ...]  # chip id and sources, unique
    chip_ids: tuple[str, ...]
    grid: tuple[tuple[int, float, float], ...]  # epsg, left, top of each chip
    chip_px: int
    resolution_m: float
    sensors: tuple[SensorInfo, ...]
    scenes: dict[str, tuple[str, ...]]  # sensor prefix -> scene id of each chip
    assets: dict[str, dict[str, dict[str, Asset]]]  # sensor prefix -> scene id -> band -> asset
    pixels: Pixels


@dataclass
class _Cut:
    """Chips of one sensor while they are being cut."""

    stored: npt.NDArray[Any]
    quality: Quality
    reasons: list[tuple[str, str] | None]  # reason and detail of each refused chip


def cut(task: ShardTask) -> ManifestEntry:
    """Cut one shard, write it, and say what became of each chip.

    Raises:
        InputError: a cloud detector is wanted that is not installed.
    """
    if task.pixels.cloud_detector != "none":
        cloudless.require()
    cuts = {info.prefix: _cut_sensor(task, info) for info in task.sensors}
    refused = [
        next((cut.reasons[i] for cut in cuts.values() if cut.reasons[i] is not None), None)
        for i in range(len(task.keys))
    ]
    kept = np.array([reason is None for reason in refused])
    rejected = tuple((key, *why) for key, why in zip(task.keys, refused, strict=True) if why is not None)
    if not kept.any():
        return ManifestEntry(task.name, None, (), rejected, None)
    path = task.folder / f"{task.name}.arrow"
    chips = {
        prefix: SensorChips(cut.stored[kept], cut.quality.valid[kept], cut.quality.cloud[kept])
        for prefix, cut in cuts.items()
    }
    ids = [chip for chip, keep in zip(task.chip_ids, kept, strict=True) if keep]
    shards.write_shard(path, task.sensors, ids, chips)
    keys = tuple(key for key, keep in zip(task.keys, kept, strict=True) if keep)
    return ManifestEntry(task.name, path.name, keys, rejected, digest(path))


def _cut_sensor(task: ShardTask, info: SensorInfo) -> _Cut:
    chips, what = len(task.keys), sensor(info.sensor)
    shape = (chips, len(info.bands), task.chip_px, task.chip_px)
    result = _Cut(
        np.full(shape, info.nodata, info.dtype),
        Quality(np.zeros(chips, np.float32), np.full(chips, np.nan, np.float32)),
        [None] * chips,
    )
    for rows, grid, scene in _by_scene(task, info.prefix):
        assets = task.assets[info.prefix][scene]
        rows, values, quality = _read_what_can_be(task, info, what, rows, grid, assets, scene, result.reasons)
        if not len(rows):
            continue
        result.stored[rows] = stored(values, info, what)
        result.quality.valid[rows], result.quality.cloud[rows] = quality.valid, quality.cloud
        limits = task.pixels.min_valid, task.pixels.max_cloud
        for row, reason in zip(rows, refuse(quality, values, what, *limits), strict=True):
            result.reasons[row] = None if reason is None else (reason, scene)
    return result


def _read_what_can_be(
    task: ShardTask,
    info: SensorInfo,
    what: Sensor,
    rows: npt.NDArray[np.int64],
    grid: ChipGrid,
    assets: dict[str, Asset],
    scene: str,
    reasons: list[tuple[str, str] | None],
) -> tuple[npt.NDArray[np.int64], Floats, Quality]:
    """Rows that could be read, with values and quality; a broken scene costs the chips on its broken blocks only."""
    none = np.zeros((0, 0, 0, 0)), Quality(np.zeros(0, np.float32), np.zeros(0, np.float32))
    try:
        return rows, *_read(assets, info, what, grid, task.pixels)
    except (InputError, RasterioError, OSError) as error:
        if len(rows) == 1:
            detail = f"{scene}: {' '.join(str(error).split())}"
            reasons[rows[0]] = (f"{info.prefix}: {UNREADABLE}", detail)
            return rows[:0], *none
    parts = [
        _read_what_can_be(task, info, what, rows[[i]], grid.take(np.array([i])), assets, scene, reasons)
        for i in range(len(rows))
    ]
    read = [part for part in parts if len(part[0])]
    if not read:
        return rows[:0], *none
    return (
        np.concatenate([row for row, _, _ in read]),
        np.concatenate([values for _, values, _ in read]),
        Quality(*(np.concatenate([getattr(q, name) for _, _, q in read]) for name in ("valid", "cloud"))),
    )


def _by_scene(task: ShardTask, prefix: str) -> Iterator[tuple[npt.NDArray[np.int64], ChipGrid, str]]:
    """Rows of the shard that one scene serves in one zone, from top to bottom and left to right."""
    epsg = np.array([grid[0] for grid in task.grid])
    left, top = np.array([grid[1] for grid in task.grid]), np.array([grid[2] for grid in task.grid])
    scenes = np.array(task.scenes[prefix])
    for scene in np.unique(scenes):
        for zone in np.unique(epsg[scenes == scene]):
            rows = np.flatnonzero((scenes == scene) & (epsg == zone))
            rows = rows[np.lexsort((left[rows], -top[rows]))]
            yield (
                rows,
                ChipGrid(int(zone), task.chip_px, task.resolution_m, left[rows], top[rows]),
                str(scene),
            )


def _read(
    assets: dict[str, Asset], info: SensorInfo, what: Sensor, grid: ChipGrid, pixels: Pixels
) -> tuple[Floats, Quality]:
    """Physical values (chips, bands, rows, columns) and their quality."""
    values = _bands(assets, info.band_names, what, grid, pixels.resampling)
    mask = assets.get(what.mask.band.name) if what.mask else None
    if what.mask and mask:
        codes = read_band(mask.href, mask.nodata, grid, "nearest")
        return values, assess(values, clouds(codes, what.mask))
    quality = assess(values, None)
    if pixels.cloud_detector == "none" or not what.cloud_bands or not assets.keys() >= set(what.cloud_bands):
        return values, quality
    coarse = _coarser(grid)
    found = cloudless.detect(_bands(assets, what.cloud_bands, what, coarse, "bilinear"), coarse.resolution_m)
    return values, replace(quality, cloud=share(found == 1))


def _coarser(grid: ChipGrid) -> ChipGrid:
    """The chips in pixels of about `_CLOUDS_AT_M`, or finer where their side is no multiple of it."""
    size_px = max(1, round(grid.size_m / max(_CLOUDS_AT_M, grid.resolution_m)))
    return replace(grid, size_px=size_px, resolution_m=grid.size_m / size_px)


def _bands(
    assets: dict[str, Asset], names: tuple[str, ...], what: Sensor, grid: ChipGrid, resampling: str
) -> Floats:
    parts = []
    for asset, band in ((assets[name], what.band(name)) for name in names):
        numbers = read_band(
            asset.href,
            asset.nodata,
            grid,
            resampling,
            _usual_nodata(asset, band, what),
            asset.unit == "complex",
        )
        parts.append(_physical(numbers, asset, band))
    return np.stack(parts, axis=1)


def _usual_nodata(asset: Asset, band: Band, what: Sensor) -> float | None:
    """The sensor's usual nodata, for files and items that are silent; in dB zero and the like are measurements."""
    if asset.unit == "dB":
        return None
    return what.source_nodata if band.nodata is None else band.nodata


def _physical(numbers: Floats, asset: Asset, band: Band) -> Floats:
    """Values in the unit in which the sensor is stored, NaN where there is no measurement."""
    if asset.unit == "complex":  # numbers are |z|² of unscaled z
        return to_decibel(numbers * asset.scale**2, asset.unit)
    values = numbers * asset.scale + asset.offset
    if asset.unit in ("dB", "power", "amplitude"):
        return to_decibel(values, asset.unit)
    return values if band.lowest is None else np.where(values < band.lowest, np.nan, values)


def stored(values: Floats, info: SensorInfo, what: Sensor) -> npt.NDArray[Any]:
    """Physical values (…, bands, rows, columns) as the integers kept in shards.

    NaN becomes nodata, the rest is clipped to what fits.
    """
    limits = np.iinfo(info.dtype)
    scale = np.array(info.scales)[:, None, None]
    scaled = np.clip(np.rint((values - info.offset) / scale), what.stored.lowest, limits.max)
    return np.where(np.isnan(values), info.nodata, scaled).astype(info.dtype)
