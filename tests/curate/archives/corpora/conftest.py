"""Folders in the true layouts of corpora, made of small invented rasters or of real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from curate.archives import open_archive
from curate.archives.found import Found
from curate.recipe import Period, Recipe
from curate.sensors import SENSORS

WORLD = shapely.box(-180, -90, 180, 90)


@dataclass(frozen=True)
class Raster:
    """What a test writes as a GeoTIFF of one band."""

    epsg: int | None
    left: float
    top: float
    step: float = 10.0
    size: int = 120
    dtype: str = "uint16"
    value: float = 1000.0  # the lowest
    spread: float = 97.0

    def write(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        steps = np.arange(self.size * self.size).reshape(self.size, self.size) % 97
        numbers = self.value + steps * self.spread / 97
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=self.size,
            height=self.size,
            count=1,
            dtype=self.dtype,
            crs=None if self.epsg is None else f"EPSG:{self.epsg}",
            transform=from_origin(self.left, self.top, self.step, self.step),
        ) as target:
            target.write(numbers.astype(self.dtype), 1)
        return path

    def bytes(self, folder: Path) -> bytes:
        path = self.write(folder / "raster.tif")
        content = path.read_bytes()
        path.unlink()
        return content


@pytest.fixture
def raster() -> type[Raster]:
    return Raster


Search = Callable[..., Found]


@pytest.fixture
def search() -> Search:
    """Search an archive by name for scenes of a sensor, everywhere unless told."""

    def run(
        archive: str | Path,
        sensor: str,
        bands: tuple[str, ...] = (),
        area: shapely.Geometry = WORLD,
        period: Period | None = None,
        **limits: float,
    ) -> Found:
        bands = bands or (("VV", "VH") if sensor.startswith("sentinel-1") else ("B02", "B12"))
        return open_archive(str(archive)).search(area, period or Period(), SENSORS[sensor], bands, **limits)

    return run


@pytest.fixture
def reasons() -> Callable[[Found], dict[str, str]]:
    return lambda found: {one.id: one.reason for one in found.rejected}


@pytest.fixture
def landcover(tmp_path: Path) -> Path:
    """A map of the world in ESA WorldCover's codes: trees in the west of every degree, cropland in the east."""
    path = tmp_path / "landcover.tif"
    codes = np.tile(np.array([10, 40], np.uint8), (360, 360))
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=720,
        height=360,
        count=1,
        dtype="uint8",
        crs="EPSG:4326",
        transform=from_origin(-180, 90, 0.5, 0.5),
        nodata=0,
    ) as target:
        target.write(codes, 1)
    return path


@pytest.fixture
def recipe(landcover: Path) -> Callable[..., Recipe]:
    """The recipe of docs/recipes/small-scenes.yaml for *archive*, with a map of our own."""

    def make(archive: str | Path, partner: str, **options: Any) -> Recipe:
        return Recipe().with_options(
            {
                "region": "global",
                "archive": str(archive),
                "chips.size_px": 24,
                "sensors.partners": (partner,),
                "sensors.bands": {"sentinel-2-l2a": ("B05", "B06", "B07", "B8A", "B11", "B12")},
                "pairing.per_season": 0,
                "pairing.max_cloud_percent": 100,
                "descriptors.landcover": str(landcover),
                "sampling.budget": "1M",
                "sampling.min_stratum": 1,
                **options,
            }
        )

    return make


@dataclass(frozen=True)
class RealItem:
    """A chip of the sample archive: what its catalog says of it, and where its bands lie."""

    row: dict[str, Any]  # of `SCENES`
    item: dict[str, Any]
    folder: Path

    @property
    def id(self) -> str:
        return str(self.item["id"])

    @property
    def geometry(self) -> shapely.Geometry:
        return shapely.from_wkb(self.row["geometry"])


@pytest.fixture(scope="session")
def real_items(real_data: Path) -> Callable[[str, tuple[str, ...], str], list[RealItem]]:
    """Chips of the sample archive's *sensor* with *bands* whose item holds *text*."""
    import json

    def find(sensor: str, bands: tuple[str, ...], text: str) -> list[RealItem]:
        root = real_data / "archive"
        found = open_archive(str(root / "catalog.json")).search(WORLD, Period(), SENSORS[sensor], bands)
        items = []
        for row in found.scenes.to_pylist():
            path = root / sensor / row["id"] / f"{row['id']}.json"
            item = json.loads(path.read_text())
            if text in json.dumps(item):
                items.append(RealItem(row, item, path.parent))
        return items

    return find


@pytest.fixture
def metres_apart() -> Callable[[bytes, bytes], float]:
    """How far the corners of two footprints lie apart at most, metres."""

    def measure(one: bytes, other: bytes) -> float:
        points = [shapely.get_coordinates(shapely.from_wkb(shape)) for shape in (one, other)]
        lat = np.radians(points[0][:, 1].mean())
        scale = 111_320.0 * np.array([np.cos(lat), 1.0])
        distance = np.linalg.norm((points[0][:, None] - points[1][None]) * scale, axis=2)
        return float(max(distance.min(axis=0).max(), distance.min(axis=1).max()))

    return measure
