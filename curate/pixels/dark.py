"""The darkest numbers of a whole band, from its smallest overview."""

from __future__ import annotations

import numpy as np

from curate.catalog.errors import InputError
from curate.gdal import opened
from curate.radiometry import LOW_PERCENT

_LONGEST_PX = 512  # of the decimated read: 110 km in steps of 215 m
_FEWEST = 50  # valid pixels


def low_percentile(href: str, nodata: float | None) -> float:
    """The number below which `LOW_PERCENT` of the band's valid pixels lie; zero counts as no data.

    Reads one pixel in several, from an overview where there is one.

    Raises:
        InputError, rasterio.errors.RasterioError: the file cannot be read, or has next to no data.
    """
    with opened(href, "Band") as source:
        shrink = max(1.0, max(source.width, source.height) / _LONGEST_PX)
        shape = (max(1, round(source.height / shrink)), max(1, round(source.width / shrink)))
        numbers = source.read(1, out_shape=shape, out_dtype="float64")
        fill = {value for value in (0.0, nodata, source.nodata) if value is not None}
    valid = numbers[np.isfinite(numbers) & ~np.isin(numbers, list(fill))]
    if valid.size < _FEWEST:
        raise InputError(f"Band {href} has next to no data")
    return float(np.percentile(valid, LOW_PERCENT))
