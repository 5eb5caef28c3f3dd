"""A run that is killed loses nothing: the rerun makes what is missing and ends with the same bytes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from curate import api
from curate.catalog.files import digest
from curate.catalog.shards import read_manifest
from curate.workspace import Workspace


def shards(workspace: Workspace) -> dict[str, str]:
    return {path.name: digest(path) for path in workspace.folder.rglob("shard-*.arrow")}


class Run(Protocol):
    """A cut in a process of its own."""

    def ended(self) -> bool: ...
    def kill(self) -> None: ...
    def finish(self) -> None: ...


class Command:
    """`curate cut` as a user starts it."""

    def __init__(self, workspace: Workspace, workers: str = "1") -> None:
        command = [
            sys.executable,
            "-m",
            "curate.cli",
            "cut",
            "--root",
            str(workspace.root),
            "--workers",
            workers,
        ]
        self.process = subprocess.Popen(
            command, start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ended(self) -> bool:
        return self.process.poll() is not None

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def finish(self) -> None:
        _, errors = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, errors.decode()


class Fork:
    """The same in a process forked from one that has imported everything, which starts at once."""

    _server = multiprocessing.get_context("forkserver")
    _server.set_forkserver_preload(
        ["curate.stages", "curate.pixels.cutting", "curate.report", "geopandas", "rasterio"]
    )

    def __init__(self, workspace: Workspace) -> None:
        options = {"root": str(workspace.root), "workers": 1}
        self.process = self._server.Process(target=api.cut, kwargs=options)
        self.process.start()

    def ended(self) -> bool:
        return not self.process.is_alive()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def finish(self) -> None:
        self.process.join(120)
        assert self.process.exitcode == 0


def fresh(built: Workspace, root: Path) -> Workspace:
    """The built workspace before its pixels were cut."""
    workspace = Workspace(root, built.slug)
    shutil.copytree(built.root, root, ignore=shutil.ignore_patterns("chips"))
    workspace.catalog.unlink()
    return workspace


def wait_for_cutting(workspace: Workspace, run: Run) -> None:
    while not run.ended() and not (workspace.folder / "chips").exists():
        time.sleep(0.002)


def seconds_of_cutting(workspace: Workspace, start: Callable[[Workspace], Run]) -> float:
    """From the first moment at which a shard may be written to the end of the run."""
    run = start(workspace)
    wait_for_cutting(workspace, run)
    started = time.monotonic()
    run.finish()
    return time.monotonic() - started


def kill_and_run_again(
    built: Workspace, root: Path, start: Callable[[Workspace], Run], after_s: float
) -> int:
    """Kill a cut *after_s* seconds after it began, and run it again; how many shards the killed run left."""
    workspace = fresh(built, root)
    run = start(workspace)
    wait_for_cutting(workspace, run)
    time.sleep(after_s)
    run.kill()
    folders = list(workspace.folder.glob("chips/*"))
    recorded = {entry.shard for folder in folders for entry in read_manifest(folder)} - {None}
    survived = {path.name: path.stat().st_mtime_ns for path in workspace.folder.rglob("shard-*.arrow")}
    assert recorded <= survived.keys()

    start(workspace).finish()
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
    ("moments", "start"),
    [
        (2, Fork),
        pytest.param(3, partial(Command, workers="2"), marks=pytest.mark.slow),
        pytest.param(20, Fork, marks=pytest.mark.slow),
    ],
    ids=["few", "two workers", "twenty"],
)
def test_kill_9_at_random_moments_of_a_cut(
    built: Workspace, tmp_path: Path, moments: int, start: Callable[[Workspace], Run]
) -> None:
    longest = seconds_of_cutting(fresh(built, tmp_path / "undisturbed"), start)
    random = np.random.default_rng()
    left = [
        kill_and_run_again(built, tmp_path / f"{i}", start, float(random.uniform(0, 0.8 * longest)))
        for i in range(moments)
    ]
    print(f"{longest:.2f} s of cutting; shards that the killed runs left: {left}")
    assert len(set(left)) > 1 or moments < 20, f"every kill came at the same stage: {left}"


def test_two_runs_at_once_are_refused(workspace: Workspace) -> None:
    with workspace.locked():
        process = Command(workspace).process
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"Another run is at work" in errors
