"""The buffer between splits: which rows of a pool lie too near to another split, found once and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from curate.catalog.files import atomic
from curate.recipe import stable_hash
from curate.sampling.arrays import Ints, Small, Words, numbers
from curate.sampling.borders import edges
from curate.sampling.counting import Counted, Task, kinds
from curate.sampling.source import Run
from curate.sampling.sphere import EqualAreaTable
from curate.sampling.splits import Blocks, blocks_are_wide, too_near

if TYPE_CHECKING:
    from curate.recipe import Splits


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows near a border between splits, or in the buffer there."""

    group: Small  # index of the group
    row: Small  # its position in the group
    spot: Words
    kind: Small  # of its group
    split: npt.NDArray[np.int8]
    season: npt.NDArray[np.uint8]  # index into the labels of its group

    @classmethod
    def none(cls) -> Rows:
        words, small, tiny = np.empty(0, np.uint64), np.empty(0, np.int32), np.empty(0, np.int8)
        return cls(small, small, words, small, tiny, tiny.astype(np.uint8))

    @classmethod
    def stack(cls, parts: Sequence[Rows]) -> Rows:
        """All of *parts*, one after the other."""
        names = cls.__dataclass_fields__
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def take(self, at: Ints) -> Rows:
        """Some of them."""
        return Rows(**{name: getattr(self, name)[at] for name in self.__dataclass_fields__})


def buffer(
    tasks: Sequence[Task],
    counted: Sequence[Counted],
    splits: Splits,
    blocks: Blocks,
    run: Run,
    folder: Path | None,
) -> Rows:
    """The rows that lie in the buffer between splits; those found by an earlier run are in *folder*."""
    if splits.buffer_km == 0 or len(np.unique(blocks.split)) < 2:
        return Rows.none()
    path = None
    if folder is not None:
        settings = [[part.path.name for part in counted if part.path], splits.model_dump(mode="json")]
        path = folder / f"{stable_hash(settings)}.buffer"
        if path.exists():
            with path.open("rb") as file:
                return Rows(*(np.load(file) for _ in Rows.__dataclass_fields__))
    everywhere = not blocks_are_wide(splits)
    looked_at = [
        (i, task, blocks, everywhere)
        for i, (task, part) in enumerate(zip(tasks, counted, strict=True))
        if everywhere or blocks.borders(part.around).any()
    ]
    near = Rows.stack([Rows.none(), *run(_near_border, looked_at)])
    spot, one, index = np.unique(near.spot, return_index=True, return_inverse=True)
    found = near.take(np.flatnonzero(too_near(spot, near.split[one], splits.buffer_km)[index]))
    if path is not None and folder is not None:
        for old in folder.glob("*.buffer"):
            old.unlink(missing_ok=True)
        with atomic(path) as part, part.open("wb") as file:
            for array in vars(found).values():
                np.save(file, array)
    return found


def _near_border(near: tuple[int, Task, Blocks, bool]) -> Rows:
    """Rows of one group that may lie within the buffer of another split."""
    i, task, blocks, everywhere = near
    seen = kinds(task)
    every = numbers(task.group.read_keyed(["spot"])["spot"], np.uint64)
    table = EqualAreaTable.of_side(task.scheme.block_deg)
    row, which, around = edges(table, every, task.scheme.buffer_km)
    row = np.arange(len(every), dtype=np.int32) if everywhere else row[blocks.borders(around)[which]]
    row = row[seen.kind[row] >= 0]
    spot = every[row]
    split = blocks.everywhere(table)[table.at(spot)]
    return Rows(np.full(len(row), i, np.int32), row, spot, seen.kind[row], split, seen.season[row])
