"""Clouds of Level-1C chips: what is asked of the detector, and what it says of real chips."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.warp import transform

from curate.catalog import shards
from curate.catalog.errors import InputError
from curate.catalog.shards import ManifestEntry
from curate.pixels import cloudless
from curate.pixels.cutting import cut as cut_task
from curate.pixels.tasks import Asset, CutTask, Shard
from curate.recipe import Pixels
from curate.scenes import Rejected, scene
from curate.sensors import SENSORS

L1C = SENSORS["sentinel-2-l1c"]
PX = 60


class Brightness:
    """In place of the detector: a pixel is cloud where the mean of its bands exceeds a half."""

    seen: tuple[int, ...] = ()

    def get_cloud_masks(self, values: np.ndarray) -> np.ndarray:
        Brightness.seen = values.shape
        return (values.mean(-1) > 0.5).astype(np.int8)


def l1c(folder: Path, bands: tuple[str, ...]) -> dict[str, Asset]:
    assets = {}
    for name in bands:
        resolution = L1C.band(name).resolution_m
        size = round(1200 / resolution)
        values = np.full((size, size), 2000, np.uint16)
        values[:, size // 2 :] = 9000  # the right chips are cloudy
        path = folder / f"{name}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", height=size, width=size, count=1, dtype="uint16", nodata=0,
            crs="EPSG:32633", transform=Affine(resolution, 0, 600_000, 0, -resolution, 5_000_040),
        ) as file:  # fmt: skip
            file.write(values, 1)
        assets[name] = Asset(str(path), 1e-4, 0.0, 0, "reflectance")
    return assets


CHIPS = Shard(
    name="shard-x",
    keys=("left", "right"),
    chip_ids=("left", "right"),
    grid=((32633, 600_000.0, 5_000_040.0), (32633, 600_600.0, 5_000_040.0)),
    scenes={"s2toa": ("a", "a")},
)


def task(folder: Path, assets: dict[str, Asset], detector: str) -> CutTask:
    return CutTask(
        shards=(CHIPS,),
        folder=folder,
        chip_px=PX,
        resolution_m=10.0,
        sensors=(L1C.stored_info(("B02",), "bilinear"),),
        assets={"s2toa": {"a": assets}},
        pixels=Pixels(cloud_detector=detector),  # type: ignore[arg-type]
    )


def cut(one: CutTask) -> ManifestEntry:
    (entry,) = cut_task(one)
    return entry


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudless, "require", lambda: None)
    monkeypatch.setattr(cloudless, "_detector", lambda average, widen: Brightness())


@pytest.mark.usefixtures("installed")
def test_clouds_are_told_where_there_is_no_mask_and_all_bands_are_there(tmp_path: Path) -> None:
    entry = cut(task(tmp_path, l1c(tmp_path, L1C.cloud_bands), "s2cloudless"))
    assert entry.rejected == (("right", "s2toa: cloud", "a"),)
    assert Brightness.seen == (2, 10, 10, 10)  # chips of 600 m in pixels of 60 m, ten bands
    assert shards.open_shard(tmp_path / "shard-x.arrow").column("s2toa_cloud").to_pylist() == [0.0]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("detector", "lost"), [("none", 0), ("s2cloudless", 1)])
def test_else_the_cloud_share_is_unknown(detector: str, lost: int, tmp_path: Path) -> None:
    entry = cut(task(tmp_path, l1c(tmp_path, L1C.cloud_bands[lost:] + ("B02",) * (lost == 0)), detector))
    assert entry.rejected == ()
    assert shards.open_shard(tmp_path / "shard-x.arrow").column("s2toa_cloud").to_pylist() == [None, None]


def test_a_detector_that_is_not_installed_stops_the_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s2cloudless", None)
    with pytest.raises(InputError, match=r"curate-and-train\[cloud\]"):
        cut(task(tmp_path, l1c(tmp_path, ("B02",)), "s2cloudless"))


def test_pixels_without_data_are_neither_cloud_nor_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloudless, "_detector", lambda average, widen: Brightness())
    values = np.full((1, 10, 2, 2), 0.9)
    values[0, 3, 0, 0] = np.nan
    values[0, :, 1, 1] = 0.1
    found = cloudless.detect(values, 60.0)
    assert np.array_equal(found[0], [[np.nan, 1], [1, 0]], equal_nan=True)


EUROSAT_ORDER = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")


@pytest.mark.real
def test_the_detector_on_real_chips(real_data: Path) -> None:
    """EuroSAT was chosen free of clouds; an added sheet of cloud is seen."""
    pytest.importorskip("s2cloudless", reason="s2cloudless is not installed")
    chips = []
    for path in sorted((real_data / "labelled" / "eurosat_ms").rglob("*.tif")):
        with rasterio.open(path) as file:
            bands = dict(zip(EUROSAT_ORDER, file.read().astype(np.float64) * 1e-4, strict=True))
        chips.append(np.stack([bands[name] for name in L1C.cloud_bands]))
    clear = np.stack(chips)
    assert len(clear) == 70
    share = cloudless.detect(clear, 10.0).mean((1, 2))
    assert np.median(share) == 0 and (share <= 0.05).mean() >= 0.9
    sheet = np.array([0.75, 0.72, 0.7, 0.72, 0.72, 0.72, 0.35, 0.03, 0.45, 0.35])[:, None, None]
    cloudy = 0.2 * clear[:10] + 0.8 * sheet
    assert (cloudless.detect(cloudy, 10.0).mean((1, 2)) > 0.9).all()


@pytest.mark.real
def test_a_real_level_1c_scene_is_cut_with_its_clouds(real_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("s2cloudless", reason="s2cloudless is not installed")
    shares = {}
    for path in sorted((real_data / "archive" / "sentinel-2-l1c").glob("*/*.json")):
        found = scene(json.loads(path.read_text()), str(path), L1C, ("B02",))
        if isinstance(found, Rejected):
            continue
        assets = {asset.pop("band"): Asset(**asset) for asset in found["assets"]}
        with rasterio.open(assets["B02"].href) as file:
            lon, lat = file.xy(file.height // 2, file.width // 2)
        (x,), (y,) = transform("EPSG:4326", "EPSG:32643", [lon], [lat])
        wanted = replace(
            task(tmp_path, assets, "s2cloudless"),
            shards=(
                Shard(
                    name=f"shard-{len(shares)}",
                    keys=("one",),
                    chip_ids=("one",),
                    grid=((32643, x - 300, y + 300),),
                    scenes={"s2toa": (found["id"],)},
                ),
            ),
            assets={"s2toa": {found["id"]: assets}},
            pixels=Pixels(cloud_detector="s2cloudless", max_cloud=1.0),
        )
        entry = cut(wanted)
        assert entry.rejected == ()
        batch = shards.open_shard(tmp_path / f"shard-{len(shares)}.arrow")
        shares[found["id"]] = batch.column("s2toa_cloud").to_pylist()[0]
    assert len(shares) == 2 and all(0 <= share <= 1 for share in shares.values())
