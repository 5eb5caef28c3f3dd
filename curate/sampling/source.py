"""Where candidates come from: a pool's Parquet files, or a table in memory, read a group of rows at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.catalog.errors import InputError
from curate.catalog.schema import METADATA_KEY, PLAIN_COLUMNS
from curate.sampling import keys, plain
from curate.sampling.arrays import Ints

Item = TypeVar("Item")
Result = TypeVar("Result")
Run = Callable[
    [Callable[[Any], Any], Sequence[Any]], list[Any]
]  # a function over tasks, results in their order

GROUP_ROWS = 500_000
_REPEATING_BYTES = 6  # of a text in a column of few texts, on average
_CODED = pa.dictionary(pa.int32(), pa.string())


@dataclass(frozen=True)
class Piece:
    """Some row groups of one file."""

    path: Path
    row_groups: tuple[int, ...]
    rows: tuple[int, ...]  # of each of them
    identity: str  # digest of the file's footer with its size: another content, another identity
    repeating: tuple[str, ...] = ()  # columns of few texts
    plain: Mapping[str, tuple[plain.Chunk, ...]] = field(default_factory=dict)  # columns stored as they are


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
        if columns is None:
            return pa.concat_tables(_read(piece, self.schema.names) for piece in self.pieces)
        repeating = set.intersection(*(set(piece.repeating) for piece in self.pieces))
        return pa.concat_tables(_read(piece, columns, repeating) for piece in self.pieces)

    def read_keyed(self, columns: Sequence[str]) -> pa.Table:
        """The rows' *columns*, keys (`curate.sampling.keys`) among them, whether or not the pool has these."""
        if self.table is not None:
            return self.table.select(list(columns))
        names = keys.sources(columns, self.schema)
        straight = [name for name in names if all(name in piece.plain for piece in self.pieces)]
        table = pa.table({name: self._straight(name) for name in straight})
        others = [name for name in names if name not in straight]
        if others:
            read = self.read(others)
            table = pa.table({name: (table if name in straight else read)[name] for name in names})
        return table if names == list(columns) else keys.keyed(table, columns).select(list(columns))

    def _straight(self, name: str) -> pa.Array:
        """A column that is stored as it is."""
        parts = []
        for piece in self.pieces:
            try:
                parts.append(
                    plain.read(piece.path, piece.plain[name], self.schema.field(name).type.to_pandas_dtype())
                )
            except OSError as error:
                raise _broken(piece.path, error) from error
        return pa.array(parts[0] if len(parts) == 1 else np.concatenate(parts))


@dataclass(frozen=True)
class Legend:
    """What the column `kind` of a pool means."""

    presence: float  # share of a chip from which a class is present in it
    climates: tuple[tuple[int, str], ...]  # codes, ascending, and how they read

    @classmethod
    def of(cls, metadata: Sequence[Mapping[str, Any]]) -> Legend | None:
        """The one legend of all files, by their *metadata*; None where they disagree or say nothing."""
        if not all({"presence", "climates"} <= entry.keys() for entry in metadata):
            return None
        presence = {entry["presence"] for entry in metadata}
        climates = {(int(code), label) for entry in metadata for code, label in entry["climates"].items()}
        if len(presence) > 1 or len(dict(climates)) < len(climates):
            return None
        return cls(float(*presence), tuple(sorted(climates)))


