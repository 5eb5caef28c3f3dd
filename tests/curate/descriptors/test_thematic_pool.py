"""Land cover in the pool: columns, years, and the same rows whatever the tasks and workers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import rasterio

from curate import pool as pools
from curate import stages
from curate.catalog.errors import InputError
from curate.engine import Engine, engine
from curate.recipe import Recipe
from curate.workspace import Workspace

ONE = Engine(workers=1)


def pool_of(workspace: Workspace) -> pa.Table:
    tables = [pq.read_table(path) for path in sorted(workspace.pool.glob("part-*.parquet"))]
    return pa.concat_tables(tables).replace_schema_metadata(None).sort_by("chip_id")


@pytest.fixture(scope="module")
def by_year(small_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive's map in three editions: as it is, all grass, all water."""
    folder = tmp_path_factory.mktemp("years")
    for number, path in enumerate(sorted(small_archive.rglob("*_Map.tif"))):
        for year, code in ((2017, None), (2021, 30), (2023, 80)):
            copy = folder / f"site{number}_{year}.tif"
            shutil.copy(path, copy)
            if code is not None:
                with rasterio.open(copy) as file:
                    codes, profile = file.read(1), file.profile
                codes[codes > 0] = code
                with rasterio.open(copy, "w", **profile) as file:
                    file.write(codes, 1)
    return folder


def test_columns_agree_with_the_fractions(built: Workspace, recipe: Recipe) -> None:
    pool = pool_of(built)
    codes = sorted(int(name[3:]) for name in pool.column_names if name[:3] == "lc_" and name[3:].isdigit())
    shares = np.stack([pool[f"lc_{code}"].to_numpy() for code in codes], axis=1)
    assert np.abs(shares.sum(1) + pool["lc_unmapped"].to_numpy() - 1).max() < 1e-6
    known = pc.is_valid(pool["lc_dominant"]).to_numpy()
    assert known.mean() > 0.9
    assert (
        np.array(codes)[shares[known].argmax(1)] == pool["lc_dominant"].filter(pa.array(known)).to_numpy()
    ).all()
    assert pool["lc_classes"].to_numpy().tolist() == (shares >= np.float32(0.05)).sum(1).tolist()
    part = shares[known].astype(float) / shares[known].sum(1, keepdims=True)
    bits = -(part * np.log2(np.where(part > 0, part, 1))).sum(1)
    assert pool["lc_entropy"].filter(pa.array(known)).to_numpy() == pytest.approx(bits, abs=1e-5)
    assert set(pool["lc_year"].unique().to_pylist()) <= {2021, None}


def test_the_edition_nearest_to_the_anchor_is_described(
    recipe: Recipe, workspace: Workspace, by_year: Path
) -> None:
    before = pool_of(workspace)
    stages.describe(recipe.with_options({"descriptors.landcover": str(by_year)}), workspace, ONE)
    pool = pool_of(workspace)
    assert pool["chip_id"].equals(before["chip_id"])
    taken = pc.year(pool["s2_datetime"]).to_numpy()
    editions = np.array([2023, 2021, 2017])
    expected = editions[np.abs(taken[:, None] - editions).argmin(1)]
    mapped = pc.less(pool["lc_unmapped"], 1.0).to_numpy()
    assert (pool["lc_year"].to_numpy(zero_copy_only=False)[mapped] == expected[mapped]).all()
    for year, code in ((2021, 30), (2023, 80)):
        rows = mapped & (expected == year)
        assert (pool["lc_dominant"].to_numpy(zero_copy_only=False)[rows] == code).all()


