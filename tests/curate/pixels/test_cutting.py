"""Cut shards against plain reads, and what a broken scene costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from curate.catalog import SensorInfo, shards
from curate.catalog.shards import ManifestEntry
from curate.catalog.statistics import Moments, histograms
from curate.pixels.cutting import cut as cut_task
from curate.pixels.storing import LINEAR, Storing, decibels, store, summarise
from curate.pixels.tasks import Asset, CutTask, Shard
from curate.radiometry import NOISE_FLOOR_DB, to_decibel
from curate.recipe import Pixels
from curate.scenes import Rejected, scene
from curate.sensors import SENSORS, Band, Flag, Mask, Sensor, Stored, sensor

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
    scenes: Scenes,
    folder: Path,
    places: list[tuple[int, int]],
    of: list[str] | None = None,
    name: str = "shard-x",
) -> CutTask:
    """A task of one shard."""
    return CutTask(
        shards=(shard(name, places, of),),
        folder=folder,
        chip_px=PX,
        resolution_m=10.0,
        sensors=(INFO_S2, INFO_S1),
        assets=scenes.assets,
        pixels=Pixels(),
    )


def shard(name: str, places: list[tuple[int, int]], of: list[str] | None = None) -> Shard:
    names = tuple(f"chip{row}{col}" for row, col in places)
    step = PX * 10.0
    return Shard(
        name=name,
        keys=tuple(f"{one}@k" for one in names),
        chip_ids=names,
        grid=tuple((EPSG, LEFT + step * col, TOP - step * row) for row, col in places),
        scenes={"s2": tuple(of or ["old"] * len(places)), "s1": ("radar",) * len(places)},
    )


def with_scenes(one: CutTask, scenes: dict[str, tuple[str, ...]]) -> CutTask:
    return replace(one, shards=tuple(replace(shard, scenes=scenes) for shard in one.shards))


def cut(one: CutTask) -> ManifestEntry:
    """Cut a task of one shard."""
    one.folder.mkdir(exist_ok=True)
    (entry,) = cut_task(one)
    return entry


PLACES = [(0, 0), (2, 1), (1, 2), (3, 3)]


def test_rows_of_a_shard_equal_direct_reads(scenes: Scenes, tmp_path: Path) -> None:
    entry = cut(task(scenes, tmp_path, PLACES))
    assert entry.shard == "shard-x.arrow"
    assert entry.chips == tuple(f"chip{r}{c}@k" for r, c in PLACES)
    assert entry.rejected == ()
    assert entry.digest == shards.checksum(tmp_path / "shard-x.arrow")
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
    cut(task(scenes, tmp_path, places, ["old"] * 5, "a"))
    cut(task(scenes, tmp_path, places, ["new"] * 5, "b"))
    cut(task(scenes, tmp_path, places, ["old", "new", "old", "new", "old"], "c"))
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
    assert not list(folder.glob("*.arrow"))


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
    first, second = (cut(task(scenes, tmp_path, PLACES, name=name)) for name in ("a", "b"))
    assert first.digest == second.digest


def stored(values: list[float], info: SensorInfo, lowest: int, fill_below: float = -np.inf) -> list[int]:
    numbers = np.array(values).reshape(1, -1)
    out, data = np.zeros(numbers.shape, info.dtype), np.ones(numbers.shape, bool)
    limits = float(lowest), float(np.iinfo(info.dtype).max)
    how = Storing(1 / info.scale, 0.0, LINEAR, 0.0, 0.0, 1.0, 0.0, float(fill_below), *limits, info.nodata)
    store(numbers, how, out, data)
    assert np.array_equal(data, out != info.nodata)
    return out.ravel().tolist()


def test_stored_values_are_clipped_and_keep_nodata_apart() -> None:
    values = [np.nan, -0.1, 0.0, 0.00004, 0.00016, 0.5, 7.0, np.inf]
    assert stored(values, INFO_S2, S2.stored.lowest) == [0, 1, 1, 1, 2, 5000, 65535, 65535]
    assert stored(values, INFO_S2, S2.stored.lowest, -500)[1] == 0  # below what can be measured
    decibel = [np.nan, -400.0, -12.345, -12.344, 0.0, 400.0]
    assert stored(decibel, INFO_S1, S1.stored.lowest) == [-32768, -32767, -1234, -1234, 0, 32767]


@pytest.mark.parametrize(("unit", "factor"), [("power", 10.0), ("amplitude", 20.0)])
def test_decibels_of_one_pass_are_those_of_the_rule(unit: str, factor: float) -> None:
    values = np.random.default_rng(3).gamma(1, 0.1, 100_000) * 10.0 ** np.arange(-7, 3).repeat(10_000)
    values[:7] = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-12, 1.0)
    expected = to_decibel(values, unit)
    decibels(values, factor, NOISE_FLOOR_DB)
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("info", [INFO_S2, INFO_S1])
def test_sums_are_those_of_the_plain_way(info: SensorInfo) -> None:
    limits = np.iinfo(info.dtype)
    random = np.random.default_rng(5)
    pixels = random.integers(limits.min, limits.max, (6, len(info.bands), 7, 9), info.dtype, endpoint=True)
    pixels[1], pixels[2], pixels[3] = info.nodata, limits.max, random.integers(900, 905)
    pixels[4][random.random(pixels[4].shape) < 0.5] = info.nodata
    found, counts = summarise(pixels, info)
    expected = Moments.of_chips(pixels, info)
    assert np.array_equal(found.count, expected.count)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
    np.testing.assert_allclose(found.m2, expected.m2, rtol=1e-12, atol=1e-20)
    assert np.array_equal(counts, histograms(pixels, info))


def test_bands_of_one_sensor_are_stored_by_their_own_scale(scenes: Scenes, tmp_path: Path) -> None:
    landsat = SENSORS["landsat-c2-l2"]
    info = landsat.stored_info(("red", "lwir11"), "nearest")
    assert (info.scales, [band.unit for band in info.bands]) == ((1e-4, 0.01), [None, "K"])
    kelvin = np.full((240, 240), 300.0) + np.arange(240) / 100
    numbers = np.rint((kelvin - 149) / 0.00341802).astype(np.uint16)
    numbers[:, 0] = 0  # DN 0 where neither file nor item says what it means is 149 K
    qa = np.full((240, 240), 21824, np.uint16)
    qa[:30, :60] = 22280
    assets = {
        "red": Asset(scenes.assets["s2"]["old"]["B02"].href, 1e-4, 0.0, 0, "reflectance"),
        "lwir11": Asset(write(tmp_path / "st.tif", numbers, 10, None), 0.00341802, 149.0, -1, "K"),
        "QA_PIXEL": Asset(write(tmp_path / "qa.tif", qa, 10, 1), 1, 0, None, "class"),
    }
    places = [(0, 0), (1, 1)]
    wanted = replace(
        with_scenes(task(scenes, tmp_path, places), {"ls": ("one", "one")}),
        sensors=(info,),
        assets={"ls": {"one": assets}},
        pixels=Pixels(min_valid=0.9, max_cloud=0.6, resampling="nearest"),
    )
    entry = cut(wanted)
    assert entry.rejected == ()
    batch = shards.open_shard(tmp_path / "shard-x.arrow")
    assert batch.column("ls_cloud").to_pylist() == [0.5, 0.0]
    assert batch.column("ls_valid").to_pylist() == pytest.approx([59 / 60, 1.0])
    pixels = shards.pixels(batch, "ls", 2, PX)
    assert (pixels[0, 1, :, 0] == 0).all()
    assert np.abs(pixels[1, 1] * 0.01 - kelvin[60:120, 60:120]).max() <= 0.0068
    mean = shards.moments(batch, "ls").mean[1]
    assert mean == pytest.approx(
        [scenes.surface[60:120, 60:120].mean() / 1e4, kelvin[60:120, 60:120].mean()], abs=0.01
    )


def test_power_below_the_noise_floor_and_missing_power_are_kept_apart(scenes: Scenes, tmp_path: Path) -> None:
    power = scenes.power.copy()
    power[0, :5] = (0.0, -1e-4, 1e-9, -32768, np.nan)
    write(Path(scenes.assets["s1"]["radar"]["VV"].href), power, 10, -32768)
    cut(task(scenes, tmp_path, [(0, 0)]))
    pixels = shards.pixels(shards.open_shard(tmp_path / "shard-x.arrow"), "s1", 1, PX)
    assert pixels[0, 0, 0, :5].tolist() == [-5000, -5000, -5000, -32768, -32768]


def test_complex_numbers_are_cut_as_power(scenes: Scenes, tmp_path: Path) -> None:
    slc = SENSORS["sentinel-1-slc"]
    phase = np.exp(1j * np.random.default_rng(4).uniform(0, 6.28, scenes.power.shape))
    z = (4 * np.sqrt(scenes.power) * phase).astype(np.complex64)
    asset = Asset(write(tmp_path / "slc.tif", z, 10, None), 0.25, 0.0, None, "complex")
    wanted = replace(
        with_scenes(task(scenes, tmp_path, [(0, 0)]), {"s1slc": ("a",)}),
        sensors=(slc.stored_info(("IW1-VV",), "bilinear"),),
        assets={"s1slc": {"a": {"IW1-VV": asset}}},
    )
    assert cut(wanted).rejected == ()
    pixels = shards.pixels(shards.open_shard(tmp_path / "shard-x.arrow"), "s1slc", 1, PX)
    assert np.abs(pixels[0, 0] - 1000 * np.log10(scenes.power[:PX, :PX].astype(float))).max() <= 0.51
    silent = replace(wanted, assets={"s1slc": {"a": {"IW1-VV": replace(asset, unit="power")}}})
    assert [why for _, why, _ in cut(silent).rejected] == ["s1slc: scene unreadable"]


@pytest.mark.parametrize(
    ("unit", "reason"),
    [("power", None), ("dB", "s1: implausible backscatter"), ("amplitude", None)],
)
def test_a_wrong_unit_is_found_out_where_numbers_cannot_be_true(
    unit: str, reason: str | None, scenes: Scenes, tmp_path: Path
) -> None:
    scenes.assets["s1"]["radar"]["VV"] = replace(scenes.assets["s1"]["radar"]["VV"], unit=unit)
    entry = cut(task(scenes, tmp_path, [(0, 0)]))
    assert [why for _, why, _ in entry.rejected] == ([] if reason is None else [reason])


def test_a_block_of_zeros_in_a_radar_scene_costs_its_chips(scenes: Scenes, tmp_path: Path) -> None:
    power = scenes.power.copy()
    power[:70, :70] = 0
    write(Path(scenes.assets["s1"]["radar"]["VV"].href), power, 10, -32768)
    entry = cut(task(scenes, tmp_path, [(0, 0), (0, 1), (1, 1), (3, 2)]))
    lost = {key: why for key, why, _ in entry.rejected}
    assert lost["chip00@k"] == "s1: constant backscatter" and "chip32@k" not in lost
    assert lost.get("chip01@k") == "s1: constant backscatter"


def test_a_new_sensor_is_one_entry(scenes: Scenes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = Sensor(
        name="new-l2",
        prefix="new",
        kind="optical",
        bands=(
            Band("N1", ("n1",), 20, 700.0),
            Band("N2", ("n2",), 20, 900.0, unit="K", stored=Stored("uint16", 0.1, 0, "K")),
        ),
        stored=Stored("uint16", 1e-4, 0, "reflectance"),
        source_scale=2e-4,
        source_unit="reflectance",
        source_nodata=0,
        mask=Mask(Band("Q", ("q",), 20), cloud=(Flag((1,), 4, 1),)),
    )
    monkeypatch.setitem(SENSORS, new.name, new)
    one = scenes.assets["s2"]["old"]
    thing = {
        "id": "a",
        "geometry": {"type": "Polygon", "coordinates": [[[15, 44], [16, 44], [16, 45], [15, 44]]]},
        "properties": {"datetime": "2020-01-01T00:00:00Z"},
        "assets": {
            "n1": {"href": one["B05"].href},
            "n2": {"href": one["B05"].href, "raster:scale": 0.05},
            "q": {"href": one["SCL"].href},
        },
    }
    found = scene(thing, "/x/item.json", sensor("new-l2"), ("N1", "N2"))
    assert not isinstance(found, Rejected)
    assets = {asset.pop("band"): Asset(**asset) for asset in found["assets"]}
    wanted = replace(
        with_scenes(task(scenes, tmp_path, [(0, 0), (1, 1)]), {"new": ("a", "a")}),
        sensors=(new.stored_info(("N1", "N2"), "nearest"),),
        assets={"new": {"a": assets}},
        pixels=Pixels(resampling="nearest"),
    )
    assert cut(wanted).rejected == ()
    batch = shards.open_shard(tmp_path / "shard-x.arrow")
    pixels = shards.pixels(batch, "new", 2, PX)
    first = scenes.coarse[:30, :30].repeat(2, 0).repeat(2, 1).astype(float)
    assert np.array_equal(pixels[0, 0], 2 * first)
    assert np.abs(pixels[0, 1] - first / 2).max() <= 0.5
    assert batch.column("new_cloud").to_pylist() == [0.0, 0.0]
