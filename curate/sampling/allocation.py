"""How a budget is shared out among strata, seat by seat, so that every prefix is a smaller budget's share.

A node's seats go to its children by Webster's divisor method: seat r (from 0) of a child of weight w has the
key (r + ½)/w, the smallest keys win, and a child has no more seats than candidates; what it cannot take goes
to its siblings. Weights N^α minimise (1−α)·KL(share‖uniform) + α·KL(share‖pool) (`sampling.md`, section 2).
Divisor methods are house-monotone (Balinski and Young, Fair Representation, 1982), unlike largest remainders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curate.sampling.arrays import Floats, Ints, running
from curate.sampling.tree import Tree

ALPHAS = {"representative": 1.0, "balanced": 0.75, "diverse": 0.5, "equal": 0.0}
_STEPS = 1024  # weights are whole multiples of 1/1024


@dataclass(frozen=True)
class Seats:
    """Who sits where, in seat order."""

    leaf: Ints  # (n,) leaf of each seat
    rank: Ints  # (n,) how many seats the leaf had before
    quota: Ints  # (leaves,) seats of each leaf


def weights(size: Ints, alpha: float) -> Floats:
    """size^alpha in whole steps, so that no platform's last digit decides a comparison.

    Quarters are composed of square roots, which IEEE 754 rounds exactly.
    """
    sizes = size.astype(np.float64)
    root = np.sqrt(sizes)
    exact = {0.0: np.ones_like(sizes), 0.25: np.sqrt(root), 0.5: root, 0.75: root * np.sqrt(root), 1.0: sizes}
    weight = exact[alpha] if alpha in exact else np.power(sizes, alpha)
    return np.asarray(np.rint(weight * _STEPS), np.float64)


def seat(tree: Tree, budget: int, capacity: Ints | None = None) -> Seats:
    """The first *budget* seats of *tree*; no more than it has candidates.

    Args:
        capacity: candidates of each leaf that can take a seat, where that is fewer than its size. It bounds
            seats and changes no weight, so that finding out that a candidate is unfit moves only its own seat.

    Raises:
        ValueError: the budget exceeds the candidates.
    """
    room = [tree.leaf_size if capacity is None else capacity]
    for depth in range(len(tree.parent) - 1, 0, -1):
        above = np.bincount(tree.parent[depth], weights=room[0], minlength=len(tree.size[depth - 1]))
        room.insert(0, above.astype(np.int64))
    if budget > int(room[-1].sum()):
        raise ValueError("the budget exceeds the candidates")
    quota = np.array([budget], np.int64)
    position = np.arange(budget, dtype=np.int64)  # of each node's seats, node after node
    for parent, size, space, alpha in zip(tree.parent, tree.size, room, tree.alpha, strict=True):
        quota, position = _hand_down(parent, space, weights(size, alpha), quota, position)
    leaf, rank = np.empty(budget, np.int64), np.empty(budget, np.int64)
    leaf[position] = np.repeat(np.arange(len(quota)), quota)
    rank[position] = running(quota)
    return Seats(leaf, rank, quota)


def _hand_down(parent: Ints, size: Ints, weight: Floats, quota: Ints, position: Ints) -> tuple[Ints, Ints]:
    """Children's quotas and the positions of their seats, from their parents'.

    The water level only bounds how many seats are looked at. Which of them are taken, and in which order, is
    one sort: a count by one formula and an order by another disagree in the last digit (pitfall 5).
    """
    level = _water_level(parent, size, weight, quota)
    claims = np.floor(level[parent] * weight + 0.5).astype(np.int64) + 1  # one spare against rounding
    claims = np.where(quota[parent] > 0, np.minimum(size, claims), 0)
    child = np.repeat(np.arange(len(parent)), claims)
    owner = parent[child]
    order = np.lexsort(((running(claims) + 0.5) / weight[child], owner))  # stable: ties stay in path order
    owner = owner[order]
    asked = np.bincount(owner, minlength=len(quota)).astype(np.int64)
    place = running(asked)
    taken = place < quota[owner]
    first = np.cumsum(quota) - quota
    inherited = np.full(len(child), -1, np.int64)
    inherited[order[taken]] = position[first[owner[taken]] + place[taken]]
    kept = inherited >= 0
    return np.bincount(child[kept], minlength=len(parent)).astype(np.int64), inherited[kept]


def _water_level(parent: Ints, size: Ints, weight: Floats, quota: Ints) -> Floats:
    """For each parent a key up to which its children have at least *quota* seats, and few more."""
    starts = np.flatnonzero(np.diff(parent, prepend=-1))
    low, high = np.zeros(len(starts)), np.maximum.reduceat((size + 0.5) / weight, starts)
    for _ in range(60):
        middle = (low + high) / 2
        filled = np.add.reduceat(np.minimum(size, np.floor(middle[parent] * weight + 0.5)), starts)
        enough = filled >= quota
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high