@dataclass(frozen=True)
class Pool:
    """All candidates, in groups; a row is known by its index through all of them."""

    groups: tuple[Group, ...]
    schema: pa.Schema
    legend: Legend | None = None  # None: there is no column kind that says the same in all files

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
        if any(part.schema != parts[0].schema for part in parts):  # texts that repeat in some groups only
            plain_schema = pa.schema([self.schema.field(name) for name in parts[0].column_names])
            parts = [part.select(plain_schema.names).cast(plain_schema) for part in parts]
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
        metadata: list[dict[str, Any]] = []
        for path in paths:
            footer, identity = _footer(path)
            metadata.append(json.loads((footer.metadata or {}).get(METADATA_KEY, b"{}")))
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
                    pieces.append(_piece(path, begun, footer, identity))
                    groups.append(Group(first, rows, tuple(pieces), schema=schema))
                    first, rows, pieces, begun = first + rows, 0, [], []
            if begun:
                pieces.append(_piece(path, begun, footer, identity))
        if rows:
            assert schema is not None
            groups.append(Group(first, rows, tuple(pieces), schema=schema))
        if schema is None:
            return cls((), pa.schema([]))
        return cls(tuple(groups), schema, Legend.of(metadata) if "kind" in schema.names else None)

    def locate(self, rows: Ints) -> list[tuple[int, Ints, Ints]]:
        """The groups that hold *rows*: group, positions in *rows*, and rows counted from the group's first."""
        firsts = np.array([group.first for group in self.groups], np.int64)
        group = np.searchsorted(firsts, rows, side="right") - 1
        order = np.argsort(group, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(rows) else []
        return [(int(group[at[0]]), at, rows[at] - firsts[group[at[0]]]) for at in parts]

    @cached_property
    def repeating(self) -> frozenset[str]:
        """Columns of few texts in all files."""
        pieces = [frozenset(piece.repeating) for group in self.groups for piece in group.pieces]
        return frozenset.intersection(*pieces) if pieces else frozenset()

    def take(self, rows: Ints, columns: Sequence[str] | None = None, *, coded: bool = False) -> pa.Table:
        """*rows* in the order asked for; where *coded*, texts that repeat as dictionaries: a quarter of the memory."""
        found = self.locate(rows)
        names = self.schema.names if columns is None else list(columns)
        schema = pa.schema([self.schema.field(name) for name in names])
        if coded:
            schema = pa.schema(
                field.with_type(_CODED) if field.name in self.repeating else field for field in schema
            )
        if not found:
            return schema.empty_table()
        parts = threads()(_taken, [(self.groups[group], inside, schema) for group, _, inside in found])
        back = np.empty(len(rows), np.int64)
        asked = [at[order] for (_, at, _), (order, _) in zip(found, parts, strict=True)]
        back[np.concatenate(asked)] = np.arange(len(rows))
        index = pa.array(back)
        read = pa.concat_tables(part for _, part in parts).columns
        parts.clear()

        def ordered(i: int) -> pa.Array:
            column, read[i] = read[i].combine_chunks(), None  # no column is held twice for long
            return column.take(index)

        return pa.table(threads()(ordered, range(len(names))), schema)


def _taken(task: tuple[Group, Ints, pa.Schema]) -> tuple[Ints, pa.Table]:
    """Some rows of a group in the order in which they lie, and where each stands among those asked for.

    Row groups are read one by one, so that few of the rows between are held at a time.
    """
    group, inside, schema = task
    order = np.argsort(inside, kind="stable")
    rows = inside[order]
    if group.table is not None:
        return order, group.table.select(schema.names).take(pa.array(rows)).cast(schema)
    parts, first = [], 0
    for piece in group.pieces:
        with _opened(piece, piece.repeating) as file:
            for number, length in zip(piece.row_groups, piece.rows, strict=True):
                begin, end = np.searchsorted(rows, (first, first + length))
                if end > begin:
                    table = file.read_row_group(number, columns=schema.names, use_threads=False)
                    some = table.select(schema.names).take(pa.array(rows[begin:end] - first))
                    parts.append(some.replace_schema_metadata(None).cast(schema))
                first += length
    return order, pa.concat_tables(parts)


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


def _piece(path: Path, groups: list[int], footer: pq.FileMetaData, identity: str) -> Piece:
    rows = tuple(footer.row_group(i).num_rows for i in groups)
    own = {
        name: tuple(parts[i] for i in groups) for name, parts in plain.chunks(footer, PLAIN_COLUMNS).items()
    }
    return Piece(path, tuple(groups), rows, identity, _repeating(footer.row_group(groups[0])), own)


def _repeating(rows: pq.RowGroupMetaData) -> tuple[str, ...]:
    """Columns of texts that repeat so often that numbers stand for them: they are read as dictionaries."""
    columns = (rows.column(i) for i in range(rows.num_columns))
    return tuple(
        column.path_in_schema
        for column in columns
        if column.physical_type == "BYTE_ARRAY"
        and column.has_dictionary_page
        and column.total_uncompressed_size < _REPEATING_BYTES * column.num_values
    )


@contextmanager
def _opened(piece: Piece, repeating: Iterable[str]) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(piece.path, read_dictionary=list(repeating), memory_map=True) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise _broken(piece.path, error) from error


def _read(piece: Piece, columns: Sequence[str], repeating: Iterable[str] = ()) -> pa.Table:
    names = list(columns)
    with _opened(piece, repeating) as file:
        table = file.read_row_groups(list(piece.row_groups), columns=names, use_threads=False)
    return table.replace_schema_metadata(None).select(names)


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
