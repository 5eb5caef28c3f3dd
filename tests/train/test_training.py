"""The loop, the journal and the checkpoint together."""

import json
import os
import signal
import threading
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.overrides import TorchFunctionMode

from curate.catalog import InputError, RunError
from train import loop
from train.checkpoint import (
    BEST,
    CHECKPOINTS,
    WEIGHTS,
    checkpoints,
    load_model,
    prune,
    read_checkpoint,
    save_weights,
)
from train.data import Chips, DataConfig, open_catalog
from train.distributed import Ranks
from train.journal import LOG, Journal
from train.kinds import KINDS
from train.kinds.csmoe import CrossSensor
from train.loader import Loader
from train.optimise import TrainConfig

CONFIG = TrainConfig(steps=9, batch_size=8, lr=1e-3, log_every=2, save_every=3)


@pytest.fixture(scope="module")
def splits(toy):
    catalog = open_catalog(toy)
    data = DataConfig.of(catalog)
    return data, Chips(catalog, data, "train"), Chips(catalog, data, "val")


@pytest.fixture
def run(splits, small_config):
    data, chips, validation = splits

    def start(folder, config=CONFIG, state=None, model_config=small_config):
        model = KINDS["csmoe"].untrained(model_config, config.seed)
        pretraining, alone = KINDS["csmoe"].pretraining(model, config), Ranks(torch.device("cpu"))
        names = (*pretraining.names, "grad_norm")
        journal = Journal(folder, config.log_every, names, pretraining.followed, alone)
        if state is not None:
            journal.forget_after(state["step"])
        run = loop.Run(pretraining, data, chips, validation, config, folder, alone, workers=2)
        return model, loop.train(run, journal, state), journal

    return start


def lines(folder, event):
    written = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return [line for line in written if line["event"] == event]


