"""`kill -9` while `train` runs, and the weights that a resumed run ends with: the bits of an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from train.checkpoint import WEIGHTS, checkpoints
from train.journal import LOG

ROOT = Path(__file__).parents[2]
STEPS, SAVE_EVERY = 40, 6
SHAPE = ("model.embed_dim=24", "model.num_heads=3", "model.decoder_dim=16", "model.decoder_heads=2")
SETTINGS = (*SHAPE, f"train.save_every={SAVE_EVERY}", "train.log_every=1", "train.validation_batches=1")


def arguments(catalog: Path, folder: Path) -> list[str]:
    options = ["--batch-size", "8", "--patch-size", "8", "--ema", "0.9", "--device", "cpu", "--no-probe"]
    chosen = [text for setting in SETTINGS for text in ("--set", setting)]
    return [
        "csmoe",
        "--catalog",
        str(catalog),
        "--out",
        str(folder),
        "--max-steps",
        str(STEPS),
        *options,
        *chosen,
    ]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Sums of floats depend on the threads among which they are divided, so all runs here have one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def undisturbed(toy, tmp_path_factory, train_here):
    """A run to the end, and the seconds that a step took."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    started = time.monotonic()
    done = train_here(*arguments(toy, folder))
    assert done.returncode == 0, done.stderr
    return folder, (time.monotonic() - started) / STEPS


def steps_logged(folder: Path) -> int:
    """Steps that the log has whole lines of."""
    try:
        lines = (folder / LOG).read_text().splitlines()
        return max((json.loads(line)["step"] for line in lines[:-1] if '"train"' in line), default=0)
    except FileNotFoundError:
        return 0


def kill_at(catalog: Path, folder: Path, step: int, later_s: float) -> None:
    """Start a run and kill it, without a warning, *later_s* after it has logged *step*."""
    command = [sys.executable, "-m", "train.cli", *arguments(catalog, folder)]
    if folder.exists():
        command.append("--resume")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None and steps_logged(folder) < step:
        time.sleep(0.001)
    time.sleep(later_s)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()


def assert_same_end(undisturbed: Path, folder: Path) -> None:
    first, second = (load_file(each / WEIGHTS) for each in (undisturbed, folder))
    assert first.keys() == second.keys()
    assert all(torch.equal(values, second[name]) for name, values in first.items())
    steps = [line["step"] for line in map(json.loads, (folder / LOG).open()) if line["event"] == "train"]
    assert steps == list(range(1, STEPS + 1))
    assert not list(folder.rglob("*.part"))


def kill_and_resume(undisturbed, catalog, folder, train_here, draw: random.Random) -> None:
    whole, step_s = undisturbed
    step = draw.randrange(2 * SAVE_EVERY, STEPS // 2)  # after some checkpoints, and well before the end
    kill_at(catalog, folder, step, draw.random() * step_s)
    assert checkpoints(folder)
    done = train_here(*arguments(catalog, folder), "--resume")
    assert done.returncode == 0, done.stderr
    assert_same_end(whole, folder)


def test_a_killed_run_goes_on_to_the_same_bits(undisturbed, toy, tmp_path, train_here):
    kill_and_resume(undisturbed, toy, tmp_path / "run", train_here, random.Random(1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_ten_killed_runs_go_on_to_the_same_bits(undisturbed, toy, tmp_path, train_here, seed):
    kill_and_resume(undisturbed, toy, tmp_path / "run", train_here, random.Random(seed))


@pytest.mark.slow
def test_a_run_killed_again_and_again_goes_on_to_the_same_bits(undisturbed, toy, tmp_path, train_here):
    whole, step_s = undisturbed
    draw = random.Random(12)
    for step in (8, 15, 22):
        kill_at(toy, tmp_path / "run", step, draw.random() * step_s)
    assert train_here(*arguments(toy, tmp_path / "run"), "--resume").returncode == 0
    assert_same_end(whole, tmp_path / "run")
