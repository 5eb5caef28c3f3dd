"""How a budget is shared out among strata, seat by seat, so that every prefix is a smaller budget's share.

A node's seats go to its children by Webster's divisor method: seat r (from 0) of a child of weight w has the
key (r + ½)/w, the smallest keys win, and a child has no more seats than candidates; what it cannot take goes
to its siblings. Weights N^α minimise (1−α)·KL(share‖uniform) + α·KL(share‖pool) (`sampling.md`, section 2).
Divisor methods are house-monotone (Balinski and Young, Fair Representation, 1982), unlike largest remainders.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from curate.running import running
from curate.sampling.arrays import Floats, Ints, Words
from curate.sampling.tree import Tree

ALPHAS = {"representative": 1.0, "balanced": 0.75, "diverse": 0.5, "equal": 0.0}
_STEPS = 1024  # weights are whole multiples of 1/1024
_SHARE_STEPS = 2.0**30  # and given shares of 2^-30
_LAST = 2.0**-90  # a seat of so small a weight comes after any other
_NOTHING = 1e-9  # given shares that add up to 1 but for this leave nothing


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


def targeted(parent: Ints, target: Floats, otherwise: Floats) -> Floats:
    """Weights of siblings for which shares are given.

    What the given shares leave of 1 is shared by those without one, in proportion to *otherwise*, the weights that
    they would have without a target. Where nothing is left, and for a share of 0, candidates are taken only when
    all others are: the weight is so small that no seat of a sibling comes after it.

    Args:
        target: share given for each node, NaN where none is.
    """
    named = ~np.isnan(target)
    nodes = int(parent.max()) + 1
    rest = np.maximum(1.0 - np.bincount(parent[named], target[named], minlength=nodes), 0.0)
    rest[rest < _NOTHING] = 0.0
    unnamed = np.bincount(parent[~named], otherwise[~named], minlength=nodes)
    share = np.where(named, target, rest[parent] * otherwise / np.maximum(unnamed[parent], 1.0))
    return np.where(share > 0, np.maximum(np.rint(share * _SHARE_STEPS), 1.0), otherwise * _LAST)


def _claims_of(tree: Tree, depth: int) -> Floats:
    """Weights of the nodes at *depth*."""
    plain = weights(tree.size[depth], tree.alpha[depth])
    target = tree.target[depth]
    return plain if target is None else targeted(tree.parent[depth], target, plain)


def lead(seats: Seats, kept: Ints, floor: Ints, order: Words, budget: int) -> Seats:
    """*seats* with some before all others: those of chips kept, then so many of every leaf.

    Nested as the seats are: every leaf gets the larger of what it has in front and what a somewhat smaller budget
    would give it.

    Args:
        kept: leaves of chips kept, in their order.
        floor: (leaves,) seats that each leaf has in front, no more than it has candidates.
        order: (leaves,) in which leaves take turns in front.
    """
    number = np.bincount(kept, minlength=len(floor))
    together = np.argsort(kept, kind="stable")
    rank_kept = np.empty(len(kept), np.int64)
    rank_kept[together] = running(number)
    more = np.maximum(floor - number, 0)
    leaf = np.repeat(np.arange(len(floor)), more)
    rank = running(more) + number[leaf]
    turn = np.lexsort((order[leaf], rank))
    later = seats.rank >= np.maximum(floor, number)[seats.leaf]
    leaf = np.concatenate([kept, leaf[turn], seats.leaf[later]])[:budget]
    rank = np.concatenate([rank_kept, rank[turn], seats.rank[later]])[:budget]
    return Seats(leaf, rank, np.bincount(leaf, minlength=len(floor)).astype(np.int64))


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
    for depth, (parent, space) in enumerate(zip(tree.parent, room, strict=True)):
        quota, position = _hand_down(parent, space, _claims_of(tree, depth), quota, position)
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
    claims = np.minimum(size, np.floor(level[parent] * weight + 0.5) + 1)  # one spare against rounding
    claims = np.where(quota[parent] > 0, claims, 0).astype(np.int64)
    child = np.repeat(np.arange(len(parent)), claims)
    owner = parent[child]
    key = (running(claims) + 0.5) / weight[child]
    ends = np.searchsorted(owner, np.arange(len(quota) + 1))  # seats of one parent lie together
    turns = [begin + np.argsort(key[begin:end], kind="stable") for begin, end in pairwise(ends.tolist())]
    order = np.concatenate(turns)  # stable: ties stay in path order
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
    low = np.zeros(len(starts), np.int64)
    high = np.maximum.reduceat((size + 0.5) / weight, starts).view(np.int64)
    while np.any(high - low > 1):  # halving the bits of positive doubles finds levels of any magnitude
        middle = (low + high) // 2
        level = middle.view(np.float64)
        filled = np.add.reduceat(np.minimum(size, np.floor(level[parent] * weight + 0.5)), starts)
        enough = filled >= quota
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high.view(np.float64)
