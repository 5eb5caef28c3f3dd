"""The tree of strata: levels with names, their nodes and how many candidates each node holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.sampling.arrays import Floats, Ints, Words, distinct
from curate.sampling.hashing import hash_strings, hash_words


@dataclass(frozen=True)
class Level:
    """One level of the tree: which of its labels each row has, and how unequal its shares may be."""

    name: str
    codes: Ints  # (rows,) index into labels
    labels: tuple[str, ...]  # unlike each other
    alpha: float  # a node's share goes with its size to this power: 1 proportional, 0 equal
    target: Mapping[str, float] | None = None  # label -> share among siblings, where shares are given


@dataclass(frozen=True)
class Tree:
    """Nodes by depth, the root left out; those of one parent lie together, ordered by the hash of their path.

    That order breaks ties between siblings, so it may not depend on where a row happens to lie.
    """

    parent: tuple[Ints, ...]  # by depth: each node's parent, an index into the depth above
    size: tuple[Ints, ...]  # by depth: candidates under each node
    alpha: tuple[float, ...]  # by depth
    codes: Ints  # (leaves, depths) label of each leaf on each level
    target: tuple[
        Floats | None, ...
    ]  # by depth: share given for each node, NaN where none is; None without a target
    path: Words  # (leaves,) hash of each leaf's path

    @property
    def leaf_size(self) -> Ints:
        return self.size[-1]


def plant(levels: Sequence[Level], seed: int, rows: Ints | None = None) -> tuple[Tree, Ints]:
    """The tree of *levels* and the leaf of each row; *rows* says how many candidates each row stands for."""
    leaf, codes = distinct([level.codes for level in levels])
    size = np.bincount(leaf, weights=rows, minlength=len(codes))  # doubles hold counts up to 2^53
    tree, place = grow(codes, size.astype(np.int64), levels, seed)
    return tree, place[leaf]


def grow(codes: Ints, size: Ints, levels: Sequence[Level], seed: int) -> tuple[Tree, Ints]:
    """The tree over leaves with *codes* (leaves, levels) and *size* (leaves,), and where each leaf went.

    Needs only the counts, so that a pool larger than memory can be counted in parts and summed.
    """
    paths = []
    path = np.zeros(len(codes), np.uint64)
    for depth, level in enumerate(levels):
        names = hash_strings(pa.array(level.labels), seed)
        path = hash_words(path, names[codes[:, depth]], seed=seed)
        paths.append(path)
    keys = [key for depth, path in enumerate(paths) for key in (path, codes[:, depth])]
    order = np.lexsort(keys[::-1])
    codes, size, path = codes[order], size[order], path[order]

    begins = np.zeros(len(codes), np.bool_)
    begins[0] = True
    above = np.zeros(len(codes), np.int64)
    parents, sizes = [], []
    targets: list[Floats | None] = []
    for depth in range(len(levels)):
        begins[1:] |= codes[1:, depth] != codes[:-1, depth]
        starts = np.flatnonzero(begins)
        parents.append(above[starts])
        sizes.append(np.add.reduceat(size, starts))
        above = np.cumsum(begins) - 1
        targets.append(_shares(levels[depth], codes[starts, depth]))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    alpha = tuple(level.alpha for level in levels)
    return Tree(tuple(parents), tuple(sizes), alpha, codes, tuple(targets), path), place


def _shares(level: Level, codes: Ints) -> Floats | None:
    """Share given for each node of one depth, by the codes of their labels."""
    if level.target is None:
        return None
    given = np.array([level.target.get(label, np.nan) for label in level.labels], np.float64)
    return given[codes]
