"""No chip id twice in a pool of any size: hashes are sorted range by range, and texts decide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.catalog.errors import InputError
from curate.catalog.files import write_text
from curate.recipe import stable_hash
from curate.sampling.arrays import Ints, Words
from curate.sampling.counting import Counted
from curate.sampling.source import Pool

_AT_ONCE = 16_000_000  # hashes sorted at a time, 128 MB


def refuse_duplicates(pool: Pool, counted: Sequence[Counted], folder: Path | None) -> None:
    """Check that no chip id occurs twice in *pool*; that of counted files is noted in *folder* and not done again.

    Raises:
        InputError: one does; names some.
    """
    mark = None
    if folder is not None:
        mark = folder / f"{stable_hash([part.path.name for part in counted if part.path])}.unique"
        if mark.exists():
            return
    suspects = _suspects(counted, pool.rows)
    if len(suspects):
        rows = _rows_of(pool, counted, suspects)
        ids = pool.take(rows, ["chip_id"])["chip_id"].cast(pa.string())
        counts = pc.value_counts(ids).to_pylist()
        if twice := sorted(entry["values"] for entry in counts if entry["counts"] > 1):
            raise InputError(
                f"{len(twice):,} chip ids occur more than once in the pool: {', '.join(twice[:3])}",
                "a file may lie in the pool's folder twice",
                "Make the pool again: curate describe",
            )
    if mark is not None:
        write_text(mark, "")


def _suspects(counted: Sequence[Counted], rows: int) -> Words:
    """Hashes that occur more than once."""
    ranges = max(1, -(-rows // _AT_ONCE))
    found = []
    for k in range(ranges):
        low, high = (np.uint64(min(((1 << 64) * edge) // ranges, (1 << 64) - 1)) for edge in (k, k + 1))
        parts = []
        for part in counted:
            chip = part.rows().chip
            inside = (chip >= low) & ((chip < high) if k + 1 < ranges else (chip <= high))
            parts.append(chip[inside] if ranges > 1 else chip)
        together = np.sort(np.concatenate(parts))
        found.append(np.unique(together[1:][together[1:] == together[:-1]]))
    return np.concatenate(found)


def _rows_of(pool: Pool, counted: Sequence[Counted], suspects: Words) -> Ints:
    parts = [
        np.flatnonzero(np.isin(part.rows().chip, suspects)) + group.first
        for part, group in zip(counted, pool.groups, strict=True)
    ]
    return np.concatenate(parts)
