"""What chance would have given: the samples that a sample is printed beside, and the table of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from curate.sampling.allocation import seat
from curate.sampling.arrays import Ints, Words, numbers
from curate.sampling.draw import Draw
from curate.sampling.hashing import hash_strings, stream
from curate.sampling.measures import measure
from curate.sampling.sphere import EqualAreaTable
from curate.sampling.tree import Level, plant

_AREA_DEG = 1.0


def random(pool: pa.Table, budget: int, seed: int, among: Ints | None = None) -> Ints:
    """*budget* rows of *pool* by chance, in order; *among* restricts the candidates (None: all rows)."""
    candidates, chance = _candidates(pool, seed, among)
    chosen: Ints = candidates[np.argsort(chance, kind="stable")[:budget]]
    return chosen


def uniform_by_area(pool: pa.Table, budget: int, seed: int, among: Ints | None = None) -> Ints:
    """*budget* rows of *pool*, equally many from each 1° block of equal area as far as it has them, in order.

    Blocks of equal degrees, the classic mistake, would draw the far north several times as densely.
    """
    candidates, chance = _candidates(pool, seed, among)
    lon, lat = (numbers(pool[name], np.float64)[candidates] for name in ("lon", "lat"))
    cells, cell = np.unique(EqualAreaTable.of_side(_AREA_DEG).cell(lon, lat), return_inverse=True)
    level = Level("block", cell.astype(np.int64), tuple(map(str, cells.tolist())), alpha=0.0)
    tree, leaf = plant([level], stream(seed, "area"))
    seats = seat(tree, min(budget, len(candidates)))
    ranked = np.lexsort((chance, leaf))
    begins = np.cumsum(tree.leaf_size) - tree.leaf_size
    chosen: Ints = candidates[ranked[begins[seats.leaf] + seats.rank]]
    return chosen


def compare(
    pool: pa.Table, ways: Mapping[str, Ints], among: Ints | None = None, presence: float = 0.05
) -> list[dict[str, Any]]:
    """Measures of several samples of one pool side by side: one row a way, its name under ``way``."""
    return [{"way": way, **asdict(measure(pool, rows, among, presence))} for way, rows in ways.items()]


def against_chance(
    pool: pa.Table, drawn: Draw, name: str, seed: int, presence: float = 0.05
) -> list[dict[str, Any]]:
    """*drawn* beside random and uniform sampling, at its budget and from the rows it could have drawn."""
    budget, among = len(drawn.rows), drawn.available
    ways = {
        name: drawn.rows,
        "random": random(pool, budget, seed, among),
        "uniform by area": uniform_by_area(pool, budget, seed, among),
    }
    return compare(pool, ways, among, presence)


def _candidates(pool: pa.Table, seed: int, among: Ints | None) -> tuple[Ints, Words]:
    candidates = np.arange(pool.num_rows) if among is None else among
    return candidates, hash_strings(pool["chip_id"], stream(seed, "chance"))[candidates]
