"""What is handed to a process that cuts: shards of one scene after the other, and where their sensors' files lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curate.catalog.schema import SensorInfo
from curate.pixels.windows import ChipGrid
from curate.recipe import Pixels

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Asset:
    """One band of one scene: value = DN × scale + offset, in *unit*."""

    href: str
    scale: float
    offset: float
    nodata: float | None
    unit: str


@dataclass(frozen=True)
class Shard:
    """A shard to be cut: its chips in the order of its rows."""

    name: str
    keys: tuple[str, ...]  # chip id and sources, unique
    chip_ids: tuple[str, ...]
    grid: tuple[tuple[int, float, float], ...]  # epsg, left, top of each chip
    scenes: dict[str, tuple[str, ...]]  # sensor prefix -> scene id of each chip


@dataclass(frozen=True)
class CutTask:
    """Shards to be cut one after the other by one process, so that their scenes are opened and read once."""

    shards: tuple[Shard, ...]
    folder: Path
    chip_px: int
    resolution_m: float
    sensors: tuple[SensorInfo, ...]  # the anchor first
    assets: dict[str, dict[str, dict[str, Asset]]]  # sensor prefix -> scene id -> band -> asset
    pixels: Pixels

    @property
    def chips(self) -> int:
        return sum(len(shard.keys) for shard in self.shards)

    def scenes(self, prefix: str) -> npt.NDArray[np.str_]:
        """Scene id of every chip of the task."""
        return np.array([scene for shard in self.shards for scene in shard.scenes[prefix]], np.str_)

    def zones(self) -> Ints:
        """Zone of every chip of the task, EPSG."""
        return np.array([epsg for shard in self.shards for epsg, _, _ in shard.grid], np.int64)

    def grid(self, chips: Ints) -> ChipGrid:
        """The grid of some chips of one zone."""
        every = np.array([corner for shard in self.shards for corner in shard.grid])[chips]
        return ChipGrid(int(every[0, 0]), self.chip_px, self.resolution_m, every[:, 1], every[:, 2])

    def hrefs(self) -> Iterator[str]:
        """Addresses of all files."""
        for scenes in self.assets.values():
            for bands in scenes.values():
                yield from (asset.href for asset in bands.values())

    def batches(self, most: int) -> list[Ints]:
        """Positions of the task's chips in batches of at most so many, of one shard, one anchor scene and one zone."""
        shard = np.repeat(np.arange(len(self.shards)), [len(one.keys) for one in self.shards])
        scene = np.unique(self.scenes(self.sensors[0].prefix), return_inverse=True)[1]
        by = np.stack([shard, scene, self.zones()])
        edges = np.flatnonzero((np.diff(by, axis=1) != 0).any(0)) + 1
        groups = np.split(np.arange(self.chips), edges)
        return [group[i : i + most] for group in groups for i in range(0, len(group), most)]
