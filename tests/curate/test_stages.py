"""From an archive to a catalog: what comes out, that it is always the same, and what faults cost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from curate import outcome, stages
from curate.catalog import Catalog, InputError
from curate.catalog.shards import open_shard, pixels, read_manifest
from curate.catalog.validation import violations
from curate.engine import Engine, engine
from curate.recipe import Recipe
from curate.workspace import Workspace


def href_of(table: pa.Table, row: int, band: str) -> str:
    """Where the file of a chip's Sentinel-2 band lies."""
    return next(one["href"] for one in table["s2_hrefs"][row].as_py() if one["band"] == band)


def same_rows(first: Path, second: Path) -> None:
    """Two catalogs have the same columns with the same values in the same order."""
    a, b = pq.read_table(first), pq.read_table(second)
    assert a.schema.equals(b.schema)
    for name in a.column_names:
        assert a[name].combine_chunks().equals(b[name].combine_chunks()), name


def test_a_catalog_keeps_its_contract(built: Workspace) -> None:
    assert violations(built.catalog) == []
    catalog = Catalog.open(built.catalog)
    catalog.require_pixels()
    assert catalog.meta.simulated
    assert geopandas.read_parquet(built.catalog).shape[0] == catalog.table.num_rows


def test_every_stage_accounts_for_all_that_came_in(built: Workspace) -> None:
    for stage, account in json.loads(built.summary.read_text()).items():
        assert account["came_in"] == account["left"] + sum(account["rejected"].values()), stage


def test_pairs_stay_within_the_time_allowed(built: Workspace) -> None:
    table = Catalog.open(built.catalog).table
    hours = table["s1_dt_hours"].to_numpy()
    assert np.abs(hours).max() <= 72
    apart = pc.subtract(table["s1_datetime"], table["s2_datetime"]).cast(pa.int64()).to_numpy() / 3.6e9
    np.testing.assert_allclose(hours, apart, atol=1e-5)


