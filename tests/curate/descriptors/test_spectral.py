"""Figures of chips in their scenes against the same pixels taken one chip at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.transform import Affine
from scipy import stats

from curate import scenes
from curate.catalog.errors import InputError
from curate.chips import ChipPlaces
from curate.descriptors import zones
from curate.descriptors.spectral import BINS, Spectral, entropy, open_descriptor
from curate.recipe import Recipe
from curate.workspace import Workspace

SIDE_PX = 1200  # of a scene of 12 km, in pixels of 10 m
BANDS = ("B03", "B04", "B08", "B11")


def numbers(seed: int, side: int = SIDE_PX) -> np.ndarray:
    """DN with structure at several scales, and a strip without data."""
    random = np.random.default_rng(seed)
    coarse = np.kron(random.gamma(2, 900, (side // 40, side // 40)), np.ones((40, 40)))
    values = np.clip(1300 + coarse + random.normal(0, 150, (side, side)), 1, 15_000).astype(np.uint16)
    values[:, : side // 6] = 0
    return values


def write(
    path: Path, values: np.ndarray, left: float, top: float, step: float, epsg: int, overviews: bool
) -> str:
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1, dtype=values.dtype,
        crs=f"EPSG:{epsg}", transform=Affine(step, 0, left, 0, -step, top), tiled=True,
    ) as file:  # fmt: skip
        file.write(values, 1)
        if overviews:
            file.build_overviews([2, 4, 8], Resampling.average)
    return str(path)


def scene(
    folder: Path,
    places: ChipPlaces,
    epsg: int | None = None,
    overviews: bool = False,
    bands: tuple[str, ...] = BANDS,
) -> Spectral:
    """A scene over the places in the table of a workspace, and the descriptor of it; offset −1000, scale 1e-4."""
    workspace = Workspace(folder, "here")
    workspace.folder.mkdir(parents=True, exist_ok=True)
    zone = epsg or places.lattice.epsg
    x, y = Transformer.from_crs(4326, zone, always_xy=True).transform(places.lon.mean(), places.lat.mean())
    left, top = np.floor(x / 60) * 60 - 6000, np.floor(y / 60) * 60 + 6000
    assets = []
    for i, band in enumerate(bands):
        step = 20 if band == "B11" else 10
        values = numbers(i, SIDE_PX * 10 // step)
        href = write(folder / f"{band}.tif", values, left, top, step, zone, overviews)
        assets.append(
            {"band": band, "href": href, "scale": 1e-4, "offset": -0.1, "nodata": None, "unit": "reflectance"}
        )
    bounds = (places.lon.min() - 1, places.lat.min() - 1, places.lon.max() + 1, places.lat.max() + 1)
    row = {
        "id": "scene",
        "sensor": "sentinel-2-l2a",
        "datetime": None,
        "assets": assets,
        "geometry": shapely.to_wkb(shapely.box(*bounds)),
        "bbox": dict(zip(("xmin", "ymin", "xmax", "ymax"), bounds, strict=True)),
    }
    pq.write_table(scenes.table([row]), workspace.scenes)
    return Spectral("sentinel-2-l2a", BANDS, workspace)


def pixels_of(path: Path, places: ChipPlaces, i: int, level: int | None = None) -> np.ndarray:
    """Reflectance of the pixels whose centre lies in one chip, by exact projection of every pixel."""
    options = {} if level is None else {"overview_level": level}
    with rasterio.open(path, **options) as source:
        values, at, crs = source.read(1), source.transform, source.crs
    col, row = np.meshgrid(np.arange(values.shape[1]) + 0.5, np.arange(values.shape[0]) + 0.5)
    x, y = at.c + at.a * col, at.f + at.e * row
    x, y = Transformer.from_crs(crs, places.lattice.epsg, always_xy=True).transform(x, y)
    ix, iy = places.lattice.index(x, y)
    mine = values[(ix == places.ix[i]) & (iy == places.iy[i])].astype(float)
    return mine[mine > 0] * 1e-4 - 0.1


def check(
    found: dict[str, np.ndarray],
    folder: Path,
    places: ChipPlaces,
    chips: list[int],
    level: dict[str, int | None],
) -> None:
    for i in chips:
        values = {band: pixels_of(folder / f"{band}.tif", places, i, level[band]) for band in BANDS}
        if any(not len(v) for v in values.values()):
            assert np.isnan(found["spectral_entropy"][i])
            continue
        bits = []
        for band, v in values.items():
            assert found[f"spectral_{band}_mean"][i] == pytest.approx(v.mean())
            assert found[f"spectral_{band}_std"][i] == pytest.approx(v.std())
            bits.append(stats.entropy(np.histogram(np.clip(v + 1e-8, 0, 0.9999), BINS, (0, 1))[0], base=2))
        assert found["spectral_entropy"][i] == pytest.approx(np.mean(bits))
        mean = {band: v.mean() for band, v in values.items()}
        ndvi = (mean["B08"] - mean["B04"]) / (mean["B08"] + mean["B04"])
        assert found["spectral_ndvi"][i] == pytest.approx(ndvi)
        ndwi = (mean["B03"] - mean["B08"]) / (mean["B03"] + mean["B08"])
        assert found["spectral_ndwi"][i] == pytest.approx(ndwi)
        ndbi = (mean["B11"] - mean["B08"]) / (mean["B11"] + mean["B08"])
        assert found["spectral_ndbi"][i] == pytest.approx(ndbi)


@pytest.mark.parametrize("zone", [None, 32633])
def test_figures_are_those_of_the_pixels_in_the_chip(
    zone: int | None, cell_of: Callable[..., ChipPlaces], candidates: Callable[..., Any], tmp_path: Path
) -> None:
    """Chips of 240 m take pixels as they are; in another zone too, without resampling."""
    places = cell_of(11.9, 46.0, 240.0)
    places = places.take(np.arange(0, len(places), 11))
    found = scene(tmp_path, places, zone).describe(candidates(places))
    assert set(found) == {column.name for column in scene(tmp_path, places, zone).columns}
    check(found, tmp_path, places, list(range(0, len(places), 40)), dict.fromkeys(BANDS))
    known = ~np.isnan(found["spectral_entropy"])
    assert 0.5 < known.mean() < 0.99  # some lie where the scene has no data


def test_large_chips_are_read_from_overviews(
    cell_of: Callable[..., ChipPlaces], candidates: Callable[..., Any], tmp_path: Path
) -> None:
    """Chips of 1200 m: pixels of 40 m are 30 a side, the fourth part of 10 m and the half of 20 m."""
    places = cell_of(10.9, 46.0, 1200.0)
    found = scene(tmp_path, places, overviews=True).describe(candidates(places))
    level = {"B03": 1, "B04": 1, "B08": 1, "B11": 0}
    check(found, tmp_path, places, list(range(0, len(places), 4)), level)


def test_a_chip_does_not_depend_on_those_beside_it(
    cell_of: Callable[..., ChipPlaces],
    candidates: Callable[..., Any],
    some: Callable[..., np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(zones, "STRIP_ROWS", 7)
    places = cell_of(11.9, 46.0, 1200.0)
    for overviews, zone in ((True, None), (False, None), (True, 32633)):
        spectral = scene(tmp_path, places, zone, overviews)
        whole, rows = spectral.describe(candidates(places)), some(places)
        part = spectral.describe(candidates(places.take(rows)))
        single = spectral.describe(candidates(places.take(rows[:1])))
        assert not np.isnan(whole["spectral_entropy"]).all()
        for name, values in part.items():
            np.testing.assert_array_equal(values, whole[name][rows])
            np.testing.assert_array_equal(single[name], whole[name][rows[:1]])


def test_what_cannot_be_read_is_unknown(
    cell_of: Callable[..., ChipPlaces], candidates: Callable[..., Any], tmp_path: Path
) -> None:
    places = cell_of(10.9, 46.0)
    spectral = scene(tmp_path, places)
    (tmp_path / "B04.tif").write_bytes(b"broken")
    found = spectral.describe(candidates(places))
    assert np.isnan(found["spectral_B04_mean"]).all() and np.isnan(found["spectral_ndvi"]).all()
    assert np.isnan(found["spectral_entropy"]).all()
    assert not np.isnan(found["spectral_B08_mean"]).all() and not np.isnan(found["spectral_ndwi"]).all()
    absent = spectral.describe(candidates(places, scene="another"))
    assert all(np.isnan(values).all() for values in absent.values())


def test_entropy_of_known_histograms() -> None:
    histogram = np.zeros((4, BINS))
    histogram[0, 3] = 50  # one grey
    histogram[1, :8] = 5  # eight equally often: three bits
    histogram[2, :2] = 3, 1
    np.testing.assert_allclose(entropy(histogram), [0, 3, 0.25 * 2 + 0.75 * np.log2(4 / 3), np.nan])
    assert not np.signbit(entropy(histogram)[0])


def test_columns_follow_the_bands(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "x")
    names = [c.name for c in Spectral("landsat-c2-l2", ("red", "nir08", "lwir11"), workspace).columns]
    assert names[-2:] == ["spectral_ndvi", "spectral_entropy"]
    assert "spectral_lwir11_mean" in names
    units = {c.name: c.unit for c in Spectral("landsat-c2-l2", ("red", "lwir11"), workspace).columns}
    assert units["spectral_lwir11_mean"] == "K" and units["spectral_red_mean"] == "reflectance"
    with pytest.raises(InputError, match="no reflectance"):
        open_descriptor(
            Recipe().with_options({"sensors.anchor": "sentinel-1-rtc", "sensors.partners": []}), workspace
        )
