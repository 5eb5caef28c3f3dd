"""The darkest numbers of a band."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from curate.catalog.errors import InputError
from curate.pixels.dark import low_percentile


def write(path: Path, values: np.ndarray, nodata: float | None = None, overviews: bool = False) -> str:
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1, dtype=values.dtype,
        crs="EPSG:32633", transform=Affine(10, 0, 6e5, 0, -10, 5e6), nodata=nodata, tiled=True,
        blockxsize=256, blockysize=256,
    ) as file:  # fmt: skip
        file.write(values, 1)
        if overviews:
            file.build_overviews([2, 4])
    return str(path)


def test_the_number_below_which_half_a_percent_lie(tmp_path: Path) -> None:
    values = np.arange(1, 10_001, dtype=np.uint16).reshape(100, 100)
    assert low_percentile(write(tmp_path / "a.tif", values), None) == pytest.approx(
        np.percentile(values, 0.5)
    )


@pytest.mark.parametrize(("declared", "own"), [(None, 7), (7, None), (7, 0)])
def test_no_data_and_zero_do_not_count(declared: float | None, own: float | None, tmp_path: Path) -> None:
    values = np.full((100, 100), 1500, np.uint16)
    values[:40], values[40:60] = 0, 7
    assert low_percentile(write(tmp_path / "a.tif", values, own), declared) == 1500


@pytest.mark.parametrize("overviews", [False, True])
def test_large_bands_are_read_from_their_overview(overviews: bool, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1000, 3000, (2048, 1024)).astype(np.uint16)
    path = write(tmp_path / "a.tif", values, 0, overviews)
    assert low_percentile(path, None) == pytest.approx(np.percentile(values, 0.5), abs=5)


@pytest.mark.parametrize("content", ["empty", "absent", "broken"])
def test_a_band_that_tells_nothing_is_an_error(content: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.zeros((100, 100), np.uint16))
    if content == "absent":
        Path(path).unlink()
    if content == "broken":
        Path(path).write_bytes(b"no raster")
    with pytest.raises(InputError, match=r"a\.tif"):
        low_percentile(path, None)
