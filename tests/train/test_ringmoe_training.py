"""RingMoE through the common trainer, from the catalog to smaller models."""

import json
import re
from copy import copy
from dataclasses import asdict, replace
from functools import partial

import pytest
import torch
from typer.testing import CliRunner

from curate.catalog import InputError
from train.checkpoint import load_model
from train.cli import app
from train.compress.running import Compression, compress, expand
from train.compress.scoring import step
from train.data import Chips, DataConfig, open_catalog
from train.evaluate.expert_use import expert_use, gradient_line, task_gradients
from train.kinds import Rows, kind_of
from train.layers.routing import Router
from train.models.ringmoe import RingMoE
from train.models.ringmoe_presets import guessed, ring_preset
from train.optimise import TrainConfig
from train.pretrain import pretrain

SMALL = ("--set", "model.embed_dim=16", "--set", "model.heads=[2,2]", "--set", "model.mlp_ratio=2")


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "ring"
    arguments = ["--catalog", str(toy), "--out", str(folder), "--max-steps", "6", "--batch-size", "16"]
    arguments += [
        "--ema",
        "0.9",
        "--accumulate",
        "2",
        "--checkpointing",
        "--workers",
        "2",
    ]  # as csmoe has them
    result = CliRunner().invoke(app, ["ringmoe", *arguments, "--patch-size", "4", "--device", "cpu", *SMALL])
    assert result.exit_code == 0, result.output
    return folder, result.output


@pytest.fixture(scope="module")
def chips(toy):
    catalog = open_catalog(toy)
    return Chips(catalog, DataConfig.of(catalog), "train")


def test_a_run_says_how_its_experts_are_used(run):
    folder, output = run
    assert "mean-band values" in output
    assert "random weights" in output
    assert "collaborative" in output
    assert "the task's gradient reaches 12 of 12" in output
    assert re.search(r"sensors  error .*: s2 \d\.\d+ -> \d\.\d+ \([+-]\d+%\), s1 \d", output)
    fields = json.loads((folder / "experts.json").read_text())
    assert {use["pool"] for use in fields["use"]} == {"s2", "s1", "collaborative"}


def test_the_log_holds_every_sensors_error_and_every_experts_load(run):
    lines = [json.loads(line) for line in (run[0] / "log.jsonl").read_text().splitlines()]
    last = next(line for line in reversed(lines) if line["event"] == "train")
    assert {"error_s2", "error_s1", "balance", "z"} <= set(last)
    loads = next(line for line in reversed(lines) if line["event"] == "expert_load")["layers"]
    assert sum(loads[f"0.s2.{i}"] for i in range(4)) == pytest.approx(1)


def test_weights_are_loaded_with_what_the_data_told(run, chips):
    model, data = load_model(run[0])
    assert isinstance(model, RingMoE)
    spec = model.config.specs["s1"]
    assert (spec.kind, spec.target) == ("sar", "polarimetric")
    assert spec.mean == data.sensors[1].mean
    images = data.images({s: torch.from_numpy(x) for s, x in chips.gather(torch.arange(50).numpy()).items()})
    truth = spec.truth(images["s1"])
    assert truth.mean((0, 2, 3)).abs().max() < 0.3
    assert ((truth.std((0, 2, 3)) - 1).abs() < 0.3).all()
    assert model.config.specs["s2"].target == "decorrelated"
    assert model.config.specs["s2"].turn is not None


def test_decorrelated_targets_are_those_of_the_catalogs_pixels(chips):
    preset = replace(ring_preset("tiny+decorrelated"), embed_dim=16, heads=(2, 2))
    spec = kind_of("ringmoe").fit(preset.model(chips.config.bands, 32, 4), chips).specs["s1"]
    assert spec.target == "decorrelated" and spec == type(spec).from_json(
        json.loads(json.dumps(asdict(spec)))
    )
    stored = {s: torch.from_numpy(x) for s, x in chips.gather(torch.arange(50).numpy()).items()}
    truth = spec.truth(chips.config.images(stored)["s1"])
    torch.testing.assert_close(torch.cov(truth.movedim(1, 0).flatten(1)), torch.eye(2), atol=0.1, rtol=0)


def test_the_same_masks_however_a_batch_is_divided(chips):
    kind = kind_of("ringmoe")
    preset = replace(ring_preset("tiny+unpaired:s2=3,s1=1"), embed_dim=16, heads=(2, 2))
    model = RingMoE(kind.fit(preset.model(chips.config.bands, 32, 4), chips))
    pretraining = kind.pretraining(model, TrainConfig(steps=9, batch_size=16, lr=1e-3, **dict(kind.defaults)))
    rows = Rows(3, 0, 16, 16)
    assert torch.equal(pretraining.masks(rows)["s2"].cells, pretraining.masks(Rows(3, 8, 16, 16))["s2"].cells)
    assert not torch.equal(
        pretraining.masks(rows)["s2"].cells, pretraining.masks(Rows(4, 0, 16, 16))["s2"].cells
    )
    shown = pretraining.shared_out(rows)
    assert shown["s2"].sum() == 12
    assert torch.equal(shown["s1"], ~shown["s2"])
    images = {s: torch.randn(16, c, 32, 32) for s, c in (("s2", 10), ("s1", 2))}
    losses = pretraining(images, {}, rows)
    assert set(losses) == set(pretraining.names)
    assert losses["error_s1"] > 0


