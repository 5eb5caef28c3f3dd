"""Numbers of one band as the integers kept in shards, and the sums over them: one pass over pixels each.

The loops have no branches, so that the compiler makes vectors of them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from curate.catalog.schema import SensorInfo
from curate.catalog.statistics import BINS, Moments, histogram_bins
from curate.compiled import compiled

Ints = npt.NDArray[np.int64]
LINEAR, DECIBEL, LOGARITHM = 0, 1, 2  # values are kept as they are; are dB already; become dB
_EXPONENT = 2.0**52 + 1023  # of a double, read as the last bits of another one
_PARTS = 8  # histograms side by side: a pixel need not wait for its neighbour's count


class Storing(NamedTuple):
    """values × gain + shift is the stored number of a band; where *unit* tells of dB, × per_step + zero after that."""

    gain: float
    shift: float
    unit: int  # LINEAR, DECIBEL or LOGARITHM
    factor: float  # of the logarithm: 10 for power, 20 for amplitude
    floor_db: float  # what is not above it becomes it
    per_step: float  # 1 and 0 where *unit* is LINEAR
    zero: float
    below: float  # stored numbers below this are no measurement but fill
    lowest: float
    highest: float
    nodata: int


@compiled
def store(values: Any, how: Any, out: Any, data: Any) -> None:
    """Store one chip, rounded half to even and clipped; NaN becomes *nodata*.

    Args:
        values: (rows, columns), NaN where no data is.
        out: integers, (rows, columns).
        data: booleans, (rows, columns); becomes False where no data is.
    """
    numbers = np.empty(values.shape[1], np.float64)
    unknown = out.dtype.type(how.nodata)
    for y in range(values.shape[0]):
        line, row, known = values[y], out[y], data[y]
        if how.unit == LINEAR:
            for x in range(len(row)):  # per_step is 1
                row[x] = _rounded(line[x] * how.gain + how.shift, how)
        else:
            for x in range(len(row)):
                numbers[x] = line[x] * how.gain + how.shift
            if how.unit == LOGARITHM:
                decibels(numbers, how.factor, how.floor_db)
            else:
                for x in range(len(row)):
                    if np.isinf(numbers[x]):
                        numbers[x] = np.nan if numbers[x] > 0 else how.floor_db
            for x in range(len(row)):
                row[x] = _rounded(numbers[x] * how.per_step + how.zero, how)
        for x in range(len(row)):
            known[x] = known[x] & (row[x] != unknown)


@compiled
def _rounded(number: float, how: Any) -> Any:
    clipped = max(min(number, how.highest), how.lowest)
    return np.int32(np.rint(clipped) if number >= how.below else np.float64(how.nodata))


@compiled
def decibels(values: Any, factor: float, floor_db: float) -> None:
    """factor × log10(values) in place, not below *floor_db*; NaN stays, infinity becomes NaN.

    `radiometry.to_decibel` for power (factor 10) and amplitude (20), to 1e-11 dB. A double is 2^e × m with m from 1 to
    2, and ln m = ln √2 + 2 artanh((m − √2)/(m + √2)), whose series is cut there.

    Args:
        values: float64, one-dimensional.
    """
    least, root, per_octave = 10.0 ** (floor_db / factor), np.sqrt(2.0), factor * np.log10(2.0)
    for i in range(len(values)):
        bits = np.float64(values[i]).view(np.int64)
        exponent = np.int64((bits >> 52) | 0x4330000000000000).view(np.float64) - _EXPONENT
        mantissa = np.int64((bits & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000).view(np.float64)
        t = (mantissa - root) / (mantissa + root)
        s = t * t
        series = 1 + s * (1 / 3 + s * (1 / 5 + s * (1 / 7 + s * (1 / 9 + s * (1 / 11 + s / 13)))))
        octaves = exponent + (0.5 + 2 / np.log(2.0) * (t * series))
        found = octaves * per_octave if values[i] < np.inf else np.nan
        values[i] = floor_db if values[i] <= least else found


def summarise(pixels: npt.NDArray[Any], info: SensorInfo) -> tuple[Moments, npt.NDArray[np.uint32]]:
    """Moments and histograms of each chip's bands, in physical units, over valid pixels.

    Args:
        pixels: stored integers of 16 bits, (n, bands, rows, columns).
    """
    chips, bands = pixels.shape[:2]
    scale = np.array(info.scales)
    count, mean, m2 = np.zeros((chips, bands), np.int64), np.zeros((chips, bands)), np.zeros((chips, bands))
    counts = np.zeros((chips, bands, BINS), np.uint32)
    flat = np.ascontiguousarray(pixels).reshape(chips, bands, -1)
    _summarise(flat, pixels.dtype.type(info.nodata), _bins(info), count, mean, m2, counts)
    return Moments(count, (mean * scale + info.offset) * (count > 0), m2 * scale**2), counts


@lru_cache
def _bins(info: SensorInfo) -> npt.NDArray[np.uint8]:
    """Bin of the histogram for each 16 bits that a band may store, (bands, 65536); no data has one more, the last."""
    stored = np.arange(2**16).astype(np.uint16).view(info.dtype)
    found = np.empty((len(info.bands), len(stored)), np.uint8)
    for band, scale in enumerate(info.scales):
        edges = histogram_bins(info, band)
        low, step = (edges[0] - info.offset) / scale, (edges[1] - edges[0]) / scale
        found[band] = ((stored - low) * (1 / step) + 1e-9).clip(0, BINS - 1)
    found[:, stored == info.nodata] = BINS
    return found


@compiled
def _summarise(pixels: Any, nodata: Any, bins: Any, count: Any, mean: Any, m2: Any, counts: Any) -> None:
    size = pixels.shape[2]
    parts = np.empty((_PARTS, BINS + 1), np.uint32)
    for i in range(pixels.shape[0]):
        for band in range(pixels.shape[1]):
            values, bin_of = pixels[i, band], bins[band]
            number, total, squares = np.int64(0), np.int64(0), np.int64(0)
            for k in range(size):
                value = np.int64(values[k]) if values[k] != nodata else np.int64(0)
                number += np.int64(values[k] != nodata)
                total += value
                squares += value * value
            if number == 0:
                continue
            parts[:] = 0
            for k in range(0, size - size % _PARTS, _PARTS):
                for part in range(_PARTS):
                    parts[part, bin_of[np.uint16(values[k + part])]] += np.uint32(1)
            for k in range(size - size % _PARTS, size):
                parts[0, bin_of[np.uint16(values[k])]] += np.uint32(1)
            for part in range(_PARTS):
                for place in range(BINS):
                    counts[i, band, place] += parts[part, place]
            near = np.int64(np.rint(total / number))
            # squares of what lies beside *near*, exactly
            around = squares - near * (2 * total - number * near)
            off = np.float64(total - number * near)
            count[i, band], mean[i, band] = number, total / number
            m2[i, band] = around - off * off / number
