"""Chips of an earlier catalog that keep their seats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.catalog.errors import InputError
from curate.sampling.arrays import Ints
from curate.sampling.candidates import find
from curate.sampling.hashing import hash_strings
from curate.sampling.source import Pool, Run


@dataclass(frozen=True, eq=False)
class Kept:
    """Where an earlier catalog's chips are in the pool."""

    rows: Ints  # indices into the pool, in the earlier catalog's order
    asked: int  # chips of the earlier catalog
    absent: int  # of which the pool no longer has so many


def locate(previous: str | None, pool: Pool, run: Run) -> Kept:
    """The rows of *pool* that are chips of the catalog *previous*, if there is one.

    Raises:
        InputError: the catalog cannot be read, or is none.
    """
    if previous is None:
        return Kept(np.empty(0, np.int64), 0, 0)
    ids = chip_ids(Path(previous))
    chips = hash_strings(ids, 0)
    order = np.argsort(chips, kind="stable")
    found = run(find, [(group, chips[order], 64) for group in pool.groups])
    row, chip = (np.concatenate([part[k] for part in found]) for k in (0, 1))
    at = order[np.searchsorted(chips[order], chip)]
    names = pool.take(row, ["chip_id"])["chip_id"].cast(pa.string())
    same = np.asarray(pc.equal(names, ids.take(pa.array(at))).to_numpy()).astype(
        np.bool_
    )  # not the hash only
    row, at = row[same], at[same]
    return Kept(row[np.argsort(at, kind="stable")], len(ids), len(ids) - len(row))


def chip_ids(path: Path) -> pa.ChunkedArray:
    """The chips of a catalog in their order.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        ids = pq.read_table(path, columns=["chip_id"])["chip_id"].cast(pa.string())
    except (OSError, pa.ArrowException, KeyError) as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"The catalog {path}, whose chips are to be kept, cannot be read", why, "Check --keep"
        ) from error
    return pa.chunked_array([pc.unique(ids)])
