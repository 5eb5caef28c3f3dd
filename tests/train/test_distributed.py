"""Real ranks, as torchrun starts them, on CPUs with gloo.

Starting them takes longer than what they do: one launch goes through all that two ranks are asked.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from train.checkpoint import read_checkpoint
from train.distributed import Ranks, spread
from train.kinds import KINDS, Rows
from train.optimise import TrainConfig

ROOT = Path(__file__).parents[2]
RANKS = Path(__file__).with_name("ranks.py")
SMALL = ("--set", "model.embed_dim=24", "--set", "model.decoder_dim=16", "--set", "model.decoder_heads=2")
QUICK = ("--preset", "tiny", "--batch-size", 8, "--patch-size", 8, "--device", "cpu", "--no-probe", *SMALL)
EXACT = ("--set", "model.gather=true", "--set", "train.log_every=1", "--set", "train.save_every=3")
RING = (
    *("--preset", "tiny", "--batch-size", 8, "--patch-size", 4, "--device", "cpu", "--no-probe"),
    *("--set", "model.embed_dim=16", "--set", "model.heads=[2,2]", "--set", "train.log_every=1"),
    *("--max-steps", 4),
    *("--ratios", "s2=4,s1=1", "--set", "train.save_every=2"),  # of eight chips six or seven show s2
    *("--set", "train.final_lr=1"),  # a run that is to go on has the same rates
)
SIX_STEPS = (*QUICK, *EXACT, "--max-steps", 6, "--ema", 0.9, "--probe-every", 4)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def two_ranks(*lines: tuple[object, ...]) -> list[str]:
    """The command that runs `train` once for each of *lines*, one after the other."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(RANKS)]
    return [sys.executable, *launch, json.dumps([[*map(str, line)] for line in lines])]


def logged(folder: Path, event: str) -> list[dict[str, float]]:
    written = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in written if line["event"] == event]


