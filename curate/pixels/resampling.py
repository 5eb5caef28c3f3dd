"""Bands brought to the chips' grid where both grids agree: weights per row and column, applied in machine code.

Each chip goes the whole way, from pixels of the file to stored integers, before the next begins, so that what lies
between stays in the processor's cache.

A coarser band is interpolated, a finer one averaged. Pixels without data take no part: the weights of the others are
scaled up to 1. An interpolated pixel has data where the source pixel in which its centre lies has; an averaged one
where at least half of its area has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from curate.compiled import compiled
from curate.pixels.storing import store

Singles = npt.NDArray[np.float32]
_REACH = {"nearest": 0.5, "bilinear": 1.0, "cubic": 2.0}  # source pixels from an output pixel's centre


@dataclass(frozen=True)
class Taps:
    """Which source pixels make each of `size` output pixels along one axis, counted from the first output's edge."""

    first: npt.NDArray[np.int64]  # (size,) first source pixel, from the window's first
    weight: Singles  # (size, taps), rows add up to 1
    nearest: npt.NDArray[np.int64]  # (size,) tap of the source pixel that holds the output pixel's centre
    margin: int  # source pixels that the window reaches beyond the chip on either side
    length: int  # source pixels of the window

    @property
    def weights(self) -> Weights:
        """For machine code; plain where every output pixel is the source pixel at its place."""
        size, count = self.weight.shape
        plain = count == 1 and self.length == size
        twofold = count == 2 and size == 2 * (self.length - 2 * self.margin)
        return Weights(self.first, self.weight, self.nearest, self.length, plain, twofold)


@cache
def taps(source: int, size: int, method: str) -> Taps:
    """Taps from *source* pixels to *size* pixels of the same extent.

    Args:
        method: nearest, bilinear, or cubic (Keys 1981, a = -0.5); where the source is finer, all but nearest average.
    """
    ratio = source / size
    if ratio > 1 and method != "nearest":
        return _averaging(source, size)
    if source == size:
        method = "nearest"  # at the centres of source pixels every method gives the source's value
    centre = (np.arange(size) + 0.5) * ratio - 0.5
    count = round(2 * _REACH[method])
    start = np.floor(centre + (0.5 if method == "nearest" else 1 - count / 2)).astype(np.int64)
    margin = max(0, int(-start.min()), int(start.max()) + count - source)
    distance = np.abs(start[:, None] + np.arange(count) - centre[:, None])
    weight = _kernel(distance, method)
    weight /= weight.sum(1, keepdims=True)
    nearest = np.floor((np.arange(size) + 0.5) * ratio).astype(np.int64) - start
    return Taps(start + margin, weight.astype(np.float32), nearest, margin, source + 2 * margin)


def _kernel(distance: npt.NDArray[np.float64], method: str) -> npt.NDArray[np.float64]:
    if method == "nearest":
        return np.ones_like(distance)
    if method == "bilinear":
        return 1 - distance
    inner = 1.5 * distance**3 - 2.5 * distance**2 + 1
    outer = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance < 1, inner, np.where(distance < 2, outer, 0.0))


def _averaging(source: int, size: int) -> Taps:
    ratio = source / size
    edges = np.arange(size + 1) * ratio
    start = np.floor(edges[:-1] + 1e-9).astype(np.int64)
    count = int((np.ceil(edges[1:] - 1e-9).astype(np.int64) - start).max())
    start = np.minimum(start, source - count)
    pixel = start[:, None] + np.arange(count)
    overlap = np.minimum(pixel + 1, edges[1:, None]) - np.maximum(pixel, edges[:-1, None])
    weight = np.maximum(overlap, 0) / ratio
    return Taps(start, weight.astype(np.float32), np.full(size, -1), 0, source)


class Held(NamedTuple):
    """What chips need of a raster: squares that begin at (top, left), which may reach beyond it."""

    values: npt.NDArray[Any]  # (places, rows, columns), numbers as they are in the file
    place: npt.NDArray[np.int64]  # (n,) where each chip's is; -1: it could not be read
    top: npt.NDArray[np.int64]  # (n,)
    left: npt.NDArray[np.int64]
    height: int  # of the raster
    width: int
    nodata: np.float32  # NaN where none is declared


class Weights(NamedTuple):
    """`Taps` for machine code."""

    first: npt.NDArray[np.int64]
    weight: Singles
    nearest: npt.NDArray[np.int64]
    length: int
    plain: bool
    twofold: bool  # two output pixels for each source pixel, interpolated from two: as 20 m become 10 m