def equal(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_run_is_its_seeds(run, tmp_path):
    first, again, other = (
        run(tmp_path / str(i), replace(CONFIG, seed=seed))[0] for i, seed in enumerate((0, 0, 1))
    )
    assert equal(first, again)
    assert not equal(first, other)


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("killed_at", [4, 6])
def test_a_killed_run_goes_on_to_the_same_bits(run, tmp_path, monkeypatch, killed_at, ema):
    config = replace(CONFIG, ema=ema)
    whole, _, journal = run(tmp_path / "whole", config)

    add = Journal.add

    def die(self, step, *rest):
        if step == killed_at:
            raise KeyboardInterrupt  # as abrupt as it gets within a process: nothing is saved
        return add(self, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", die)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", config)
    state = read_checkpoint(tmp_path / "killed")
    assert state["step"] == killed_at // 3 * 3
    torch.manual_seed(99)
    resumed, step, resumed_journal = run(tmp_path / "killed", config, state)
    assert step == CONFIG.steps
    assert equal(whole, resumed)
    assert resumed_journal.first == journal.first
    steps = [line["step"] for line in lines(tmp_path / "killed", "train")]
    assert steps == sorted(set(steps))  # what was taken twice is logged once
    optimisers = [read_checkpoint(tmp_path / name)["optimiser"]["state"] for name in ("whole", "killed")]
    for key, moments in optimisers[0].items():
        assert all(torch.equal(moments[name], optimisers[1][key][name]) for name in moments)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_between_two_steps(run, tmp_path, monkeypatch, number):
    whole = run(tmp_path / "whole")[0]
    before = signal.getsignal(number)
    add = Journal.add

    def signalled(self, step, *rest):
        if step == 3:
            os.kill(os.getpid(), number)
        return add(self, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", signalled)
        _, step, _ = run(tmp_path / "stopped")
    assert step == 4
    assert signal.getsignal(number) == before
    resumed, step, _ = run(tmp_path / "stopped", state=read_checkpoint(tmp_path / "stopped"))
    assert step == CONFIG.steps
    assert equal(whole, resumed)


def test_a_loss_that_is_not_finite_names_the_chips_and_spares_the_checkpoint(
    run, splits, tmp_path, monkeypatch
):
    draw, shown = CrossSensor.masks, []

    def poison(self, rows):
        if rows.step == 4 and self.training:
            self.model.embed["s1"].proj.bias.data.fill_(float("nan"))
        return draw(self, rows)

    batches = loop.Loader.batches

    def watch(self, first, last, workers):
        for batch in batches(self, first, last):
            shown.append(batch.chips)
            yield batch

    monkeypatch.setattr(CrossSensor, "masks", poison)
    monkeypatch.setattr(loop.Loader, "batches", watch)
    with pytest.raises(RunError, match=r"step 5: .*total.* not finite") as caught:
        run(tmp_path)
    named = set(str(caught.value).split("batch: ")[1].split(", "))
    assert named == set(splits[1].ids[shown[4]])
    state = read_checkpoint(tmp_path)
    assert state["step"] == 3
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


def test_a_lazy_journal_finds_the_step_that_went_wrong(tmp_path):
    journal = Journal(tmp_path, 10, ("total", "grad_norm"), "total", Ranks(torch.device("cpu")))
    journal.eager = False  # as on a GPU
    for step in range(5):
        row = torch.full((2,), float("nan") if step == 2 else 1.0)
        journal.add(step, [f"chip{step}"], row, 1e-3, 0.0)
    with pytest.raises(RunError, match=r"step 3: .*chip2$"):
        journal.flush(5, 1e-3)


def test_the_log_holds_every_loss(run, tmp_path):
    run(tmp_path)
    steps = lines(tmp_path, "train")
    assert [line["step"] for line in steps] == [2, 3, 4, 6, 8, 9]
    for line in steps:
        assert {"total", "umr", "cmr", "mim", "lr", "pairs_per_s", "grad_norm"} <= set(line)
        assert line["total"] == pytest.approx(line["umr"] + line["cmr"] + line["mim"], rel=1e-5)
        assert line["reconstruction"] == pytest.approx((line["umr"] + line["cmr"]) / 4, rel=1e-5)
    assert [line["step"] for line in lines(tmp_path, "val")] == [3, 6, 9]


def test_the_log_holds_every_layers_routing_scale(run, tmp_path):
    model, _, _ = run(tmp_path)
    written = lines(tmp_path, "routing_scale")
    assert [line["step"] for line in written] == [3, 6, 9]
    scales = {name: p.item() for name, p in model.named_parameters() if name.endswith(".scale")}
    last = {f"{name}.scale": value for name, value in written[-1]["layers"].items()}
    assert last == pytest.approx(scales)
    assert len(last) == 3


def test_training_lowers_the_loss(run, tmp_path):
    _, _, journal = run(tmp_path, replace(CONFIG, steps=60, lr=3e-3, save_every=100))
    assert sum(journal.last) < 0.9 * sum(journal.first)


def test_training_leaves_no_thread(run, tmp_path):
    run(tmp_path)
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())


def test_weights_explain_themselves(run, splits, tmp_path):
    model, step, _ = run(tmp_path)
    path = save_weights(tmp_path / WEIGHTS, model, splits[0], CONFIG, step)
    loaded, data = load_model(path)
    assert data == splits[0]
    assert data.simulated
    assert loaded.config == model.config
    assert equal(model, loaded)
    assert not loaded.training
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["train"])
    assert about["kind"] == "csmoe"
    assert about["data"]["recipe_hash"] == "0" * 32
    assert about["data"]["sensors"][0]["bands"][0] == "B02"
    assert about["data"]["sensors"][1]["unit"] == "dB"
    assert load_model(tmp_path)[0].config == model.config


@pytest.mark.parametrize("content", [None, b"", b"not safetensors"])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(InputError, match="weights"):
        load_model(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint"])
def test_a_checkpoint_that_is_none_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / CHECKPOINTS).mkdir()
        (tmp_path / CHECKPOINTS / "00000001.pt").write_bytes(content)
    with pytest.raises(InputError):
        read_checkpoint(tmp_path)


