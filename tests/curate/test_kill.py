"""A run that is killed loses nothing: the rerun makes what is missing and ends with the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from curate.catalog.files import digest
from curate.catalog.shards import read_manifest
from curate.workspace import Workspace


def shards(workspace: Workspace) -> dict[str, str]:
    return {path.name: digest(path) for path in workspace.folder.rglob("shard-*.arrow")}


def start_cut(workspace: Workspace, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "curate.cli", "cut", "--root", str(workspace.root), *options]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def fresh(built: Workspace, root: Path) -> Workspace:
    """The built workspace before its pixels were cut."""
    workspace = Workspace(root, built.slug)
    shutil.copytree(built.root, root, ignore=shutil.ignore_patterns("chips"))
    workspace.catalog.unlink()
    return workspace


def wait_for_cutting(workspace: Workspace, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None and not (workspace.folder / "chips").exists():
        time.sleep(0.002)


def seconds_of_cutting(workspace: Workspace, workers: str) -> float:
    """From the first moment at which a shard may be written to the end of the run."""
    process = start_cut(workspace, "--workers", workers)
    wait_for_cutting(workspace, process)
    started = time.monotonic()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    return time.monotonic() - started


def kill_and_run_again(built: Workspace, root: Path, workers: str, after_s: float) -> int:
    """Kill a cut *after_s* seconds after it began, and run it again; how many shards the killed run left."""
    workspace = fresh(built, root)
    process = start_cut(workspace, "--workers", workers)
    wait_for_cutting(workspace, process)
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    folders = list(workspace.folder.glob("chips/*"))
    recorded = {entry.shard for folder in folders for entry in read_manifest(folder)} - {None}
    survived = {path.name: path.stat().st_mtime_ns for path in workspace.folder.rglob("shard-*.arrow")}
    assert recorded <= survived.keys()

    rerun = start_cut(workspace, "--workers", workers)
    _, errors = rerun.communicate(timeout=120)
    assert rerun.returncode == 0, errors.decode()
    assert shards(workspace) == shards(built)
    kept = {
        path.name
        for path in workspace.folder.rglob("*.arrow")
        if path.stat().st_mtime_ns == survived.get(path.name)
    }
    assert recorded <= kept  # only a shard of which nothing was noted yet was made again
    assert digest(workspace.catalog) == digest(built.catalog)
    assert not list(workspace.root.rglob(".*.part")) and not list(workspace.root.rglob("*.note.json"))
    shutil.rmtree(root)
    return len(survived)


@pytest.mark.parametrize(
    ("moments", "workers"), [(2, "1"), pytest.param(20, "2", marks=pytest.mark.slow)], ids=["few", "twenty"]
)
def test_kill_9_at_random_moments_of_a_cut(
    built: Workspace, tmp_path: Path, moments: int, workers: str
) -> None:
    longest = seconds_of_cutting(fresh(built, tmp_path / "undisturbed"), workers)
    random = np.random.default_rng()
    left = [
        kill_and_run_again(built, tmp_path / f"{i}", workers, float(random.uniform(0, 0.8 * longest)))
        for i in range(moments)
    ]
    assert len(set(left)) > 1 or moments < 20, f"every kill came at the same stage: {left}"


def test_two_runs_at_once_are_refused(workspace: Workspace) -> None:
    with workspace.locked():
        process = start_cut(workspace)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"Another run is at work" in errors
