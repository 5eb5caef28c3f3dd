"""The timing of presets: numbers that fit together, on a preset small enough to run."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from curate.catalog import InputError
from train.bench import CLEAR_PEAK, Setting, bench, bench_loader, peak_memory
from train.cli import app
from train.compare import compare_costs, compare_speed
from train.execution import Execution
from train.flops import cost
from train.kinds import of_any_kind
from train.presets import PAIR, shape
from train.terminal import speak


@pytest.fixture(autouse=True)
def speaking():
    yield
    speak()


SETTING = Setting(torch.device("cpu"), Execution(), batch=2, seconds=0.01)


def test_rows_fit_together():
    (row,) = bench(["tiny"], [20], SETTING, peak=1e11)
    counted = cost(shape("tiny").model(PAIR, 120, 20))
    assert (row.patch_px, row.tokens) == (20, 36)
    assert row.step_gflop * 1e9 == counted.step
    for part, flops in (("encode", counted.encode_total), ("model", counted.step), ("step", counted.step)):
        timing = row.timings[part]
        assert timing.repeats >= 3
        assert timing.best_pairs_per_s >= timing.pairs_per_s > 0
        assert timing.images_per_s == 2 * timing.pairs_per_s
        assert timing.tokens_per_s == pytest.approx(2 * 36 * timing.pairs_per_s)
        assert timing.mfu == pytest.approx(timing.pairs_per_s * flops / 1e11)
        assert timing.peak_memory_gb > 0.01


def test_kinds_stand_beside_each_other():
    kind, preset = of_any_kind("ringmoe-vit-tiny+top2")
    row = next(bench(["ringmoe-vit-tiny+top2"], [30], SETTING, peak=1e11))
    counted = cost(preset.model(PAIR, 120, 30))
    assert (kind.name, row.tokens) == ("ringmoe", 16)
    assert (row.encode_gflop, row.step_gflop) == (counted.encode_total / 1e9, counted.step / 1e9)


def test_a_plain_vit_reads_all_bands_as_one_image():
    config = shape("vit-base").model(PAIR, 120, 15)
    assert {s: len(b) for s, b in config.sensors.items()} == {"s2+s1": 12}
    assert (config.specific_depth, config.shared_depth, config.experts) == (0, 12, 0)


def test_memory_is_counted():
    with peak_memory(torch.device("cpu")) as little:
        pass
    with peak_memory(torch.device("cpu")) as much:
        torch.ones(100_000_000).sum()
    assert much[0] >= little[0] > 10e6
    if os.access(CLEAR_PEAK, os.W_OK):
        assert much[0] - little[0] > 300e6


def test_the_loader_is_timed_on_a_catalog(toy):
    assert bench_loader(toy, SETTING) > 0


def test_the_whole_step_can_be_left_out():
    said = []
    options = {"patches": [20], "batch": 2, "device": "cpu", "seconds": 0.01, "whole_step": False}
    compare_speed(["tiny"], **options, say=said.append)
    assert len(said[-1].view.rows) == 1
    (row,) = bench(["tiny"], [20], replace(SETTING, whole_step=False), peak=1e11)
    assert set(row.timings) == {"encode", "model"}


def test_the_command_writes_a_table(tmp_path):
    out = tmp_path / "bench.json"
    arguments = [
        "bench",
        "tiny",
        "--patch-size",
        "20",
        "--batch-size",
        "2",
        "--seconds",
        "0.01",
        "--out",
        str(out),
    ]
    options = ["--device", "cpu", "--precision", "bf16", "--checkpointing"]
    done = CliRunner().invoke(app, ["--json", *arguments, *options])
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    assert json.loads(done.stdout) == found
    assert found["matmul_peak_gflops"] > 0
    assert found["precision"] == "bf16"
    assert set(found["rows"][0]["timings"]) == {"encode", "model", "step"}


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"presets": ["huge"]}, "huge"),
        ({"presets": ["tiny"], "patches": [7]}, "--patch-size 7"),
        ({"precision": "fp8"}, "fp8"),
        ({"batch": 0}, "--batch-size"),
        ({"seconds": -1.0}, "--seconds"),
    ],
)
def test_what_means_nothing_is_refused(options, what):
    with pytest.raises(InputError, match=what):
        compare_speed(**{"device": "cpu", **options})


def test_json_is_one_document():
    done = CliRunner().invoke(app, ["--json", "flops", "tiny", "--patch-size", "20,40", "--parts"])
    assert [each["patch_px"] for each in json.loads(done.stdout)] == [20, 40]


def test_a_ratio_that_hides_everything_is_refused():
    with pytest.raises(InputError, match="--mask-ratio"):
        compare_costs(mask_ratio=1.0)