def test_stored_pixels_are_those_of_the_scene(built: Workspace, small_archive: Path) -> None:
    import rasterio

    catalog = Catalog.open(built.catalog)
    table, sensor = catalog.table, catalog.sensors["s2"]
    for row in (0, table.num_rows // 2, table.num_rows - 1):
        chip = {
            name: table[name][row].as_py()
            for name in ("shard", "shard_row", "epsg", "transform", "s2_offset")
        }
        with rasterio.open(href_of(table, row, "B04")) as source:
            assert source.crs.to_epsg() == chip["epsg"]
            top, left = source.index(chip["transform"][2] + 5, chip["transform"][5] - 5)
            numbers = source.read(1, window=((top, top + 60), (left, left + 60))).astype(int)
        expected = np.where(numbers == 0, 0, np.maximum(numbers + chip["s2_offset"], 1))
        shard = open_shard(catalog.chips_folder / chip["shard"])
        stored = pixels(shard, "s2", len(sensor.bands), 60)[chip["shard_row"], sensor.band_names.index("B04")]
        np.testing.assert_array_equal(stored, expected)


def test_statistics_are_those_of_the_training_split(built: Workspace) -> None:
    catalog = Catalog.open(built.catalog)
    sensor = catalog.sensors["s1"]
    values = []
    for row in np.flatnonzero(catalog.table["split"].to_numpy() == "train"):
        shard = open_shard(catalog.chips_folder / catalog.table["shard"][row].as_py())
        stored = pixels(shard, "s1", 2, 60)[catalog.table["shard_row"][row].as_py()]
        values.append(np.where(stored == sensor.nodata, np.nan, stored * sensor.scale))
    found = catalog.statistics()["s1"]
    assert found.unit == "dB"
    np.testing.assert_allclose(found.mean, np.nanmean(values, axis=(0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(found.std, np.nanstd(values, axis=(0, 2, 3)), rtol=1e-9)


def test_two_workers_make_the_same_catalog(recipe: Recipe, built: Workspace, tmp_path: Path) -> None:
    workspace = stages.start(recipe, tmp_path)
    with engine(workers=2) as running:
        stages.build(recipe, workspace, running)
    same_rows(workspace.catalog, built.catalog)


def test_shuffled_tables_make_the_same_catalog(
    recipe: Recipe, built: Workspace, workspace: Workspace
) -> None:
    random = np.random.default_rng(0)

    def shuffle(path: Path) -> None:
        table = pq.read_table(path)
        order = pa.array(random.permutation(table.num_rows))
        pq.write_table(table.take(order), path, row_group_size=7)

    shutil.rmtree(workspace.folder / "chips")
    shuffle(workspace.scenes)
    stages.pair(recipe, workspace, Engine(workers=1))
    shuffle(workspace.pairs)
    stages.describe(recipe, workspace, Engine(workers=1))
    for part in workspace.pool.glob("part-*.parquet"):
        metadata = pq.read_schema(part).metadata
        table = pq.read_table(part)
        table = table.take(pa.array(random.permutation(table.num_rows)))
        pq.write_table(table.replace_schema_metadata(metadata), part, row_group_size=11)
    stages.cut(recipe, workspace, Engine(workers=1))
    same_rows(workspace.catalog, built.catalog)


def test_a_second_run_keeps_every_table(recipe: Recipe, workspace: Workspace) -> None:
    before = {
        path: path.stat().st_mtime_ns
        for path in workspace.root.rglob("*")
        if path.suffix in (".parquet", ".arrow")
    }
    summaries = stages.build(recipe, workspace, Engine(workers=1))
    assert all(summary.reused for summary in summaries)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_larger_budget_touches_no_shard_that_is_there(recipe: Recipe, workspace: Workspace) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in workspace.folder.rglob("*.arrow")}
    old = pq.read_table(workspace.catalog, columns=["chip_id"])["chip_id"].to_pylist()
    larger = recipe.with_options({"sampling.budget": "1M"})
    stages.cut(larger, workspace, Engine(workers=1))
    after = {path.name: path.stat().st_mtime_ns for path in workspace.folder.rglob("*.arrow")}
    assert before.items() <= after.items() and len(after) > len(before)
    assert violations(workspace.catalog) == []
    assert set(old) <= set(pq.read_table(workspace.catalog)["chip_id"].to_pylist())


def test_what_was_cut_before_does_not_change_the_result(
    recipe: Recipe, built: Workspace, workspace: Workspace
) -> None:
    stages.cut(recipe.with_options({"sampling.budget": "1M"}), workspace, Engine(workers=1))
    stages.cut(recipe, workspace, Engine(workers=1))
    a, b = pq.read_table(workspace.catalog), pq.read_table(built.catalog)
    for name in a.column_names:
        if name not in ("shard", "shard_row"):
            assert a[name].combine_chunks().equals(b[name].combine_chunks()), name


def test_a_sample_that_is_not_cut_has_no_pixels_and_says_how_to_get_them(
    recipe: Recipe, workspace: Workspace
) -> None:
    shutil.rmtree(workspace.folder / "chips")
    stages.sample(recipe, workspace, Engine(workers=1))
    assert violations(workspace.catalog) == []
    with pytest.raises(InputError, match="curate cut"):
        Catalog.open(workspace.catalog).require_pixels()
    stages.cut(recipe, workspace, Engine(workers=1))
    Catalog.open(workspace.catalog).require_pixels()


def test_a_truncated_scene_costs_its_own_chips_only(
    recipe: Recipe, small_archive: Path, built: Workspace, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(small_archive, archive)
    href = href_of(Catalog.open(built.catalog).table, 0, "B08")
    broken = archive / Path(href).relative_to(small_archive)
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 3])
    other = recipe.with_options({"archive": str(archive), "sampling.budget": "1M"})
    workspace = stages.start(other, tmp_path / "catalogs")
    summary = stages.build(other, workspace, Engine(workers=1))[-1]
    assert summary.rejected["s2: scene unreadable"] > 0
    assert violations(workspace.catalog) == []
    scene = broken.parent.name
    details = [
        detail
        for entry in read_manifest(Catalog.open(workspace.catalog).chips_folder)
        for _, reason, detail in entry.rejected
        if reason == "s2: scene unreadable"
    ]
    assert details and all(scene in detail or "B08" in detail for detail in details)


def test_no_pair_is_an_error_that_says_why(recipe: Recipe, tmp_path: Path) -> None:
    impossible = recipe.with_options({"pairing.max_dt_days": 1e-6})
    workspace = stages.start(impossible, tmp_path)
    with pytest.raises(InputError, match=r"No pair was found.*within 1e-06 days.*--max-dt"):
        stages.build(impossible, workspace, Engine(workers=1))
    assert not workspace.pairs.exists() and not workspace.catalog.exists()


def test_chips_larger_than_the_scenes_are_an_error(recipe: Recipe, tmp_path: Path) -> None:
    huge = recipe.with_options({"chips.size_px": 2000})
    with pytest.raises(InputError, match=r"No chip of 20000 m fits.*--chip-px"):
        stages.build(huge, stages.start(huge, tmp_path), Engine(workers=1))


def test_other_sensors_join_the_pair(recipe: Recipe, tmp_path: Path) -> None:
    partners = ["sentinel-1-rtc", "cop-dem-glo-30"]
    with_terrain = recipe.with_options({"sensors.partners": partners, "sampling.budget": "20"})
    workspace = stages.start(with_terrain, tmp_path)
    stages.build(with_terrain, workspace, Engine(workers=1))
    assert violations(workspace.catalog) == []
    catalog = Catalog.open(workspace.catalog)
    assert list(catalog.sensors) == ["s2", "s1", "dem"]
    assert catalog.table["dem_datetime"].null_count == catalog.table["dem_dt_hours"].null_count == 20
    assert 0 < catalog.statistics()["dem"].std[0] < 3000


def test_a_pool_whose_counts_lie_on_disk_gives_the_same_catalog(
    recipe: Recipe, built: Workspace, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.building.COUNTS_KEPT_FROM", 0)
    monkeypatch.setattr(outcome, "MEASURED_UP_TO", 0)
    workspace.catalog.unlink()
    summary = stages.cut(recipe, workspace, Engine(workers=2))
    assert list((workspace.folder / "counts").glob("*.counts"))
    assert summary.notes["against_chance"] == []
    same_rows(workspace.catalog, built.catalog)


def test_a_broken_part_of_the_pool_is_named_and_nothing_is_written(
    recipe: Recipe, workspace: Workspace
) -> None:
    part = sorted(workspace.pool.glob("part-*.parquet"))[-1]
    content = bytearray(part.read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    part.write_bytes(bytes(content))
    before = workspace.catalog.read_bytes()
    larger = recipe.with_options({"sampling.budget": "1M"})
    with pytest.raises(InputError, match=rf"{part.name} cannot be read"):
        stages.sample(larger, workspace, Engine(workers=1))
    assert workspace.catalog.read_bytes() == before
