"""Whether a chip may be kept: data in every band, little cloud, a radar signal that varies and can be true."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog.schema import SensorInfo
from curate.sensors import Flag, Mask, Sensor

Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
TILE_PX = 8  # square of pixels in which backscatter never is one number, because of speckle
BRIGHTEST_DB, DARKEST_DB = 20.0, -60.0  # no chip of land or sea has its median beyond in Sentinel-1


@dataclass(frozen=True)
class Quality:
    """Quality of the chips of one sensor, one value a chip."""

    valid: npt.NDArray[np.float32]  # share of pixels with data in every band
    cloud: npt.NDArray[np.float32]  # share of cloud, cirrus and shadow; NaN where it is not known


def clouds(codes: npt.NDArray[Any], mask: Mask) -> Floats:
    """1 where a mask's codes (16 bits) tell of cloud, cirrus or shadow, 0 where not, NaN where there is no data."""
    absent = np.isnan(codes)
    found: Floats = _meanings(mask)[np.where(absent, 0, codes).astype(np.uint16)]
    found[absent] = np.nan
    return found


@cache
def _meanings(mask: Mask) -> Floats:
    """What each code from 0 to 65535 means."""
    every = np.arange(2**16)
    return np.where(_any(every, mask.nodata), np.nan, _any(every, mask.cloud).astype(np.float64))


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
    tiles_y, tiles_x = pixels.shape[2] // TILE_PX, pixels.shape[3] // TILE_PX
    inner = pixels[:, :, : tiles_y * TILE_PX, : tiles_x * TILE_PX]
    rows = inner.reshape(*pixels.shape[:2], tiles_y, TILE_PX, tiles_x * TILE_PX)
    high, low = (
        reduce(rows, axis=3).reshape(*pixels.shape[:2], tiles_y, tiles_x, TILE_PX)
        for reduce in (np.max, np.min)
    )
    high, low = high.max(-1), low.min(-1)
    found: Floats = ((high == low) & (high != nodata)).mean((2, 3)).max(1)
    return found  # missing pixels are counted as such


def implausible(pixels: npt.NDArray[Any], info: SensorInfo) -> Booleans:
    """Whether each chip's backscatter cannot be in dB: median out of range, or not a pixel below 0 dB, in any band.

    Linear power taken for dB has no negative value; uncalibrated numbers taken for power lie above 20 dB.

    Args:
        pixels: stored integers, (chips, bands, rows, columns).
    """
    bright, dark, zero = (
        np.array([(level - info.offset) / scale for scale in info.scales])[:, None, None]
        for level in (BRIGHTEST_DB, DARKEST_DB, 0.0)
    )
    data = pixels != info.nodata
    known = data.sum((2, 3))
    too_bright = 2 * (data & (pixels > bright)).sum((2, 3)) > known  # more than half: the median is
    too_dark = 2 * (data & (pixels < dark)).sum((2, 3)) > known
    never_negative = (known > 0) & ~(data & (pixels < zero)).any((2, 3))
    return np.asarray((too_bright | too_dark | never_negative).any(1))


def share(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Share of each chip's pixels that are true; *pixels* has the shape (chips, rows, columns)."""
    found: npt.NDArray[np.float32] = pixels.mean(axis=(-2, -1)).astype(np.float32)
    return found
