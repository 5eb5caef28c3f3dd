"""Whether a chip may be kept: data in every band, little cloud, a radar signal that varies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.sensors import Sensor

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """Quality of the chips of one sensor, one value a chip."""

    valid: npt.NDArray[np.float32]  # share of pixels with data in every band
    cloud: npt.NDArray[np.float32]  # share of cloud, cirrus and shadow; NaN without a mask


def assess(values: Floats, mask: Floats | None, sensor: Sensor) -> Quality:
    """Quality of chips.

    Args:
        values: physical values, (chips, bands, rows, columns), NaN where there is no data.
        mask: codes of the scene classification on the same grid, or None.
    """
    data = np.asarray(~np.isnan(values).any(axis=1))
    if mask is None:
        return Quality(_share(data), np.full(len(values), np.nan, np.float32))
    data &= ~np.isin(mask, sensor.mask_nodata) & ~np.isnan(mask)
    return Quality(_share(data), _share(np.isin(mask, sensor.mask_cloud)))


def refuse(
    quality: Quality, values: Floats, sensor: Sensor, min_valid: float, max_cloud: float
) -> list[str | None]:
    """For each chip the reason to refuse it, or None."""
    without_data = quality.valid < min_valid
    cloudy = quality.cloud > max_cloud  # False where the cloud share is not known
    flat = np.zeros(len(values), bool)
    if sensor.kind == "radar":
        spread = np.nanmax(values, axis=(2, 3), initial=-np.inf) - np.nanmin(
            values, axis=(2, 3), initial=np.inf
        )
        flat = (spread == 0).any(1)
    reasons = np.select(
        [without_data, cloudy, flat],
        [f"{sensor.prefix}: no data", f"{sensor.prefix}: cloud", f"{sensor.prefix}: constant backscatter"],
        default="",
    )
    return [reason or None for reason in reasons.tolist()]


def _share(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    share: npt.NDArray[np.float32] = pixels.mean(axis=(-2, -1)).astype(np.float32)
    return share
