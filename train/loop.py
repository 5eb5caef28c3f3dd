"""The training loop."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from train.average import Average
from train.buffers import Buffers
from train.checkpoint import BEST, prune, restore, save_checkpoint, save_weights
from train.data import Chips, DataConfig
from train.distributed import Ranks, full, spread, unsynchronised
from train.execution import Execution, keep_freed_memory
from train.journal import Journal
from train.kinds import Pretraining, Rows
from train.loader import Batch, Loader
from train.optimise import TrainConfig, optimiser_for, set_lr
from train.progress import Bar
from train.validation import validate, watch


@dataclass(frozen=True)
class Run:
    """What is trained, on what, where, and how."""

    pretraining: Pretraining
    data: DataConfig
    chips: Chips
    validation: Chips
    config: TrainConfig
    folder: Path
    ranks: Ranks
    execution: Execution = field(default_factory=Execution)
    parallel: str = "ddp"
    workers: int = 1
    marks: Mapping[str, Any] = field(default_factory=dict)  # more to write into checkpoints


def train(run: Run, journal: Journal, state: Mapping[str, Any] | None = None) -> int:
    """Train until `config.steps`, or SIGTERM or SIGINT; either way a checkpoint is saved. The steps done.

    The model ends with the weights that are to be judged and kept: the averaged ones where there are such.

    Args:
        state: of `read_checkpoint`, to go on from.

    Raises:
        RunError: the loss is not finite; the last checkpoint stays as it is.
    """
    pretraining, config, ranks, device = run.pretraining, run.config, run.ranks, run.ranks.device
    model, names = pretraining.model, journal.names
    run.execution.prepare(model)
    if device.type == "cpu":
        keep_freed_memory()
    learner = spread(pretraining, ranks, run.parallel)
    optimiser = optimiser_for(model, config)
    average = Average(model, config.ema) if config.ema else None
    step, best = 0, dict[str, Any]()
    if state is not None:
        step, best = restore(state, model, optimiser, average), dict(state["best"])
        journal.resume(state["journal"])
    buffers = Buffers(pinned=device.type == "cuda")
    loader = Loader(
        run.chips, config.batch_size, config.seed, True, buffers, ranks.rank, ranks.world, config.accumulate
    )

    def save(last: bool = False) -> None:
        journal.flush(step - 1, config.lr_at(step - 1))  # reads what is pending: no broken state is saved
        with average.in_place() if average else nullcontext():
            judge(last)
        about = {"journal": journal.to_json(), "best": best, **run.marks}
        save_checkpoint(run.folder, step, model, optimiser, average, about, ranks)
        if ranks.writes:
            prune(run.folder, config.keep_last, best.get("step"))
        journal.restart_clock()

    def judge(last: bool) -> None:
        for what, layers in pretraining.observe().items():
            journal.write(what, step, layers=layers)
        where = (run.data, run.validation, config, run.execution, ranks)
        found = {} if last else validate(learner, pretraining, *where)
        if found:
            journal.write("val", step, **found)
        if found and found[pretraining.names[0]] < best.get("loss", float("inf")):
            best.update(step=step, loss=found[pretraining.names[0]])
            save_weights(run.folder / BEST, model, run.data, config, step, ranks)

    def probe() -> None:
        with average.in_place() if average else nullcontext():
            journal.write("knn", step, **watch(pretraining, run.chips, run.validation, config.seed))
        journal.restart_clock()

    pretraining.train()
    ahead = closing(loader.batches(step, config.steps, run.workers))
    with stop_signals() as stopped, Bar(step, config.steps, ranks.writes) as bar, ahead as batches:
        journal.restart_clock()
        while not (halted := ranks.any(bool(stopped))):
            asked = time.perf_counter()
            if (batch := next(batches, None)) is None:
                break
            waited_s = time.perf_counter() - asked
            lr = config.lr_at(step)
            set_lr(optimiser, lr)
            losses = backward(run, learner, batch)
            norm = full(nn.utils.clip_grad_norm_(model.parameters(), config.clip))
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            if average:
                average.update()

            values = torch.stack([{**losses, "grad_norm": norm}[name] for name in names])
            if journal.add(step, run.chips.named(batch.chips), values, lr, waited_s):
                bar.show(journal.latest)
            step += 1
            bar.advance()
            if step % config.save_every == 0 or step == config.steps:
                save()
            if config.probe_every and step % config.probe_every == 0 and step < config.steps:
                probe()
        if halted:
            save(last=True)  # who was told to stop has no time to validate
    if average:
        average.hand_over()
    return step


def backward(run: Run, learner: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Add up a batch's gradients over `accumulate` passes; mean losses by name, detached."""
    config, ranks = run.config, run.ranks
    size, passes = len(batch.chips), config.accumulate
    rows, total = size // passes, dict[str, Tensor]()
    for i in range(passes):
        images, present = batch.part(i * rows, (i + 1) * rows).on(ranks.device, run.data)
        first = ranks.rank * size + i * rows
        seen = Rows(batch.step, first, first + rows, ranks.world * size)
        with unsynchronised(learner, last=i == passes - 1):
            with run.execution.autocast(ranks.device):
                losses = learner(images, present, seen)
            (losses["total"] / passes).backward()
        total = {name: total.get(name, 0) + loss.detach() / passes for name, loss in losses.items()}
    return total


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
