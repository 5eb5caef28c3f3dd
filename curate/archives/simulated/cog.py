"""Cloud Optimized GeoTIFFs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.io
import rasterio.shutil
from rasterio.transform import Affine

ENVIRONMENT: dict[str, Any] = {"GDAL_CACHEMAX": 128, "GDAL_NUM_THREADS": 1, "GDAL_PAM_ENABLED": False}


def write_cog(
    path: Path,
    pixels: npt.NDArray[Any],
    epsg: int,
    transform: Affine,
    nodata: float | None,
    description: str,
) -> None:
    """Write one band, named *description*, as a Cloud Optimized GeoTIFF.

    DEFLATE in blocks of 512 px, with overviews down to one block. Overviews are every second pixel, so that they
    keep the values' statistics, classes and few digits.
    """
    floating = pixels.dtype.kind == "f"
    profile = {
        "driver": "GTiff",
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "count": 1,
        "dtype": pixels.dtype,
        "crs": f"EPSG:{epsg}",
        "transform": transform,
        "nodata": nodata,
    }
    with rasterio.io.MemoryFile() as source, rasterio.io.MemoryFile() as target:
        with source.open(**profile) as dataset:
            dataset.write(np.ascontiguousarray(pixels), 1)
            dataset.set_band_description(1, description)
        rasterio.shutil.copy(
            source.name,
            target.name,
            driver="COG",
            compress="DEFLATE",
            level=4,
            predictor="FLOATING_POINT" if floating else "STANDARD" if pixels.dtype.itemsize > 1 else "NO",
            blocksize=512,
            overviews="AUTO",
            overview_resampling="NEAREST",
            overview_compress="DEFLATE",
        )
        path.write_bytes(target.getbuffer())
