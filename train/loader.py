"""Batches in a seeded order that is a pure function of the step, so that any step can be resumed at.

Which chips a step shows, and how they are turned, depends on the seed and the step alone: not on the threads that
fetch, nor on the ranks, each of which fetches its rows of the step's batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, repeat

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from curate.catalog import InputError
from train.buffers import Buffers
from train.data import Chips, DataConfig

AHEAD = 2  # batches that lie ready while the device computes, beside those that threads work on
ORDER, FLIPS = 0, 1  # separate streams of random numbers under one seed


@dataclass(frozen=True)
class Batch:
    """Chips of one step, or this rank's share: stored integers by sensor [B, c, H, W] in host memory."""

    step: int
    chips: npt.NDArray[np.int64]
    stored: dict[str, Tensor]
    present: dict[str, Tensor] = field(default_factory=dict)  # [B], of sensors that some chip here lacks
    symmetry: int = 0  # of the square, the same for all sensors

    def part(self, start: int, stop: int) -> Batch:
        """Some of the chips, without a copy."""
        stored, present = (
            {sensor: values[start:stop] for sensor, values in each.items()}
            for each in (self.stored, self.present)
        )
        return Batch(self.step, self.chips[start:stop], stored, present, self.symmetry)

    def to(self, device: torch.device) -> dict[str, Tensor]:
        """Stored integers on *device*, as they are."""
        return {sensor: values.to(device, non_blocking=True) for sensor, values in self.stored.items()}

    def on(self, device: torch.device, data: DataConfig) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Normalised images by sensor, turned, and which of them are there, on *device*."""
        there = {sensor: values.to(device, non_blocking=True) for sensor, values in self.present.items()}
        images = data.images(self.to(device))
        return {sensor: turned(values, self.symmetry) for sensor, values in images.items()}, there


@dataclass(frozen=True)
class Order:
    """What a batch is to hold."""

    step: int
    chips: npt.NDArray[np.int64]
    symmetry: int = 0


@dataclass(frozen=True)
class Loader:
    """Endless shuffled batches of *chips*; every epoch shows each chip at most once.

    An epoch holds len(chips) // batch_size full batches: a short last one would be an easier contrastive
    task. Which chips it leaves out changes from epoch to epoch. A split smaller than a batch is one batch, of as many
    chips as can be shared evenly.

    Args:
        batch_size: of all ranks together, a multiple of `world` × `passes`.
        passes: parts into which each rank divides its share.

    Raises:
        InputError: there are fewer chips than parts.
    """

    chips: Chips
    batch_size: int
    seed: int
    flips: bool = True  # one of the eight symmetries of the square for a batch, the same for all its sensors
    buffers: Buffers = field(default_factory=Buffers)
    rank: int = 0
    world: int = 1
    passes: int = 1

    def __post_init__(self) -> None:
        if not self.size:
            raise InputError(
                f"Split {self.chips.split} has {len(self.chips)} chips",
                f"{self.world} ranks × {self.passes} passes a step cannot share them",
                "Choose fewer, or another catalog",
            )

    @property
    def size(self) -> int:
        """Chips of a batch, of all ranks together."""
        parts = self.world * self.passes
        return min(self.batch_size, len(self.chips)) // parts * parts

    @property
    def steps_per_epoch(self) -> int:
        return len(self.chips) // self.size

    def permutation(self, epoch: int) -> npt.NDArray[np.int64]:
        """The epoch's order of all chips."""
        return np.random.default_rng((self.seed, ORDER, epoch)).permutation(len(self.chips))

    def orders(self, first: int, last: int) -> Iterator[Order]:
        """What this rank's batches of steps *first* to *last* - 1 are to hold."""
        epoch, permutation = -1, np.empty(0, np.int64)
        for step in range(first, last):
            if step // self.steps_per_epoch != epoch:  # one permutation an epoch, not one a step
                epoch = step // self.steps_per_epoch
                permutation = self.permutation(epoch)
            start, share = step % self.steps_per_epoch * self.size, self.size // self.world
            whole = self.chips.in_storage_order(permutation[start : start + self.size])
            mine = whole[self.rank * share : (self.rank + 1) * share]
            symmetry = int(np.random.default_rng((self.seed, FLIPS, step)).integers(8)) if self.flips else 0
            yield Order(step, mine, symmetry)

    def fetch(self, order: Order) -> Batch:
        """The batch that *order* asks for."""
        forms = self.chips.layout(len(order.chips))
        stored = {sensor: self.buffers.take(*form) for sensor, form in forms.items()}
        self.chips.gather(order.chips, {sensor: tensor.numpy() for sensor, tensor in stored.items()})
        return Batch(order.step, order.chips, stored, _present(self.chips, order.chips), order.symmetry)

    def batches(self, first: int, last: int, workers: int = 0) -> Generator[Batch]:
        """The batches of steps *first* to *last* - 1, the same for any number of threads that fetch ahead."""
        orders = self.orders(first, last)
        if workers:
            return fetched((partial(self.fetch, order) for order in orders), workers)
        return (self.fetch(order) for order in orders)


def turned(values: Tensor, symmetry: int) -> Tensor:
    """Images [B, c, H, W] under one of the square's eight symmetries, 0 leaving them as they are."""
    dims = [dim for bit, dim in ((1, -1), (2, -2)) if symmetry & bit]
    values = values.flip(dims) if dims else values
    return values.transpose(-1, -2) if symmetry & 4 else values


def in_order(chips: Chips, batch_size: int) -> Iterator[Batch]:
    """All chips once, in the catalog's order."""
    for step, start in enumerate(range(0, len(chips), batch_size)):
        index = np.arange(start, min(start + batch_size, len(chips)))
        stored = {sensor: torch.from_numpy(values) for sensor, values in chips.gather(index).items()}
        yield Batch(step, index, stored, _present(chips, index))


def _present(chips: Chips, index: npt.NDArray[np.int64]) -> dict[str, Tensor]:
    return {sensor: torch.from_numpy(there) for sensor, there in chips.present(index).items()}


def prefetched(batches: Iterator[Batch], ahead: int = AHEAD) -> Generator[Batch]:
    """The same batches, prepared by one thread while the caller computes; its errors are raised here."""
    return fetched(repeat(partial(next, batches, None)), 1, ahead)


def fetched(
    tasks: Iterator[Callable[[], Batch | None]], workers: int, ahead: int = AHEAD
) -> Generator[Batch]:
    """What *tasks* give, in their order and up to the first None, while *workers* threads work ahead of the caller.

    Threads are enough: gathering is a copy out of the page cache, or waits for a network, and meanwhile Python's
    lock is free.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prefetch")
    try:
        waiting: deque[Future[Batch | None]] = deque(pool.submit(t) for t in islice(tasks, workers + ahead))
        while waiting and (batch := waiting.popleft().result()) is not None:
            waiting.extend(pool.submit(task) for task in islice(tasks, 1))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)
