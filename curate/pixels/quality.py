"""Whether a chip may be kept: data in every band, little cloud, a radar signal that varies and can be true."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog.schema import SensorInfo
from curate.compiled import compiled
from curate.sensors import Flag, Mask, Sensor

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
TILE_PX = 8  # square of pixels in which backscatter never is one number, because of speckle
CLEAR, CLOUD, NO_DATA = 0, 1, 2  # what a pixel of a mask is
BRIGHTEST_DB, DARKEST_DB = 20.0, -60.0  # no chip of land or sea has its median beyond in Sentinel-1


@dataclass(frozen=True)
class Quality:
    """Quality of the chips of one sensor, one value a chip."""

    valid: npt.NDArray[np.float32]  # share of pixels with data in every band
    cloud: npt.NDArray[np.float32]  # share of cloud, cirrus and shadow; NaN where it is not known


def clouds(codes: npt.NDArray[Any], mask: Mask) -> npt.NDArray[np.uint8]:
    """What a mask's codes (16 bits, NaN where there is none) tell of each pixel: `CLEAR`, `CLOUD` or `NO_DATA`."""
    found = np.empty(codes.shape, np.uint8)
    _look_up(np.ascontiguousarray(codes).ravel(), _meanings(mask), found.ravel())
    return found


@compiled
def _look_up(codes: Any, meanings: Any, out: Any) -> None:
    for i in range(len(codes)):
        out[i] = NO_DATA if np.isnan(codes[i]) else meanings[np.int64(codes[i]) & 0xFFFF]


@compiled
def mark(found: Any, rows: Any, data: Any, cloud: Any) -> None:
    """Put what `clouds` tells of some chips into *rows* of booleans (chips, rows, columns): data there, cloud there."""
    for i in range(len(rows)):
        into, clouded = data[rows[i]].ravel(), cloud[rows[i]].ravel()
        told = found[i].ravel()
        for k in range(len(told)):
            into[k] = into[k] & (told[k] != NO_DATA)
            clouded[k] = told[k] == CLOUD


@cache
def _meanings(mask: Mask) -> npt.NDArray[np.uint8]:
    """What each code from 0 to 65535 means: cloud, cirrus and shadow are `CLOUD`."""
    every = np.arange(2**16)
    found = np.where(_any(every, mask.nodata), NO_DATA, np.where(_any(every, mask.cloud), CLOUD, CLEAR))
    return found.astype(np.uint8)


def _any(codes: npt.NDArray[np.int64], flags: tuple[Flag, ...]) -> Booleans:
    found = np.zeros(codes.shape, bool)
    for flag in flags:
        found |= np.isin((codes >> flag.first) & ((1 << flag.bits) - 1), flag.values)
    return found


def refuse(
    quality: Quality,
    pixels: npt.NDArray[Any],
    info: SensorInfo,
    sensor: Sensor,
    min_valid: float,
    max_cloud: float,
) -> list[str | None]:
    """For each chip the reason to refuse it, or None.

    Args:
        pixels: stored integers, (chips, bands, rows, columns).
    """
    without_data = quality.valid < min_valid
    cloudy = quality.cloud > max_cloud  # False where the cloud share is not known
    flat = untrue = np.zeros(len(pixels), bool)
    if sensor.kind == "radar":
        flat = constant_share(pixels, info.nodata) > 1 - min_valid
        untrue = implausible(pixels, info)
    reasons = np.select(
        [without_data, cloudy, untrue, flat],  # what cannot be true was clipped, and may be flat for that
        [
            f"{sensor.prefix}: no data",
            f"{sensor.prefix}: cloud",
            f"{sensor.prefix}: implausible backscatter",
            f"{sensor.prefix}: constant backscatter",
        ],
        default="",
    )
    return [reason or None for reason in reasons.tolist()]


def constant_share(pixels: npt.NDArray[Any], nodata: int) -> Floats:
    """Share of each chip that lies in squares of `TILE_PX` pixels of one and the same number, in its worst band.

    Blocks that a processor filled – with zeros, mostly – look like data. Single pixels below the noise floor, which
    have one number too, lie between others.

    Args:
        pixels: stored integers, (chips, bands, rows, columns).
    """
    tiles = (pixels.shape[2] // TILE_PX) * (pixels.shape[3] // TILE_PX)
    found: Floats = _constant_tiles(pixels, nodata).max(1) / tiles if tiles else np.full(len(pixels), np.nan)
    return found  # missing pixels are counted as such


@compiled
def _constant_tiles(pixels: Any, nodata: int) -> Any:
    """(chips, bands) Squares of `TILE_PX` pixels of one number that is not *nodata*."""
    found = np.zeros(pixels.shape[:2], np.int64)
    for i in range(pixels.shape[0]):
        for band in range(pixels.shape[1]):
            for top in range(0, pixels.shape[2] - TILE_PX + 1, TILE_PX):
                for left in range(0, pixels.shape[3] - TILE_PX + 1, TILE_PX):
                    found[i, band] += _is_constant(pixels[i, band], top, left, nodata)
    return found


@compiled
def _is_constant(image: Any, top: int, left: int, nodata: int) -> int:
    first = image[top, left]
    if first == nodata:
        return 0
    for y in range(top, top + TILE_PX):
        for x in range(left, left + TILE_PX):
            if image[y, x] != first:
                return 0
    return 1


def implausible(pixels: npt.NDArray[Any], info: SensorInfo) -> Booleans:
    """Whether each chip's backscatter cannot be in dB: median out of range, or not a pixel below 0 dB, in any band.

    Linear power taken for dB has no negative value; uncalibrated numbers taken for power lie above 20 dB.

    Args:
        pixels: stored integers, (chips, bands, rows, columns).
    """
    bright, dark, zero = (
        np.array([(level - info.offset) / scale for scale in info.scales])
        for level in (BRIGHTEST_DB, DARKEST_DB, 0.0)
    )
    flat = np.ascontiguousarray(pixels).reshape(*pixels.shape[:2], -1)
    found: Booleans = _implausible(flat, info.nodata, bright, dark, zero)
    return found


@compiled
def _implausible(pixels: Any, nodata: int, bright: Any, dark: Any, zero: Any) -> Any:
    found, missing = np.zeros(len(pixels), np.bool_), pixels.dtype.type(nodata)
    for i in range(pixels.shape[0]):
        for band in range(pixels.shape[1]):
            known, above, under, negative = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
            high, low = np.int32(np.floor(bright[band])), np.int32(np.ceil(dark[band]))
            middle = np.int32(np.ceil(zero[band]))  # of integers the same as beside what was rounded
            values = pixels[i, band]
            for k in range(len(values)):
                number, data = np.int32(values[k]), values[k] != missing
                known += np.int64(data)
                above += np.int64(data & (number > high))
                under += np.int64(data & (number < low))
                negative += np.int64(data & (number < middle))
            # more than half of the pixels: the median is
            if 2 * above > known or 2 * under > known or (known > 0 and negative == 0):
                found[i] = True
    return found


def share(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Share of each chip's pixels that are true; *pixels* has the shape (chips, rows, columns)."""
    bits = np.bitwise_count(np.packbits(pixels.reshape(len(pixels), -1), axis=1)).sum(1, dtype=np.int64)
    found: npt.NDArray[np.float32] = (bits / (pixels.shape[1] * pixels.shape[2])).astype(np.float32)
    return found
