"""Measures that take seconds: how unlike drawn rows are to each other, and how far the pool is from them.

They look at subsets, chosen by the hash of chip ids, so that they too depend on no row order.
"""

from __future__ import annotations

import numpy as np

from curate.sampling.arrays import Floats, Ints, Words
from curate.sampling.diversity import vendi
from curate.sampling.features import Descriptors, distinct
from curate.sampling.hashing import hash_words, stream

VENDI_ROWS, VENDI_TIMES = 2_000, 3
PROBES = 3_000  # pool rows, and strata, whose distance to the sample is measured
MOST_DRAWN = 200_000  # drawn rows that distances are measured to


def some(identity: Words, number: int, purpose: str) -> Ints:
    """At most *number* of the rows with hashes *identity*, by chance; the same ones for the same *purpose*."""
    key = hash_words(identity, seed=stream(0, purpose))
    if len(key) <= number:
        return np.argsort(key, kind="stable")
    least = np.argpartition(key, number)[:number]
    chosen: Ints = least[np.argsort(key[least], kind="stable")]
    return chosen


def similarity(points: Descriptors, rows: Ints) -> Floats:
    """(Σ √(f f'))⁴ · (1 where climates agree, else ½) of each two of *rows*.

    Both factors are positive semidefinite, and so is their product (Schur).
    """
    roots = points.points(rows)[:, : len(points.fractions)].astype(np.float64)
    roots /= np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), 1e-12)
    climate = points.climate[rows]
    alike: Floats = (roots @ roots.T) ** 4 * np.where(climate[:, None] == climate, 1.0, 0.5)
    return alike


def vendi_score(points: Descriptors, drawn: Ints, identity: Words) -> float:
    """Mean Vendi score of three subsets of 2,000 *drawn* rows; about 2 s, noise about 1 %.

    It grows with the rows looked at: compare samples of at least 2,000 rows, or of one size.

    Args:
        identity: hashes of the drawn rows' chip ids.
    """
    if not len(drawn):
        return float("nan")
    subsets = [drawn[some(identity, VENDI_ROWS, f"vendi {time}")] for time in range(VENDI_TIMES)]
    if len(drawn) <= VENDI_ROWS:
        subsets = subsets[:1]  # all of them are the same rows
    return float(np.mean([vendi(similarity(points, rows)) for rows in subsets]))


def distance_to_sample(points: Descriptors, drawn: Ints, identity: Words, probes: Ints) -> float:
    """Mean distance in feature space from the rows *probes* to the nearest of *drawn* rows.

    The smaller, the better the sample stands for what was probed. Up to 200,000 drawn rows are looked at.

    Args:
        identity: hashes of the drawn rows' chip ids.
    """
    from scipy.spatial import cKDTree

    if not len(drawn):
        return float("nan")
    against = points.points(drawn[some(identity, MOST_DRAWN, "reach")])
    against = against[distinct(against)[0]]
    distance, _ = cKDTree(against, balanced_tree=False).query(points.points(probes))
    return float(np.mean(distance))


def head_probes(identity: Words) -> Ints:
    """3,000 candidates by chance: where most of the pool lies."""
    return some(identity, PROBES, "head")


def tail_probes(stratum: Ints, identity: Words) -> Ints:
    """One candidate by chance of each of 3,000 strata by chance: rare strata count like common ones."""
    key = hash_words(identity, seed=stream(0, "tail"))
    order = np.lexsort((key, stratum))
    first = order[np.flatnonzero(np.diff(stratum[order], prepend=-1))]
    return first[some(identity[first], PROBES, "tail strata")]
