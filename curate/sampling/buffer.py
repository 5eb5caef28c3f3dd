"""Rows of a pool in their splits: how many of each sort each has, and which lie in the buffer between two.

Both are found once and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from curate.catalog.files import atomic
from curate.catalog.schema import SPLITS
from curate.recipe import stable_hash
from curate.sampling.arrays import Ints, Mask, Small, Tiny, Words, numbers
from curate.sampling.borders import split_up
from curate.sampling.counting import Counted, Task, sorts
from curate.sampling.sorts import Sorts
from curate.sampling.source import Run
from curate.sampling.sphere import EqualAreaTable
from curate.sampling.splits import Blocks, too_near

if TYPE_CHECKING:
    from curate.recipe import Sampling


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows near a border between splits, or in the buffer there."""

    group: Small  # index of the group
    row: Small  # its position in the group
    spot: Words
    sort: Small  # of its group
    split: Tiny
    season: npt.NDArray[np.uint8]  # index into the labels of its group

    @classmethod
    def stack(cls, parts: Sequence[Rows]) -> Rows:
        """All of *parts*, one after the other."""
        names = cls.__dataclass_fields__
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def take(self, at: Ints) -> Rows:
        """Some of them."""
        return Rows(**{name: getattr(self, name)[at] for name in self.__dataclass_fields__})


@dataclass(frozen=True, eq=False)
class Parted:
    """A pool in its splits."""

    number: Ints  # (splits, sorts) rows that can be drawn
    buffer: Rows  # those that lie too near to another split


def part(
    tasks: Sequence[Task],
    counted: Sequence[Counted],
    every: Sorts,
    blocks: Blocks,
    sampling: Sampling,
    run: Run,
    folder: Path | None,
) -> Parted:
    """The pool in its splits; what an earlier run found is in *folder*."""
    path = None
    if folder is not None:
        names = [one.path.name for one in counted if one.path]
        settings = [names, sampling.splits.model_dump(mode="json"), sampling.seed]
        path = folder / f"{stable_hash(settings)}.splits"
        if path.exists():
            with path.open("rb") as file:
                number = np.load(file)
                return Parted(number, Rows(*(np.load(file) for _ in Rows.__dataclass_fields__)))
    table = EqualAreaTable.of_side(sampling.splits.block_deg)
    beside = blocks.beside(table, [one.around for one in counted])
    looked_at = [
        (i, task, len(one.word), blocks, beside)
        for i, (task, one) in enumerate(zip(tasks, counted, strict=True))
    ]
    number = np.zeros((len(SPLITS), len(every)), np.int64)
    parts = []
    for i, (rows, near) in enumerate(run(_part, looked_at)):
        number[:, every.index[i]] += rows
        parts.append(near)
    near = Rows.stack(parts)
    spot, one, which = np.unique(near.spot, return_index=True, return_inverse=True)
    found = near.take(np.flatnonzero(too_near(spot, near.split[one], sampling.splits.buffer_km)[which]))
    ends = np.searchsorted(found.group, np.arange(len(counted) + 1))
    for index, begin, end in zip(every.index, ends[:-1], ends[1:], strict=True):
        np.subtract.at(number, (found.split[begin:end], index[found.sort[begin:end]]), 1)
    if path is not None and folder is not None:
        for old in folder.glob("*.splits"):
            old.unlink(missing_ok=True)
        with atomic(path) as temporary, temporary.open("wb") as file:
            for array in (number, *vars(found).values()):
                np.save(file, array)
    return Parted(number, found)


def _part(of: tuple[int, Task, int, Blocks, Mask]) -> tuple[Small, Rows]:
    """Rows of each sort of one group in each split, and those that may lie within the buffer of another."""
    i, task, number, blocks, beside = of
    rows, buffer_km = sorts(task), task.scheme.buffer_km
    spot = numbers(task.group.read_keyed(["spot"])["spot"], np.uint64)
    table = EqualAreaTable.of_side(task.scheme.block_deg)
    split = blocks.everywhere(table)
    counts = np.zeros((len(SPLITS), number), np.int32)
    near = split_up(table, spot, rows.sort, split, beside, buffer_km, counts)
    found = split[table.at(spot[near])]
    group = np.full(len(near), i, np.int32)
    return counts, Rows(group, near, spot[near], rows.sort[near], found, rows.season[near])
