"""One scene of one sensor, cut to chips: its bands as stored integers, its mask as cloud and holes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog.schema import SensorInfo
from curate.pixels import cloudless
from curate.pixels.layers import Failures, Ints, Layer, Reading
from curate.pixels.quality import Quality, clouds, mark, share
from curate.pixels.storing import DECIBEL, LINEAR, LOGARITHM, Storing
from curate.pixels.tasks import Asset, CutTask
from curate.pixels.windows import ChipGrid
from curate.radiometry import NOISE_FLOOR_DB
from curate.sensors import Band, Sensor, sensor

Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
_CLOUDS_AT_M = 60.0  # resolution at which clouds are told where there is no mask
_RADAR = ("dB", "power", "amplitude", "complex")


@dataclass(frozen=True)
class ChipArrays:
    """Pixels and masks of the chips of one sensor; the first axis counts chips."""

    pixels: npt.NDArray[Any]  # (n, bands, rows, columns), stored integers
    data: Booleans  # (n, rows, columns): every band and the mask have data
    cloud: Booleans  # (n, rows, columns): cloud, cirrus or cloud shadow
    masked: Booleans  # (n,): whether clouds are known

    @classmethod
    def room(cls, chips: int, info: SensorInfo, size_px: int) -> ChipArrays:
        side = (size_px, size_px)
        pixels = np.empty((chips, len(info.bands), *side), info.dtype)
        return cls(
            pixels, np.empty((chips, *side), bool), np.empty((chips, *side), bool), np.empty(chips, bool)
        )

    def emptied(self, chips: int) -> ChipArrays:
        """Room for so many chips in the same memory, whose pixels are yet to be stored."""
        found = ChipArrays(self.pixels[:chips], self.data[:chips], self.cloud[:chips], self.masked[:chips])
        found.data[:], found.cloud[:], found.masked[:] = True, False, False
        return found

    def quality(self) -> Quality:
        """Shares of data and of cloud."""
        cloud = np.where(self.masked, share(self.cloud), np.nan).astype(np.float32)
        return Quality(share(self.data), cloud)

    def kept(self, rows: Booleans) -> ChipArrays:
        """Some of the chips; the same arrays where all stay."""
        if rows.all():
            return self
        return ChipArrays(self.pixels[rows], self.data[rows], self.cloud[rows], self.masked[rows])


class Acquisition:
    """One scene of one sensor, for the chips of one zone that are cut from it."""

    def __init__(self, task: CutTask, info: SensorInfo, scene: str, grid: ChipGrid, batch: Ints) -> None:
        self.info, self.what = info, sensor(info.sensor)
        self.assets = task.assets[info.prefix][scene]
        self.batch = batch
        method = task.pixels.resampling
        self.bands = {
            name: Layer(_reading(self.assets[name], self.what.band(name), self.what, method), grid, batch)
            for name in info.band_names
        }
        mask = self.assets.get(self.what.mask.band.name) if self.what.mask else None
        self.mask = (
            None if mask is None else Layer(Reading(mask.href, mask.nodata, None, "nearest"), grid, batch)
        )
        self.coarse: dict[str, Layer] = {}
        detected = task.pixels.cloud_detector != "none" and self.mask is None and self.what.cloud_bands
        if detected and self.assets.keys() >= set(self.what.cloud_bands):
            self.coarse_grid = _coarser(grid)
            self.coarse = {
                name: Layer(
                    _reading(self.assets[name], self.what.band(name), self.what, "bilinear"),
                    self.coarse_grid,
                    batch,
                )
                for name in self.what.cloud_bands
            }

    @property
    def batches(self) -> list[int]:
        """Numbers of the batches that have chips in this scene."""
        return [int(number) for number in np.unique(self.batch)]

    @property
    def every(self) -> list[Layer]:
        """All layers that have to be read."""
        mask = [] if self.mask is None else [self.mask]
        return [*self.bands.values(), *mask, *self.coarse.values()]

    def close(self) -> None:
        """Close all files."""
        for layer in self.every:
            layer.close()

    def take(self, number: int, rows: Ints, into: ChipArrays, unreadable: list[str | None]) -> None:
        """Put the chips of batch *number* into a shard's arrays.

        Args:
            rows: of the shard, one for each chip of the batch, whatever scene the chip is of.
            unreadable: of each row of the shard; the reason is put where a chip cannot be read.
        """
        rows = rows[self.within[number]]
        failures: Failures = {}
        for i, (name, layer) in enumerate(self.bands.items()):
            how = self._storing(i, self.assets[name], self.what.band(name))
            failures |= layer.store(number, how, rows, i, into.pixels, into.data)
        if self.mask is not None and self.what.mask is not None:
            codes, failed = self.mask.take(number)
            failures |= failed
            mark(clouds(codes, self.what.mask), rows, into.data, into.cloud)
            into.masked[rows] = True
        elif self.coarse:
            into.cloud[rows] = self._detected(number, failures, into.data.shape[-1]) == 1
            into.masked[rows] = True
        for i, why in failures.items():
            unreadable[rows[i]] = why

    within: dict[int, Booleans]  # batch -> which of its chips are of this scene

    def _storing(self, band: int, asset: Asset, what: Band) -> Storing:
        step, offset = self.info.scales[band], self.info.offset
        limits = float(self.what.stored.lowest), float(np.iinfo(self.info.dtype).max), self.info.nodata
        if asset.unit in _RADAR:
            scaling = _decibel(asset)
            return Storing(*scaling, NOISE_FLOOR_DB, 1 / step, -offset / step, -np.inf, *limits)
        below = -np.inf if what.lowest is None else (what.lowest - offset) / step
        gain, shift = asset.scale / step, (asset.offset - offset) / step
        return Storing(gain, shift, LINEAR, 0.0, 0.0, 1.0, 0.0, below, *limits)

    def _detected(self, number: int, failures: Failures, size_px: int) -> Floats:
        """By a cloud detector 1 where cloud is, else 0, on the chips' own grid: (chips, size_px, size_px)."""
        bands = []
        for name, layer in self.coarse.items():
            values, failed = layer.take(number)
            failures |= failed
            asset, lowest = self.assets[name], self.what.band(name).lowest
            reflectance = values.astype(np.float64) * asset.scale + asset.offset
            bands.append(np.where(reflectance < (-np.inf if lowest is None else lowest), np.nan, reflectance))
        found = np.nan_to_num(cloudless.detect(np.stack(bands, axis=1), self.coarse_grid.resolution_m))
        nearest = np.arange(size_px) * found.shape[1] // size_px
        return found[:, nearest][:, :, nearest]


