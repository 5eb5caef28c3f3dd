"""No chip id twice in a pool of any size: 42 bits of each one's hash are held, and texts decide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.catalog.errors import InputError
from curate.catalog.files import write_text
from curate.recipe import stable_hash
from curate.sampling import kernels
from curate.sampling.arrays import Ints, Words, numbers
from curate.sampling.candidates import find
from curate.sampling.counting import Counted
from curate.sampling.source import Group, Pool, Run, threads

_BUCKET_BITS = 10
_AT_ONCE = 1 << 26  # rows whose keys are held
_BITS = _BUCKET_BITS + 32  # of each key are held: of 10^8 keys a thousand look alike by chance


def refuse_duplicates(pool: Pool, counted: Sequence[Counted], run: Run, folder: Path | None) -> None:
    """Check that no chip id occurs twice in *pool*; that of counted files is noted in *folder* and not done again.

    Raises:
        InputError: one does; names some.
    """
    mark = None
    if folder is not None:
        mark = folder / f"{stable_hash([part.path.name for part in counted if part.path])}.unique"
        if mark.exists():
            return
    suspects = _suspects(pool, run)
    if len(suspects):
        found = run(find, [(group, suspects, _BITS) for group in pool.groups])
        row, key = (np.concatenate([part[k] for part in found]) for k in (0, 1))
        _, which, times = np.unique(key, return_inverse=True, return_counts=True)
        ids = pool.take(row[times[which] > 1], ["chip_id"])["chip_id"].cast(pa.string())
        counts = pc.value_counts(ids).to_pylist()
        if twice := sorted(entry["values"] for entry in counts if entry["counts"] > 1):
            raise InputError(
                f"{len(twice):,} chip ids occur more than once in the pool: {', '.join(twice[:3])}",
                "a file may lie in the pool's folder twice",
                "Make the pool again: curate describe",
            )
    if mark is not None:
        write_text(mark, "")


def _suspects(pool: Pool, run: Run) -> Words:
    """First bits of keys that occur more than once, ascending; and of a few that do not."""
    turns = 1
    while turns * _AT_ONCE < pool.rows:  # bounds memory: equal keys have the same turn
        turns *= 2
    found = []
    for turn in range(turns):
        parts = run(_buckets, [(group, turn, turns) for group in pool.groups])
        found += threads()(_again, [(parts, bucket) for bucket in range(1 << _BUCKET_BITS)])
    return np.unique(np.concatenate(found))


def _buckets(task: tuple[Group, int, int]) -> tuple[npt.NDArray[np.uint32], Ints]:
    group, turn, turns = task
    keys = numbers(group.read_keyed(["chip_key"])["chip_key"], np.uint64)
    return kernels.into_buckets(keys, _BUCKET_BITS, turn, turns)


def _again(task: tuple[list[tuple[npt.NDArray[np.uint32], Ints]], int]) -> Words:
    parts, bucket = task
    inside = [values[begin[bucket] : begin[bucket + 1]] for values, begin in parts]
    return kernels.repeated(np.concatenate(inside)).astype(np.uint64) | np.uint64(bucket << 32)
