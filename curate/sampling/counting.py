"""Counting a pool: which kind of candidate every row is, how many there are of each, and who lies near an edge.

The first of two passes. It looks at each group of rows once and keeps some 33 bytes of a row – its kind, its 1.2 km
cell, its season, the hashes of its chip and its place – so that the second pass needs neither texts nor fractions.
What is kept depends on nothing but the rows and the `Scheme`; it lies in a file a group where the pool is large, and
a pool that grows is counted where it is new.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.catalog.files import atomic
from curate.recipe import stable_hash
from curate.sampling import levels
from curate.sampling.arrays import Ints, Words, distinct, encode, numbers
from curate.sampling.borders import Around, Edges, edges
from curate.sampling.hashing import hash_strings, stream
from curate.sampling.levels import Scheme
from curate.sampling.priority import cells
from curate.sampling.source import Group
from curate.sampling.sphere import EqualAreaTable

Part = TypeVar("Part")

BLOCK, CLIMATE, DOMINANT = range(3)  # columns of `Counted.kinds`; further levels follow in their order
_VERSION = 2
_FEW = np.uint64(15)


@dataclass(frozen=True, eq=False)
class Rows:
    """What the second pass needs of each row of a group."""

    kind: npt.NDArray[np.uint32]  # index into `Counted.kinds`; one past the last: not described
    cell: npt.NDArray[np.int32]  # 1.2 km cell
    season: npt.NDArray[np.uint8]  # index into `Counted.seasons`
    chip: Words  # hash of the chip's id
    place: Words  # hash of the chip's place


@dataclass(frozen=True, eq=False)
class Counted:
    """The counts of one group of rows."""

    number: int  # rows of the group, described or not
    kinds: npt.NDArray[
        np.integer
    ]  # (k, 3 + further levels) block, climate (index into `climates`), dominant class, ...
    count: npt.NDArray[np.int32]  # (k,) rows of each kind
    places: int  # distinct places, about
    climates: tuple[str, ...]
    seasons: tuple[str, ...]
    by_season: Ints  # (seasons,) described rows
    around: Around  # of the rows near an edge of their block
    path: Path | None = None  # where edges and rows lie, where not in memory
    held: tuple[Edges, Rows] | None = field(default=None, repr=False)

    def edges(self) -> Edges:
        """Rows near an edge of their block."""
        return self.held[0] if self.held else self._read(_load_edges)

    def rows(self) -> Rows:
        """What is kept of each row."""
        return self.held[1] if self.held else self._read(_load_rows)

    def without_kinds(self) -> Counted:
        """Itself, once strata have been made of the kinds."""
        return replace(self, kinds=self.kinds[:0], count=self.count[:0])

    def _read(self, load: Callable[[IO[bytes], Path], Part]) -> Part:
        assert self.path is not None
        with self.path.open("rb") as file:
            return load(file, self.path)


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
    if path is None:
        return _count(task.group, task.scheme)
    if not path.exists():
        with atomic(path) as part, part.open("wb") as file:
            _save(file, _count(task.group, task.scheme))
    with path.open("rb") as file:
        return _load_counts(file, path)


def forget(folder: Path, counted: Sequence[Counted]) -> None:
    """Remove from *folder* the counts of groups that are none of the pool any more, or of another scheme."""
    current = {part.path for part in counted}
    for path in folder.glob("*.counts"):
        if path not in current:
            path.unlink(missing_ok=True)


def _count(group: Group, scheme: Scheme) -> Counted:
    table = group.read(levels.columns(scheme))
    valid = levels.described(table, scheme)
    known = table if valid.all() else table.filter(pa.array(valid))
    place = hash_strings(table["place"], scheme.seed)
    season, seasons = encode(table["season"])
    lon, lat = (numbers(known[name], np.float64) for name in ("lon", "lat"))
    climate, climates = levels.climates(known)
    blocks = EqualAreaTable.of_side(scheme.block_deg)
    block = blocks.cell(lon, lat)
    dominant = numbers(known["lc_dominant"], np.int64)
    further = [levels.codes(name, known, scheme) for name in levels.further(scheme)]
    index, kinds = distinct([block, climate, dominant, *further])
    small = np.abs(kinds).max(initial=0) < 1 << 31  # millions of kinds of a large pool are held at once
    kinds = kinds.astype(np.int32) if small else kinds
    number = np.bincount(index, minlength=len(kinds)).astype(np.int32)
    kind = np.full(len(valid), len(kinds), np.uint32)
    kind[valid] = index
    cell = np.full(len(valid), -1, np.int32)
    cell[valid] = cells(lon, lat)
    around, near = edges(blocks, block, lon, lat, scheme.buffer_km)
    near = Edges(np.flatnonzero(valid)[near.row].astype(np.uint32), near.lon, near.lat, near.around)
    rows = Rows(
        kind,
        cell,
        season.astype(np.uint8),
        hash_strings(table["chip_id"], stream(scheme.seed, "chip")),
        place,
    )
    by_season = np.bincount(season[valid], minlength=len(seasons)).astype(np.int64)
    some = place[valid & (place & _FEW == 0)]  # places number about as many times more
    places = len(np.unique(some)) * (int(_FEW) + 1)
    labels = climates, seasons, by_season
    return Counted(len(valid), kinds, number, places, *labels, around, None, (near, rows))


def _save(file: IO[bytes], counted: Counted) -> None:
    assert counted.held is not None
    head = {
        "number": counted.number,
        "places": counted.places,
        "climates": counted.climates,
        "seasons": counted.seasons,
    }
    near, rows = counted.held
    np.save(file, np.frombuffer(json.dumps(head).encode(), np.uint8))
    parts: Sequence[Any] = [counted.kinds, counted.count, counted.by_season]
    for array in [*parts, *vars(counted.around).values(), *vars(near).values(), *vars(rows).values()]:
        np.save(file, array)


def _load_counts(file: IO[bytes], path: Path) -> Counted:
    head = json.loads(np.load(file).tobytes())
    kinds, number, by_season = (np.load(file) for _ in range(3))
    around = Around(*(np.load(file) for _ in range(2)))
    labels = tuple(head["climates"]), tuple(head["seasons"])
    return Counted(head["number"], kinds, number, head["places"], *labels, by_season, around, path)


def _load_edges(file: IO[bytes], path: Path) -> Edges:
    _load_counts(file, path)
    return Edges(*(np.load(file) for _ in range(4)))


def _load_rows(file: IO[bytes], path: Path) -> Rows:
    _load_edges(file, path)
    return Rows(*(np.load(file) for _ in range(5)))
