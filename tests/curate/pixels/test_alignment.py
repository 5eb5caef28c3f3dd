"""Shifts between sensors that were put there are found again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from scipy import ndimage

from curate import stages
from curate.catalog import Catalog
from curate.engine import Engine
from curate.pixels.alignment import align, alignment_file, compare, read_alignment, write_alignment
from curate.recipe import Recipe
from curate.workspace import Workspace

SIDE, CHIPS = 120, 24


def fields(random: np.random.Generator, size: int) -> np.ndarray:
    """Land of fields: straight edges between areas of one class each."""
    y, x = np.mgrid[:size, :size]
    seeds = random.uniform(0, size, (60, 2))
    distance = (y[..., None] - seeds[:, 0]) ** 2 + (x[..., None] - seeds[:, 1]) ** 2
    return random.integers(0, 8, 60)[distance.argmin(-1)]


def pairs(shift: tuple[float, float], seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Near infrared and backscatter of the same fields, each class with its own values; the second is shifted."""
    random = np.random.default_rng(seed)
    optical, radar = [], []
    for _ in range(CHIPS):
        land = fields(random, SIDE + 40)
        nir = random.uniform(0.1, 0.5, 8)[land] + random.normal(0, 0.01, land.shape)
        power = 10 ** (random.uniform(-18, -6, 8)[land] / 10)
        moved = ndimage.shift(power, shift, order=1, mode="nearest")
        speckle = random.gamma(4.4, 1 / 4.4, land.shape)
        optical.append(ndimage.gaussian_filter(nir, 0.7)[20:-20, 20:-20])
        radar.append(10 * np.log10(moved * speckle)[20:-20, 20:-20])
    return np.stack(optical), np.stack(radar)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.0, -3.0), (0.5, 0.25), (-1.4, 4.7)])
def test_a_planted_shift_is_found(shift: tuple[float, float]) -> None:
    found = compare(*pairs(shift), "s1", ("B08", "VV"))
    assert found.together_px is not None
    assert np.abs(np.subtract(found.together_px, shift)).max() < 0.2
    if found.median_px is not None and found.clear >= 5:
        assert np.abs(np.subtract(found.median_px, shift)).max() < 0.5


def test_one_chip_in_four_that_is_off_widens_the_spread_only() -> None:
    first, second = pairs((0.0, 0.0))
    second[::4] = np.roll(second[::4], 3, axis=1)
    found = compare(first, second, "s1", ("B08", "VV"))
    assert found.median_px is not None and np.abs(found.median_px).max() < 0.2
    assert found.spread_px is not None and found.spread_px[0] > 1 > found.spread_px[1]


def test_images_of_different_places_have_no_clear_shift() -> None:
    first, _ = pairs((0.0, 0.0), seed=1)
    _, second = pairs((0.0, 0.0), seed=2)
    found = compare(first, second, "s1", ("B08", "VV"))
    assert found.together_px is None and found.clear <= 1
    assert "no clear peak" in found.said(10.0)


def test_missing_pixels_do_not_move_the_peak() -> None:
    first, second = pairs((1.0, 0.0))
    second[:, :30] = np.nan
    found = compare(first, second, "s1", ("B08", "VV"))
    assert found.together_px is not None and np.abs(np.subtract(found.together_px, (1, 0))).max() < 0.3


def test_a_shift_planted_in_radar_files_is_found_by_the_whole_command(
    recipe: Recipe, small_archive: Path, built: Workspace, tmp_path: Path
) -> None:
    (before,) = align(Catalog.open(built.catalog))
    assert before.together_px is not None and np.abs(before.together_px).max() < 0.5
    shutil.copytree(small_archive, tmp_path / "archive")
    for path in (tmp_path / "archive").rglob("*.tif"):
        if path.stem.lower() in ("vv", "vh"):
            with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
                at = file.transform
                file.transform = Affine(at.a, at.b, at.c + 2 * at.a, at.d, at.e, at.f)
    shifted = recipe.with_options({"archive": str(tmp_path / "archive")})
    workspace = stages.start(shifted, tmp_path / "catalogs")
    stages.build(shifted, workspace, Engine(workers=1))
    (after,) = read_alignment(
        alignment_file(workspace.catalog, Catalog.open(workspace.catalog).meta.statistics)
    )
    assert after.together_px == pytest.approx((0, 2), abs=0.5)


def test_a_catalog_is_aligned_and_says_so(built: Workspace, workspace: Workspace) -> None:
    catalog = Catalog.open(workspace.catalog)
    found = align(catalog, sample=10)
    assert [one.sensor for one in found] == ["s1"]
    assert (found[0].chips, found[0].bands) == (10, ("B08", "VV"))
    write_alignment(catalog, found)
    path = alignment_file(workspace.catalog, catalog.meta.statistics)
    assert read_alignment(path) == found
    assert read_alignment(Path("absent")) == []
