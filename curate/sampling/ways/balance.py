"""Equal shares for given groups, as far as they have the rows, chance deciding within each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from curate.sampling.allocation import seat
from curate.sampling.arrays import Ints, Words
from curate.sampling.hashing import hash_strings, stream
from curate.sampling.tree import Level, plant


def by_chance(pool: pa.Table, seed: int, among: Ints | None) -> tuple[Ints, Words]:
    """The candidates *among* the rows of *pool* (None: all), and a hash of each one's chip id: small first."""
    candidates = np.arange(pool.num_rows) if among is None else among
    chips = pool["chip_id"] if among is None else pool["chip_id"].take(pa.array(among))
    return candidates, hash_strings(chips, stream(seed, "chance"))


def equal(name: str, group: Ints) -> Level:
    """A level of the tree whose groups have equal shares."""
    found, codes = np.unique(group, return_inverse=True)
    return Level(name, codes.ravel().astype(np.int64), tuple(map(str, found.tolist())), alpha=0.0)


def balanced(levels: Sequence[Level], chance: Words, budget: int, seed: int) -> Ints:
    """*budget* positions in seat order, shared out over *levels*; *chance* (small first) decides within leaves.

    What a group cannot give goes to its siblings first: water-filling from the top down, as Vo et al., Automatic
    Data Curation for Self-Supervised Learning (2024), algorithm 2, in whole seats. All rows where the budget is more.
    """
    tree, leaf = plant(levels, seed)
    seats = seat(tree, min(budget, len(chance)))
    ranked = np.lexsort((chance, leaf))
    begins = np.cumsum(tree.leaf_size) - tree.leaf_size
    chosen: Ints = ranked[begins[seats.leaf] + seats.rank]
    return chosen