def acquisitions(task: CutTask, info: SensorInfo, batch: Ints) -> Iterator[Acquisition]:
    """The scenes of one sensor that a task's chips are cut from, once for each zone.

    Args:
        batch: number of the batch of every chip of the task.
    """
    scenes, zones = task.scenes(info.prefix), task.zones()
    start = np.flatnonzero(np.diff(batch, prepend=-1))
    place = np.arange(task.chips) - start[batch]  # of each chip within its batch
    size = np.bincount(batch)
    for scene in np.unique(scenes):
        for zone in np.unique(zones[scenes == scene]):
            chips = np.flatnonzero((scenes == scene) & (zones == zone))
            found = Acquisition(task, info, str(scene), task.grid(chips), batch[chips])
            found.within = {}
            for number in found.batches:
                found.within[number] = np.zeros(size[number], bool)
                found.within[number][place[chips[batch[chips] == number]]] = True
            yield found


def _reading(asset: Asset, band: Band, what: Sensor, resampling: str) -> Reading:
    return Reading(
        asset.href, asset.nodata, _usual_nodata(asset, band, what), resampling, asset.unit == "complex"
    )


def _usual_nodata(asset: Asset, band: Band, what: Sensor) -> float | None:
    """The sensor's usual nodata, for files and items that are silent; in dB zero and the like are measurements."""
    if asset.unit == "dB":
        return None
    return what.source_nodata if band.nodata is None else band.nodata


def _decibel(asset: Asset) -> tuple[float, float, int, float]:
    """Gain and shift of an asset's numbers, and how they become dB (`Storing`)."""
    if asset.unit == "dB":
        return float(asset.scale), float(asset.offset), DECIBEL, 0.0
    if asset.unit == "complex":  # numbers are |z|² of unscaled z
        return float(asset.scale**2), 0.0, LOGARITHM, 10.0
    return float(asset.scale), float(asset.offset), LOGARITHM, 20.0 if asset.unit == "amplitude" else 10.0


def _coarser(grid: ChipGrid) -> ChipGrid:
    """The chips in pixels of about `_CLOUDS_AT_M`, or finer where their side is no multiple of it."""
    size_px = max(1, round(grid.size_m / max(_CLOUDS_AT_M, grid.resolution_m)))
    return replace(grid, size_px=size_px, resolution_m=grid.size_m / size_px)
