"""Numbers for how diverse, how even and how alike: of counts, of shares, of weights, of similarities.

Definitions: `docs/measures.md`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curate.sampling.arrays import Floats, Ints


def effective_number(counts: npt.ArrayLike) -> float:
    """exp(−Σ p ln p) of non-negative *counts*: so many equally frequent kinds (Hill number of order 1).

    Jost, Oikos 113, 2006. 0 where the counts sum to nothing.
    """
    mass = np.asarray(counts, np.float64)
    total = mass.sum()
    if total <= 0:
        return 0.0
    share = mass[mass > 0] / total
    return float(np.exp(-(share * np.log(share)).sum()))


def divergence(candidates: Ints, drawn: Ints) -> float:
    """Kullback-Leibler divergence Σ p ln(p/q) in nats of the shares p of *drawn* from q of *candidates*.

    NaN where nothing was drawn; every kind that was drawn has candidates.
    """
    if not drawn.sum():
        return float("nan")
    share, expected = drawn / drawn.sum(), candidates / candidates.sum()
    held = drawn > 0
    return float((share[held] * np.log(share[held] / expected[held])).sum())


def divergence_from_uniform(candidates: Ints, drawn: Ints) -> float:
    """ln K − H(p) in nats: divergence of the shares of *drawn* from equal shares of the K kinds with candidates."""
    if not drawn.sum():
        return float("nan")
    return float(np.log((candidates > 0).sum()) - np.log(effective_number(drawn)))


def kish(weight: Floats) -> float:
    """Effective sample size per row, (Σw)² / (n Σw²), of rows weighted by *weight* (Kish, Survey Sampling, 1965)."""
    return float(weight.sum() ** 2 / (weight**2).sum() / len(weight)) if len(weight) else float("nan")


def kish_of_strata(candidates: Ints, drawn: Ints) -> float:
    """`kish` of weights N/n, which give each stratum its share of the candidates back."""
    held = drawn > 0
    if not held.any():
        return float("nan")
    weight: Floats = candidates[held] / drawn[held]
    return float((drawn[held] * weight).sum() ** 2 / (drawn[held] * weight**2).sum() / drawn.sum())


def vendi(similarity: Floats) -> float:
    """exp(−Σ λ ln λ) of the eigenvalues λ of K/m: how many unlike rows, in effect, *similarity* K is made of.

    Friedman and Dieng, The Vendi Score, TMLR 2023, definition 3.1. K is (m, m), positive semidefinite, ones on
    its diagonal; m³ operations.
    """
    values = np.linalg.eigvalsh(similarity / len(similarity))
    return effective_number(np.maximum(values, 0.0))
