"""Rows of a pool in their splits: how many of each kind each has, and which lie in the buffer between two.

Both are found once and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from curate.catalog.files import atomic
from curate.catalog.schema import SPLITS
from curate.recipe import stable_hash
from curate.sampling import kernels, levels
from curate.sampling.arrays import Ints, Mask, Small, Tiny, Words, numbers
from curate.sampling.borders import split_up
from curate.sampling.counting import Counted, Task
from curate.sampling.kinds import Kinds
from curate.sampling.look import SEASON, words
from curate.sampling.source import Run
from curate.sampling.sphere import EqualAreaTable
from curate.sampling.splits import TRAIN, Blocks, too_near

if TYPE_CHECKING:
    from curate.recipe import Sampling


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows near a border between splits, or in the buffer there; of one group after the other, ascending."""

    group: Small  # index of the group
    row: Small  # its position in the group
    spot: Words
    kind: Small  # of its group
    split: Tiny
    season: Tiny  # index into SEASONS

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

    number: Ints  # (splits, kinds) rows that can be drawn
    buffer: Rows  # those that lie too near to another split


def part(
    tasks: Sequence[Task],
    counted: Sequence[Counted],
    every: Kinds,
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
        (i, task, one.word, blocks, beside) for i, (task, one) in enumerate(zip(tasks, counted, strict=True))
    ]
    number = np.zeros((len(SPLITS), len(every)), np.int64)
    parts = []
    for i, (rows, near) in enumerate(run(_part, looked_at)):
        number[:, every.index[i]] += rows
        number[TRAIN, every.index[i]] += counted[i].number - rows.sum(axis=0)
        parts.append(near)
    near = Rows.stack(parts)
    one, _, which = kernels.tally(near.spot)  # dates of a place lie at one spot
    out = too_near(near.spot[one], near.split[one], sampling.splits.buffer_km)
    found = near.take(np.flatnonzero(out[which]))
    ends = np.searchsorted(found.group, np.arange(len(counted) + 1))
    for index, begin, end in zip(every.index, ends[:-1], ends[1:], strict=True):
        np.subtract.at(number, (found.split[begin:end], index[found.kind[begin:end]]), 1)
    if path is not None and folder is not None:
        for old in folder.glob("*.splits"):
            old.unlink(missing_ok=True)
        with atomic(path) as temporary, temporary.open("wb") as file:
            for array in (number, *vars(found).values()):
                np.save(file, array)
    return Parted(number, found)


def _part(of: tuple[int, Task, Words, Blocks, Mask]) -> tuple[Small, Rows]:
    """Rows of each kind of one group in each split but train, and those that may lie within the buffer of another."""
    i, task, kinds, blocks, beside = of
    scheme = task.scheme
    rows = task.group.read_keyed(levels.columns(scheme))
    spot = numbers(rows["spot"], np.uint64)
    table = EqualAreaTable.of_side(scheme.block_deg)
    split = blocks.everywhere(table)
    word = words(rows, scheme)
    near, kind, number = split_up(table, spot, word, kinds, split, beside, scheme.buffer_km)
    group, season = np.full(len(near), i, np.int32), (word[near] & SEASON).astype(np.int8)
    return number, Rows(group, near, spot[near], kind, split[table.at(spot[near])], season)
