"""Batches in a seeded order that is a pure function of the step, so that any step can be resumed at."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from train.data import Chips

AHEAD = 2  # batches that the thread prepares while the device computes
ORDER, FLIPS = 0, 1  # separate streams of random numbers under one seed


@dataclass(frozen=True)
class Batch:
    """Chips of one step: stored integers by sensor [B, c, H, W] in host memory."""

    step: int
    chips: npt.NDArray[np.int64]
    stored: dict[str, Tensor]

    def to(self, device: torch.device) -> dict[str, Tensor]:
        return {sensor: values.to(device, non_blocking=True) for sensor, values in self.stored.items()}


@dataclass(frozen=True)
class Loader:
    """Endless shuffled batches of *chips*; every epoch shows each chip at most once.

    An epoch holds len(chips) // batch_size full batches: a short last one would be an easier contrastive
    task. Which chips it leaves out changes from epoch to epoch. A split smaller than a batch is one batch.
    """

    chips: Chips
    batch_size: int
    seed: int
    flips: bool = True  # one of the eight symmetries of the square for a batch, the same for all its sensors
    pin_memory: bool = False

    @property
    def steps_per_epoch(self) -> int:
        return max(len(self.chips) // self.batch_size, 1)

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The epoch's permutation of all chips."""
        return np.random.default_rng((self.seed, ORDER, epoch)).permutation(len(self.chips))

    def _batch(self, step: int, chips: npt.NDArray[np.int64]) -> Batch:
        chips = self.chips.in_storage_order(chips)
        symmetry = int(np.random.default_rng((self.seed, FLIPS, step)).integers(8)) if self.flips else 0
        stored = {}
        for sensor, values in self.chips.gather(chips).items():
            tensor = torch.from_numpy(np.ascontiguousarray(turned(values, symmetry)))
            stored[sensor] = tensor.pin_memory() if self.pin_memory else tensor
        return Batch(step, chips, stored)

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps *first* to *last* - 1."""
        epoch, order = -1, np.empty(0, np.int64)
        for step in range(first, last):
            if step // self.steps_per_epoch != epoch:  # one permutation an epoch, not one a step
                epoch = step // self.steps_per_epoch
                order = self.order(epoch)
            start = step % self.steps_per_epoch * self.batch_size
            yield self._batch(step, order[start : start + self.batch_size])


def turned(values: npt.NDArray[np.generic], symmetry: int) -> npt.NDArray[np.generic]:
    """Images [B, c, H, W] under one of the square's eight symmetries, 0 leaving them as they are."""
    if symmetry & 1:
        values = values[..., ::-1]
    if symmetry & 2:
        values = values[..., ::-1, :]
    return values.swapaxes(-1, -2) if symmetry & 4 else values


def in_order(chips: Chips, batch_size: int) -> Iterator[Batch]:
    """All chips once, in the catalog's order."""
    for step, start in enumerate(range(0, len(chips), batch_size)):
        index = np.arange(start, min(start + batch_size, len(chips)))
        stored = {sensor: torch.from_numpy(values) for sensor, values in chips.gather(index).items()}
        yield Batch(step, index, stored)


def prefetched(batches: Iterator[Batch], ahead: int = AHEAD) -> Generator[Batch]:
    """The same batches, prepared by one thread while the caller computes; its errors are raised here.

    One thread is enough: gathering is a copy out of the page cache, during which Python's lock is free.
    """
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(ahead)
    stop = threading.Event()
    put = _offer(ready, stop)

    def fill() -> None:
        try:
            for batch in batches:
                if not put(batch):
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=fill, name="prefetch", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def _offer(
    ready: queue.Queue[Batch | BaseException | None], stop: threading.Event
) -> Callable[[Batch | BaseException | None], bool]:
    """Put that gives up, and says so, once nobody reads any more."""

    def put(item: Batch | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    return put
