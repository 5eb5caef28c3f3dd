"""GDAL's environment, set in one place, and the one way to open a raster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from curate.catalog.errors import InputError
from curate.signing import hide, sign

_ENVIRONMENT = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # 4 instead of 13 requests to open a file behind HTTP
    "GDAL_CACHEMAX": "256",  # MB per process; only as a variable: rasterio.Env would read it as bytes
    "GDAL_NUM_THREADS": "1",  # processes work side by side
    "GDAL_HTTP_MAX_RETRY": "4",  # GDAL remembers a failed request, so that only GDAL itself can repeat it
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_TIME": "20",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
}


def set_environment() -> None:
    """Prepare GDAL's environment; what the user has set stays."""
    for name in ("PROJ_LIB", "PROJ_DATA"):  # another PROJ's database breaks the one in rasterio's wheel
        os.environ.pop(name, None)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextmanager
def opened(href: str, what: str = "Raster") -> Iterator[Any]:
    """A rasterio dataset, opened for this process and closed at the end of the block.

    Raises:
        InputError: it cannot be opened, or cannot be read within the block; names *what* it should be.
    """
    set_environment()
    import rasterio
    from rasterio.errors import RasterioIOError

    try:
        source = rasterio.open(sign(href))
    except RasterioIOError as error:
        raise InputError(f"{what} {href} cannot be read", hide(" ".join(str(error).split()))) from error
    with source:
        try:
            yield source
        except RasterioIOError as error:
            raise InputError(f"{what} {href} is broken", hide(" ".join(str(error).split()))) from error
