"""Counting a pool: which kinds of candidates there are, and how many of each.

The first of two passes. Of each group of rows it keeps counts: of each kind – a block with what its rows show –,
of each season, and of rows near the edges of blocks; and of each row its kind, so that the second pass need not look
at what rows show. All depends on nothing but the rows and the `Scheme`. It lies in two files a group where the pool is
large, and a pool that grows is counted where it is new.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from curate.catalog.files import atomic
from curate.recipe import stable_hash
from curate.sampling import kernels
from curate.sampling.arrays import Ints, Small, Words
from curate.sampling.borders import Around, edges
from curate.sampling.hashing import mix
from curate.sampling.levels import Scheme
from curate.sampling.look import Look, look
from curate.sampling.source import Group
from curate.sampling.sphere import EqualAreaTable

BLOCK, CLIMATE, DOMINANT = range(3)  # what makes a kind; further levels follow in their order
_VERSION = 4
_SOME = np.uint64(15)  # one in so many places is looked at for its dates


@dataclass(frozen=True, eq=False)
class Counted:
    """The counts of one group of rows. A *sort* is what rows of a kind show: a kind without its block."""

    rows: int  # of the group, described or not
    word: Words  # (sorts,) its hash, ascending
    codes: Ints  # (sorts, 2 + further levels) climate (index into `climates`), dominant class, ...
    some: Small  # (sorts,) rows of it at some places, chosen by hash
    places: Small  # (sorts,) how many places those are
    block: Small  # (kinds,)
    sort: Small  # (kinds,) index into the sorts
    count: Small  # (kinds,) rows
    by_season: Ints  # (seasons,) described rows
    around: Around  # of the rows near an edge of their block
    climates: tuple[str, ...]
    seasons: tuple[str, ...]
    path: Path | None = None  # where they lie, where they are kept


@dataclass(frozen=True, eq=False)
class Kinds:
    """What is kept of each row of one group."""

    kind: Small  # (rows,) index into the group's kinds; −1 for rows that are not described
    season: npt.NDArray[np.uint8]  # (rows,) index into the group's seasons


@dataclass(frozen=True)
class Task:
    """One group to be counted."""

    group: Group
    scheme: Scheme
    folder: Path | None  # of counts that are kept; None keeps them in memory

    @property
    def path(self) -> Path | None:
        """The file of the group's counts: another content or scheme, another name."""
        if self.folder is None:
            return None
        pieces = [[piece.identity, piece.row_groups] for piece in self.group.pieces]
        return self.folder / f"{stable_hash([_VERSION, pieces, asdict(self.scheme)])}.counts"


def count(task: Task) -> Counted:
    """Count one group of rows, or take what an earlier run has counted.

    Raises:
        InputError: a file is broken, or a level's column is.
    """
    path = task.path
    if path is not None and path.exists():
        with path.open("rb") as file:
            return _load(file, path)
    counted, rows = _count(task.group, task.scheme)
    if path is None:
        return counted
    with atomic(_beside(path)) as part, part.open("wb") as file:
        np.save(file, rows.kind)
        np.save(file, rows.season)
    with atomic(path) as part, part.open("wb") as file:
        _save(file, counted)
    return replace(counted, path=path)


def kinds(task: Task) -> Kinds:
    """The kind of each row of one group, as it was kept, or else found again."""
    if task.path is not None:
        with suppress(FileNotFoundError), _beside(task.path).open("rb") as file:
            return Kinds(np.load(file), np.load(file))
    seen = look(task.group, task.scheme)
    return _kinds(seen, kernels.tally(_block(seen, task.scheme), seen.word)[2])


def forget(folder: Path, counted: Sequence[Counted]) -> None:
    """Remove from *folder* the counts of groups that are none of the pool any more, or of another scheme."""
    current = {part.path for part in counted}
    for path in folder.glob("*.counts"):
        if path not in current:
            _beside(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """The file of the kinds of a group's rows, beside that of its counts."""
    return path.with_suffix(".kinds")


def _block(seen: Look, scheme: Scheme) -> Small:
    return EqualAreaTable.of_side(scheme.block_deg).at(seen.spot)


def _kinds(seen: Look, kind: Small) -> Kinds:
    if seen.at is None:
        return Kinds(kind, seen.season)
    every, season = np.full(seen.rows, -1, np.int32), np.zeros(seen.rows, np.uint8)
    every[seen.at], season[seen.at] = kind, seen.season
    return Kinds(every, season)


def _count(group: Group, scheme: Scheme) -> tuple[Counted, Kinds]:
    seen = look(group, scheme)
    block = _block(seen, scheme)
    first, number, kind = kernels.tally(block, seen.word)
    word, one, which = np.unique(seen.word[first], return_index=True, return_inverse=True)
    codes = np.stack([column[first[one]] for column in seen.codes], axis=1)
    place = mix(seen.spot)
    at = np.flatnonzero(place & _SOME == 0)
    sort: Small = which.astype(np.int32)
    found = sort[kind[at]]
    different, _, _ = kernels.tally(found, place[at])
    _, _, around = edges(EqualAreaTable.of_side(scheme.block_deg), seen.spot, scheme.buffer_km)
    counted = Counted(
        rows=seen.rows,
        word=word,
        codes=codes,
        some=np.bincount(found, minlength=len(word)).astype(np.int32),
        places=np.bincount(found[different], minlength=len(word)).astype(np.int32),
        block=block[first],
        sort=sort,
        count=number,
        by_season=np.bincount(seen.season, minlength=len(seen.seasons)).astype(np.int64),
        around=around,
        climates=seen.climates,
        seasons=seen.seasons,
    )
    return counted, _kinds(seen, kind)


_ARRAYS = ("word", "codes", "some", "places", "block", "sort", "count", "by_season")


def _save(file: IO[bytes], counted: Counted) -> None:
    head = {"rows": counted.rows, "climates": counted.climates, "seasons": counted.seasons}
    np.save(file, np.frombuffer(json.dumps(head).encode(), np.uint8))
    for array in [*(getattr(counted, name) for name in _ARRAYS), *vars(counted.around).values()]:
        np.save(file, array)


def _load(file: IO[bytes], path: Path) -> Counted:
    head = json.loads(np.load(file).tobytes())
    arrays: dict[str, Any] = {name: np.load(file) for name in _ARRAYS}
    around = Around(np.load(file), np.load(file))
    climates, seasons = tuple(head["climates"]), tuple(head["seasons"])
    return Counted(rows=head["rows"], around=around, climates=climates, seasons=seasons, path=path, **arrays)
