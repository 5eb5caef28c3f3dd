"""Counting a pool: what its candidates show, and how many show it.

The first pass over a pool. What a row shows – its climate, dominant class and codes on further levels – is its *sort*.
Of each group of rows this pass keeps the sorts, counts by block and climate and by season, and which blocks lie around
rows near an edge; and of each row its sort and season, so that no later pass need look at what rows show. All depends
on nothing but the rows and the `Scheme`. It lies in two files a group where the pool is large, and a pool that grows
is counted where it is new.
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
from curate.sampling.borders import Around
from curate.sampling.hashing import hash_words
from curate.sampling.levels import Scheme
from curate.sampling.look import Look, look
from curate.sampling.source import Group
from curate.sampling.sphere import EqualAreaTable

_VERSION = 5
Codes = npt.NDArray[np.signedinteger]


@dataclass(frozen=True, eq=False)
class Counted:
    """The counts of one group of rows."""

    rows: int  # of the group, described or not
    word: Words  # (sorts,) hash of each sort
    codes: tuple[Codes, ...]  # (sorts,) each: climate (index into `climates`), dominant class, further levels
    some: npt.NDArray[np.uint16]  # (sorts,) rows of it at some places, chosen by hash; 65,535: or more
    places: npt.NDArray[np.uint16]  # (sorts,) how many places those are
    block: Small  # (p,) blocks and climates that occur together
    climate: Small  # (p,)
    count: Small  # (p,) and the rows of each
    by_season: Ints  # (seasons,) described rows
    around: Around  # of the rows near an edge of their block
    climates: tuple[str, ...]
    seasons: tuple[str, ...]
    path: Path | None = None  # where they lie, where they are kept

    @property
    def described(self) -> int:
        return int(self.by_season.sum())


@dataclass(frozen=True, eq=False)
class Sorted:
    """What is kept of each row of one group."""

    sort: Small  # (rows,) index into the group's sorts; −1 for rows that are not described
    season: npt.NDArray[np.uint8]  # (rows,) index into the group's seasons


@dataclass(frozen=True)
class Task:
    """One group to be counted."""

    group: Group
    scheme: Scheme
    folder: Path | None  # of counts that are kept; None keeps them in memory

    @property
    def path(self) -> Path | None:
        """The file of the group's counts: another content or scheme, another name. No count depends on the seed."""
        if self.folder is None:
            return None
        pieces = [[piece.identity, piece.row_groups] for piece in self.group.pieces]
        return self.folder / f"{stable_hash([_VERSION, pieces, asdict(replace(self.scheme, seed=0))])}.counts"


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
        (rows.sort + 1).astype(_narrow(len(counted.word))).tofile(file)
        rows.season.tofile(file)
    with atomic(path) as part, part.open("wb") as file:
        _save(file, counted)
    return replace(counted, path=path)


def sorts(task: Task) -> Sorted:
    """The sort of each row of one group, as it was kept, or else found again."""
    if task.path is not None:
        with suppress(FileNotFoundError), _beside(task.path).open("rb") as file:
            rows = task.group.rows
            width = file.seek(0, 2) // rows - 1  # bytes of a sort; the season has one
            file.seek(0)
            kept = np.fromfile(file, np.uint16 if width == 2 else np.int32, rows)
            return Sorted(kept.astype(np.int32) - np.int32(1), np.fromfile(file, np.uint8, rows))
    seen = look(task.group, task.scheme)
    return _whole(seen, kernels.tally(seen.word)[2])


def forget(folder: Path, counted: Sequence[Counted]) -> None:
    """Remove from *folder* the counts of groups that are none of the pool any more, or of another scheme."""
    current = {part.path for part in counted}
    for path in folder.glob("*.counts"):
        if path not in current:
            _beside(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """The file of the rows of a group, beside that of its counts."""
    return path.with_suffix(".rows")


def _narrow(sorts: int) -> type[np.uint16] | type[np.int32]:
    """A type that holds the index of each sort, and one more."""
    return np.uint16 if sorts < 1 << 16 else np.int32


def _whole(seen: Look, sort: Small) -> Sorted:
    if seen.at is None:
        return Sorted(sort, seen.season)
    every, season = np.full(seen.rows, -1, np.int32), np.zeros(seen.rows, np.uint8)
    every[seen.at], season[seen.at] = sort, seen.season
    return Sorted(every, season)


def _count(group: Group, scheme: Scheme) -> tuple[Counted, Sorted]:
    seen = look(group, scheme)
    table = EqualAreaTable.of_side(scheme.block_deg)
    one, _, sort = kernels.tally(seen.word)
    pair = kernels.pairs(table.at(seen.spot), seen.codes[0])
    both, count, _ = kernels.tally(pair)
    at = kernels.some_places(seen.spot)  # whose dates are counted
    found = sort[at]
    different, _, _ = kernels.tally(hash_words(seen.spot[at], found, seed=0))
    counted = Counted(
        rows=seen.rows,
        word=seen.word[one],
        codes=tuple(_narrowed(column[one]) for column in seen.codes),
        some=_few(found, len(one)),
        places=_few(found[different], len(one)),
        block=(pair[both] >> np.uint64(32)).astype(np.int32),
        climate=pair[both].astype(np.uint32).astype(np.int32),
        count=count,
        by_season=np.bincount(seen.season, minlength=len(seen.seasons)).astype(np.int64),
        around=Around.of(table, seen.spot, scheme.buffer_km),
        climates=seen.climates,
        seasons=seen.seasons,
    )
    return counted, _whole(seen, sort)


def _narrowed(codes: Ints) -> Codes:
    """In as few bytes as hold them all: many groups are held at once."""
    widest = max(-int(codes.min(initial=0)) - 1, int(codes.max(initial=0)))
    dtype = next(kind for kind in (np.int16, np.int32, np.int64) if widest <= np.iinfo(kind).max)
    return codes.astype(dtype)


def _few(sort: Small, sorts: int) -> npt.NDArray[np.uint16]:
    return np.minimum(np.bincount(sort, minlength=sorts), np.iinfo(np.uint16).max).astype(np.uint16)


_ARRAYS = ("word", "some", "places", "block", "climate", "count", "by_season")


def _save(file: IO[bytes], counted: Counted) -> None:
    head = {
        "rows": counted.rows,
        "levels": len(counted.codes),
        "climates": counted.climates,
        "seasons": counted.seasons,
    }
    np.save(file, np.frombuffer(json.dumps(head).encode(), np.uint8))
    own = [getattr(counted, name) for name in _ARRAYS]
    for array in [*own, *counted.codes, *vars(counted.around).values()]:
        np.save(file, array)


def _load(file: IO[bytes], path: Path) -> Counted:
    head = json.loads(np.load(file).tobytes())
    arrays: dict[str, Any] = {name: np.load(file) for name in _ARRAYS}
    arrays["codes"] = tuple(np.load(file) for _ in range(head["levels"]))
    around = Around(np.load(file), np.load(file))
    climates, seasons = tuple(head["climates"]), tuple(head["seasons"])
    return Counted(rows=head["rows"], around=around, climates=climates, seasons=seasons, path=path, **arrays)
