"""Files that are either whole or absent: written beside their final name, synced, renamed."""

from __future__ import annotations

import fcntl
import hashlib
import io
import mmap
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_ROOM = 1 << 22  # bytes handed to the disk at once
_PIECE = 1 << 18  # bytes hashed and copied at once: they stay in the processor's cache
_DIRECT = getattr(os, "O_DIRECT", 0)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path in *path*'s folder, renamed to *path* when the block ends without an error.

    The temporary name starts with a dot and ends in ``.part``; a killed run leaves at most that behind,
    and `sweep` removes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write *text* to *path* atomically."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """Append one line to *path* and sync it: a journal whose last line may be torn, never an earlier one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a line torn by a kill stays alone on its line
                file.write(b"\n")
        file.write(line.encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def sweep(folder: Path) -> int:
    """Remove what killed runs left behind in *folder*; how many files went."""
    parts = list(folder.glob(".*.part"))
    for part in parts:
        part.unlink(missing_ok=True)
    return len(parts)


class Hashed(io.RawIOBase):
    """A new file at *path* that is written and hashed (SHA-256) at once, past the page cache where that can be.

    A large file that nobody is about to read costs half of the processor's time so, and leaves to the page cache what
    is being read. While the disk takes one room the next is filled and hashed. Disks take whole blocks only: what is
    left of the last one goes the usual way.
    """

    def __init__(self, path: Path) -> None:
        self.digest = hashlib.sha256()
        self._rooms = _lent_rooms()
        self._file = path.open("wb", buffering=0)
        self._used = 0
        self._disk = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._direct = bool(_DIRECT) and self._past_cache(True)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _PIECE):
            part = view[start : start + _PIECE]
            self.digest.update(part)
            self._add(part)
        return len(view)

    def _add(self, part: memoryview) -> None:
        fits = part[: len(self._rooms[0]) - self._used]
        self._rooms[0][self._used : self._used + len(fits)] = fits
        self._used += len(fits)
        if self._used == len(self._rooms[0]):
            self._wait()
            self._writing = self._disk.submit(self._put, self._rooms[0], 0, self._used)
            self._rooms.reverse()
            self._used = 0
            self._add(part[len(fits) :])

    def _wait(self) -> None:
        """Until the disk has taken what it was given."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _put(self, room: mmap.mmap, start: int, stop: int) -> None:
        with memoryview(room)[start:stop] as held:
            done = 0
            while done < len(held):  # a disk may take a part
                try:
                    done += os.write(self._file.fileno(), held[done:])
                except OSError:
                    if not self._direct:
                        raise
                    # not on this disk; or the usual way says what is wrong
                    self._direct = self._past_cache(False)

    def _past_cache(self, wanted: bool) -> bool:
        handle = self._file.fileno()
        flags = fcntl.fcntl(handle, fcntl.F_GETFL)
        try:
            fcntl.fcntl(handle, fcntl.F_SETFL, flags | _DIRECT if wanted else flags & ~_DIRECT)
        except OSError:
            return False
        return wanted

    def close(self) -> None:
        """Write what is left."""
        if not self.closed:
            try:
                self._wait()
                whole = self._used // mmap.PAGESIZE * mmap.PAGESIZE
                self._put(self._rooms[0], 0, whole)
                if self._direct:
                    self._direct = self._past_cache(False)
                self._put(self._rooms[0], whole, self._used)
            finally:
                self._disk.shutdown()
                _ROOMS.append(self._rooms)
                self._file.close()
                super().close()


# pairs that nobody uses now: new memory would have to be cleared for every file
_ROOMS: list[list[mmap.mmap]] = []


def _lent_rooms() -> list[mmap.mmap]:
    """Two rooms that begin where a page does, as disks want it."""
    try:
        return _ROOMS.pop()
    except IndexError:
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # a process that is forked must not share them
        return [mmap.mmap(-1, _ROOM, flags=private) for _ in range(2)]


def digest(path: Path) -> str:
    """BLAKE2b-128 of a file's bytes, as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
