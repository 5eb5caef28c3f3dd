"""Blocks that are read without GDAL hold what GDAL reads; whatever is unusual is left to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.errors import NotGeoreferencedWarning

from curate.pixels.tiles import Squares, Tiles

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{NotGeoreferencedWarning.__module__}.NotGeoreferencedWarning"
)
USUAL = {"tiled": True, "blockxsize": 64, "blockysize": 32, "compress": "deflate"}


def write(path: Path, values: np.ndarray, **options: object) -> str:
    profile = {
        "driver": "GTiff",
        "height": values.shape[-2],
        "width": values.shape[-1],
        "dtype": values.dtype,
    }
    bands = np.atleast_3d(values.T).T
    with rasterio.open(path, "w", **profile, count=len(bands), **options) as file:
        file.write(bands)
    return str(path)


def read(tiles: Tiles, y: int, x: int, block: np.ndarray) -> bool:
    """Read a block without GDAL; False where that cannot be."""
    found = tiles.inflated(y, x)
    if found is None:
        return False
    held = np.zeros((1, max(block.shape), max(block.shape)), block.dtype)
    tiles.put(found, (0, 0), block.shape, Squares(*np.zeros((3, 1), int), held))
    block[:] = held[0, : block.shape[0], : block.shape[1]]
    return True


def blocks_read(href: str) -> int:
    """How many blocks of a file are read without GDAL; each of them is compared with what GDAL reads."""
    with rasterio.open(href) as source:
        tiles = Tiles.of(source, href)
        if tiles is None:
            return 0
        found, shape = 0, source.block_shapes[0]
        for (y, x), window in source.block_windows(1):
            block = np.zeros(shape, source.dtypes[0])
            if read(tiles, y, x, block):
                truth = source.read(1, window=window)
                np.testing.assert_array_equal(block[: window.height, : window.width], truth)
                found += 1
        tiles.close()
    return found


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(["uint8", "uint16", "int16", "uint32", "int32", "float32"]),
    height=st.integers(1, 100),
    width=st.integers(1, 150),
    level=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_blocks_are_those_of_gdal(tmp_path_factory, kind, height, width, level, seed):
    bits = np.random.default_rng(seed).integers(0, 256, (height, width * np.dtype(kind).itemsize), np.uint8)
    predictor = 3 if kind == "float32" else 2
    path = tmp_path_factory.mktemp("tiles") / "a.tif"
    href = write(
        path, bits.view(kind), **USUAL, predictor=predictor, zlevel=level
    )  # NaN and infinities among them
    assert blocks_read(href) == -(-height // 32) * -(-width // 64)


@pytest.mark.parametrize(
    "options",
    [
        USUAL,  # older versions of GDAL do not say whether there is a predictor
        USUAL | {"compress": "lzw", "predictor": 2},
        USUAL | {"compress": "zstd", "predictor": 2},
        USUAL | {"predictor": 2, "endianness": "big"},
        {"tiled": True, "blockxsize": 64, "blockysize": 32},
    ],
    ids=["no predictor", "lzw", "zstd", "big-endian", "not compressed"],
)
def test_what_is_unusual_is_left_to_gdal(tmp_path, options):
    values = np.arange(100 * 150, dtype=np.uint16).reshape(100, 150)
    assert blocks_read(write(tmp_path / "a.tif", values, **options)) == 0


def test_several_bands_are_left_to_gdal(tmp_path):
    values = np.arange(3 * 64 * 64, dtype=np.uint16).reshape(3, 64, 64)
    assert blocks_read(write(tmp_path / "a.tif", values, **USUAL, predictor=2)) == 0


def test_a_block_that_was_never_written_is_left_to_gdal(tmp_path):
    path = tmp_path / "a.tif"
    profile = {
        "driver": "GTiff",
        "height": 64,
        "width": 128,
        "dtype": "uint16",
        "count": 1,
        "sparse_ok": True,
    }
    with rasterio.open(path, "w", **profile, **USUAL, predictor=2) as file:
        file.write(np.ones((32, 64), np.uint16), 1, window=rasterio.windows.Window(64, 32, 64, 32))
    assert blocks_read(str(path)) == 1


@pytest.mark.parametrize("damage", ["garbled", "cut off"])
def test_a_broken_block_is_left_to_gdal(tmp_path, damage):
    values = np.random.default_rng(0).integers(0, 2**16, (64, 128), np.uint16)
    path = Path(write(tmp_path / "a.tif", values, **USUAL, predictor=2))
    with rasterio.open(path) as source:
        offset = int(source.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", 1))
    with path.open("r+b") as file:
        if damage == "garbled":
            file.seek(offset + 50)
            file.write(bytes(100))
        else:
            file.truncate(offset + 50)
    with rasterio.open(path) as source:
        tiles = Tiles.of(source, str(path))
        block = np.empty((32, 64), np.uint16)
        assert [read(tiles, y, x, block) for y in range(2) for x in range(2)] == [True, True, True, False]
        tiles.close()


@pytest.mark.real
def test_blocks_of_real_scenes_are_those_of_gdal(real_data):
    every = sorted((real_data / "archive").rglob("*.tif"))[::12]  # every sensor is among them
    found = [blocks_read(str(path)) for path in every]
    assert all(found)