def test_a_target_that_was_guessed_gives_way_to_what_the_data_are(chips):
    config = ring_preset("tiny").model(chips.config.bands, 32, 4)
    assert config.specs["s2"].target == "decorrelated"
    measured = copy(chips)
    sensors = [replace(s, unit="radiance") if s.prefix == "s2" else s for s in chips.config.sensors]
    measured.config = replace(chips.config, sensors=tuple(sensors))
    assert kind_of("ringmoe").fit(config, measured).specs["s2"].target == "pixels"
    for bands in (("IW1-VV", "IW1-VH", "IW2-VV", "IW2-VH"), ("vv", "vh")):
        assert guessed(bands).target == "polarimetric"


def test_jitter_is_drawn_anew_for_every_step_and_router(chips):
    kind = kind_of("ringmoe")
    preset = replace(ring_preset("tiny+jitter"), embed_dim=16, heads=(2, 2))
    model = RingMoE(kind.fit(preset.model(chips.config.bands, 32, 4), chips))
    pretraining = kind.pretraining(model, TrainConfig(steps=9, batch_size=4, lr=1e-3, **dict(kind.defaults)))
    images = {s: torch.randn(4, c, 32, 32) for s, c in (("s2", 10), ("s1", 2))}
    routers = [m for m in model.modules() if isinstance(m, Router)]

    def draws(step):
        pretraining(images, {}, Rows(step, 0, 4, 4))
        return [router.draw for router in routers]

    first = draws(0)
    assert len({*first, *draws(1)}) == 2 * len(routers)
    assert draws(0) == first


def test_incomplete_masks_train(toy, tmp_path):
    arguments = [
        "--catalog",
        str(toy),
        "--out",
        str(tmp_path / "run"),
        "--max-steps",
        "2",
        "--batch-size",
        "8",
    ]
    extra = [
        "--masking",
        "incomplete",
        "--no-probe",
        "--without",
        "shared",
        "--target",
        "gamma",
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(app, ["ringmoe", *arguments, "--patch-size", "4", *SMALL, *extra])
    assert result.exit_code == 0, result.output
    model, _ = load_model(tmp_path / "run")
    assert model.config.shared == 0
    assert model.config.specs["s1"].target == "gamma"


def test_use_and_gradients_of_a_dense_model(chips):
    model = RingMoE(
        replace(ring_preset("tiny+dense"), embed_dim=16, heads=(2, 2)).model(chips.config.bands, 32, 4)
    )
    assert expert_use(model, chips, batches=1) == []
    assert gradient_line(task_gradients(model, {"s1": torch.randn(2, 2, 32, 32)})) == "routers  none"


def test_only_sparse_experts_are_divided_over_ranks(toy, tmp_path):
    settings = {"catalog": str(toy), "out": str(tmp_path / "run"), "parallel": "experts"}
    with pytest.raises(InputError, match="no parallel 'experts'"):
        pretrain({"kind": "csmoe", **settings})


def test_prune_writes_every_step(run, toy, tmp_path, monkeypatch):
    monkeypatch.setattr("train.compress.running.step", partial(step, seconds=0.01))
    said = []
    options = Compression(run[0], toy, tmp_path / "out", "s1", share=0.8, merges=("units",), distil_steps=2)
    compress(options, said.append)
    written = json.loads((tmp_path / "out" / "compression.json").read_text())["steps"]
    names = ["full", "s1 alone", "share 0.8", "share 0.8 taught", "dense units", "dense units taught"]
    assert [each["name"] for each in written] == names
    assert said[-1].fields["steps"] == written
    assert written[1]["distance"] == 0  # exact
    assert written[0]["knn"] == written[1]["knn"]
    assert written[0]["gflop"] == written[1]["gflop"] > written[4]["gflop"]
    assert (
        written[4]["parameters"]
        < written[2]["parameters"]
        < written[1]["parameters"]
        < written[0]["parameters"]
    )
    for name in ("s1-alone", "share-0.8", "dense-units-taught"):
        model, data = load_model(tmp_path / "out" / name)
        assert model.sensors == ("s1",)
        assert [sensor.prefix for sensor in data.sensors] == ["s1"]


def test_grow_writes_a_larger_model(run, toy, tmp_path, monkeypatch):
    monkeypatch.setattr("train.compress.running.step", partial(step, seconds=0.01))
    said = []
    expand(run[0], toy, tmp_path / "out", 1, 2, say=said.append)
    model, _ = load_model(tmp_path / "out")
    assert model.config.block_layout(0)["collaborative"] == 5
    full, more, taught = said[-1].fields["steps"]
    assert full["parameters"] < more["parameters"] == taught["parameters"]
    assert 0 < more["distance"] < 1 and 0 < taught["distance"] < 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"keep": 1, "share": 0.5},
        {"keep": 0},
        {"share": 1.5},
        {"pools": "some"},
        {"merges": ("magic",)},
        {"distil_steps": -1},
        {"sensor": "s9"},
    ],
)
def test_options_that_mean_nothing_are_refused(run, toy, tmp_path, wrong):
    with pytest.raises(InputError):
        compress(Compression(run[0], toy, tmp_path / "out", **wrong))


def test_more_of_no_experts_is_refused(run, toy, tmp_path):
    with pytest.raises(InputError, match="no larger"):
        expand(run[0], toy, tmp_path / "out", 0, 2)
