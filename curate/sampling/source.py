"""Where candidates come from: a pool's Parquet files, or a table in memory, read a group of rows at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.catalog.errors import InputError
from curate.catalog.schema import METADATA_KEY
from curate.sampling import keys
from curate.sampling.arrays import Ints

Item = TypeVar("Item")
Result = TypeVar("Result")
Run = Callable[
    [Callable[[Any], Any], Sequence[Any]], list[Any]
]  # a function over tasks, results in their order

GROUP_ROWS = 500_000
_REPEATING = ["season", "koppen_symbol"]  # few texts, many rows: kept as dictionaries


@dataclass(frozen=True)
class Piece:
    """Some row groups of one file."""

    path: Path
    row_groups: tuple[int, ...]
    identity: str  # digest of the file's footer with its size: another content, another identity


@dataclass(frozen=True)
class Group:
    """Rows that are read at once."""

    first: int  # index in the pool of its first row
    rows: int
    pieces: tuple[Piece, ...] = ()
    table: pa.Table | None = None  # the rows themselves with their keys, where the pool lies in memory
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))  # of the files

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows' *columns* (None: all).

        Raises:
            InputError: a file is broken; names it.
        """
        if self.table is not None:
            return self.table if columns is None else self.table.select(list(columns))
        return pa.concat_tables(_read(piece, columns) for piece in self.pieces)

    def read_keyed(self, columns: Sequence[str]) -> pa.Table:
        """The rows' *columns*, keys (`curate.sampling.keys`) among them, whether or not the pool has these."""
        if self.table is not None:
            return self.table.select(list(columns))
        names = keys.sources(columns, self.schema)
        table = self.read(names)
        return table if names == list(columns) else keys.keyed(table, columns).select(list(columns))


