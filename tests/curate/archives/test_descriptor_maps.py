"""Maps that describe chips, behind HTTP and in an S3 store: the same numbers as on disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import Affine

from curate.chips import ChipPlaces, Lattice, from_zone, to_zone
from curate.descriptors import climatic
from curate.descriptors.thematic import open_map

TILE = "ESA_WorldCover_10m_2021_v200_N00E006_Map.tif"
AREA = shapely.box(6.45, 0.05, 6.75, 0.35)


def places(lon: float, lat: float, count: int = 12) -> ChipPlaces:
    lattice = Lattice(32632, 1200.0)
    x, y = to_zone(32632).transform(np.array([lon]), np.array([lat]))
    ix, iy = lattice.index(x, y)
    i, j = (side.ravel() for side in np.meshgrid(ix + np.arange(count), iy + np.arange(count)))
    left, top = lattice.left_top(i, j)
    lon, lat = from_zone(32632).transform(left + 600, top - 600)
    return ChipPlaces(lattice, np.zeros(i.size, np.int64), i, j, lon, lat)


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """A tile of WorldCover's name and place, pixels of 3/1200°, and a map of climates at 0.1°."""
    random = np.random.default_rng(0)
    profile = {
        "driver": "GTiff",
        "count": 1,
        "dtype": "uint8",
        "crs": "EPSG:4326",
        "tiled": True,
        "nodata": 0,
    }
    folder = tmp_path / "maps"
    land = folder / "v200" / "2021" / "map" / TILE
    land.parent.mkdir(parents=True)
    size = {"height": 1200, "width": 1200, "transform": Affine(3 / 1200, 0, 6, 0, -3 / 1200, 3)}
    with rasterio.open(land, "w", **profile, **size, compress="deflate") as file:
        file.write(np.kron(random.choice([0, 10, 30, 80], (400, 400)), np.ones((3, 3))).astype(np.uint8), 1)
    size = {"height": 1800, "width": 3600, "transform": Affine(0.1, 0, -180, 0, -0.1, 90)}
    with rasterio.open(folder / "koppen.tif", "w", **profile, **size, compress="deflate") as file:
        file.write(random.integers(0, 31, (1800, 3600)).astype(np.uint8), 1)
    return folder


@pytest.fixture(params=["http", "s3"])
def remote(request: Any, maps: Path, file_server: Any) -> str:
    """Where the maps lie."""
    if request.param == "http":
        return str(file_server(maps).url)
    store, _ = request.getfixturevalue("s3_store")
    bucket = store / maps.parent.name.replace("_", "-").lower()
    shutil.copytree(maps, bucket, dirs_exist_ok=True)
    return f"s3://{bucket.name}"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/v200/2021/map/",
        f"/v200/2021/map/{TILE}",
        "/v200/2021/map/ESA_WorldCover_10m_2021_v200_{tile}_Map.tif",
    ],
)
def test_land_cover(remote: str, maps: Path, name: str) -> None:
    chips = places(6.5, 0.1)
    local = open_map(str(maps / "v200" / "2021" / "map" / TILE), []).fractions(chips)
    land = open_map(remote + name, [], area=AREA)
    assert np.array_equal(land.of_year(2021).fractions(chips), local)
    assert local[:, :-1].sum() > 0


@pytest.mark.parametrize("held", [True, False])
def test_climate(remote: str, maps: Path, held: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not held:
        monkeypatch.setattr(climatic, "WHOLE_PX", 0)
    chips = places(6.5, 0.1)
    local = climatic.open_map(str(maps / "koppen.tif")).over(chips)
    far = climatic.open_map(f"{remote}/koppen.tif").over(chips)
    assert np.array_equal(far.code, local.code) and np.array_equal(far.purity, local.purity)
    assert (local.code > 0).all()
