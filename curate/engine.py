"""Dask: a local cluster that starts by itself when there is work, or the address of one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from curate.catalog.errors import InputError, RunError
from curate.console import progress

Item = TypeVar("Item")
Result = TypeVar("Result")

# Dask has workers give memory back after every task, so that each array of some MB is zeroed by the kernel again:
# counting a map's pixels took twice as long. Up to 256 MB of freed memory is kept for the next arrays instead.
_MALLOC = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**28,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25,
}
_AHEAD = 4  # tasks per worker handed to the scheduler beyond those running: graphs stay small


class Engine:
    """Runs a plain function over many tasks, each of them minutes of work rather than milliseconds.

    Args:
        workers: local processes of one thread each; 1 runs everything in this process; None takes the CPUs.
        scheduler: address of a running Dask scheduler, ``tcp://host:8786``; overrides *workers*.
    """

    def __init__(self, workers: int | None = None, scheduler: str | None = None) -> None:
        from dask.system import CPU_COUNT  # what this job may use of a shared node, not all that the node has

        self.workers = workers or CPU_COUNT
        self.scheduler = scheduler
        self._client: Any = None

    @property
    def slots(self) -> int:
        """Tasks that run at a time."""
        if self.scheduler is None:
            return self.workers
        return max(1, sum(int(threads) for threads in self.client().nthreads().values()))

    def map(
        self, function: Callable[[Item], Result], tasks: Sequence[Item], label: str
    ) -> Iterator[tuple[int, Result]]:
        """Results with the positions of their tasks, in the order in which they are done, under a progress bar.

        A task that raises ends the run; what is under way is dropped.
        """
        with progress(label, len(tasks)) as advance:
            for done in self._run(function, tasks):
                advance()
                yield done

    def _run(self, function: Callable[[Item], Result], tasks: Sequence[Item]) -> Iterator[tuple[int, Result]]:
        if self.scheduler is None and (self.workers == 1 or len(tasks) <= 1):
            yield from ((i, function(task)) for i, task in enumerate(tasks))
            return
        from distributed import as_completed

        client = self.client()
        window = _AHEAD * max(1, sum(client.nthreads().values()))
        waiting = iter(enumerate(tasks))
        positions: dict[Any, int] = {}

        def submit() -> Any:
            for i, task in waiting:
                future = client.submit(_attempt, function, task, pure=False)
                positions[future] = i
                return future
            return None

        running = as_completed([f for f in (submit() for _ in range(min(window, len(tasks)))) if f])
        for future in running:
            result = future.result()
            if isinstance(result, InputError | RunError):
                raise result
            following = submit()
            if following is not None:
                running.add(following)
            yield positions.pop(future), result

    def client(self) -> Any:
        """The Dask client, started on first use."""
        if self._client is None:
            import dask
            from distributed import Client, LocalCluster

            if self.scheduler is not None:
                try:
                    self._client = Client(self.scheduler, timeout="10s")
                except OSError as error:
                    raise InputError(
                        f"No Dask scheduler answers at {self.scheduler}", str(error), "Check --scheduler"
                    ) from error
            else:
                logging.getLogger("distributed").setLevel(
                    logging.ERROR
                )  # here, too: workers that close slowly
                with dask.config.set({"distributed.logging.distributed": "error", **_MALLOC}):
                    cluster = LocalCluster(
                        n_workers=self.workers, threads_per_worker=1, processes=True, dashboard_address=None
                    )
                    self._client = Client(cluster)
        return self._client

    def close(self) -> None:
        """Stop what was started; a cluster given by address goes on."""
        if self._client is not None:
            cluster = self._client.cluster if self.scheduler is None else None
            self._client.close()
            if cluster is not None:
                cluster.close()
            self._client = None


def _attempt(function: Callable[[Item], Result], task: Item) -> Result | InputError | RunError:
    """The result, or a known error as a value: raised in a worker it would lose its class on the way."""
    try:
        return function(task)
    except InputError as error:
        return InputError(error.what, error.why, error.do)
    except RunError as error:
        return RunError(*error.args)


@contextmanager
def engine(workers: int | None = None, scheduler: str | None = None) -> Iterator[Engine]:
    """An `Engine` that is closed at the end of the block."""
    running = Engine(workers, scheduler)
    try:
        yield running
    finally:
        running.close()
