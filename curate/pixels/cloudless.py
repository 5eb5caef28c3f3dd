"""Clouds of Sentinel-2 Level-1C chips by s2cloudless, an optional package (``pip install curate-and-train[cloud]``).

The detector is a gradient-boosted classifier of single pixels by ten bands (Sinergise, sentinel2-cloud-detector);
its probabilities are averaged over about 220 m and what is found is widened by 110 m, as its authors advise.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog.errors import InputError

Floats = npt.NDArray[np.float64]
THRESHOLD = 0.4  # probability, the authors' default
_AVERAGED_M, _WIDENED_M = 220.0, 110.0


def detect(reflectance: Floats, resolution_m: float) -> Floats:
    """1 where a pixel is cloud, 0 where not, NaN where a band has no data; shape (chips, rows, columns).

    Args:
        reflectance: top of the atmosphere, (chips, 10, rows, columns), bands in the order of `Sensor.cloud_bands`.

    Raises:
        InputError: the package s2cloudless is not installed.
    """
    missing = np.isnan(reflectance).any(axis=1)
    inputs = np.nan_to_num(np.moveaxis(reflectance, 1, -1))
    found = _detector(max(1, round(_AVERAGED_M / resolution_m)), max(1, round(_WIDENED_M / resolution_m)))
    return np.where(missing, np.nan, found.get_cloud_masks(inputs).astype(np.float64))


def require() -> Any:
    """The class of the detector.

    Raises:
        InputError: the package s2cloudless is not installed.
    """
    try:
        from s2cloudless import S2PixelCloudDetector
    except ImportError as error:
        raise InputError(
            "Clouds are to be told by s2cloudless, which is not installed",
            str(error),
            "pip install 'curate-and-train[cloud]', or set pixels.cloud_detector to none",
        ) from error
    return S2PixelCloudDetector


@cache
def _detector(average_px: int, widen_px: int) -> Any:
    """The classifier, read once in a process."""
    return require()(threshold=THRESHOLD, average_over=average_px, dilation_size=widen_px, all_bands=False)
