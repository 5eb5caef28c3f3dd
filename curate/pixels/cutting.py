"""Cut planned shards: every block of a scene's bands is read once for all chips of the task that lie on it.

A task's chips are cut batch by batch. While one batch is turned into integers, threads read what the next ones need, so
that many requests are under way; and a finished shard is written while the next one is cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curate.catalog import shards
from curate.catalog.errors import RunError
from curate.catalog.shards import ManifestEntry, SensorChips
from curate.pixels import cloudless
from curate.pixels.acquisition import Acquisition, ChipArrays, acquisitions
from curate.pixels.layers import is_remote
from curate.pixels.plan import UNREADABLE
from curate.pixels.quality import Quality, refuse
from curate.pixels.storing import summarise
from curate.pixels.tasks import CutTask, Shard
from curate.sensors import sensor

Ints = npt.NDArray[np.int64]


class Pace(NamedTuple):
    """How many threads read, one band of one scene each, and how far ahead of the batch that is cut."""

    threads: int
    batch_chips: int  # at most; what many chips need is asked for at once
    ahead_chips: int
    ahead_batches: int


FROM_SERVERS = Pace(16, 128, 128, 8)
FROM_DISKS = Pace(2, 32, 32, 8)  # blocks are still in the processor's cache when chips are cut out of them


@dataclass
class _Cut:
    """Chips of a shard while they are being cut."""

    arrays: dict[str, ChipArrays]  # by sensor prefix
    unreadable: dict[str, list[str | None]]  # by sensor prefix, why each chip could not be read

    @classmethod
    def room(cls, task: CutTask, chips: int) -> _Cut:
        return cls({info.prefix: ChipArrays.room(chips, info, task.chip_px) for info in task.sensors}, {})

    def emptied(self, chips: int) -> _Cut:
        """Room for so many chips in the same memory."""
        arrays = {prefix: room.emptied(chips) for prefix, room in self.arrays.items()}
        return _Cut(arrays, {prefix: [None] * chips for prefix in arrays})


def cut(task: CutTask) -> list[ManifestEntry]:
    """Cut the task's shards, write them, note what became of each chip beside them, and say so.

    Raises:
        InputError: a cloud detector is wanted that is not installed.
        RunError: a shard cannot be written.
    """
    if task.pixels.cloud_detector != "none":
        cloudless.require()
    entries: list[ManifestEntry] = []
    with ThreadPoolExecutor(1) as writer:
        writing: Future[ManifestEntry] | None = None
        for shard, made in _shards(task):
            if writing is not None:
                entries.append(writing.result())
            writing = writer.submit(_written, task, shard, made)
        if writing is not None:
            entries.append(writing.result())
    return entries


def _shards(task: CutTask) -> Iterator[tuple[Shard, _Cut]]:
    """Shards with their chips' pixels, in the task's order; each is good until the next but one is asked for."""
    sizes = [len(shard.keys) for shard in task.shards]
    first = np.cumsum([0, *sizes])
    rooms = [_Cut.room(task, max(sizes)) for _ in sizes[:2]]  # one is cut into while the other is written
    at, made = 0, rooms[0].emptied(sizes[0])
    for chips, read in _batches(task):
        rows = chips - first[at]
        for prefix, acquisition, number in read:
            acquisition.take(number, rows, made.arrays[prefix], made.unreadable[prefix])
        if chips[-1] + 1 == first[at + 1]:
            yield task.shards[at], made
            at += 1
            if at < len(task.shards):
                made = rooms[at % 2].emptied(sizes[at])


Read = list[tuple[str, Acquisition, int]]  # sensor prefix, scene, number of the batch


def _batches(task: CutTask) -> Iterator[tuple[Ints, Read]]:
    """Batches of chips with the acquisitions that were read for them, some batches ahead."""
    pace = FROM_SERVERS if any(is_remote(href) for href in task.hrefs()) else FROM_DISKS
    batches = task.batches(pace.batch_chips)
    number = np.repeat(np.arange(len(batches)), [len(chips) for chips in batches])
    needed: list[Read] = [[] for _ in batches]
    for info in task.sensors:
        for acquisition in acquisitions(task, info, number):
            for k in acquisition.batches:
                needed[k].append((info.prefix, acquisition, k))
    with ExitStack() as ending:
        for read in needed:
            for _, acquisition, _ in read:
                ending.callback(acquisition.close)
        threads = ending.enter_context(ThreadPoolExecutor(pace.threads))
        ending.callback(threads.shutdown, wait=False, cancel_futures=True)
        waiting: deque[tuple[int, list[Future[None]]]] = deque()
        following = iter(range(len(batches)))
        for k, chips in enumerate(batches):
            while (
                len(waiting) < pace.ahead_batches
                and sum(len(batches[i]) for i, _ in waiting) <= pace.ahead_chips
            ):
                ahead = next(following, None)
                if ahead is None:
                    break
                layers = [layer for _, acquisition, _ in needed[ahead] for layer in acquisition.every]
                waiting.append((ahead, [threads.submit(layer.load, ahead) for layer in layers]))
            for load in waiting.popleft()[1]:
                load.result()
            yield chips, needed[k]


def _written(task: CutTask, shard: Shard, made: _Cut) -> ManifestEntry:
    try:
        return _finish(task, shard, made)
    except OSError as error:
        raise RunError(
            f"Shard {task.folder / f'{shard.name}.arrow'} cannot be written: {error.strerror or error}. "
            "What was finished before is kept; make room or mend the folder, and run the same command again."
        ) from error


def _finish(task: CutTask, shard: Shard, made: _Cut) -> ManifestEntry:
    """Write what is fit to be kept of a shard, and note what became of each chip."""
    quality = {prefix: arrays.quality() for prefix, arrays in made.arrays.items()}
    refused = _refused(task, shard, made, quality)
    kept = np.array([reason is None for reason in refused])
    rejected = tuple((key, *why) for key, why in zip(shard.keys, refused, strict=True) if why is not None)
    if not kept.any():
        entry = ManifestEntry(shard.name, None, (), rejected, None)
    else:
        path = task.folder / f"{shard.name}.arrow"
        chips = {}
        for info in task.sensors:
            arrays = made.arrays[info.prefix].kept(kept)
            moments, counts = summarise(arrays.pixels, info)
            chips[info.prefix] = SensorChips(
                arrays.pixels,
                quality[info.prefix].valid[kept],
                quality[info.prefix].cloud[kept],
                arrays.data,
                arrays.cloud,
                moments,
                counts,
            )
        ids = [chip for chip, keep in zip(shard.chip_ids, kept, strict=True) if keep]
        digest = shards.write_shard(path, task.sensors, ids, chips)
        keys = tuple(key for key, keep in zip(shard.keys, kept, strict=True) if keep)
        entry = ManifestEntry(shard.name, path.name, keys, rejected, digest)
    shards.note(task.folder, entry)
    return entry


def _refused(
    task: CutTask, shard: Shard, made: _Cut, quality: dict[str, Quality]
) -> list[tuple[str, str] | None]:
    """Reason and detail for each chip that is refused; the first sensor that refuses gives the reason."""
    found: list[tuple[str, str] | None] = [None] * len(shard.keys)
    limits = task.pixels.min_valid, task.pixels.max_cloud
    for info in task.sensors:
        arrays, scenes = made.arrays[info.prefix], shard.scenes[info.prefix]
        reasons = refuse(quality[info.prefix], arrays.pixels, info, sensor(info.sensor), *limits)
        for i, (broken, reason) in enumerate(zip(made.unreadable[info.prefix], reasons, strict=True)):
            if found[i] is None and broken is not None:
                found[i] = (f"{info.prefix}: {UNREADABLE}", f"{scenes[i]}: {' '.join(broken.split())}")
            elif found[i] is None and reason is not None:
                found[i] = (reason, scenes[i])
    return found