@pytest.fixture(scope="module")
def alone(toy, tmp_path_factory, train_here):
    """One rank: six steps of eight, with averaged weights and a probe on the way."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    done = train_here("csmoe", "--catalog", toy, "--out", folder, *SIX_STEPS)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def together(toy, tmp_path_factory):
    """Two ranks, in ten runs: the folder of these, how each ended, and what was said.

    The last run has no end: it is stopped by SIGTERM, which torchrun passes on.
    """
    folder = tmp_path_factory.mktemp("together")
    catalog, ring = ("csmoe", "--catalog", toy), ("ringmoe", "--catalog", toy)
    lines = (
        (*ring, "--out", folder / "ring-ddp", *RING),
        (*ring, "--out", folder / "ring-fsdp", *RING, "--parallel", "fsdp"),
        (*ring, "--out", folder / "ring-experts", *RING, "--parallel", "experts", "--max-steps", 2),
        (*ring, "--out", folder / "ring-experts", *RING, "--parallel", "experts", "--resume"),
        (*catalog, "--out", folder / "ddp", *SIX_STEPS),
        (*catalog, "--out", folder / "fsdp", *SIX_STEPS, "--parallel", "fsdp"),
        (*catalog, "--out", folder / "ddp", *QUICK),
        (*catalog, "--out", folder / "odd", *QUICK, "--batch-size", 7),
        (*catalog, "--out", folder / "broken", *QUICK, "--max-steps", 9, "--lr", 1e30),
        (*catalog, "--out", folder / "stopped", *QUICK, *EXACT, "--max-steps", 100_000),
    )
    said, errors = (
        folder / "said.txt",
        folder / "errors.txt",
    )  # files: a full pipe would stop a rank in its words
    with said.open("w") as out, errors.open("w") as err:
        started = subprocess.Popen(two_ranks(*lines), env=environment(), stdout=out, stderr=err)
        deadline = time.monotonic() + 200
        while not (folder / "stopped" / "log.jsonl").exists() and time.monotonic() < deadline:
            assert started.poll() is None, errors.read_text()
            time.sleep(0.05)
        started.send_signal(signal.SIGTERM)
        started.wait(timeout=100)
    return folder, said.read_text(), errors.read_text()


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_train_as_one_with_the_whole_batch(alone, together, parallel):
    """Losses and gradient norms of every step, the probe between, and every gradient.

    Weights say less: attention's key biases have no gradient but rounding, which AdamW blows up to whole steps.
    """
    run = together[0] / parallel
    for event in ("train", "val", "knn"):
        pairs = list(zip(logged(alone, event), logged(run, event), strict=True))
        assert pairs
        for one, two in pairs:
            names = set(one) - {"event", "pairs_per_s", "data_wait"}
            if event == "val":
                names &= {"step", "umr", "cmr", "chips"}  # NT-Xent has the candidates of those shown together
            for name in names:
                assert two[name] == pytest.approx(one[name], rel=2e-5), (event, name)
    first, second = (read_checkpoint(folder)["optimiser"]["state"] for folder in (alone, run))
    for key, moments in first.items():  # the running mean of each parameter's gradient
        torch.testing.assert_close(second[key]["exp_avg"], moments["exp_avg"], rtol=1e-3, atol=1e-6)


@pytest.fixture(scope="module")
def ring_alone(toy, tmp_path_factory, train_here):
    """One rank: four steps of a RingMoE."""
    folder = tmp_path_factory.mktemp("ring-alone") / "run"
    done = train_here("ringmoe", "--catalog", toy, "--out", folder, *RING)
    assert done.returncode == 0, done.stderr
    return folder


def agree(alone, run):
    """Whether losses and gradient norms of all steps are the same in two runs of a RingMoE."""
    for event in ("train", "val"):
        pairs = list(zip(logged(alone, event), logged(run, event), strict=True))
        assert pairs
        for one, two in pairs:
            for name in set(one) - {"event", "pairs_per_s", "data_wait"}:
                assert two[name] == pytest.approx(one[name], rel=5e-5), (event, name)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp", "experts"])
def test_two_ranks_train_a_ringmoe_as_one(parallel, ring_alone, together):
    """Also where one rank has fewer images of a sensor, or none: balance and errors are those of the whole batch.

    With `experts` the run was stopped after two steps and went on.
    """
    run = together[0] / f"ring-{parallel}"
    agree(ring_alone, run)
    first, second = (read_checkpoint(folder)["optimiser"]["state"] for folder in (ring_alone, run))
    for key, moments in first.items():
        torch.testing.assert_close(second[key]["exp_avg"], moments["exp_avg"], rtol=1e-3, atol=1e-6)


def test_a_run_goes_on_with_another_number_of_ranks(alone, together, toy, tmp_path, train_here):
    """Checkpoints are whole, whoever wrote them: three steps sharded over two ranks, then three on one."""
    folder = tmp_path / "run"
    shutil.copytree(together[0] / "fsdp", folder)
    (folder / "checkpoints" / "00000006.pt").unlink()
    (folder / "summary.json").unlink()
    assert read_checkpoint(folder)["step"] == 3
    done = train_here(
        "csmoe", "--catalog", toy, "--out", folder, *QUICK, *EXACT, "--resume", "--max-steps", 6
    )
    assert done.returncode == 0, done.stderr
    steps = logged(folder, "train")
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5, 6]
    for one, two in zip(logged(alone, "train"), steps, strict=True):
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=2e-5)


def test_a_run_with_divided_experts_goes_on_alone(ring_alone, together, toy, tmp_path, train_here):
    folder = tmp_path / "run"
    shutil.copytree(together[0] / "ring-experts", folder)
    (folder / "checkpoints" / "00000004.pt").unlink()
    arguments = ("ringmoe", "--catalog", toy, "--out", folder, *RING, "--parallel", "ddp", "--resume")
    done = train_here(*arguments)
    assert done.returncode == 0, done.stderr
    agree(ring_alone, folder)


def test_one_rank_speaks(together):
    _, said, errors = together
    assert said.count("catalog ") == 8  # of the runs that began
    assert errors.count("already holds a run") == 1


def test_ranks_stop_together_and_save(together):
    folder, said, _ = together
    assert "stopped after step" in said
    assert read_checkpoint(folder / "stopped")["step"] == logged(folder / "stopped", "train")[-1]["step"]


def test_what_ranks_cannot_share_is_refused(together):
    folder, _, errors = together
    assert "batch of 7 cannot be divided evenly: 2 ranks" in errors
    assert not (folder / "odd").exists()


def test_a_broken_loss_names_the_chips(together):
    folder, _, errors = together
    assert "Training stopped at step" in errors
    assert logged(folder / "broken", "not_finite")[0]["chips"]


def test_sensors_that_never_meet_can_be_trained_by_ranks(small_config):
    """Nothing asks for features then, and the layer that makes them has no gradient to exchange."""
    model = KINDS["csmoe"].untrained(replace(small_config, pairs=()), 0)
    pretraining = KINDS["csmoe"].pretraining(model, TrainConfig(steps=2, batch_size=2, lr=1e-3))
    images = {s: torch.randn(2, len(bands), 32, 32) for s, bands in small_config.sensors.items()}
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        learner = spread(pretraining, Ranks(torch.device("cpu"), 0, 2), "ddp")
        for step in range(2):
            learner(images, {}, Rows(step, 0, 2, 2))["total"].backward()
    finally:
        dist.destroy_process_group()
