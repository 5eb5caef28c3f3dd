"""Band statistics that add up: count, mean, sum of squared deviations and histogram per band."""

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
BINS = 100  # of a histogram; the first and the last take what lies beyond
_RANGES = {  # of a histogram by unit
    "reflectance": (0.0, 1.0),
    "dB": (-40.0, 10.0),
    "K": (200.0, 350.0),
    "m": (-500.0, 9500.0),
}


def histogram_bins(sensor: SensorInfo, band: int) -> Floats:
    """Edges of the bins of one band's histogram, in physical units; a unit without an entry takes the whole type."""
    unit = sensor.bands[band].unit or sensor.unit
    limits, scale = np.iinfo(sensor.dtype), sensor.scales[band]
    whole = (limits.min * scale + sensor.offset, limits.max * scale + sensor.offset)
    return np.linspace(*_RANGES.get(unit, whole), BINS + 1)


def histograms(stored: npt.NDArray[Any], sensor: SensorInfo) -> npt.NDArray[np.uint32]:
    """Histogram of each chip's valid pixels, (n, bands, `BINS`); *stored* has shape (n, bands, rows, columns)."""
    found = np.zeros((*stored.shape[:2], BINS), np.uint32)
    for chip in range(len(stored)):
        for band, scale in enumerate(sensor.scales):
            values = stored[chip, band][stored[chip, band] != sensor.nodata]
            edges = histogram_bins(sensor, band)
            low, step = (edges[0] - sensor.offset) / scale, (edges[1] - edges[0]) / scale
            at = ((values.astype(np.float64) - low) * (1 / step) + 1e-9).astype(np.int64)
            found[chip, band] = np.bincount(at.clip(0, BINS - 1), minlength=BINS)
    return found


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
    edges: tuple[
        tuple[float, ...], ...
    ] = ()  # of each band's histogram, `BINS` + 1; came later than the rest
    histogram: tuple[tuple[int, ...], ...] = ()  # pixels in each bin

    @classmethod
    def of(cls, sensor: SensorInfo, total: Moments, counts: npt.NDArray[Any] | None = None) -> BandStatistics:
        """Statistics of merged moments and, where there is one, a histogram (bands, `BINS`)."""
        bands = range(len(sensor.bands)) if counts is not None else ()
        return cls(
            bands=sensor.band_names,
            unit=sensor.unit,
            count=tuple(int(n) for n in total.count),
            mean=tuple(float(m) for m in total.mean),
            std=tuple(float(s) for s in total.std),
            edges=tuple(tuple(round(float(e), 9) for e in histogram_bins(sensor, b)) for b in bands),
            histogram=tuple(tuple(int(n) for n in row) for row in counts) if counts is not None else (),
        )

    def percentile(self, percent: float) -> tuple[float, ...]:
        """The value below which *percent* of each band's pixels lie, interpolated within its bin.

        NaN where a band has no pixel, or where the histograms were not kept.
        """
        found = []
        for edges, counts in zip(self.edges, self.histogram, strict=True):
            below = np.concatenate([[0], np.cumsum(counts)])
            wanted = percent / 100 * below[-1]
            found.append(float(np.interp(wanted, below, edges)) if below[-1] else float("nan"))
        return tuple(found) or (float("nan"),) * len(self.bands)


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
            edges=tuple(tuple(edges) for edges in fields.get("edges", ())),
            histogram=tuple(tuple(counts) for counts in fields.get("histogram", ())),
        )
        for prefix, fields in loaded.items()
    }
