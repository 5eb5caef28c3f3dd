"""A catalog that lies elsewhere, mirrored as far as it is read, within a bound.

A shard's mirror is a file of the shard's size with holes: all but the pixels is fetched when the shard is opened, and
the pixels of a row when a batch asks for them. It is memory-mapped as any shard is, so nothing else has to know. Where
the mirror outgrows its bound, the shards that were used longest ago are emptied.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.catalog import InputError
from curate.catalog.files import atomic
from train.storage import IN_FLIGHT, Source, beside, source_of

ENDS = 1 << 17  # bytes at a shard's start and end in which its layout is looked for
BOUND_GB = 100.0
CACHE = Path(os.environ.get("TRAIN_CACHE", Path.home() / ".cache" / "train"))

T = TypeVar("T")
_mirrors: dict[Path, Mirror] = {}


@dataclass
class Held:
    """One shard's mirror."""

    batch: pa.RecordBatch
    path: Path
    url: str
    version: str
    size: int
    spans: Sequence[tuple[int, int]]  # of each pixel column: where its first row begins, bytes of a row
    there: npt.NDArray[np.bool_]  # rows whose pixels are here; kept in a file
    users: int = 0

    @property
    def row_bytes(self) -> int:
        return sum(size for _, size in self.spans)


class Mirror:
    """What is here of the folder of a catalog at *url*.

    Args:
        bound: bytes of pixels that may lie here, exceeded only by what one batch needs.
    """

    def __init__(self, url: str, cache: Path = CACHE, bound: float = BOUND_GB * 1e9) -> None:
        self.url, self.bound = url, bound
        self._source: Source = source_of(url)
        self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="mirror")
        self._held: OrderedDict[str, Held] = OrderedDict()  # the longest unused first
        self._lock = threading.RLock()
        self._opening: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._bytes = 0
        digest = hashlib.blake2b(url.partition("?")[0].encode(), digest_size=8).hexdigest()
        for number in count():  # a folder for every process, so that none empties what another reads
            self.folder = cache / f"{digest}-{number}"
            self.folder.mkdir(parents=True, exist_ok=True)
            self._own = (self.folder / ".lock").open("w")
            try:
                fcntl.flock(self._own, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                self._own.close()
        _mirrors[self.folder] = self

    @staticmethod
    def of(folder: Path) -> Mirror | None:
        """The mirror that *folder* is, if it is one."""
        return _mirrors.get(folder)

    def file(self, name: str) -> Path:
        """A whole file, fetched again where it has changed."""
        url, path = beside(self.url, name), self.folder / name
        entry = self._source.entry(url)
        mark = path.with_name(f".{path.name}.version")
        if not path.is_file() or not mark.is_file() or mark.read_text() != f"{entry}":
            mark.unlink(missing_ok=True)
            with atomic(path) as part:
                part.write_bytes(self._source.read(url, 0, entry.size))
            mark.write_text(f"{entry}")
        return path

    def open(self, name: str, prefixes: Sequence[str]) -> tuple[str, pa.RecordBatch]:
        """A shard with all but its pixels, which come with `holding`; what that is to call it, and the shard.

        Args:
            name: relative to the catalog's folder.
            prefixes: the sensors whose pixels are fetched by rows.

        Raises:
            InputError: there is no such shard, or it is none of this program's.
        """
        name, url = (
            f"{'+'.join(prefixes)}/{name}",
            beside(self.url, name),
        )  # a row is here for all or for none
        with self._opening[name]:
            if name in self._held:  # once: who uses its rows is counted in one place
                return name, self._held[name].batch
            path = self.folder / name
            entry = self._source.entry(url)
            rows, mark = path.with_name(f".{path.name}.rows"), path.with_name(f".{path.name}.version")
            fresh = not rows.is_file() or not mark.is_file() or mark.read_text() != f"{entry}"
            if fresh:
                path.parent.mkdir(parents=True, exist_ok=True)
                for each in (mark, rows, path):
                    each.unlink(missing_ok=True)
                with path.open("wb") as file:
                    file.truncate(entry.size)
                self._fetch(path, url, _ends(entry.size))
            batch, spans = _mapped(path, url, prefixes)
            if fresh:
                self._fetch(path, url, _between(spans, batch.num_rows, entry.size))
                np.zeros(batch.num_rows, bool).tofile(rows)
                mark.write_text(f"{entry}")
            there = np.memmap(rows, bool, "r+", shape=(batch.num_rows,))
            held = Held(batch, path, url, f"{entry}", entry.size, spans, there)
            with self._lock:
                self._held[name] = held
                self._bytes += int(there.sum()) * held.row_bytes
            return name, batch

    def at_once(self, work: Callable[[T], object], items: Iterable[T]) -> None:
        """Do *work* on all *items*, many at a time."""
        list(self._pool.map(work, items))

    @contextmanager
    def holding(self, wanted: Iterable[tuple[str, npt.NDArray[np.int64]]]) -> Iterator[None]:
        """Rows by shard, fetched if need be, and here while the block runs."""
        wanted = list(wanted)
        with self._lock:
            for name, _ in wanted:
                self._held[name].users += 1
                self._held.move_to_end(name)
        try:
            tasks = [task for name, rows in wanted for task in self._missing(self._held[name], rows)]
            self.at_once(lambda task: self._rows(*task), tasks)
            self._shrink()
            yield
        finally:
            with self._lock:
                for name, _ in wanted:
                    self._held[name].users -= 1

    def _missing(self, held: Held, rows: npt.NDArray[np.int64]) -> list[tuple[Held, int, int]]:
        """Runs of neighbouring rows, (first, last + 1), that are not here."""
        lacking = np.unique(rows[~held.there[rows]])
        parts = np.split(lacking, np.flatnonzero(np.diff(lacking) != 1) + 1)
        return [(held, int(part[0]), int(part[-1]) + 1) for part in parts if len(part)]

    def _rows(self, held: Held, first: int, stop: int) -> None:
        for start, size in held.spans:
            self._fetch(held.path, held.url, [(start + first * size, start + stop * size)])
        with self._lock:
            self._bytes += (stop - first - int(held.there[first:stop].sum())) * held.row_bytes
            held.there[first:stop] = True  # after the pixels: a killed run fetches them again

    def _fetch(self, path: Path, url: str, spans: Iterable[tuple[int, int]]) -> None:
        with path.open("r+b") as file:
            for start, stop in spans:
                os.pwrite(file.fileno(), self._source.read(url, start, stop), start)

    def _shrink(self) -> None:
        """Empty shards, the longest unused first, until the bound is met; those in use stay."""
        with self._lock:
            for held in list(self._held.values()):
                if self._bytes <= self.bound:
                    return
                if held.users or not held.there.any():
                    continue
                self._bytes -= int(held.there.sum()) * held.row_bytes
                mark = held.path.with_name(f".{held.path.name}.version")
                mark.unlink()  # a run killed in here fetches the shard anew
                held.there[:] = False
                with held.path.open("r+b") as file:
                    rest = _between(held.spans, len(held.there), held.size)
                    parts = [(start, os.pread(file.fileno(), stop - start, start)) for start, stop in rest]
                    file.truncate(0)  # who has it mapped sees the same file, with holes again
                    file.truncate(held.size)
                    for start, data in parts:
                        os.pwrite(file.fileno(), data, start)
                mark.write_text(held.version)


def _ends(size: int) -> list[tuple[int, int]]:
    """The start and the end of a file, once where they meet."""
    return [(0, size)] if size <= 2 * ENDS else [(0, ENDS), (size - ENDS, size)]


def _mapped(path: Path, url: str, prefixes: Sequence[str]) -> tuple[pa.RecordBatch, list[tuple[int, int]]]:
    """A shard's record batch, and where in the file each sensor's pixels begin and how long a row is, bytes.

    Raises:
        InputError: it is no shard, or its pixels do not lie in it as they are.
    """
    try:
        file = pa.memory_map(str(path))
        whole = file.read_buffer()
        batch = pa.ipc.open_file(file).get_batch(0)
        spans = []
        for prefix in prefixes:
            values = batch.column(prefix).flatten()
            width = values.type.bit_width // 8
            start = values.buffers()[1].address + values.offset * width - whole.address
            spans.append((start, batch.schema.field(prefix).type.list_size * width))
    except (OSError, ValueError, KeyError, AttributeError, pa.ArrowException) as error:
        path.unlink(missing_ok=True)
        raise InputError(
            f"Shard {url} cannot be read", str(error), "Upload it again, from: curate cut"
        ) from error
    if any(not 0 <= start < whole.size for start, _ in spans):
        raise InputError(f"Shard {url} is compressed", "its rows cannot be read one by one")
    return batch, spans


def _between(spans: Sequence[tuple[int, int]], rows: int, size: int) -> list[tuple[int, int]]:
    """What of a file is no pixels."""
    edges = sorted((start, start + rows * width) for start, width in spans)
    starts, stops = [0, *(stop for _, stop in edges)], [*(start for start, _ in edges), size]
    return [(a, b) for a, b in zip(starts, stops, strict=True) if b > a]
