"""Band statistics that add up: count, mean and sum of squared deviations per band."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog.files import write_text
from curate.catalog.schema import SensorInfo

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Moments per band, in physical units; arrays of one shape, (bands,) or (chips, bands)."""

    count: npt.NDArray[np.int64]
    mean: Floats
    m2: Floats  # sum of squared deviations from the mean

    @classmethod
    def of_chips(cls, stored: npt.NDArray[Any], sensor: SensorInfo) -> Moments:
        """Moments of each chip's valid pixels; *stored* has shape (n, bands, rows, columns)."""
        chips, bands = stored.shape[:2]
        values = stored.reshape(chips, bands, -1)
        valid = values != sensor.nodata
        count = valid.sum(-1)
        at_least_one = np.maximum(count, 1)
        mean = np.where(valid, values, 0).sum(-1, dtype=np.float64) / at_least_one
        m2 = np.where(valid, values - mean[..., None], 0.0)
        np.square(m2, out=m2)
        scale = np.array(sensor.scales)
        return cls(count, (mean * scale + sensor.offset) * (count > 0), m2.sum(-1) * scale**2)

    def merged(self) -> Moments:
        """Moments over the first axis (Chan, Golub and LeVeque 1983, parallel variance)."""
        count = self.count.sum(0)
        at_least_one = np.maximum(count, 1)
        mean = (self.count * self.mean).sum(0) / at_least_one
        m2 = self.m2.sum(0) + (self.count * np.square(self.mean - mean)).sum(0)
        return Moments(count, mean, m2)

    @classmethod
    def stack(cls, parts: Sequence[Moments]) -> Moments:
        """Moments of several sets of chips as one set."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("count", "mean", "m2")))

    @property
    def std(self) -> Floats:
        return np.sqrt(self.m2 / np.maximum(self.count, 1))


@dataclass(frozen=True)
class BandStatistics:
    """Mean and standard deviation of each band of one sensor, in *unit*, over a catalog's training split."""

    bands: tuple[str, ...]
    unit: str
    count: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, sensor: SensorInfo, total: Moments) -> BandStatistics:
        return cls(
            bands=sensor.band_names,
            unit=sensor.unit,
            count=tuple(int(n) for n in total.count),
            mean=tuple(float(m) for m in total.mean),
            std=tuple(float(s) for s in total.std),
        )


def write_statistics(path: Path, statistics: Mapping[str, BandStatistics]) -> None:
    """Write statistics by sensor prefix as JSON, atomically."""
    write_text(path, json.dumps({key: value.__dict__ for key, value in statistics.items()}, indent=1) + "\n")


def read_statistics(path: Path) -> dict[str, BandStatistics]:
    """Statistics by sensor prefix.

    Raises:
        OSError: the file is absent.
    """
    loaded: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return {
        prefix: BandStatistics(
            bands=tuple(fields["bands"]),
            unit=fields["unit"],
            count=tuple(fields["count"]),
            mean=tuple(fields["mean"]),
            std=tuple(fields["std"]),
        )
        for prefix, fields in loaded.items()
    }
