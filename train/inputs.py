"""What a model's input is: sensors, bands, units and statistics, which travel inside its weights.

Stored integers travel to the device as they are; there they become physical values (stored × scale + offset)
and then (value - mean) / std with the catalog's statistics. Pixels without data become 0, the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curate.catalog import Catalog, InputError


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
        # Made on the device, they would wait for it.
        values -= torch.tensor(centre).view(shape).to(values.device, non_blocking=True)
        values *= torch.tensor(gain).view(shape).to(values.device, non_blocking=True)
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
