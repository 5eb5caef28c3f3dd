"""A run that is killed loses nothing: the rerun makes what is missing and ends with the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curate.catalog.files import digest
from curate.catalog.shards import MANIFEST, read_manifest
from curate.workspace import Workspace


def shards(workspace: Workspace) -> dict[str, str]:
    return {path.name: digest(path) for path in workspace.folder.rglob("shard-*.arrow")}


def manifest_of(workspace: Workspace) -> bytes:
    return b"".join(path.read_bytes() for path in workspace.folder.glob(f"chips/*/{MANIFEST}"))


def start_cut(workspace: Workspace, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "curate.cli", "cut", "--root", str(workspace.root), *options]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_kill_9_in_the_middle_of_a_cut(built: Workspace, tmp_path: Path, workers: str) -> None:
    undisturbed = shards(built)
    workspace = Workspace(tmp_path / "catalogs", built.slug)
    shutil.copytree(built.root, workspace.root, ignore=shutil.ignore_patterns("chips"))
    workspace.catalog.unlink()

    process = start_cut(workspace, "--workers", workers)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and b'"shard": "' not in manifest_of(workspace):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    survived = {path: path.stat().st_mtime_ns for path in workspace.folder.rglob("shard-*.arrow")}
    recorded = sum(entry.shard is not None for entry in read_manifest(next(workspace.folder.glob("chips/*"))))
    assert not workspace.catalog.exists()
    assert 1 <= len(survived) < len(undisturbed), "the kill came too late to tell anything"

    rerun = start_cut(workspace, "--workers", workers)
    _, errors = rerun.communicate(timeout=120)
    assert rerun.returncode == 0, errors.decode()
    assert shards(workspace) == undisturbed
    kept = sum(path.stat().st_mtime_ns == stamp for path, stamp in survived.items())
    assert kept >= recorded  # only a shard whose line was still missing was made again
    assert digest(workspace.catalog) == digest(built.catalog)
    assert not list(workspace.root.rglob(".*.part"))


def test_two_runs_at_once_are_refused(workspace: Workspace) -> None:
    with workspace.locked():
        process = start_cut(workspace)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"Another run is at work" in errors
