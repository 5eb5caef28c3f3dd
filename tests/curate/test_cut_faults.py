"""What disk faults cost a cut: one clear line, and nothing of what was finished. The table is in docs/pixels.md."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from curate import stages
from curate.catalog import Catalog
from curate.catalog.files import digest
from curate.catalog.shards import MANIFEST, open_shard, read_manifest
from curate.engine import Engine
from curate.pixels.verify import verify
from curate.recipe import Recipe
from curate.sampling.sampler import Sampler
from curate.sampling.source import Pool
from curate.workspace import Workspace


def shards(workspace: Workspace) -> dict[str, str]:
    return {path.name: digest(path) for path in workspace.folder.rglob("shard-*.arrow")}


def uncut(workspace: Workspace, keep: int = 0) -> Path:
    """A cut that ended after its first *keep* shards; the folder of the shards."""
    folder = Catalog.open(workspace.catalog).chips_folder
    manifest = folder / MANIFEST
    lines = manifest.read_text().splitlines(keepends=True)[:keep]
    manifest.write_text("".join(lines))
    kept = {entry.shard for entry in read_manifest(folder)}
    for path in folder.glob("*.arrow"):
        if path.name not in kept:
            path.unlink()
    workspace.catalog.unlink()
    open_shard.cache_clear()
    return folder


def whole(workspace: Workspace) -> list[Path]:
    """Shards of which no chip was refused: only those are made again under the same name."""
    folder = Catalog.open(workspace.catalog).chips_folder
    return [folder / entry.shard for entry in read_manifest(folder) if entry.shard and not entry.rejected]


def run_cut(workspace: Workspace, largest_file: int) -> subprocess.CompletedProcess[str]:
    """A cut that cannot write files of more than *largest_file* bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    command = [sys.executable, "-m", "curate.cli", "cut", "--root", str(workspace.root), "--workers", "1"]
    return subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, timeout=120)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder in which nothing can be made, for root too."""
    if os.geteuid() == 0:
        if (
            not shutil.which("chattr")
            or subprocess.run(["chattr", "+i", folder], capture_output=True).returncode
        ):
            pytest.skip("root, and the file system knows no immutable folders")
        try:
            yield
        finally:
            subprocess.run(["chattr", "-i", folder], check=True)
        return
    folder.chmod(0o555)
    try:
        yield
    finally:
        folder.chmod(0o755)


def test_a_full_disk_ends_the_run_with_one_line_and_the_rerun_goes_on(
    recipe: Recipe, built: Workspace, workspace: Workspace
) -> None:
    folder = uncut(workspace, keep=3)
    smallest = min(path.stat().st_size for path in Catalog.open(built.catalog).chips_folder.glob("*.arrow"))
    ended = run_cut(workspace, largest_file=smallest - 1000)
    assert ended.returncode == 1, ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
    assert "shard-" in line and "cannot be written: " in line and "Traceback" not in ended.stderr
    assert not workspace.catalog.exists()
    assert not list(folder.glob(".*.part"))
    open_shard.cache_clear()
    stages.cut(recipe, workspace, Engine(workers=1))
    assert shards(workspace) == shards(built)
    assert digest(workspace.catalog) == digest(built.catalog)


def test_a_read_only_folder_ends_the_run_with_one_line(
    curate_here: Callable[..., subprocess.CompletedProcess[str]],
    recipe: Recipe,
    built: Workspace,
    workspace: Workspace,
) -> None:
    folder = uncut(workspace)
    with read_only(folder):
        ended = curate_here("cut", "--root", str(workspace.root), "--workers", "1")
    assert ended.returncode == 1, ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error:")]
    assert (str(folder) in line and "not permitted" in line.lower()) or "denied" in line.lower()
    assert "Traceback" not in ended.stderr
    open_shard.cache_clear()
    stages.cut(recipe, workspace, Engine(workers=1))
    assert shards(workspace) == shards(built)


def test_a_deleted_shard_is_cut_again_with_the_same_bytes(
    recipe: Recipe, built: Workspace, workspace: Workspace
) -> None:
    lost, kept = whole(workspace)[:2]
    lost.unlink()
    open_shard.cache_clear()
    stamp = kept.stat().st_mtime_ns
    stages.cut(recipe, workspace, Engine(workers=1))
    assert shards(workspace) == shards(built)
    assert kept.stat().st_mtime_ns == stamp


def test_a_shard_cut_short_is_cut_again_with_the_same_bytes(
    recipe: Recipe, built: Workspace, workspace: Workspace
) -> None:
    broken = whole(workspace)[0]
    broken.write_bytes(broken.read_bytes()[:-500])
    workspace.catalog.unlink()
    open_shard.cache_clear()
    stages.cut(recipe, workspace, Engine(workers=1))
    assert shards(workspace) == shards(built)
    assert verify(Catalog.open(workspace.catalog)).violations == ()


def test_refused_chips_are_replaced_until_the_budget_is_met(recipe: Recipe, workspace: Workspace) -> None:
    strict = recipe.with_options({"pixels.max_cloud": 0.0, "sampling.budget": "60"})
    shutil.rmtree(workspace.folder / "chips")
    workspace.catalog.unlink()
    summary = stages.cut(strict, workspace, Engine(workers=1))
    refused = summary.notes["refused"]["s2: cloud"]
    assert refused >= 20 and summary.notes["rounds"] >= 2  # else this shows nothing
    table = pq.read_table(workspace.catalog)
    assert table.num_rows == 60
    assert pc.max(table["s2_cloud"]).as_py() == 0
    assert_seats_stay_in_their_strata(strict, workspace, summary.notes["refused"])
    first = digest(workspace.catalog)
    shutil.rmtree(workspace.folder / "chips")
    workspace.catalog.unlink()
    with_two = stages.cut(strict, workspace, Engine(workers=1))
    assert digest(workspace.catalog) == first and with_two.notes["refused"] == summary.notes["refused"]


def assert_seats_stay_in_their_strata(recipe: Recipe, workspace: Workspace, refused: dict[str, int]) -> None:
    """Every stratum of a split with fit candidates to spare keeps all of its seats; only exhausted ones lose any."""
    pool = Pool.of_files(sorted(workspace.pool.glob("*.parquet")))
    sampler = Sampler(pool, recipe.sampling)
    undisturbed = sampler.draw(60)
    table = pq.read_table(workspace.catalog)
    chip_ids = pool.read(["chip_id"])["chip_id"]
    keys = {key.split("@")[0] for key in refused_chips(workspace)}
    unfit = np.flatnonzero(pc.is_in(chip_ids, pa.array(sorted(keys))).to_numpy(zero_copy_only=False))
    assert len(unfit) == sum(refused.values())
    every = sampler.draw(pool.rows, unfit)  # all that are fit
    spare = Counter(zip(every.label.tolist(), every.split.tolist(), strict=True))
    before = Counter(zip(undisturbed.label.tolist(), undisturbed.split.tolist(), strict=True))
    drawn = sampler.draw(60, unfit)
    assert table["chip_id"].to_pylist() == chip_ids.take(pa.array(drawn.rows)).to_pylist()
    after = Counter(zip(drawn.label.tolist(), drawn.split.tolist(), strict=True))
    losing = {leaf for leaf in before if after[leaf] < before[leaf]}
    assert all(after[leaf] == spare[leaf] for leaf in losing)
    for leaf in before.keys() - losing:
        assert after[leaf] >= before[leaf]
    assert sum((after - before).values()) == sum((before - after).values())  # the losses went to others
    assert sum(before[leaf] for leaf in before.keys() - losing) >= 20  # else this shows nothing


def refused_chips(workspace: Workspace) -> set[str]:
    folder = Catalog.open(workspace.catalog).chips_folder
    return {key for entry in read_manifest(folder) for key, _, _ in entry.rejected}