def test_the_newest_checkpoints_and_the_best_are_kept(run, tmp_path):
    config = replace(CONFIG, steps=18, save_every=2, keep_last=2, lr=3e-3)
    run(tmp_path, config)
    losses = {line["step"]: line["total"] for line in lines(tmp_path, "val")}
    best = min(losses, key=losses.__getitem__)
    kept = {int(path.stem) for path in checkpoints(tmp_path)}
    assert kept == {16, 18, best}
    with safe_open(tmp_path / BEST, "pt") as file:
        assert json.loads(file.metadata()["train"])["step"] == best
    assert read_checkpoint(tmp_path)["best"] == {"step": best, "loss": losses[best]}


def test_passes_add_up_to_one_bigger_batch(run, tmp_path, small_config):
    """Without the contrastive loss, whose candidates are those of a pass, the division changes nothing."""
    alone = replace(small_config, mim_weight=0.0)
    config = replace(CONFIG, steps=1, clip=1e9)
    for n in (1, 4):
        run(tmp_path / str(n), replace(config, accumulate=n), model_config=alone)
    whole, divided = (read_checkpoint(tmp_path / str(n))["optimiser"]["state"] for n in (1, 4))
    for key, moments in whole.items():  # after one step, a tenth of the gradient
        torch.testing.assert_close(divided[key]["exp_avg"], moments["exp_avg"], rtol=1e-4, atol=1e-7)
    norms = [lines(tmp_path / str(n), "train")[-1]["grad_norm"] for n in (1, 4)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_the_probe_runs_while_training_and_changes_nothing(run, tmp_path):
    quiet = run(tmp_path / "quiet", replace(CONFIG, ema=0.5))[0]
    probed = run(tmp_path / "probed", replace(CONFIG, ema=0.5, probe_every=4))[0]
    assert equal(quiet, probed)
    written = lines(tmp_path / "probed", "knn")
    assert [line["step"] for line in written] == [4, 8]
    assert all(0 <= value <= 1 for line in written for key, value in line.items() if "accuracy" in key)


class NoWaits(TorchFunctionMode):
    """Refuses copies from the host that a device is waited for; no value can be read off the meta device anyway."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and found.is_meta:
            sent = func is Tensor.to and not args[0].is_meta and not (kwargs or {}).get("non_blocking")
            assert not sent, args
            assert func not in (torch.tensor, torch.as_tensor, Tensor.new_tensor), args
        return found


@pytest.mark.parametrize("changes", [{}, {"mde_weight": 1.0, "norm_pixels": True, "common_decoder": True}])
def test_a_step_waits_for_no_device(splits, small_config, tmp_path, monkeypatch, changes):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it knows no meta device
    weights = {"s1": (1.0, 2.0)}
    model = KINDS["csmoe"].untrained(replace(small_config, band_weights=weights, **changes), 0).to("meta")
    data, chips, validation = splits
    config = replace(CONFIG, accumulate=2)
    learner, meta = KINDS["csmoe"].pretraining(model, config), Ranks(torch.device("meta"))
    task = loop.Run(learner, data, chips, validation, config, tmp_path, meta)
    batch = next(Loader(chips, 8, 0).batches(0, 1))
    for present in ({}, {"s1": torch.arange(8) % 3 > 0}):
        with NoWaits():
            losses = loop.backward(task, learner, replace(batch, present=present, symmetry=5))
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        assert losses["total"].is_meta


def test_nothing_is_kept_as_the_best_before_there_is_one(tmp_path):
    (tmp_path / CHECKPOINTS).mkdir()
    for step in (0, 3, 6, 9):
        (tmp_path / CHECKPOINTS / f"{step:08d}.pt").touch()
    prune(tmp_path, 2, None)
    assert [path.stem for path in checkpoints(tmp_path)] == ["00000006", "00000009"]
