"""Files that are whole or absent."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.catalog import files
from curate.catalog.errors import InputError
from curate.catalog.files import Hashed, append_line, atomic, digest, sweep, write_text


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with atomic(path) as part:
        assert part.parent == path.parent
        part.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(RuntimeError), atomic(tmp_path / "b.txt"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == [path]


def test_sweep_removes_what_killed_runs_left(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "kept")
    (tmp_path / ".a.txt.1234abcd.part").write_text("torn")
    (tmp_path / "mine.part").write_text("kept too")
    assert sweep(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "mine.part"]
    assert sweep(tmp_path / "absent") == 0


def test_a_journal_keeps_every_line_but_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "j.jsonl"
    append_line(path, "1")
    append_line(path, "2")
    with path.open("ab") as file:
        file.write(b'{"torn": tr')
    append_line(path, "3")
    append_line(path, "4")
    assert path.read_text().splitlines() == ["1", "2", '{"torn": tr', "3", "4"]
    assert path.read_bytes().endswith(b"4\n")


def test_digests_tell_bytes_apart(tmp_path: Path) -> None:
    for name, content in (("a", b"x" * 100_000), ("b", b"x" * 100_000), ("c", b"x" * 99_999 + b"y")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (digest(tmp_path / name) for name in "abc")
    assert a == b != c
    assert len(a) == 32


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(sizes=st.lists(st.sampled_from([0, 1, 4095, 4096, 8191, 8192, 8193, 30_000]), max_size=5))
@pytest.mark.parametrize("direct", [True, False])
def test_a_hashed_file_holds_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: bool, sizes: list[int]
) -> None:
    monkeypatch.setattr(files, "_ROOM", 8192)
    monkeypatch.setattr(files, "_ROOMS", [])
    write = os.write

    def refused_past_the_cache(handle: int, data: bytes) -> int:
        if not direct and files.fcntl.fcntl(handle, files.fcntl.F_GETFL) & files._DIRECT:
            raise OSError(errno.EINVAL, "no direct writes here")
        return write(handle, data)

    monkeypatch.setattr(os, "write", refused_past_the_cache)
    parts = [os.urandom(size) for size in sizes]
    with Hashed(tmp_path / "file") as file:
        assert [file.write(part) for part in parts] == sizes
    assert (tmp_path / "file").read_bytes() == b"".join(parts)
    assert file.digest.hexdigest() == hashlib.sha256(b"".join(parts)).hexdigest()


def test_forked_processes_do_not_write_into_each_other(tmp_path: Path) -> None:
    parts = [bytes([i]) * (files._ROOM + 4321) for i in range(3)]

    def write(i: int) -> None:
        with Hashed(tmp_path / str(i)) as file:
            file.write(parts[i][: files._ROOM // 2])
            time.sleep(0.05 * i)
            file.write(parts[i][files._ROOM // 2 :])

    write(0)  # leaves its memory to the next
    forked = [multiprocessing.get_context("fork").Process(target=write, args=(i,)) for i in (1, 2)]
    for process in forked:
        process.start()
    for process in forked:
        process.join()
    assert [(tmp_path / str(i)).read_bytes() for i in range(3)] == parts


def test_a_full_disk_is_told_by_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"), Hashed(tmp_path / "file") as file:
        file.write(b"x" * (files._ROOM + 1))
    assert file.closed


def test_an_input_error_is_one_line_of_what_why_and_what_to_do() -> None:
    assert str(InputError("A is wrong", "because of b.", "Do c")) == "A is wrong: because of b. Do c."
    assert str(InputError("A is wrong")) == "A is wrong."
    assert str(InputError("A is wrong", do="Do c.")) == "A is wrong. Do c."
    copy = InputError(*InputError("a", "b", "c").args)  # as pickle does between processes
    assert json.dumps([copy.what, copy.why, copy.do]) == '["a", "b", "c"]'
