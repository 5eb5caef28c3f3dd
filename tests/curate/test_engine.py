"""Tasks on one process, on a local cluster, and on an address that does not answer."""

from __future__ import annotations

import os
import time

import pytest

from curate.catalog.errors import InputError
from curate.engine import Engine, engine


def square(number: int) -> int:
    return number * number


def where(number: int) -> int:
    time.sleep(0.02)
    return os.getpid()


def fail(number: int) -> int:
    if number == 3:
        raise InputError("Task 3 is broken", "as it should be", "Nothing")
    return number


@pytest.mark.parametrize("tasks", [[], [5], list(range(20))])
def test_one_worker_is_this_process(tasks: list[int]) -> None:
    with engine(workers=1) as running:
        assert dict(running.map(square, tasks, "square")) == {i: t * t for i, t in enumerate(tasks)}
        assert {pid for _, pid in running.map(where, tasks[:3], "where")} <= {os.getpid()}
        assert running._client is None


def test_a_local_cluster_gives_each_result_its_place_and_passes_errors_on() -> None:
    with engine(workers=2) as running:
        tasks = list(range(60))
        found = list(running.map(square, tasks, "square"))
        assert len(found) == 60
        assert dict(found) == {i: i * i for i in tasks}
        pids = {pid for _, pid in running.map(where, tasks[:16], "where")}
        assert os.getpid() not in pids and len(pids) == 2
        with pytest.raises(InputError) as error:
            list(running.map(fail, tasks, "fail"))
        assert str(error.value) == "Task 3 is broken: as it should be. Nothing."
        assert dict(running.map(square, [7, 8], "again")) == {0: 49, 1: 64}


def test_an_error_in_this_process_is_passed_on() -> None:
    with pytest.raises(InputError, match="Task 3"):
        list(Engine(workers=1).map(fail, range(5), "fail"))


def test_a_scheduler_that_does_not_answer_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed

    client = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda address, timeout: client(address, timeout="1s"))
    with pytest.raises(InputError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        list(Engine(scheduler="tcp://127.0.0.1:9").map(square, [1, 2], "square"))
