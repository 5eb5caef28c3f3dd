"""Catalog to tensors: which chips, where their pixels lie, and what their numbers mean.

Stored integers travel to the device as they are; there they become physical values (stored × scale + offset)
and then (value - mean) / std with the catalog's statistics. Pixels without data become 0, the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from curate.catalog import Catalog, InputError
from curate.catalog.shards import moments, open_shard, pixels

COLUMNS = ("chip_id", "place", "split", "shard", "shard_row", "lc_dominant_name", "koppen_symbol")

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Sensor:
    """One sensor as the model meets it: how it is stored, and how it is normalised."""

    prefix: str
    name: str  # sentinel-2-l2a, ...
    bands: tuple[str, ...]  # in the order of the channels
    unit: str  # of the physical values: reflectance, dB, m
    scale: float  # physical = stored × scale + offset
    offset: float
    nodata: int
    mean: tuple[float, ...]  # per band, in `unit`
    std: tuple[float, ...]
    scales: tuple[float, ...] = ()  # per band; empty where all are `scale`

    def normalise(self, stored: Tensor) -> Tensor:
        """Stored integers as float32 of zero mean and unit deviation, 0 where no data is; [B, c, H, W]."""
        # float32 holds every 16-bit integer, and the nodata values of 32-bit sensors, exactly.
        values = stored.float()
        missing = values == self.nodata
        scales = self.scales or (self.scale,) * len(self.bands)
        gain = [scale / (std if std > 0 else 1.0) for scale, std in zip(scales, self.std, strict=True)]
        centre = [(mean - self.offset) / scale for scale, mean in zip(scales, self.mean, strict=True)]
        shape = (-1, 1, 1)
        values -= torch.tensor(centre, device=values.device).view(shape)
        values *= torch.tensor(gain, device=values.device).view(shape)
        return values.masked_fill_(missing, 0.0)


@dataclass(frozen=True)
class DataConfig:
    """What a model's input is; travels inside its weights, so that bands and units are never positional."""

    sensors: tuple[Sensor, ...]
    chip_px: int
    resolution_m: float
    region: str
    recipe_hash: str
    simulated: bool  # True where the values are not measurements

    @classmethod
    def of(cls, catalog: Catalog, prefixes: Sequence[str] | None = None) -> DataConfig:
        """The catalog's sensors, all or those named, with its statistics.

        Raises:
            InputError: the catalog has no such sensor, or its statistics do not fit its bands.
        """
        statistics, sensors = catalog.statistics(), []
        for prefix in prefixes if prefixes is not None else list(catalog.sensors):
            info = catalog.sensors.get(prefix)
            if info is None:
                raise InputError(
                    f"Catalog {catalog.path} has no sensor {prefix!r}",
                    f"its sensors are {', '.join(catalog.sensors)}",
                    "Choose among these with --sensors, or make the catalog with that sensor",
                )
            found = statistics.get(prefix)
            if found is None or found.bands != info.band_names or found.unit != info.unit:
                raise InputError(
                    f"The statistics of catalog {catalog.path} do not fit the bands of sensor {prefix!r}",
                    do="Write them again with: curate cut",
                )
            if not np.isfinite([*found.mean, *found.std]).all():
                raise InputError(
                    f"The statistics of sensor {prefix!r} of catalog {catalog.path} are not all finite",
                    do="Write them again with: curate cut",
                )
            scaling = (info.scale, info.offset, info.nodata)
            scales = info.scales if set(info.scales) != {info.scale} else ()
            sensors.append(
                Sensor(
                    prefix, info.sensor, info.band_names, info.unit, *scaling, found.mean, found.std, scales
                )
            )
        meta = catalog.meta
        return cls(
            tuple(sensors), meta.chip_px, meta.resolution_m, meta.region, meta.recipe_hash, meta.simulated
        )

    def on(self, catalog: Catalog) -> DataConfig:
        """This model's statistics with *catalog*'s way of storing the same sensors.

        Raises:
            InputError: a sensor is missing, or its bands, their order, the unit or the chip size differ.
        """
        there = DataConfig.of(catalog, [sensor.prefix for sensor in self.sensors])
        for mine, other in zip(self.sensors, there.sensors, strict=True):
            for field in ("name", "bands", "unit"):
                if getattr(mine, field) != getattr(other, field):
                    raise InputError(
                        f"Catalog {catalog.path} does not fit the model: {field} of sensor {mine.prefix!r}",
                        f"the model reads {getattr(mine, field)}, the catalog has {getattr(other, field)}",
                    )
        if there.chip_px != self.chip_px:
            raise InputError(
                f"Catalog {catalog.path} has chips of {there.chip_px} px",
                f"the model reads {self.chip_px} px",
            )
        pairs = zip(self.sensors, there.sensors, strict=True)
        return replace(there, sensors=tuple(replace(o, mean=m.mean, std=m.std) for m, o in pairs))

    @property
    def bands(self) -> dict[str, tuple[str, ...]]:
        """Band names by sensor, as `ModelConfig.sensors` wants them."""
        return {sensor.prefix: sensor.bands for sensor in self.sensors}

    def images(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Stored integers by sensor as normalised images by sensor, on the device where they are."""
        return {sensor.prefix: sensor.normalise(stored[sensor.prefix]) for sensor in self.sensors}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> DataConfig:
        lists = ("bands", "mean", "std", "scales")  # the last came later
        sensors = tuple(
            Sensor(**{**s, **{k: tuple(s[k]) for k in lists if k in s}}) for s in fields["sensors"]
        )
        return cls(**{**fields, "sensors": sensors})


@dataclass(frozen=True)
class Opened:
    """A shard that lies open."""

    rows: int
    pixels: Arrays  # by sensor, views of the file
    present: dict[str, npt.NDArray[np.bool_]]  # by sensor, of those that some chip lacks


class Chips:
    """The chips of a split of a catalog, or of several ("val+test"); pixels stay in memory-mapped shards."""

    def __init__(self, catalog: Catalog, config: DataConfig, split: str) -> None:
        table = catalog.table
        kept = np.flatnonzero(np.isin(table["split"].to_numpy(zero_copy_only=False), split.split("+")))
        self.config, self.split = config, split
        self.folder: Path = catalog.chips_folder
        self._infos = {sensor.prefix: catalog.sensors[sensor.prefix] for sensor in config.sensors}
        part = table.select([name for name in COLUMNS if name in table.column_names]).take(kept)
        self.columns: Arrays = {name: part[name].to_numpy(zero_copy_only=False) for name in part.column_names}
        self._names, self._shard = np.unique(self.columns["shard"].astype(str), return_inverse=True)
        self._row = self.columns["shard_row"].astype(np.int64)
        self._opened: dict[int, Opened] = {}

    def __len__(self) -> int:
        return len(self._row)

    @property
    def ids(self) -> npt.NDArray[Any]:
        return self.columns["chip_id"]

    def some(self, limit: int, seed: int) -> Chips:
        """At most *limit* of these chips, drawn with *seed*, in the catalog's order."""
        if len(self) <= limit:
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:limit]))

    def take(self, rows: npt.NDArray[np.int64]) -> Chips:
        """The chips at *rows*, in that order."""
        fewer = copy(self)
        fewer.columns = {name: values[rows] for name, values in self.columns.items()}
        fewer._shard, fewer._row = self._shard[rows], self._row[rows]
        return fewer

    def in_storage_order(self, chips: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The same chips, those of a shard side by side."""
        return chips[np.lexsort((self._row[chips], self._shard[chips]))]

    def layout(self, count: int) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and type of the stored integers of *count* chips, by sensor."""
        px = self.config.chip_px
        return {
            p: ((count, len(info.bands), px, px), np.dtype(info.dtype)) for p, info in self._infos.items()
        }

    def gather(self, chips: npt.NDArray[np.int64], out: Arrays | None = None) -> Arrays:
        """Stored integers by sensor, [B, c, H, W], in the order given; runs of one shard are copied at once.

        Args:
            out: arrays of `layout` to write into.

        Raises:
            InputError: a shard is missing, cut short, or holds other bands or chips of another size.
        """
        if out is None:
            out = {prefix: np.empty(*form) for prefix, form in self.layout(len(chips)).items()}
        for start, stop, shard in self._runs(chips):
            opened, rows = self._open(shard), self._rows(chips[start:stop], shard)
            for prefix, target in out.items():
                # "clip" copies straight into place, where "raise" makes a copy first; `_rows` has checked the rows
                np.take(opened.pixels[prefix], rows, axis=0, out=target[start:stop], mode="clip")
        return out

    def present(self, chips: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.bool_]]:
        """Which chips have which sensor, for the sensors that some of these chips lack."""
        found = {prefix: np.ones(len(chips), bool) for prefix in self._infos}
        for start, stop, shard in self._runs(chips):
            rows = self._rows(chips[start:stop], shard)
            for prefix, there in self._open(shard).present.items():
                found[prefix][start:stop] = there[rows]
        return {prefix: there for prefix, there in found.items() if not there.all()}

    def band_means(self) -> npt.NDArray[np.float64]:
        """Mean of each chip's bands, sensors side by side, physical units: [n, bands]; reads no pixel."""
        parts = []
        for start, stop, shard in self._runs(np.arange(len(self))):
            rows = self._rows(np.arange(start, stop), shard)
            batch = open_shard(self.folder / self._names[shard])
            parts.append(np.concatenate([moments(batch, p).mean[rows] for p in self._infos], axis=1))
        return np.concatenate(parts)

    def _runs(self, chips: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:
        """(start, stop, shard) of each run of neighbours that lie in one shard."""
        shards = self._shard[chips]
        edges = [0, *(np.flatnonzero(np.diff(shards)) + 1), len(chips)]
        return [(int(a), int(b), int(shards[a])) for a, b in pairwise(edges) if b > a]

    def _rows(self, chips: npt.NDArray[np.int64], shard: int) -> npt.NDArray[np.int64]:
        rows = self._row[chips]
        if rows.max() >= self._open(shard).rows:
            raise InputError(
                f"Shard {self.folder / self._names[shard]} has no row {rows.max()}",
                "it is not the shard the catalog was written with",
                "Cut it again with: curate cut",
            )
        return rows

    def _open(self, shard: int) -> Opened:
        if shard not in self._opened:
            path = self.folder / self._names[shard]
            batch = open_shard(path)
            try:
                views = {
                    prefix: pixels(batch, prefix, len(info.bands), self.config.chip_px)
                    for prefix, info in self._infos.items()
                }
                present = {prefix: there for prefix in views if not (there := has(batch, prefix)).all()}
            except (KeyError, ValueError) as error:
                raise InputError(
                    f"Shard {path} does not hold what the catalog says",
                    str(error),
                    "Cut it again with: curate cut",
                ) from error
            self._opened[shard] = Opened(batch.num_rows, views, present)
        return self._opened[shard]


def has(shard: pa.RecordBatch, prefix: str) -> npt.NDArray[np.bool_]:
    """Which chips of a shard have a sensor: those with pixels that hold data."""
    valid: npt.NDArray[np.bool_] = pc.fill_null(
        pc.greater(shard.column(f"{prefix}_valid"), 0), False
    ).to_numpy(zero_copy_only=False)
    there: npt.NDArray[np.bool_] = shard.column(prefix).is_valid().to_numpy(zero_copy_only=False)
    return valid & there


def open_catalog(path: Path | str) -> Catalog:
    """A catalog whose pixels are there, with the columns that training and probing read.

    Raises:
        InputError: no catalog, another schema version, or chips without pixels.
    """
    catalog = Catalog.open(path, COLUMNS)
    catalog.require_pixels()
    return catalog
