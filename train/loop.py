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
from train.evaluate.routing import routing_scales
from train.journal import NAMES, Journal
from train.loader import Loader, in_order, prefetched
from train.models import CSMoE
from train.objectives import draw_masks
from train.optimise import TrainConfig, optimiser_for, set_lr
from train.progress import Bar


def train(
    model: CSMoE,
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
    device = next(model.parameters()).device
    optimiser = optimiser_for(model, config)
    journal = Journal(folder, config.log_every, eager=device.type == "cpu")
    step = 0
    if state is not None:
        step = restore(state, model, optimiser)
        journal.resume(state["journal"])
        journal.forget_after(step)
    loader = Loader(chips, config.batch_size, config.seed, pin_memory=device.type == "cuda")
    about = {
        "model_config": model.config.to_json(),
        "data": data.to_json(),
        "train": config.to_json(),
        **(marks or {}),
    }

    def save() -> None:
        journal.flush(step - 1, config.lr_at(step - 1))  # reads what is pending: no broken state is saved
        save_checkpoint(folder, step, model, optimiser, {"journal": journal.to_json(), **about})
        if scales := routing_scales(model):
            journal.write("routing_scale", step=step, layers=scales)

    model.train()
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
            masks = masks_for(model, config, len(batch.chips), step, device)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                output = model(images, masks)
            output.losses["total"].backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

            values = torch.stack([{**output.losses, "grad_norm": norm}[name].detach() for name in NAMES])
            if journal.add(step, chips.ids[batch.chips].tolist(), values, lr, waited_s):
                bar.show(journal.latest)
            step += 1
            bar.advance()
            if step % config.save_every == 0 and step < config.steps:
                save()
                journal_validation(model, data, validation, config, journal, step)
        save()
        if step >= config.steps:
            journal_validation(model, data, validation, config, journal, step)
    return step, journal


def masks_for(model: CSMoE, config: TrainConfig, batch: int, step: int, device: torch.device) -> Any:
    """Masks of one step by sensor."""
    generator, tokens = config.mask_generator(step), model.config.tokens
    return draw_masks(config.masking, model.sensors, batch, tokens, config.mask_ratio, generator, device)


def journal_validation(
    model: CSMoE, data: DataConfig, chips: Chips | None, config: TrainConfig, journal: Journal, step: int
) -> None:
    """Write the losses on *chips*, if there are any."""
    if chips is not None and len(chips):
        journal.write("val", step=step, **validate(model, data, chips, config))
        journal.restart_clock()


@torch.no_grad()
def validate(model: CSMoE, data: DataConfig, chips: Chips, config: TrainConfig) -> dict[str, float]:
    """Mean losses over the first batches of *chips*, with masks that are the same each time."""
    device = next(model.parameters()).device
    total, seen = torch.zeros(len(NAMES) - 1, device=device), 0
    model.eval()
    for batch in in_order(chips, config.batch_size):
        if batch.step == config.validation_batches:
            break
        masks = masks_for(model, config, len(batch.chips), batch.step, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            losses = model(data.images(batch.to(device)), masks).losses
        total += torch.stack([losses[name] for name in NAMES[:-1]]) * len(batch.chips)
        seen += len(batch.chips)
    model.train()
    means: list[float] = (total / seen).tolist()
    return {**dict(zip(NAMES[:-1], means, strict=True)), "chips": seen}


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
