"""Counting a pool: what its candidates show, and how many show it.

The first pass over a pool. What a row shows – climate, dominant class and codes on further levels – is its *kind*.
Of each group of rows this pass counts kinds, seasons, and rows by block and climate, and finds which blocks lie around
rows near an edge. All depends on nothing but the rows and the `Scheme`. It lies in a file a group where the pool is
large, and a pool that grows is counted where it is new.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from curate.catalog.files import atomic
from curate.recipe import stable_hash
from curate.sampling import kernels, levels
from curate.sampling.arrays import Ints, Small, Words
from curate.sampling.borders import Around
from curate.sampling.hashing import hash_words
from curate.sampling.levels import Scheme
from curate.sampling.look import SEASON, look
from curate.sampling.source import Group
from curate.sampling.sphere import EqualAreaTable

_VERSION = 6
_CURRENT = (".counts", ".splits", ".unique")  # what lies in a folder of counts; earlier versions kept more
Codes = npt.NDArray[np.signedinteger]


@dataclass(frozen=True, eq=False)
class Counted:
    """The counts of one group of rows."""

    rows: int  # of the group, described or not
    word: Words  # (kinds,) what rows of each show (`look`), the bits of the season set
    number: Small  # (kinds,) rows of each
    codes: tuple[Codes, ...]  # (kinds,) each: climate (index into `climates`), dominant class, further levels
    some: npt.NDArray[np.uint16]  # (kinds,) rows of it at some places, chosen by hash; 65,535: or more
    places: npt.NDArray[np.uint16]  # (kinds,) at how many places
    block: Small  # (p,) blocks and climates that occur together
    climate: Small  # (p,)
    count: Small  # (p,) and the rows of each
    by_season: Ints  # (seasons,) described rows
    around: Around  # of the rows near an edge of their block
    climates: tuple[str, ...]
    path: Path | None = None  # where they lie, where they are kept

    @property
    def described(self) -> int:
        return int(self.by_season.sum())


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
        known = self.scheme.climates is not None
        scheme = asdict(
            replace(self.scheme, seed=0, climates=None)
        )  # more climates as a pool grows change no count
        return self.folder / f"{stable_hash([_VERSION, pieces, known, scheme])}.counts"


def count(task: Task) -> Counted:
    """Count one group of rows, or take what an earlier run has counted.

    Raises:
        InputError: a file is broken, or a level's column is.
    """
    path = task.path
    if path is not None and path.exists():
        with path.open("rb") as file:
            return _load(file, path)
    counted = _count(task.group, task.scheme)
    if path is None:
        return counted
    with atomic(path) as part, part.open("wb") as file:
        _save(file, counted)
    return replace(counted, path=path)


def forget(folder: Path, counted: Sequence[Counted]) -> None:
    """Remove from *folder* the counts of groups that are none of the pool any more, or of another scheme or version."""
    current = {part.path for part in counted}
    for path in folder.iterdir():
        if path.suffix not in _CURRENT or (path.suffix == ".counts" and path not in current):
            path.unlink(missing_ok=True)


def _count(group: Group, scheme: Scheme) -> Counted:
    table = group.read_keyed(levels.columns(scheme))
    seen = look(table, scheme)
    blocks = EqualAreaTable.of_side(scheme.block_deg)
    alike = seen.word | SEASON
    one, number, kind = kernels.tally(alike)
    codes = seen.codes(one)
    pair, by_season = kernels.pairs(seen.spot, kind, codes[0], seen.word, blocks.columns, blocks.first)
    both, count, _ = kernels.tally(pair)
    some = kernels.some_places(seen.spot)  # whose dates are counted
    found = kind[some]
    different, _, _ = kernels.tally(hash_words(seen.spot[some], found, seed=0))
    return Counted(
        rows=group.rows,
        word=alike[one],
        number=number,
        codes=tuple(_narrowed(column) for column in codes),
        some=_few(found, len(one)),
        places=_few(found[different], len(one)),
        block=(pair[both] >> np.uint64(32)).astype(np.int32),
        climate=pair[both].astype(np.uint32).astype(np.int32) - np.int32(1),
        count=count,
        by_season=by_season,
        around=Around.of(blocks, seen.spot, scheme.buffer_km),
        climates=seen.climates,
    )


def _narrowed(codes: Ints) -> Codes:
    """In as few bytes as hold them all: many groups are held at once."""
    widest = max(-int(codes.min(initial=0)) - 1, int(codes.max(initial=0)))
    dtype = next(kind for kind in (np.int8, np.int16, np.int32, np.int64) if widest <= np.iinfo(kind).max)
    return codes.astype(dtype)


def _few(kind: Small, kinds: int) -> npt.NDArray[np.uint16]:
    return np.minimum(np.bincount(kind, minlength=kinds), np.iinfo(np.uint16).max).astype(np.uint16)


_ARRAYS = ("word", "number", "some", "places", "block", "climate", "count", "by_season")


def _save(file: IO[bytes], counted: Counted) -> None:
    head = {
        "rows": counted.rows,
        "levels": len(counted.codes),
        "climates": counted.climates,
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
    climates = tuple(head["climates"])
    return Counted(rows=head["rows"], around=around, climates=climates, path=path, **arrays)