def test_small_tasks_and_two_workers_make_the_same_pool(
    recipe: Recipe, built: Workspace, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = len(list(workspace.pool.glob("part-*.parquet")))
    shutil.rmtree(workspace.pool)
    monkeypatch.setattr(pools, "SQUARE_CELLS", 1)
    monkeypatch.setattr(pools, "ROWS_PER_TASK", 50)
    with engine(workers=2) as running:
        stages.describe(recipe, workspace, running)
    assert len(list(workspace.pool.glob("part-*.parquet"))) > parts
    again, before = pool_of(workspace), pool_of(built)
    for name in before.column_names:
        assert again[name].combine_chunks().equals(before[name].combine_chunks()), name


def test_a_cluster_by_its_address_makes_the_same_pool_and_what_is_there_is_kept(
    recipe: Recipe, built: Workspace, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(pools, "SQUARE_CELLS", 1)
    stages.describe(recipe.with_options({"descriptors.landcover_presence": 0.1}), workspace, ONE)
    stages.describe(recipe, workspace, ONE)
    parts = sorted(workspace.pool.glob("part-*.parquet"))
    assert len(parts) > 3
    for path in parts[1::2]:
        path.unlink()
    kept = {path: path.stat().st_mtime_ns for path in parts[::2]}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        engine(scheduler=cluster.scheduler_address) as running,
    ):
        stages.describe(recipe, workspace, running)
        assert cluster.status.name == "running"
    assert sorted(workspace.pool.glob("part-*.parquet")) == parts
    assert {path: path.stat().st_mtime_ns for path in parts[::2]} == kept
    again, before = pool_of(workspace), pool_of(built)
    for name in before.column_names:
        assert again[name].combine_chunks().equals(before[name].combine_chunks()), name


def test_a_signature_of_a_map_is_written_nowhere(
    recipe: Recipe, workspace: Workspace, small_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import http.server
    import threading
    from functools import partial

    class Signed(http.server.SimpleHTTPRequestHandler):
        def send_head(self) -> object:
            if "X-Amz-Signature=s3cret" not in self.path:
                self.send_error(403)
                return None
            return super().send_head()

        def log_message(self, *_: object) -> None:
            return

    tile = sorted(small_archive.rglob("*_Map.tif"))[0]
    handler = partial(Signed, directory=str(tile.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{tile.name}?X-Amz-Signature=s3cret"
        signed = recipe.with_options({"descriptors.landcover": url})
        stages.describe(signed, workspace, ONE)
        assert pc.max(pool_of(workspace)["lc_entropy"]).as_py() > 0
        again = recipe.with_options({"descriptors.landcover": f"{url}0"})
        assert stages.describe(again, workspace, ONE).reused  # a new signature is no other map
        server.shutdown()
    written = [path for path in workspace.root.rglob("*") if path.is_file()]
    assert not [path for path in written if b"s3cret" in path.read_bytes()]
    broken = recipe.with_options({"descriptors.landcover": f"{url}1", "descriptors.landcover_presence": 0.2})
    with pytest.raises(InputError) as error:
        stages.describe(broken, workspace, ONE)
    assert "s3cret" not in str(error.value)


def test_tasks_hold_whole_cells_near_each_other(recipe: Recipe, built: Workspace) -> None:
    pairs = pq.read_table(built.pairs)
    from curate.descriptors.thematic import LandcoverMap
    from curate.legends import legend
    from curate.regions import region

    tasks = pools.tasks(pairs, region(recipe.region).area, LandcoverMap("none", (), legend(None)), recipe)
    assert sum(task.pairs.num_rows for task in tasks) == pairs.num_rows
    cells = [set(task.pairs["cell"].to_pylist()) for task in tasks]
    assert sum(map(len, cells)) == len(set().union(*cells)) == len(set(pairs["cell"].to_pylist()))


def test_common_classes_and_coarse_overviews_are_options(recipe: Recipe, workspace: Workspace) -> None:
    before = pool_of(workspace)
    coarse = recipe.with_options({"descriptors.landcover_resolution": 80})
    assert not stages.describe(coarse, workspace, ONE).reused
    after = pool_of(workspace)
    apart = np.abs(after["lc_10"].to_numpy() - before["lc_10"].to_numpy())
    assert apart.max() < 0.3
    stages.describe(recipe.with_options({"descriptors.landcover_classes": "common"}), workspace, ONE)
    common = pool_of(workspace)
    assert "lc_95" not in common.column_names and "lc_90" in common.column_names
    assert np.allclose(common["lc_10"].to_numpy(), before["lc_10"].to_numpy())
    assert np.allclose(
        common["lc_90"].to_numpy(), before["lc_90"].to_numpy() + before["lc_95"].to_numpy(), atol=1e-6
    )


def test_a_map_that_does_not_cover_the_region_is_bad_input(
    recipe: Recipe, workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "elsewhere.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=9, width=9, count=1, dtype="uint8", crs="EPSG:4326",
        transform=rasterio.Affine(1, 0, 100, 0, -1, 9), nodata=0,
    ) as file:  # fmt: skip
        file.write(np.full((9, 9), 10, np.uint8), 1)
    with pytest.raises(InputError, match="does not cover the region"):
        stages.describe(recipe.with_options({"descriptors.landcover": str(path)}), workspace, ONE)


@pytest.mark.slow
@pytest.mark.real
def test_memory_does_not_grow_with_the_pool(real_data: Path) -> None:
    """A million candidates on the real maps, where no more than 200,000 are made at once."""
    script = Path(__file__).parents[3] / "benchmarks" / "describe_memory.py"
    tile = real_data / "landcover" / "ESA_WorldCover_10m_2021_v200_N00E006_Map.tif"
    koppen = real_data / "climate" / "koppen_beck2023_1991-2020_0p1.tif"
    command = [sys.executable, str(script), str(tile), str(koppen), "--chips", "300000", "3000000"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (few, low), (many, high) = (
        (int(line.split()[0].replace(",", "")), int(line.split()[-4].replace(",", "")))
        for line in said.splitlines()
    )
    assert many > 8 * few
    assert high < 1.3 * low, said
