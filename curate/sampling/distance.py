"""Keeping drawn rows a distance apart: seats are filled in order, and a row near a drawn one waits.

A seat takes the next row of its stratum that lies no nearer than the distance to a row drawn before; where the
stratum has none left, it takes the next of those that wait. Seats are filled a block of seats at a time, blocks
growing by a quarter, whatever the budget, and within a block the seats of a stratum have its rows in order. So the
sample of a budget at which a block ends (`BLOCKS`) is a prefix of any larger one; of another budget only the rows of
its last, unfinished block may differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curate.running import running
from curate.sampling.arrays import Floats, Ints, Mask

BLOCKS = tuple(int(256 * 1.25**k) for k in range(80))  # seats after which a block ends
_FREE, _WAITS, _DRAWN = range(3)


@dataclass(frozen=True, eq=False)
class Queue:
    """Candidates of each stratum in the order in which they are drawn."""

    number: Ints  # (leaves,) how many there are of each, leaf after leaf
    complete: Mask  # (leaves,) whether these are all that the leaf has


def spread(seat_leaf: Ints, fixed: Ints, queue: Queue, points: Floats, reach: float) -> tuple[Ints, Mask]:
    """The candidate of each seat, and the leaves whose candidates did not suffice.

    Args:
        seat_leaf: (n,) leaf of each seat, in seat order.
        fixed: (f,) points of the rows that hold the first seats already.
        points: (m, 3) candidates on the unit sphere, leaf after leaf, then the fixed rows.
        reach: least chord between two drawn rows.
    """
    neighbours = _Neighbours(points, reach)
    state = np.full(len(points), _FREE, np.int8)
    leaf = np.repeat(np.arange(len(queue.number)), queue.number)
    short = np.zeros(len(queue.number), np.bool_)
    chosen = np.full(len(seat_leaf), -1, np.int64)
    chosen[: len(fixed)] = fixed
    state[neighbours.of(fixed)] = _WAITS
    state[fixed] = _DRAWN
    begin = len(fixed)
    for end in [*(block for block in BLOCKS if begin < block < len(seat_leaf)), len(seat_leaf)]:
        seats = np.arange(begin, end)
        late: list[Ints] = []
        while len(seats):
            candidate = _next(np.flatnonzero(state[: len(leaf)] == _FREE), leaf, seat_leaf[seats])
            late.append(seats[candidate < 0])
            seats, candidate = seats[candidate >= 0], candidate[candidate >= 0]
            first = neighbours.none_before(candidate)
            chosen[seats[first]] = candidate[first]
            state[neighbours.of(candidate[first])] = _WAITS
            state[candidate[first]] = _DRAWN
            seats = seats[~first]
        waiting = np.sort(np.concatenate(late)) if late else seats
        lacking = ~queue.complete[seat_leaf[waiting]]
        short[seat_leaf[waiting[lacking]]] = True
        waiting = waiting[~lacking]
        candidate = _next(np.flatnonzero(state[: len(leaf)] != _DRAWN), leaf, seat_leaf[waiting])
        chosen[waiting] = candidate
        around = neighbours.of(candidate)
        state[around[state[around] == _FREE]] = _WAITS
        state[candidate] = _DRAWN
        _in_turn(chosen[begin:end], seat_leaf[begin:end], np.isin(np.arange(begin, end), waiting))
        begin = end
    return chosen, short


def _in_turn(chosen: Ints, leaf: Ints, waited: Mask) -> None:
    """Let the seats of each leaf have its rows in the leaf's order, those that had to wait last."""
    chosen[np.argsort(leaf, kind="stable")] = chosen[np.lexsort((chosen, waited, leaf))]


def _next(free: Ints, leaf: Ints, wanted: Ints) -> Ints:
    """For the k-th seat of a leaf its k-th free candidate; −1 where there are fewer."""
    leaves = int(leaf[-1]) + 1 if len(leaf) else 0
    leaves = max(leaves, int(wanted.max(initial=-1)) + 1)
    number = np.bincount(leaf[free], minlength=leaves)
    together = np.argsort(wanted, kind="stable")
    rank = np.empty(len(wanted), np.int64)
    rank[together] = running(np.bincount(wanted, minlength=leaves))
    found = rank < number[wanted]
    candidate = np.full(len(wanted), -1, np.int64)
    candidate[found] = free[(np.cumsum(number) - number)[wanted[found]] + rank[found]]
    return candidate


class _Neighbours:
    """Which points lie nearer to each other than *reach*."""

    def __init__(self, points: Floats, reach: float) -> None:
        from scipy.spatial import cKDTree

        pairs = cKDTree(points, balanced_tree=False, compact_nodes=False).query_pairs(
            np.nextafter(reach, 0.0), output_type="ndarray"
        )
        both = np.concatenate([pairs, pairs[:, ::-1]])
        both = both[np.argsort(both[:, 0], kind="stable")]
        self._other = both[:, 1].copy()
        self._number = np.bincount(both[:, 0], minlength=len(points)).astype(np.int64)
        self._begin = np.cumsum(self._number) - self._number
        self._turn = np.full(len(points), len(points), np.int64)

    def of(self, points: Ints) -> Ints:
        """All neighbours of *points*."""
        number = self._number[points]
        neighbours: Ints = self._other[np.repeat(self._begin[points], number) + running(number)]
        return neighbours

    def none_before(self, points: Ints) -> Mask:
        """Which of *points* have no neighbour among those before them."""
        self._turn[points] = np.arange(len(points))
        number = self._number[points]
        own = np.repeat(np.arange(len(points)), number)
        before = self._turn[self.of(points)] < own
        self._turn[points] = len(self._turn)
        alone = np.ones(len(points), np.bool_)
        alone[own[before]] = False
        return alone
