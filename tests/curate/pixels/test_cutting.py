"""Cut shards against plain reads, and what a broken scene costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from curate.catalog import shards
from curate.catalog.files import digest
from curate.pixels.cutting import Asset, ShardTask, cut, stored
from curate.recipe import Pixels
from curate.sensors import SENSORS

S2, S1 = SENSORS["sentinel-2-l2a"], SENSORS["sentinel-1-rtc"]
INFO_S2 = S2.stored_info(("B02", "B05"), "bilinear")
INFO_S1 = S1.stored_info(("VV",), "bilinear")
LEFT, TOP, PX = 600_000.0, 5_000_040.0, 60
EPSG = 32633


def write(path: Path, values: np.ndarray, resolution: float, nodata: float | None) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1, dtype=values.dtype,
        crs=f"EPSG:{EPSG}", transform=Affine(resolution, 0, LEFT, 0, -resolution, TOP), nodata=nodata,
        tiled=True, blockxsize=64, blockysize=64,
    ) as file:  # fmt: skip
        file.write(values, 1)
    return str(path)


class Scenes:
    """Two Sentinel-2 scenes, before and after baseline 04.00, of one surface, and one Sentinel-1 scene."""

    def __init__(self, folder: Path) -> None:
        random = np.random.default_rng(1)
        self.surface = random.integers(200, 6000, (240, 240)).astype(np.uint16)  # reflectance × 10,000
        self.coarse = random.integers(200, 6000, (120, 120)).astype(np.uint16)
        self.power = random.gamma(4, 0.05, (240, 240)).astype(np.float32)
        scl = np.full((120, 120), 4, np.uint8)
        scl[:30, 90:] = 9  # the chip in the upper right corner is cloudy
        self.assets: dict[str, dict[str, dict[str, Asset]]] = {"s2": {}, "s1": {}}
        for name, offset in (("old", 0), ("new", 1000)):
            hrefs = {
                "B02": write(folder / name / "B02.tif", self.surface + np.uint16(offset), 10, 0),
                "B05": write(folder / name / "B05.tif", self.coarse + np.uint16(offset), 20, 0),
                "SCL": write(folder / name / "SCL.tif", scl, 20, 0),
            }
            bands = {
                band: Asset(hrefs[band], 1e-4, -offset * 1e-4, 0, "reflectance") for band in ("B02", "B05")
            }
            self.assets["s2"][name] = {**bands, "SCL": Asset(hrefs["SCL"], 1, 0, None, "class")}
        self.assets["s1"]["radar"] = {
            "VV": Asset(write(folder / "radar" / "vv.tif", self.power, 10, -32768), 1, 0, -32768, "power")
        }


@pytest.fixture
def scenes(tmp_path: Path) -> Scenes:
    return Scenes(tmp_path / "scenes")


def task(
    scenes: Scenes, folder: Path, places: list[tuple[int, int]], of: list[str] | None = None
) -> ShardTask:
    names = tuple(f"chip{row}{col}" for row, col in places)
    step = PX * 10.0
    return ShardTask(
        name="shard-x",
        folder=folder,
        keys=tuple(f"{name}@k" for name in names),
        chip_ids=names,
        grid=tuple((EPSG, LEFT + step * col, TOP - step * row) for row, col in places),
        chip_px=PX,
        resolution_m=10.0,
        sensors=(INFO_S2, INFO_S1),
        scenes={"s2": tuple(of or ["old"] * len(places)), "s1": ("radar",) * len(places)},
        assets=scenes.assets,
        pixels=Pixels(),
    )


PLACES = [(0, 0), (2, 1), (1, 2), (3, 3)]


def test_rows_of_a_shard_equal_direct_reads(scenes: Scenes, tmp_path: Path) -> None:
    entry = cut(task(scenes, tmp_path, PLACES))
    assert entry.shard == "shard-x.arrow"
    assert entry.chips == tuple(f"chip{r}{c}@k" for r, c in PLACES)
    assert entry.rejected == ()
    assert entry.digest == digest(tmp_path / "shard-x.arrow")
    batch = shards.open_shard(tmp_path / "shard-x.arrow")
    assert batch.column("chip_id").to_pylist() == [f"chip{r}{c}" for r, c in PLACES]
    optical = shards.pixels(batch, "s2", 2, PX)
    radar = shards.pixels(batch, "s1", 1, PX)
    for i, (row, col) in enumerate(PLACES):
        part = np.s_[row * PX : (row + 1) * PX, col * PX : (col + 1) * PX]
        assert np.array_equal(optical[i, 0], scenes.surface[part])
        assert np.array_equal(radar[i, 0], np.rint(1000 * np.log10(scenes.power[part].astype(float))))
        inner = scenes.coarse[row * 30 : row * 30 + 30, col * 30 : col * 30 + 30]
        # away from the edge the mean of a bilinear doubling is that of the pixels around it
        middle = optical[i, 1, 20:22, 20:22].astype(float)
        expected = (0.75 * 0.75 * inner[10, 10] + 0.25 * 0.75 * (inner[9, 10] + inner[10, 9])) + inner[
            9, 9
        ] / 16
        assert abs(middle[0, 0] - expected) <= 1
    assert batch.column("s2_valid").to_pylist() == [1.0] * 4
    assert batch.column("s2_cloud").to_pylist() == [0.0] * 4
    assert batch.column("s1_cloud").to_pylist() == [None] * 4


def test_reflectance_is_the_same_before_and_after_the_offset_of_baseline_4(
    scenes: Scenes, tmp_path: Path
) -> None:
    places = [*PLACES, (1, 1)]
    cut(replace(task(scenes, tmp_path, places, ["old"] * 5), name="a"))
    cut(replace(task(scenes, tmp_path, places, ["new"] * 5), name="b"))
    cut(replace(task(scenes, tmp_path, places, ["old", "new", "old", "new", "old"]), name="c"))
    a, b, c = (shards.pixels(shards.open_shard(tmp_path / f"{n}.arrow"), "s2", 2, PX) for n in "abc")
    assert np.array_equal(a, b)
    assert np.array_equal(a, c)


def test_a_cloudy_chip_is_rejected_with_its_scene(scenes: Scenes, tmp_path: Path) -> None:
    entry = cut(task(scenes, tmp_path, [(0, 0), (0, 3), (1, 3)]))
    assert entry.chips == ("chip00@k", "chip13@k")
    assert entry.rejected == (("chip03@k", "s2: cloud", "old"),)
    assert shards.open_shard(tmp_path / "shard-x.arrow").column("chip_id").to_pylist() == ["chip00", "chip13"]


def test_a_chip_beyond_the_scene_has_no_data(scenes: Scenes, tmp_path: Path) -> None:
    entry = cut(task(scenes, tmp_path, [(0, 0), (0, 4), (9, 9)]))
    assert [reason for _, reason, _ in entry.rejected] == ["s2: no data"] * 2


@pytest.mark.parametrize("break_it", ["truncated", "absent", "garbage"])
def test_an_unreadable_scene_costs_its_own_chips_only(break_it: str, scenes: Scenes, tmp_path: Path) -> None:
    path = Path(scenes.assets["s2"]["new"]["B05"].href)
    if break_it == "absent":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:2000] if break_it == "truncated" else b"garbage" * 1000)
    entry = cut(task(scenes, tmp_path, PLACES, ["old", "new", "old", "new"]))
    assert entry.chips == ("chip00@k", "chip12@k")
    assert [(key, reason) for key, reason, _ in entry.rejected] == [
        ("chip21@k", "s2: scene unreadable"),
        ("chip33@k", "s2: scene unreadable"),
    ]
    assert all("new" in detail and "B05.tif" in detail for _, _, detail in entry.rejected)
    assert "\n" not in entry.rejected[0][2]


def test_a_shard_of_which_nothing_is_left_is_not_written(scenes: Scenes, tmp_path: Path) -> None:
    folder = tmp_path / "chips"
    entry = cut(task(scenes, folder, [(0, 3), (20, 20)]))
    assert (entry.shard, entry.chips, entry.digest) == (None, (), None)
    assert len(entry.rejected) == 2
    assert not folder.exists()


def test_the_first_sensor_that_refuses_gives_the_reason(scenes: Scenes, tmp_path: Path) -> None:
    power = scenes.power.copy()
    power[:120] = 0.25
    write(Path(scenes.assets["s1"]["radar"]["VV"].href), power, 10, -32768)
    entry = cut(task(scenes, tmp_path, [(0, 0), (0, 3), (3, 0)]))
    assert entry.rejected == (
        ("chip00@k", "s1: constant backscatter", "radar"),
        ("chip03@k", "s2: cloud", "old"),
    )


def test_shards_are_the_same_bytes_again(scenes: Scenes, tmp_path: Path) -> None:
    first, second = (cut(replace(task(scenes, tmp_path, PLACES), name=name)) for name in ("a", "b"))
    assert first.digest == second.digest


def test_stored_values_are_clipped_and_keep_nodata_apart() -> None:
    values = np.array([np.nan, -0.1, 0.0, 0.00004, 0.00016, 0.5, 7.0, np.inf])
    assert stored(values, INFO_S2, S2).tolist() == [0, 1, 1, 1, 2, 5000, 65535, 65535]
    decibel = np.array([np.nan, -400.0, -12.345, -12.344, 0.0, 400.0])
    assert stored(decibel, INFO_S1, S1).tolist() == [-32768, -32767, -1234, -1234, 0, 32767]
    assert stored(values, INFO_S2, S2).dtype == np.uint16
