"""Pictures of images: optical bands as colours, radar as VV, VH and their difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog import InputError
from curate.catalog.files import atomic
from train.data import Sensor
from train.evaluate.images import Images

RGB = ("B04", "B03", "B02")
GAP = 4  # px between pictures
MARK = 3  # px of the frame: green for a hit of a common label, red for another


def rendered(images: Images, prefix: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Images of one sensor as colours [n, px, px, 3], each stretched between its 2nd and 98th percentile."""
    sensor = next(s for s in images.config.sensors if s.prefix == prefix)
    stored = images.gather(rows)[prefix].astype(np.float32)
    values = np.where(stored == sensor.nodata, np.nan, stored)
    chosen = channels(values, sensor)
    low, high = np.nanpercentile(chosen, [2, 98], axis=(2, 3), keepdims=True)
    scaled = np.nan_to_num((chosen - low) / np.maximum(high - low, 1e-9))
    return np.moveaxis((255 * scaled.clip(0, 1)).astype(np.uint8), 1, -1)


def channels(values: npt.NDArray[Any], sensor: Sensor) -> npt.NDArray[Any]:
    """The three of [n, bands, px, px] that are shown as red, green and blue: [n, 3, px, px]."""
    if set(RGB) <= set(sensor.bands):
        return values[:, [sensor.bands.index(band) for band in RGB]]
    if len(sensor.bands) == 2:
        return np.stack([values[:, 0], values[:, 1], values[:, 0] - values[:, 1]], 1)
    return values[:, [0, len(sensor.bands) // 2, -1]]


def contact_sheet(
    path: Path,
    queries: npt.NDArray[np.uint8],
    hits: npt.NDArray[np.uint8],
    relevant: npt.NDArray[np.bool_],
) -> None:
    """Write a PNG: a row for each query [q, px, px, 3], its hits [q, k, px, px, 3] to its right, framed.

    Raises:
        InputError: pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError(
            "Pictures need the package pillow", do="Install it with: pip install pillow"
        ) from error
    framed = hits.copy()
    colours = np.where(relevant[..., None], [0, 160, 0], [200, 0, 0]).astype(np.uint8)  # [q, k, 3]
    edge = np.ones(hits.shape[2:4], bool)
    edge[MARK:-MARK, MARK:-MARK] = False
    framed[:, :, edge] = colours[:, :, None]
    rows = np.concatenate([queries[:, None], framed], axis=1)  # [q, 1+k, px, px, 3]
    rows = np.pad(rows, ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
    sheet = np.concatenate([np.concatenate([*row], axis=1) for row in rows], axis=0)
    with atomic(path) as part:
        Image.fromarray(sheet).save(part, format="PNG")
