"""Chips as pictures: stored values as red, green and blue for a person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from curate.catalog.reader import Catalog
from curate.catalog.schema import SensorInfo
from curate.catalog.shards import open_shard, pixels

Floats = npt.NDArray[np.float64]
Rgb = npt.NDArray[np.uint8]
_RGB_NM = (665.0, 560.0, 492.0)
_GAP_PX = 8


def values(catalog: Catalog, sensor: SensorInfo, shard: str, row: int) -> Floats:
    """One chip in physical units, (bands, rows, columns), NaN where no data is."""
    batch = open_shard(catalog.chips_folder / shard)
    stored = pixels(batch, sensor.prefix, len(sensor.bands), catalog.meta.chip_px)[row]
    scales = np.array(sensor.scales)[:, None, None]
    return np.where(stored == sensor.nodata, np.nan, stored * scales + sensor.offset)


def render(chip: Floats, sensor: SensorInfo) -> Rgb:
    """True colour of an optical sensor, VV, VH and their ratio of a radar, else the first band in grey."""
    if sensor.unit == "dB":
        return backscatter(chip)
    known = [band.wavelength_nm for band in sensor.bands]
    if any(known):
        return true_colour(chip, known)
    low, high = np.nanpercentile(chip[0], (2, 98)) if np.isfinite(chip[0]).any() else (0.0, 1.0)
    return _bytes(np.repeat(((chip[0] - low) / max(high - low, 1e-9))[..., None], 3, axis=-1))


def true_colour(chip: Floats, wavelengths_nm: list[float | None]) -> Rgb:
    """The bands nearest to red, green and blue; reflectance 0 to 0.3 with a gamma."""
    far = [np.inf if nm is None else nm for nm in wavelengths_nm]
    picked = [chip[int(np.argmin(np.abs(np.subtract(far, nm))))] for nm in _RGB_NM]
    return _bytes(np.clip(np.stack(picked, axis=-1) / 0.3, 0, 1) ** (1 / 1.6))


def backscatter(chip: Floats) -> Rgb:
    """VV, VH and their ratio in dB as red, green, blue; one polarisation alone in grey."""
    if len(chip) == 1:
        return _bytes(np.repeat(((chip[0] + 20) / 20)[..., None], 3, axis=-1))
    vv, vh = chip[:2]
    return _bytes(np.stack([(vv + 20) / 20, (vh + 27) / 20, 1 - (vv - vh - 2) / 14], axis=-1))


def _bytes(shown: Floats) -> Rgb:
    clipped: Rgb = (np.clip(np.nan_to_num(shown), 0, 1) * 255).astype(np.uint8)
    return clipped


def save(path: Path, images: list[Rgb], times: int) -> None:
    """Images of one size side by side, each pixel as *times* × *times*, as PNG."""
    from PIL import Image

    side = images[0].shape[0] * times
    sheet = Image.new("RGB", (len(images) * (side + _GAP_PX) - _GAP_PX, side), "white")
    for i, image in enumerate(images):
        large = Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(large, (i * (side + _GAP_PX), 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, format="PNG", optimize=True)