@compiled
def resample(windows: Any, how: Any, out: Any) -> None:
    """Chips as (n, size, size), NaN where no data is."""
    window = np.empty((how.length, how.length), np.float32)
    across = np.empty((how.length, out.shape[1]), np.float32)
    for i in range(len(out)):
        holes = _look(windows, i, window)
        if how.plain:
            out[i] = window
        else:
            _weigh(window, holes, how, across, out[i])


@compiled
def resample_and_store(
    windows: Any, how: Any, stored: Any, rows: Any, band: int, out: Any, data: Any
) -> None:
    """The same, stored (`storing.store`) as one band in *rows* of *out*.

    Args:
        out: integers, (chips, bands, size, size).
        data: booleans, (chips, size, size); becomes False where no data is.
    """
    window = np.empty((how.length, how.length), np.float32)
    across = np.empty((how.length, out.shape[2]), np.float32)
    chip = np.empty((out.shape[2], out.shape[2]), np.float32)
    for i in range(len(rows)):
        holes = _look(windows, i, window)
        if how.plain:
            store(window, stored, out[rows[i], band], data[rows[i]])
        else:
            _weigh(window, holes, how, across, chip)
            store(chip, stored, out[rows[i], band], data[rows[i]])


@compiled
def _look(windows: Any, i: int, out: Any) -> bool:
    """Fill *out* with the window of chip *i*; whether it has pixels without data."""
    length, top, left, place = len(out), windows.top[i], windows.left[i], windows.place[i]
    low_y, high_y = max(-top, 0), min(length, windows.height - top)
    low_x, high_x = max(-left, 0), min(length, windows.width - left)
    beyond = high_y - low_y < length or high_x - low_x < length
    if beyond or place < 0:
        out[:] = np.nan
    if high_y <= low_y or high_x <= low_x or place < 0:
        return True
    unknown, nodata = np.int64(0), windows.nodata
    for y in range(low_y, high_y):
        source, into = windows.values[place, y, low_x:high_x], out[y, low_x:high_x]
        for x in range(len(into)):
            number = np.float32(source[x])
            number = np.float32(np.nan) if number == nodata else number
            into[x] = number
            unknown += np.int64(number != number)
    return bool(beyond or unknown > 0)


@compiled
def _weigh(window: Any, holes: bool, how: Any, across: Any, out: Any) -> None:
    if holes:
        _with_holes(window, how.first, how.weight, how.nearest, out)
        return
    size, count, first, weight = len(out), how.weight.shape[1], how.first, how.weight
    if count == 1:
        for y in range(size):
            line, into = window[first[y]], out[y]
            for x in range(size):
                into[x] = line[first[x]]
        return
    for y in range(len(window)):
        line = window[y]
        if how.twofold:
            _double(line, how, across[y])
            continue
        if count == 2:
            for x in range(size):
                across[y, x] = weight[x, 0] * line[first[x]] + weight[x, 1] * line[first[x] + 1]
            continue
        for x in range(size):
            total = np.float32(0)
            for k in range(count):
                total += weight[x, k] * line[first[x] + k]
            across[y, x] = total
    for y in range(size):
        into = out[y]
        if count == 2:
            upper, lower = weight[y, 0], weight[y, 1]
            above, below = across[first[y]], across[first[y] + 1]
            for x in range(size):
                into[x] = upper * above[x] + lower * below[x]
            continue
        into[:] = 0
        for k in range(count):
            share, row = weight[y, k], across[first[y] + k]
            for x in range(size):
                into[x] += share * row[x]


@compiled
def _double(line: Any, how: Any, out: Any) -> None:
    """What `_weigh` does along a row, as vectors: the weights are the same for every second pixel."""
    half, even, odd = len(out) // 2, line[how.first[0] :], line[how.first[1] :]
    a, b, c, d = how.weight[0, 0], how.weight[0, 1], how.weight[1, 0], how.weight[1, 1]
    for k in range(half):
        out[2 * k] = a * even[k] + b * even[k + 1]
        out[2 * k + 1] = c * odd[k] + d * odd[k + 1]


@compiled
def _with_holes(window: Any, first: Any, weight: Any, nearest: Any, out: Any) -> None:
    size, count = len(first), weight.shape[1]
    for y in range(size):
        for x in range(size):
            total, known = 0.0, 0.0
            for j in range(count):
                for k in range(count):
                    value = window[first[y] + j, first[x] + k]
                    if not np.isnan(value):
                        total += weight[y, j] * weight[x, k] * value
                        known += weight[y, j] * weight[x, k]
            if nearest[y] < 0:
                out[y, x] = total / known if known >= 0.499 else np.nan
                continue
            centre = window[first[y] + nearest[y], first[x] + nearest[x]]
            if np.isnan(centre) or known < 0.25:  # with a cubic's negative weights little may be left
                out[y, x] = centre
            else:
                out[y, x] = total / known
