"""Choices: the best of a group, and the orbit that a place keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from curate.grid import Floats, Ints
from curate.running import running

SAME_COVERAGE = 0.9  # acquisitions that cover nine tenths of what the best covers count as covering equally


def best(group: Ints, coverage: Floats, *cost: npt.NDArray[Any], keep: int = 1) -> Ints:
    """The best *keep* rows of every group: enough coverage first, then the smallest costs in their order."""
    order = np.argsort(group, kind="stable")
    first, size = _runs(group[order])
    number = np.repeat(np.arange(len(first)), size)
    contested = np.flatnonzero(np.repeat(size > keep, size))
    rows, run = order[contested], number[contested]
    most = np.maximum.reduceat(coverage[order], first) if len(first) else coverage
    poor = coverage[rows] < SAME_COVERAGE * most[run]
    ranked = np.lexsort((*(one[rows] for one in cost[::-1]), poor, run))
    _, run_size = _runs(run)
    rank = running(run_size)
    kept: Ints = np.concatenate([order[np.repeat(size <= keep, size)], rows[ranked[rank < keep]]])
    return np.sort(kept)


def _runs(values: Ints) -> tuple[Ints, Ints]:
    """Where runs of equal values begin, and how long they are."""
    first = np.flatnonzero(np.diff(values, prepend=values[0] - 1)) if len(values) else np.zeros(0, np.int64)
    return first, np.diff(first, append=len(values))


def in_kept_orbit(
    cell: Ints, anchor: Ints, season: Ints, orbit: Ints, coverage: Floats, apart: Floats
) -> npt.NDArray[np.bool_]:
    """Which candidates were taken from the orbit that their cell keeps.

    A cell keeps the orbit that serves most of its seasons, then covers most of its anchors' area, then lies nearest
    to them in time, then has the smallest number.

    Args:
        cell, anchor, season, orbit: of each candidate.
        coverage: share of the cell that anchor and candidate cover together.
        apart: hours between them.
    """
    if not len(cell):
        return np.zeros(0, bool)
    orbits = int(orbit.max()) + 1
    served = best(anchor * orbits + orbit, coverage, apart)  # one candidate an anchor and orbit
    group = cell * orbits + orbit
    groups, number = np.unique(group[served], return_inverse=True)
    area = np.bincount(number, coverage[served])
    distance = np.bincount(number, (coverage * apart)[served])
    lasts = np.bincount(np.unique(number * 4 + season[served]) // 4)
    order = np.lexsort(
        (distance / area, -np.round(area, 9), -lasts, groups // orbits)
    )  # stable: then by orbit
    kept = groups[order[_runs(groups[order] // orbits)[0]]]
    return np.asarray(kept[np.searchsorted(kept, group, side="right") - 1] == group, dtype=bool)