@dataclass(frozen=True)
class Pool:
    """All candidates, in groups; a row is known by its index through all of them."""

    groups: tuple[Group, ...]
    schema: pa.Schema
    presence: float | None = None  # share from which a class is in the column lc_present

    @property
    def rows(self) -> int:
        return self.groups[-1].first + self.groups[-1].rows if self.groups else 0

    @property
    def in_memory(self) -> bool:
        return all(group.table is not None for group in self.groups)

    @property
    def identity(self) -> str:
        """Names the content of the files: their footers and sizes, in their order."""
        pieces = [[p.path.name, p.identity, p.row_groups] for group in self.groups for p in group.pieces]
        return hashlib.blake2b(repr(pieces).encode(), digest_size=16).hexdigest()

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows."""
        parts = [group.read(columns) for group in self.groups]
        return pa.concat_tables(parts) if parts else self.schema.empty_table()

    @classmethod
    def of_table(cls, table: pa.Table, group_rows: int = GROUP_ROWS) -> Pool:
        """The rows of *table*."""
        firsts = range(0, table.num_rows, group_rows)
        whole = (
            keys.keyed(table)
            if {*keys.sources(list(keys.SOURCES), table.schema)} <= {*table.column_names}
            else table
        )
        slices = [(first, whole.slice(first, group_rows)) for first in firsts]
        return cls(tuple(Group(first, part.num_rows, table=part) for first, part in slices), table.schema)

    @classmethod
    def of_files(cls, paths: Sequence[Path], group_rows: int = GROUP_ROWS) -> Pool:
        """The rows of Parquet files with one schema, file after file; only their footers are read.

        Raises:
            InputError: a file is broken or has other columns than the first; names it.
        """
        groups: list[Group] = []
        pieces: list[Piece] = []
        first = rows = 0
        schema = None
        presences: set[float | None] = set()
        for path in paths:
            footer, identity = _footer(path)
            presences.add(json.loads((footer.metadata or {}).get(METADATA_KEY, b"{}")).get("presence"))
            found = footer.schema.to_arrow_schema().remove_metadata()
            schema = found if schema is None else schema
            if set(found.names) != set(schema.names):
                odd = sorted(set(found.names) ^ set(schema.names))
                raise InputError(
                    f"{path} has other columns than {paths[0]}", ", ".join(odd[:5]), "Describe the pool again"
                )
            begun: list[int] = []
            for i in range(footer.num_row_groups):
                begun.append(i)
                rows += footer.row_group(i).num_rows
                if rows >= group_rows:
                    groups.append(
                        Group(first, rows, (*pieces, Piece(path, tuple(begun), identity)), schema=schema)
                    )
                    first, rows, pieces, begun = first + rows, 0, [], []
            if begun:
                pieces.append(Piece(path, tuple(begun), identity))
        if rows:
            groups.append(Group(first, rows, tuple(pieces), schema=schema))
        presence = presences.pop() if len(presences) == 1 else None
        return cls(tuple(groups), pa.schema([]) if schema is None else schema, presence)

    def locate(self, rows: Ints) -> list[tuple[int, Ints, Ints]]:
        """The groups that hold *rows*: group, positions in *rows*, and rows counted from the group's first."""
        firsts = np.array([group.first for group in self.groups], np.int64)
        group = np.searchsorted(firsts, rows, side="right") - 1
        order = np.argsort(group, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(rows) else []
        return [(int(group[at[0]]), at, rows[at] - firsts[group[at[0]]]) for at in parts]

    def take(self, rows: Ints, columns: Sequence[str] | None = None) -> pa.Table:
        """*rows* in the order asked for."""
        found = self.locate(rows)
        parts = threads()(_taken, [(self.groups[group], inside, columns) for group, _, inside in found])
        names = self.schema.names if columns is None else list(columns)
        if not parts:
            return pa.schema([self.schema.field(name) for name in names]).empty_table()
        table = pa.concat_tables([part.select(names) for part in parts], promote_options="permissive")
        back = np.empty(len(rows), np.int64)
        back[np.concatenate([at for _, at, _ in found])] = np.arange(len(rows))
        return table.take(pa.array(back))


def _taken(task: tuple[Group, Ints, Sequence[str] | None]) -> pa.Table:
    group, inside, columns = task
    return group.read(columns).take(pa.array(inside))


def threads(workers: int | None = None) -> Run:
    """Runs tasks on threads of this process: numpy and pyarrow leave the interpreter while they work."""

    def run(function: Callable[[Item], Result], tasks: Sequence[Item]) -> list[Result]:
        if len(tasks) < 2 or workers == 1:
            return [function(task) for task in tasks]
        with ThreadPoolExecutor(workers or pa.cpu_count()) as pool:
            return list(pool.map(function, tasks))

    return run


def in_order(done: Iterable[tuple[int, Result]]) -> list[Result]:
    """Results that came with the positions of their tasks, in the tasks' order."""
    return [result for _, result in sorted(done, key=lambda pair: pair[0])]


def _read(piece: Piece, columns: Sequence[str] | None) -> pa.Table:
    try:
        with pq.ParquetFile(piece.path, read_dictionary=_REPEATING if columns else None) as file:
            table = file.read_row_groups(
                list(piece.row_groups), columns=None if columns is None else list(columns), use_threads=False
            )
    except (OSError, pa.ArrowException) as error:
        raise _broken(piece.path, error) from error
    table = table.replace_schema_metadata(None)
    return table if columns is None else table.select(list(columns))


def _footer(path: Path) -> tuple[pq.FileMetaData, str]:
    try:
        with path.open("rb") as file:
            size = file.seek(-8, 2) + 8
            length = int.from_bytes(file.read(4), "little")
            file.seek(max(0, size - 8 - length))
            content = file.read(length)
        with pq.ParquetFile(path) as parquet:
            metadata = parquet.metadata
    except (OSError, pa.ArrowException) as error:
        raise _broken(path, error) from error
    return metadata, hashlib.blake2b(content + str(size).encode(), digest_size=16).hexdigest()


def _broken(path: Path, error: Exception) -> InputError:
    why = " ".join(str(error).split())
    return InputError(f"{path} cannot be read", why, "Delete it and run its stage again: curate describe")
