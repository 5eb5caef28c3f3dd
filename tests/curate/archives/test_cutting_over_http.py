"""Cutting from a server: few requests, and what its faults cost – a counted rejection, never a wrong pixel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from curate.catalog import shards
from curate.pixels.cutting import cut
from curate.pixels.tasks import Asset, CutTask, Shard
from curate.recipe import Pixels
from curate.sensors import SENSORS

INFO = SENSORS["sentinel-2-l2a"].stored_info(("B02", "B05"), "bilinear")
EPSG, LEFT, TOP, PX, CHIPS = 32633, 600_000.0, 5_000_040.0, 60, 8


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two scenes of 480 × 480 px in blocks of 256."""
    random = np.random.default_rng(1)
    for name in ("one", "two"):
        folder = tmp_path / "scenes" / name
        folder.mkdir(parents=True)
        for band, size in (("B02", 480), ("B05", 240)):
            profile: dict[str, Any] = {"driver": "COG", "height": size, "width": size, "count": 1}
            profile |= {"dtype": "uint16", "crs": f"EPSG:{EPSG}", "nodata": 0, "blocksize": 256}
            at = Affine(4800 / size, 0, LEFT, 0, -4800 / size, TOP)
            with rasterio.open(
                folder / f"{band}.tif", "w", **profile, transform=at, compress="deflate"
            ) as file:
                file.write(random.integers(200, 6000, (size, size)).astype(np.uint16), 1)
    return tmp_path / "scenes"


def task(root: str, folder: Path) -> CutTask:
    """Every chip of both scenes, in shards of 20."""
    folder.mkdir(exist_ok=True)
    row, col = np.divmod(np.arange(CHIPS**2), CHIPS)
    every = [(name, r, c) for name in ("one", "two") for r, c in zip(row.tolist(), col.tolist(), strict=True)]
    made = []
    for i in range(0, len(every), 20):
        part = every[i : i + 20]
        ids = tuple(f"{name}-{r}-{c}" for name, r, c in part)
        grid = tuple((EPSG, LEFT + c * PX * 10, TOP - r * PX * 10) for _, r, c in part)
        made.append(Shard(f"shard-{i}", ids, ids, grid, {"s2": tuple(name for name, _, _ in part)}))
    assets = {
        name: {b: Asset(f"{root}/{name}/{b}.tif", 1e-4, 0.0, 0, "reflectance") for b in INFO.band_names}
        for name in ("one", "two")
    }
    return CutTask(tuple(made), folder, PX, 10.0, (INFO,), {"s2": assets}, Pixels())


def pixels_of(folder: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in folder.glob("*.arrow"):
        batch = shards.open_shard(path)
        ids = batch.column("chip_id").to_pylist()
        found |= dict(zip(ids, shards.pixels(batch, "s2", 2, PX), strict=True))
    return found


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "2")
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "2")
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")


def test_every_block_is_asked_for_once(scenes: Path, file_server: Any, tmp_path: Path) -> None:
    server = file_server(scenes)
    cut(task(str(scenes), tmp_path / "near"))
    server.plan()
    entries = cut(task(server.url, tmp_path / "far"))
    near, far = ({p.name: p.read_bytes() for p in (tmp_path / n).glob("*.arrow")} for n in ("near", "far"))
    assert near == far and sum(len(entry.chips) for entry in entries) == 128
    sent = sum(entry["sent"] for entry in server.log() if entry["method"] == "GET")
    size = sum(path.stat().st_size for path in scenes.rglob("*.tif"))
    assert sent < 1.3 * size + 4 * 2**17  # headers are read ahead, some blocks twice for it


def test_a_fault_that_passes_costs_nothing(scenes: Path, file_server: Any, tmp_path: Path) -> None:
    server = file_server(scenes)
    server.plan(path="one/B05", times=2, kind="status", status=503)
    entries = cut(task(server.url, tmp_path / "far"))
    assert sum(len(entry.chips) for entry in entries) == 128


@pytest.mark.parametrize("skip", [0, 3], ids=["from the start", "after the header"])
@pytest.mark.parametrize(
    "fault",
    [{"kind": "status", "status": 503}, {"kind": "hang", "seconds": 30}, {"kind": "truncate"}],
    ids=["503", "stall", "short"],
)
def test_a_fault_that_stays_costs_the_scenes_chips_only(
    fault: dict[str, Any], skip: int, scenes: Path, file_server: Any, tmp_path: Path
) -> None:
    cut(task(str(scenes), tmp_path / "near"))
    server = file_server(scenes)
    server.plan(path="one/B05", skip=skip, **fault)
    entries = cut(task(server.url, tmp_path / "far"))
    rejected = [one for entry in entries for one in entry.rejected]
    assert all(why == "s2: scene unreadable" for _, why, _ in rejected)
    assert not [one for one in rejected if not (one[0].startswith("one-") and "one/B05.tif" in one[2])]
    found, expected = pixels_of(tmp_path / "far"), pixels_of(tmp_path / "near")
    assert len(found) + len(rejected) == 128 and len(found) >= 64
    for key, values in found.items():
        assert np.array_equal(values, expected[key])


def test_a_server_that_dies_costs_what_was_not_read(
    scenes: Path, file_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    server = file_server(scenes)
    server.plan(path="two/B02", kind="die")
    entries = cut(task(server.url, tmp_path / "far"))
    rejected = {key for entry in entries for key, _, _ in entry.rejected}
    assert rejected >= {f"two-{r}-{c}" for r in range(8) for c in range(8)}


def test_a_cut_file_costs_the_chips_on_its_missing_blocks_only(scenes: Path, tmp_path: Path) -> None:
    path = scenes / "one" / "B02.tif"
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
    one = task(str(scenes), tmp_path / "near")
    entries = cut(replace(one, shards=one.shards[:3]))
    rejected = {key for entry in entries for key, _, _ in entry.rejected}
    assert rejected and all(key.startswith("one-") for key in rejected)
    kept = {key for entry in entries for key in entry.chips}
    assert "one-0-0" in kept and len(kept) > 10
