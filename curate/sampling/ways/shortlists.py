"""Ways that look at every two candidates, and therefore choose from a shortlist: k-centre and facility location.

Both take candidates one by one, each time the best beside those already taken, so that samples nest. Equal
candidates are looked at once; ties, and what is left when every point is taken, go by chance.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curate.sampling.arrays import Floats, Ints
from curate.sampling.features import Points, distinct, features
from curate.sampling.ways.chance import random

CENTRE_SHORTLIST, CENTRE_BUDGET = 100_000, 20_000
FACILITY_SHORTLIST, FACILITY_BUDGET = 20_000, 10_000
_TOGETHER = 512  # rows of similarities held at once


def k_centre(
    pool: pa.Table, budget: int, seed: int, among: Ints | None = None, embedding: str | None = None
) -> Ints:
    """*budget* rows of a random shortlist of 100,000, each the farthest from those before it, in order.

    Within a factor of two of the smallest distance that all can have to a chosen one (Gonzalez, Theoretical
    Computer Science 38, 1985). It likes outliers. Cost: budget × shortlist × dimensions.
    """
    rows, points, which = _shortlist(pool, CENTRE_SHORTLIST, seed, among, embedding)
    return rows[_fill(farthest_first(points, budget), which, budget)]


def facility_location(
    pool: pa.Table, budget: int, seed: int, among: Ints | None = None, embedding: str | None = None
) -> Ints:
    """*budget* rows of a random shortlist of 20,000 so that each candidate has one like it, greedily, in order.

    Maximises Σ over the shortlist of the largest similarity to a chosen row; greedily, which reaches 1 − 1/e of the
    best (Nemhauser, Wolsey and Fisher, Mathematical Programming 14, 1978). Similarity is the dot product, with
    negative ones as 0.
    """
    rows, points, which = _shortlist(pool, FACILITY_SHORTLIST, seed, among, embedding)
    times = np.bincount(which, minlength=len(points)).astype(np.float64)
    return rows[_fill(greedy_facilities(points, times, budget), which, budget)]


def farthest_first(points: Points, budget: int) -> Ints:
    """*budget* of distinct *points* (all, where it is more) in farthest-first order, from the first one."""
    number = min(budget, len(points))
    chosen = np.zeros(number, np.int64)
    length = np.einsum("ij,ij->i", points, points)
    apart = np.full(len(points), np.inf, np.float32)
    for step in range(number):
        if step:
            chosen[step] = np.argmax(apart)
        last = chosen[step]
        np.minimum(apart, length + length[last] - 2 * (points @ points[last]), out=apart)
        apart[last] = -np.inf
    return chosen


def greedy_facilities(points: Points, times: Floats, budget: int) -> Ints:
    """*budget* of distinct *points* (all, where it is more), each adding the most to Σ times · best similarity.

    A point that is taken changes the gains of the others only through the points it is now the most similar to, and
    these grow few: about points · ln(budget) rows of similarities are worked out instead of points · budget.
    """
    number = min(budget, len(points))
    count = times.astype(np.float32)
    best = np.zeros(len(points), np.float32)
    gain = np.zeros(len(points))
    for block in _blocks(np.arange(len(points))):
        gain += count[block] @ np.maximum(points[block] @ points.T, 0)
    chosen = np.empty(number, np.int64)
    for step in range(number):
        chosen[step] = pick = np.argmax(gain)  # of equals the first
        now = np.maximum(best, points @ points[pick])
        for block in _blocks(np.flatnonzero(now > best)):
            alike = points[block] @ points.T
            kept = np.maximum(alike, now[block, None]) - np.maximum(alike, best[block, None])
            gain += count[block] @ kept - count[block] @ (now - best)[block]
        best = now
        gain[pick] = -np.inf
    return chosen


def _blocks(rows: Ints) -> list[Ints]:
    return [rows[start : start + _TOGETHER] for start in range(0, len(rows), _TOGETHER)]


def _shortlist(
    pool: pa.Table, most: int, seed: int, among: Ints | None, embedding: str | None
) -> tuple[Ints, Points, Ints]:
    """Shortlisted rows by chance, their distinct points, and which of these each row is."""
    rows = random(pool, most, seed, among)
    points = features(pool, rows, embedding).points(slice(None))
    first, which = distinct(points)
    return rows, points[first], which


def _fill(order: Ints, which: Ints, budget: int) -> Ints:
    """Positions of the first row of each point in *order*, then of the other rows as they come."""
    _, first = np.unique(which, return_index=True)
    chosen = first[order]
    left = np.ones(len(which), np.bool_)
    left[chosen] = False
    result: Ints = np.concatenate([chosen, np.flatnonzero(left)])[:budget]
    return result
