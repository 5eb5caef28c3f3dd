"""Plans of shards: the same after a kill, unique keys, and what is known of chips."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.catalog import SensorInfo, shards
from curate.catalog.shards import MANIFEST, ManifestEntry, SensorChips
from curate.pixels.plan import Known, chips_key, plan, read_known, tasks
from curate.pixels.plan import chip_keys as keys_of
from curate.recipe import Recipe
from curate.sensors import SENSORS

S2, S1 = SENSORS["sentinel-2-l2a"], SENSORS["sentinel-1-rtc"]
INFOS = (S2.stored_info(("B02",), "bilinear"), S1.stored_info(("VV",), "bilinear"))
PER_SHARD, PX = 8, 4


def pool(count: int = 100, seed: int = 1) -> pa.Table:
    """Chips of a few cells and dates, in random order."""
    random = np.random.default_rng(seed)
    place = random.permutation(count)
    cell, date = place // 20, place % 3
    transform = np.zeros((count, 6))
    transform[:, 0], transform[:, 4] = 10, -10
    transform[:, 2], transform[:, 5] = 1200.0 * (place % 7), 1200.0 * (place % 5)
    return pa.table(
        {
            "chip_id": [f"c{c}_{p}_{d}" for c, p, d in zip(cell, place, date, strict=True)],
            "cell": [f"{c}U_0R" for c in cell],
            "epsg": pa.array(32632 + cell % 2, pa.int32()),
            "transform": pa.FixedSizeListArray.from_arrays(pa.array(transform.ravel()), 6),
            "s2_id": [f"S2-{c}-{d}" for c, d in zip(cell, date, strict=True)],
            "s1_id": [f"S1-{c}" for c in cell],
        }
    )


def assets_of(rows: pa.Table, scale: float = 1.0) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """Assets of every scene that occurs."""
    return {
        (info.sensor, scene): {info.band_names[0]: {"href": f"{scene}.tif", "scale": scale}}
        for info in INFOS
        for scene in rows[f"{info.prefix}_id"].unique().to_pylist()
    }


def chip_keys(rows: pa.Table, infos: Sequence[SensorInfo] = INFOS, scale: float = 1.0) -> pa.Array:
    return keys_of(rows, infos, assets_of(rows, scale))


def made(rows: pa.Table) -> dict[str, list[str]]:
    """Shards of a plan with the chips in each."""
    keys = chip_keys(rows)
    planned = plan(rows, keys, "s2", PER_SHARD)
    return {one.name: keys.take(pa.array(one.rows)).to_pylist() for one in planned}


def finish(folder: Path, name: str, keys: list[str], refused: int = 0) -> None:
    """Cut a shard as a run does: file first, then its line in the manifest; the first chips are refused."""
    kept = keys[refused:]
    chips = {
        info.prefix: SensorChips(
            np.ones((len(kept), 1, PX, PX), info.dtype),
            np.ones(len(kept), np.float32),
            np.zeros(len(kept), np.float32),
        )
        for info in INFOS
    }
    shard = f"{name}.arrow" if kept else None
    if shard:
        shards.write_shard(folder / shard, INFOS, [key.split("@")[0] for key in kept], chips)
    rejected = tuple((key, "s2: cloud", "scene") for key in keys[:refused])
    shards.record(folder, ManifestEntry(name, shard, tuple(kept), rejected, "0"))


def test_every_chip_is_in_one_shard_of_the_wanted_size() -> None:
    rows = pool()
    planned = made(rows)
    every = [key for keys in planned.values() for key in keys]
    assert sorted(every) == sorted(chip_keys(rows).to_pylist())
    sizes = [len(keys) for keys in planned.values()]
    assert sizes[:-1] == [PER_SHARD] * (len(sizes) - 1)


def test_neighbours_share_a_shard() -> None:
    rows = pool()
    for one in plan(rows, chip_keys(rows), "s2", PER_SHARD):
        part = rows.take(pa.array(one.rows))
        assert len(part["cell"].unique()) <= 2
        assert len(part["s2_id"].unique()) <= 4


def test_the_plan_does_not_depend_on_the_order_of_rows() -> None:
    rows = pool()
    shuffled = rows.take(np.random.default_rng(2).permutation(rows.num_rows))
    first, second = made(rows), made(shuffled)
    assert first == second
    assert list(first) == list(second)


@pytest.mark.parametrize("seed", range(8))
def test_a_run_that_was_killed_goes_on_with_the_same_shards(seed: int, tmp_path: Path) -> None:
    """Whatever shards were done, in whatever order, and with a torn line at the end."""
    random = np.random.default_rng(seed)
    rows = pool(seed=seed)
    undisturbed = made(rows)
    names = list(undisturbed)
    done = random.permutation(names)[: random.integers(1, len(names))]
    for name in done:
        finish(tmp_path, name, undisturbed[name], refused=int(random.integers(0, 3)))
    with (tmp_path / MANIFEST).open("ab") as file:
        file.write(json.dumps({"plan": "x"}).encode()[:7])
    keys = chip_keys(rows)
    known = read_known(tmp_path, ["s2", "s1"])
    missing = rows.filter(pa.array((known.locate(keys) < 0) & ~known.refused(keys)))
    again = made(missing)
    assert again == {name: chips for name, chips in undisturbed.items() if name not in set(done)}


def test_keys_tell_sources_apart() -> None:
    rows = pool()
    keys = chip_keys(rows)
    assert len(keys.unique()) == rows.num_rows
    assert all(
        key.startswith(chip + "@")
        for key, chip in zip(keys.to_pylist(), rows["chip_id"].to_pylist(), strict=True)
    )
    other = rows.set_column(rows.column_names.index("s1_id"), "s1_id", pa.array(["other"] * rows.num_rows))
    assert not set(keys.to_pylist()) & set(chip_keys(other).to_pylist())
    assert keys.equals(chip_keys(other, INFOS[:1])) is False
    assert not set(keys.to_pylist()) & set(
        chip_keys(rows, scale=2.0).to_pylist()
    )  # other numbers, other chips
    chunked = pa.concat_tables([rows.slice(0, 30), rows.slice(30)])
    assert chip_keys(chunked).equals(keys)
    assert len(chip_keys(rows.slice(0, 0))) == 0


def test_what_is_known_of_chips(tmp_path: Path) -> None:
    rows = pool()
    planned = made(rows)
    first, second, third, fourth = list(planned)[:4]
    finish(tmp_path, first, planned[first])
    finish(tmp_path, second, planned[second], refused=3)
    finish(tmp_path, third, planned[third], refused=PER_SHARD)
    finish(tmp_path, fourth, planned[fourth])
    (tmp_path / f"{fourth}.arrow").unlink()  # deleted by hand: to be cut again
    known = read_known(tmp_path, ["s2", "s1"])
    keys = chip_keys(rows)
    located, refused = known.locate(keys), known.refused(keys)
    for key, row, bad in zip(keys.to_pylist(), located, refused, strict=True):
        has_pixels = key in planned[first] or key in planned[second][3:]
        assert (row >= 0) == has_pixels
        assert bad == (key in planned[second][:3] or key in planned[third])
        if has_pixels:
            at = {name: known.pixels[name][int(row)].as_py() for name in known.pixels.column_names}
            assert at["key"] == key
            held = shards.open_shard(tmp_path / at["shard"]).column("chip_id")
            assert held[at["shard_row"]].as_py() == key.split("@")[0]
            assert (at["s2_valid"], at["s1_cloud"]) == (1.0, 0.0)
    assert set(known.rejected.values()) == {"s2: cloud"}


def test_a_scene_that_could_not_be_read_is_tried_again(tmp_path: Path) -> None:
    entry = ManifestEntry(
        "p", None, (), (("a", "s2: scene unreadable", "503"), ("b", "s2: cloud", "x")), None
    )
    shards.record(tmp_path, entry)
    known, keys = read_known(tmp_path, ["s2"]), pa.array(["a", "b", "c"])
    assert known.refused(keys).tolist() == [False, True, False]
    assert known.refused(keys, {"a"}).tolist() == [True, True, False]
    assert known.unreadable(keys).tolist() == [True, False, False]


def test_nothing_is_known_of_an_empty_folder(tmp_path: Path) -> None:
    known = read_known(tmp_path / "absent", ["s2"])
    keys = pa.array(["a", "b"])
    assert known.locate(keys).tolist() == [-1, -1]
    assert known.refused(keys).tolist() == [False, False]
    assert Known(known.pixels, {"b": "x"}).refused(keys).tolist() == [False, True]


def test_the_folder_of_shards_is_named_after_what_decides_pixels() -> None:
    recipe = Recipe()
    key = chips_key(recipe, INFOS)
    assert chips_key(recipe.with_options({"sampling.budget": "1M", "pixels.shard_chips": 7}), INFOS) == key
    for change in ({"pixels.max_cloud": 0.1}, {"chips.size_px": 60}, {"pixels.resampling": "cubic"}):
        assert chips_key(recipe.with_options(change), INFOS) != key
    assert chips_key(recipe, INFOS[:1]) != key


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_tasks_hold_every_shard_once_and_keep_scenes_together(workers: int) -> None:
    rows = pool(400)
    few = pa.array([f"S2-{i % 3}" for i in range(rows.num_rows)])  # three scenes of 133 chips
    rows = rows.set_column(rows.column_names.index("s2_id"), "s2_id", few)
    planned = plan(rows, chip_keys(rows), "s2", PER_SHARD)
    assert len(planned) == 400 // PER_SHARD
    grouped = tasks(planned, workers)
    assert sorted(one.name for group in grouped for one in group) == sorted(one.name for one in planned)
    for group in grouped:
        assert len({one.scene for one in group}) == 1
        assert len(group) <= -(-len(planned) // workers)
    if workers == 1:  # two zones for each scene
        assert len([group for group in grouped if group[0].scene is not None]) <= 6
    assert tasks([], workers) == []


def test_what_is_left_of_the_only_scene_stays_with_its_other_shards() -> None:
    rows = pool(100).filter(pa.array(np.arange(100) < 50))
    rows = rows.set_column(rows.column_names.index("s2_id"), "s2_id", pa.array(["S2"] * 50))
    rows = rows.set_column(rows.column_names.index("epsg"), "epsg", pa.array([32632] * 50, pa.int32()))
    planned = plan(rows, chip_keys(rows), "s2", PER_SHARD)
    assert [len(one.rows) for one in planned] == [8] * 6 + [2]
    assert {one.scene for one in planned} == {"S2"}
    assert [len(group) for group in tasks(planned, 2)] == [4, 3]


def test_a_shard_of_one_scene_lies_in_one_strip_or_in_neighbouring_ones() -> None:
    rows = pool(400)
    rows = rows.set_column(rows.column_names.index("s2_id"), "s2_id", pa.array(["S2"] * rows.num_rows))
    for one in plan(rows, chip_keys(rows), "s2", PER_SHARD):
        if one.scene is not None:
            top = rows["transform"].combine_chunks().flatten().to_numpy().reshape(-1, 6)[one.rows, 5]
            strips = np.floor(-top / 5120)
            assert (np.diff(strips) >= 0).all()
