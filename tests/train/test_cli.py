"""The command `train`, as a person runs it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from train.checkpoint import load_model

ROOT = Path(__file__).parents[2]
QUICK = ("--batch-size", "8", "--patch-size", "8")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def train(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "train.cli", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False, timeout=300
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory, train_here):
    """A run of 30 steps, in its default folder."""
    cwd = tmp_path_factory.mktemp("work")
    return cwd, train_here("csmoe", "--catalog", toy, "--max-steps", 30, *QUICK, cwd=cwd)


def test_training_ends_with_weights_and_probes(run):
    cwd, done = run
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no bar where there is no terminal
    folder = cwd / "runs" / "csmoe-toy-tiny-s0"
    written = {path.name for path in folder.iterdir()}
    assert written == {
        "best.safetensors",
        "checkpoints",
        "config.yaml",
        "log.jsonl",
        "origin.json",
        "probe.json",
        "summary.json",
        "tensorboard",
        "weights.safetensors",
    }
    assert "(simulated)" in done.stdout
    assert "reconstruction loss: first 20 steps " in done.stdout
    for name in ("trained", "random weights", "mean-band values", "dominant land cover", "Köppen main class"):
        assert name in done.stdout
    probes = json.loads((folder / "probe.json").read_text())
    assert probes["simulated"] is True
    assert [len(p["results"]) for p in probes["probes"]] == [9, 9]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == 30
    assert summary["reconstruction"]["fall"] > 0
    model, data = load_model(folder)
    assert model.config.patch_size == 8
    assert data.simulated


def test_a_finished_run_is_not_written_over(run, toy, train_here):
    cwd, _ = run
    again = ("csmoe", "--catalog", toy, "--max-steps", 2, *QUICK, "--no-probe")
    line = refused(train_here(*again, cwd=cwd))
    assert "finished" in line
    assert "--resume" in line
    assert "--overwrite" in line


def test_a_resumed_run_may_be_longer_but_not_another(run, toy, train_here):
    cwd, _ = run
    resume = ("csmoe", "--catalog", toy, "--resume", "--no-probe")
    assert "--lr 0.5" in refused(train_here(*resume, "--lr", 0.5, cwd=cwd))
    longer = train_here(*resume, "--max-steps", 32, cwd=cwd)
    assert longer.returncode == 0, longer.stderr
    assert json.loads((cwd / "runs/csmoe-toy-tiny-s0/summary.json").read_text())["steps"] == 32


def test_sigterm_saves_and_resuming_finishes(toy, tmp_path, train_here):
    command = [
        sys.executable,
        "-m",
        "train.cli",
        "csmoe",
        "--catalog",
        str(toy),
        "--out",
        "run",
        "--no-probe",
    ]
    command += [*QUICK, "--max-steps", "4000"]
    started = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True)
    log, deadline = tmp_path / "run" / "log.jsonl", time.monotonic() + 120
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    started.send_signal(signal.SIGTERM)
    said, _ = started.communicate(timeout=120)
    assert started.returncode == 0
    assert "stopped after step" in said
    assert "--resume" in said
    assert not (tmp_path / "run" / "summary.json").exists()
    assert not list((tmp_path / "run").glob(".*.part"))
    assert "not finished" in refused(train_here("csmoe", "--catalog", toy, "--out", "run", cwd=tmp_path))
    resumed = train_here(
        "csmoe", "--catalog", toy, "--out", "run", "--resume", "--no-probe", "--max-steps", 12, cwd=tmp_path
    )
    assert resumed.returncode == 0, resumed.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--preset", "huge"), "no preset 'huge'"),
        (("--masking", "chequered"), "no masking 'chequered'"),
        (("--mask-ratio", 1.5), "--mask-ratio is 1.5"),
        (("--mask-ratio", 0.999), "keeps 0 of"),
        (("--set", "train.betas=[0.9, 1]"), "train.betas is [0.9, 1.0]"),
        (("--set", "train.scale_lr=-1"), "--scale-lr is -1"),
        (("--cache-gb", -1), "--cache-gb is -1"),
        (("--set", "train.clip=0"), "--clip is 0"),
        (("--set", "model.moe_blocks=[99]"), "moe_blocks names [99]"),
        (("--patch-size", 7), "--patch-size 7"),
        (("--max-steps", 0), "--max-steps is 0"),
        (("--lr", "nan"), "--lr is nan"),
        (("--device", "abacus"), "no device 'abacus'"),
        (("--sensors", "s2,dem"), "no sensor 'dem'"),
        (("--sensors", "s2"), "at least 2 sensors"),
        (("--resume",), "nothing to resume"),
        (("--accumulate", 3), "--batch-size"),
        (("--ema", 1), "--ema is 1"),
        (("--precision", "int4"), "no precision 'int4'"),
        (("--parallel", "tpu"), "no parallel 'tpu'"),
        (("--logger", "abacus"), "no logger 'abacus'"),
        (("--config", "none.yaml"), "none.yaml cannot be read"),
        (("--set", "train.acumulate=2"), "Did you mean 'train.accumulate'"),
        (("--set", "model.experts=many"), "model.experts is 'many'"),
        (("--set", "model.image_size=9"), "the catalog decides it"),
        (("--set", "model.pool=max"), "pool 'max'"),
        (("--catalog", "none.parquet"), "no catalog none.parquet"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(toy, tmp_path, monkeypatch, capsys, options, said):
    """In this process, for speed; `main` is what the entry point calls."""
    from train.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", "csmoe", "--catalog", str(toy), *map(str, options)])
    with pytest.raises(SystemExit) as ended:
        main()
    line = capsys.readouterr().err
    assert ended.value.code == 2
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    assert said in line
    assert not list(tmp_path.iterdir())


def test_an_empty_train_split_is_refused(make_catalog, tmp_path, train_here):
    catalog = make_catalog(tmp_path, chips=4, shares=(0, 0, 1))
    assert "train split" in refused(train_here("csmoe", "--catalog", catalog, cwd=tmp_path))


def test_a_catalog_without_pixels_is_refused(make_catalog, tmp_path, train_here):
    catalog = make_catalog(tmp_path, chips=4, cut=False)
    assert "curate cut" in refused(train_here("csmoe", "--catalog", catalog, cwd=tmp_path))


def test_a_changed_catalog_is_not_resumed(make_catalog, tmp_path, train_here):
    catalog = make_catalog(tmp_path, chips=16)
    start = ("csmoe", "--catalog", catalog, "--out", "run", "--no-probe", "--max-steps", 2, *QUICK)
    assert train_here(*start, cwd=tmp_path).returncode == 0
    make_catalog(tmp_path, chips=16, seed=8)
    line = refused(train_here("csmoe", "--catalog", catalog, "--out", "run", "--resume", cwd=tmp_path))
    assert "not the one" in line or "no longer" in line


def test_a_loss_that_is_not_finite_ends_with_one(toy, tmp_path, train_here):
    done = train_here("csmoe", "--catalog", toy, "--lr", 1e30, "--max-steps", 9, *QUICK, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: Training stopped at step")
    assert "Traceback" not in done.stderr


def test_version():
    assert train("--version").stdout.startswith("train 0.")


@pytest.mark.parametrize("arguments", [("--help",), ("csmoe", "--help")])
def test_help_is_there_at_once(arguments):
    """Best of five in processor time, which is the time passed where nothing else wants the processor."""
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert train(*arguments).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(seconds) < 0.5


def test_a_run_can_be_repeated_from_its_configuration(run, tmp_path, train_here):
    """Relative paths are those of the first run, so it is repeated where that was made."""
    cwd, _ = run
    config = cwd / "runs/csmoe-toy-tiny-s0/config.yaml"
    again = train_here("csmoe", "--config", config, "--out", tmp_path / "again", "--max-steps", 2, cwd=cwd)
    assert again.returncode == 0, again.stderr
    first, second = (
        [line for line in config.read_text().splitlines() if not line.strip().startswith(("out:", "steps:"))]
        for config in (config, tmp_path / "again" / "config.yaml")
    )
    assert first == second


def test_csmae_is_a_command_with_its_own_presets(toy, tmp_path, train_here):
    options = ("--max-steps", 1, "--no-probe", "--out", "run", *QUICK)
    done = train_here("csmae", "--catalog", toy, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "csmae csmae-sesd-tiny" in done.stdout
    assert load_model(tmp_path / "run")[0].config.experts == 0
