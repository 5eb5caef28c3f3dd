"""Chips as pictures: bands of a sensor as red, green and blue for a person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog.reader import Catalog
from curate.catalog.schema import SensorInfo
from curate.catalog.shards import open_shard, pixels

_NEAR_NM = 45.0  # of a band's wavelength to a colour's
_COLOURS = {"red": 665.0, "green": 560.0, "blue": 490.0, "near infrared": 835.0}
_RADAR_DB = {"VV": (-22.0, -2.0), "VH": (-28.0, -8.0), "HH": (-22.0, -2.0), "HV": (-28.0, -8.0)}
_RATIO_DB = (3.0, 14.0)
_BRIGHT, _GAMMA = 0.4, 1.6  # reflectance that is shown as white
_GAP_PX = 8
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Composite:
    """Three bands (or one) as a picture."""

    name: str
    bands: tuple[str, ...]
    kind: str  # optical, radar or grey


def composites(info: SensorInfo) -> list[Composite]:
    """What a sensor's bands can be shown as; the first band alone where nothing better is known."""
    nearest = {
        colour: min(
            (b for b in info.bands if b.wavelength_nm is not None and abs(b.wavelength_nm - nm) <= _NEAR_NM),
            key=lambda b, nm=nm: (b.resolution_m, abs((b.wavelength_nm or 0) - nm)),  # type: ignore[misc]
            default=None,
        )
        for colour, nm in _COLOURS.items()
    }
    name = info.prefix.upper()
    red, green, blue, infrared = (nearest[c].name if nearest[c] else "" for c in _COLOURS)  # type: ignore[union-attr]
    found = []
    if red and green and blue:
        found.append(Composite(f"{name} true colour", (red, green, blue), "optical"))
    if infrared and red and green:
        found.append(Composite(f"{name} false colour", (infrared, red, green), "optical"))
    for co, cross in (("VV", "VH"), ("HH", "HV")):
        if {co, cross} <= set(info.band_names):
            found.append(Composite(f"{name} {co}, {cross}, {co} − {cross}", (co, cross), "radar"))
    return found or [Composite(f"{name} {info.bands[0].name}", (info.bands[0].name,), "grey")]


def stored(catalog: Catalog, info: SensorInfo, shard: str, row: int) -> npt.NDArray[Any]:
    """One chip as it is stored, (bands, rows, columns)."""
    batch = open_shard(catalog.chips_folder / shard)
    every: npt.NDArray[Any] = pixels(batch, info.prefix, len(info.bands), catalog.meta.chip_px)
    chip: npt.NDArray[Any] = every[row]
    return chip


def compose(numbers: npt.NDArray[Any], info: SensorInfo, composite: Composite) -> Image:
    """The picture of a chip, shape (rows, columns, 3); *numbers* are as stored, of shape (bands, rows, columns).

    Reflectance and backscatter are shown between fixed values, so that chips compare; other values from the 2nd to
    the 98th percentile of the chip's own. What has no data is grey.
    """
    names = info.band_names
    index = [names.index(band) for band in composite.bands]
    picked = numbers[index]
    valid = (picked != info.nodata).all(0)
    values = picked.astype(np.float32) * np.array(info.scales, np.float32)[index, None, None] + info.offset
    if composite.kind == "radar":
        ends = [*(_RADAR_DB[band] for band in composite.bands), _RATIO_DB]
        values = np.concatenate([values, values[:1] - values[1:2]])
        shown = np.stack([(v - low) / (high - low) for v, (low, high) in zip(values, ends, strict=True)])
    elif composite.kind == "optical" and info.unit == "reflectance":
        shown = (np.clip(values, 0, None) / _BRIGHT) ** (1 / _GAMMA)
    else:
        known = values[:, valid]
        low, high = np.percentile(known, [2, 98]) if known.size else (0.0, 1.0)
        shown = (values - low) / max(float(high - low), 1e-6)
        shown = np.repeat(shown, 3, 0) if len(shown) == 1 else shown
    image = (np.clip(shown, 0, 1) * 255).astype(np.uint8)
    image[:, ~valid] = 128
    return np.ascontiguousarray(image.transpose(1, 2, 0))


def save(path: Path, images: list[Image], times: int) -> None:
    """Images of one size side by side, each pixel as *times* × *times*, as PNG."""
    from PIL import Image as Pictures

    side = images[0].shape[0] * times
    sheet = Pictures.new("RGB", (len(images) * (side + _GAP_PX) - _GAP_PX, side), "white")
    for i, image in enumerate(images):
        large = Pictures.fromarray(image).resize((side, side), Pictures.Resampling.NEAREST)
        sheet.paste(large, (i * (side + _GAP_PX), 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, format="PNG", optimize=True)
