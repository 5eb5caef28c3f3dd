"""Real ranks, as torchrun starts them, on CPUs with gloo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from train.checkpoint import read_checkpoint

ROOT = Path(__file__).parents[2]
QUICK = ("--preset", "tiny", "--batch-size", "8", "--patch-size", "8", "--device", "cpu", "--no-probe")
SMALL = ("--set", "model.embed_dim=24", "--set", "model.decoder_dim=16", "--set", "model.decoder_heads=2")
EXACT = ("--set", "model.gather=true", "--set", "train.log_every=1", "--set", "train.save_every=3")


def command(ranks: int, *arguments: object) -> list[str]:
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    return [sys.executable, *launch, "-m", "train.cli", "csmoe", *QUICK, *SMALL, *map(str, arguments)]


def train(ranks: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command(ranks, *arguments), env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def logged(folder: Path, event: str) -> list[dict[str, float]]:
    written = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in written if line["event"] == event]


@pytest.fixture(scope="module")
def alone(toy, tmp_path_factory):
    """One rank: six steps of eight, with averaged weights and a probe on the way."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    done = train(
        1, "--catalog", toy, "--out", folder, "--max-steps", 6, "--ema", 0.9, "--probe-every", 4, *EXACT
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_train_as_one_with_the_whole_batch(alone, toy, tmp_path, parallel):
    """Losses and gradient norms of every step, the probe between, and every gradient.

    Weights say less: attention's key biases have no gradient but rounding, which AdamW blows up to whole steps.
    """
    options = ("--max-steps", 6, "--ema", 0.9, "--probe-every", 4, "--parallel", parallel)
    done = train(2, "--catalog", toy, "--out", tmp_path / "run", *options, *EXACT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("catalog ") == 1  # one rank speaks
    for event in ("train", "val", "knn"):
        pairs = list(zip(logged(alone, event), logged(tmp_path / "run", event), strict=True))
        assert pairs
        for one, two in pairs:
            names = set(one) - {"event", "pairs_per_s", "data_wait"}
            if event == "val":
                names &= {"step", "umr", "cmr", "chips"}  # NT-Xent has the candidates of those shown together
            for name in names:
                assert two[name] == pytest.approx(one[name], rel=2e-5), (event, name)
    first, second = (read_checkpoint(folder)["optimiser"]["state"] for folder in (alone, tmp_path / "run"))
    for key, moments in first.items():  # the running mean of each parameter's gradient
        torch.testing.assert_close(second[key]["exp_avg"], moments["exp_avg"], rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_ranks(alone, toy, tmp_path):
    """Checkpoints are whole, whoever wrote them: three steps sharded over two ranks, then three on one."""
    folder = tmp_path / "run"
    options = ("--catalog", toy, "--out", folder, *EXACT)
    start = ("--max-steps", 6, "--ema", 0.9, "--probe-every", 4, "--parallel", "fsdp")
    assert train(2, *options, *start).returncode == 0
    (folder / "checkpoints" / "00000006.pt").unlink()
    assert read_checkpoint(folder)["step"] == 3
    done = train(1, *options, "--resume", "--max-steps", 6)
    assert done.returncode == 0, done.stderr
    steps = logged(folder, "train")
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    for one, two in zip(logged(alone, "train"), steps, strict=True):
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=2e-5)


def test_ranks_stop_together_and_save(toy, tmp_path):
    folder = tmp_path / "run"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(
        command(2, "--catalog", toy, "--out", folder, "--max-steps", 100_000, *EXACT),
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (folder / "log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    started.send_signal(signal.SIGTERM)  # torchrun passes it on
    said, _ = started.communicate(timeout=120)
    assert "stopped after step" in said
    assert read_checkpoint(folder)["step"] == logged(folder, "train")[-1]["step"]


def test_what_ranks_cannot_share_is_refused(toy, tmp_path):
    done = train(2, "--catalog", toy, "--out", tmp_path / "run", "--batch-size", 7, "--max-steps", 2)
    assert done.returncode != 0
    assert "batch of 7 cannot be divided evenly: 2 ranks" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_folder_that_is_taken_is_refused_once(alone, toy):
    done = train(2, "--catalog", toy, "--out", alone, "--max-steps", 2)
    assert done.returncode != 0
    assert done.stderr.count("already holds a run") == 1


@pytest.mark.slow
def test_a_broken_loss_on_one_rank_names_the_chips_of_that_rank(toy, tmp_path):
    done = train(2, "--catalog", toy, "--out", tmp_path / "run", "--max-steps", 9, "--lr", 1e30)
    assert done.returncode != 0
    assert "Training stopped at step" in done.stderr
    assert logged(tmp_path / "run", "not_finite")[0]["chips"]
