"""Bands brought to the chips' grid where both grids agree: weights per row and column, applied in machine code.

A coarser band is interpolated, a finer one averaged. Pixels without data take no part: the weights of the others are
scaled up to 1. An interpolated pixel has data where the source pixel in which its centre lies has; an averaged one
where at least half of its area has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.compiled import compiled

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
    def plain(self) -> bool:
        """Whether every output pixel is the source pixel at its place."""
        return self.weight.shape[1] == 1 and self.length == len(self.first)


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


def resample(windows: Singles, how: Taps) -> Singles:
    """Windows (n, length, length), NaN where no data is, as chips (n, size, size)."""
    if how.plain:
        return windows
    out = np.empty((len(windows), len(how.first), len(how.first)), np.float32)
    _resample(windows, how.first, how.weight, how.nearest, out)
    return out


@compiled
def blank(windows: Any, nodata: Any) -> None:
    """Put NaN in place of *nodata*."""
    for i in range(windows.shape[0]):
        for y in range(windows.shape[1]):
            for x in range(windows.shape[2]):
                if windows[i, y, x] == nodata:
                    windows[i, y, x] = np.nan


@compiled
def _resample(windows: Any, first: Any, weight: Any, nearest: Any, out: Any) -> None:
    length, size, count = windows.shape[1], out.shape[1], weight.shape[1]
    across = np.empty((length, size), np.float32)
    for i in range(len(windows)):
        window = windows[i]
        if np.isnan(window.sum()):
            _with_holes(window, first, weight, nearest, out[i])
            continue
        for y in range(length):
            for x in range(size):
                total = np.float32(0)
                for k in range(count):
                    total += weight[x, k] * window[y, first[x] + k]
                across[y, x] = total
        for y in range(size):
            out[i, y] = 0
            for k in range(count):
                share, row, into = weight[y, k], across[first[y] + k], out[i, y]
                for x in range(size):
                    into[x] += share * row[x]


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
