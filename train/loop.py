"""The training loop."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from train.checkpoint import restore, save_checkpoint
from train.data import Chips, DataConfig
from train.journal import Journal
from train.kinds import Pretraining, Rows
from train.loader import Loader, in_order, prefetched
from train.optimise import TrainConfig, optimiser_for, set_lr
from train.progress import Bar


def train(
    pretraining: Pretraining,
    data: DataConfig,
    chips: Chips,
    validation: Chips | None,
    config: TrainConfig,
    folder: Path,
    state: dict[str, Any] | None = None,
    marks: dict[str, Any] | None = None,
) -> tuple[int, Journal]:
    """Train until `config.steps`, or SIGTERM or SIGINT; either way a checkpoint is saved. The steps done.

    Args:
        validation: chips whose loss is measured at every checkpoint, with the same masks each time.
        state: of `read_checkpoint`, to go on from.
        marks: more to write into checkpoints.

    Raises:
        RunError: the loss is not finite; the last checkpoint stays as it is.
    """
    model, names = pretraining.model, (*pretraining.names, "grad_norm")
    device = next(model.parameters()).device
    optimiser = optimiser_for(model, config)
    journal = Journal(folder, config.log_every, names, pretraining.followed, eager=device.type == "cpu")
    step = 0
    if state is not None:
        step = restore(state, model, optimiser)
        journal.resume(state["journal"])
        journal.forget_after(step)
    loader = Loader(chips, config.batch_size, config.seed, pin_memory=device.type == "cuda")
    about = {
        "kind": model.kind,
        "model_config": model.config.to_json(),
        "data": data.to_json(),
        "train": config.to_json(),
        **(marks or {}),
    }

    def save() -> None:
        journal.flush(step - 1, config.lr_at(step - 1))  # reads what is pending: no broken state is saved
        save_checkpoint(folder, step, model, optimiser, {"journal": journal.to_json(), **about})
        for what, layers in pretraining.observe().items():
            journal.write(what, step=step, layers=layers)

    pretraining.train()
    ahead = closing(prefetched(loader.batches(step, config.steps)))
    with stop_signals() as stopped, Bar(step, config.steps) as bar, ahead as batches:
        journal.restart_clock()
        while not stopped:
            asked = time.perf_counter()
            if (batch := next(batches, None)) is None:
                break
            waited_s = time.perf_counter() - asked
            lr = config.lr_at(step)
            set_lr(optimiser, lr)
            images = data.images(batch.to(device))
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                losses = pretraining(images, {}, Rows(step, 0, len(batch.chips), len(batch.chips)))
            losses["total"].backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

            values = torch.stack([{**losses, "grad_norm": norm}[name].detach() for name in names])
            if journal.add(step, chips.ids[batch.chips].tolist(), values, lr, waited_s):
                bar.show(journal.latest)
            step += 1
            bar.advance()
            if step % config.save_every == 0 and step < config.steps:
                save()
                journal_validation(pretraining, data, validation, config, journal, step)
        save()
        if step >= config.steps:
            journal_validation(pretraining, data, validation, config, journal, step)
    return step, journal


def journal_validation(
    pretraining: Pretraining,
    data: DataConfig,
    chips: Chips | None,
    config: TrainConfig,
    journal: Journal,
    step: int,
) -> None:
    """Write the losses on *chips*, if there are any."""
    if chips is not None and len(chips):
        journal.write("val", step=step, **validate(pretraining, data, chips, config))
        journal.restart_clock()


@torch.no_grad()
def validate(
    pretraining: Pretraining, data: DataConfig, chips: Chips, config: TrainConfig
) -> dict[str, float]:
    """Mean losses over the first batches of *chips*, with masks that are the same each time."""
    device, names = next(pretraining.parameters()).device, pretraining.names
    total, seen = torch.zeros(len(names), device=device), 0
    pretraining.eval()
    for batch in in_order(chips, config.batch_size):
        if batch.step == config.validation_batches:
            break
        rows = Rows(batch.step, 0, len(batch.chips), len(batch.chips))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            losses = pretraining(data.images(batch.to(device)), {}, rows)
        total += torch.stack([losses[name] for name in names]) * len(batch.chips)
        seen += len(batch.chips)
    pretraining.train()
    means: list[float] = (total / seen).tolist()
    return {**dict(zip(names, means, strict=True)), "chips": seen}


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that SIGTERM and SIGINT append to, so that a loop can end between two steps; a second kills."""
    received: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, _: object) -> None:
        received.append(number)
        signal.signal(number, before[number])

    try:
        for number in (int(signal.SIGTERM), int(signal.SIGINT)):
            before[number] = signal.getsignal(number)
            signal.signal(number, note)
    except ValueError:  # not in the main thread, where no signal can be caught
        before.clear()
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
