"""Numbers of one band as the integers kept in shards, and the sums over them: one pass over pixels each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog.schema import SensorInfo
from curate.catalog.statistics import Moments, histogram_bins
from curate.compiled import compiled


@compiled
def store(
    values: Any, gain: float, shift: float, fill_below: float, limits: Any, nodata: int, out: Any, data: Any
) -> None:
    """Write values × gain + shift, rounded half to even and clipped to *limits*, into *out*; NaN becomes *nodata*.

    Args:
        values: (n, rows, columns), NaN where no data is.
        fill_below: values × gain + shift below this are no measurement but fill.
        out: integers, (n, rows, columns).
        data: booleans, (n, rows, columns); becomes False where no data is.
    """
    for i in range(values.shape[0]):
        for y in range(values.shape[1]):
            for x in range(values.shape[2]):
                number = values[i, y, x] * gain + shift
                if np.isnan(number) or number < fill_below:
                    out[i, y, x] = nodata
                    data[i, y, x] = False
                else:
                    out[i, y, x] = int(min(max(np.rint(number), limits[0]), limits[1]))


@compiled
def decibel(values: Any, gain: float, shift: float, factor: float, floor_db: float) -> Any:
    """factor × log10(values × gain + shift), not below *floor_db*; NaN stays, infinity becomes NaN.

    `radiometry.to_decibel` for power (factor 10) and amplitude (20), in one pass.
    """
    found = np.empty(values.shape, np.float64)
    least = 10 ** (floor_db / factor)
    for i in range(values.shape[0]):
        for y in range(values.shape[1]):
            for x in range(values.shape[2]):
                number = values[i, y, x] * gain + shift
                if np.isnan(number) or number == np.inf:
                    found[i, y, x] = np.nan
                elif number <= least:
                    found[i, y, x] = floor_db
                else:
                    found[i, y, x] = factor * math.log10(number)
    return found


def summarise(pixels: npt.NDArray[Any], info: SensorInfo) -> tuple[Moments, npt.NDArray[np.uint32]]:
    """Moments and histograms of each chip's bands, in physical units, over valid pixels.

    Args:
        pixels: stored integers, (n, bands, rows, columns).
    """
    chips, bands = pixels.shape[:2]
    scale = np.array(info.scales)
    ranges = [histogram_bins(info, band) for band in range(bands)]
    low = np.array([(edges[0] - info.offset) / s for edges, s in zip(ranges, scale, strict=True)])
    step = np.array([(edges[1] - edges[0]) / s for edges, s in zip(ranges, scale, strict=True)])
    count, mean, m2 = np.zeros((chips, bands), np.int64), np.zeros((chips, bands)), np.zeros((chips, bands))
    counts = np.zeros((chips, bands, len(ranges[0]) - 1), np.uint32)
    flat = np.ascontiguousarray(pixels).reshape(chips, bands, -1)
    _summarise(flat, info.nodata, low, 1 / step, count, mean, m2, counts)
    return Moments(count, (mean * scale + info.offset) * (count > 0), m2 * scale**2), counts


@compiled
def _summarise(
    pixels: Any, nodata: int, low: Any, per_step: Any, count: Any, mean: Any, m2: Any, counts: Any
) -> None:
    bins = counts.shape[2]
    for i in range(pixels.shape[0]):
        for band in range(pixels.shape[1]):
            values, into = pixels[i, band], counts[i, band]
            number, total = 0, np.int64(0)
            for k in range(len(values)):
                value = np.int64(values[k])
                if value != nodata:
                    number += 1
                    total += value
                    at = int((value - low[band]) * per_step[band] + 1e-9)
                    into[min(max(at, 0), bins - 1)] += 1
            if number == 0:
                continue
            middle = total / number
            squares = 0.0
            for k in range(len(values)):
                if values[k] != nodata:
                    squares += (values[k] - middle) ** 2
            count[i, band], mean[i, band], m2[i, band] = number, middle, squares
