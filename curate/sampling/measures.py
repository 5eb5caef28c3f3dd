"""What a sample looks like beside the pool it was drawn from: diversity, coverage, balance, spread.

Definitions: `sampling.md`, section 4. All are cheap; a million rows take about a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.spatial import cKDTree

from curate.catalog.schema import landcover_column
from curate.sampling import strata
from curate.sampling.arrays import Floats, Ints, encode, numbers
from curate.sampling.sphere import chord, unit_vectors

RARE_ROWS = 100  # a stratum of at most so many candidates is rare
ADJACENT_KM = 1.3  # chips of 1.2 km that share a side are nearer than this
_COLUMNS = ("place", "lon", "lat", "season", "koppen", "koppen_symbol", "lc_dominant")


@dataclass(frozen=True)
class Measures:
    """Measures of a sample; an effective number is exp(entropy), so many equally frequent kinds."""

    rows: int
    climates: float  # effective number of climates
    dominant: float  # effective number of dominant land-cover classes
    mass: float  # effective number of land-cover classes by area
    strata: float  # effective number of climate × land-cover-set strata
    coverage: float  # share of the pool's strata with at least one row
    rare_recall: float  # share of the candidates in rare strata that were drawn; NaN where there are none
    kl_pool: float  # Kullback-Leibler divergence from the pool over climate × dominant class, nats
    ess: float  # effective sample size per row, were strata weighted back to the pool: (Σw)²/Σw²/n
    adjacent: float  # share of rows with another drawn place within 1.3 km
    colocated: float  # share of rows whose place was drawn more than once
    places: int  # distinct places
    seasons: float  # effective number of seasons


def effective_number(counts: npt.ArrayLike) -> float:
    """exp(−Σ p ln p) of non-negative *counts*; 0 where they sum to nothing."""
    mass = np.asarray(counts, np.float64)
    total = mass.sum()
    if total <= 0:
        return 0.0
    share = mass[mass > 0] / total
    return float(np.exp(-(share * np.log(share)).sum()))


def measure(pool: pa.Table, rows: Ints, among: Ints | None = None, presence: float = 0.05) -> Measures:
    """Measures of *rows* of *pool* against the candidates *among* (None: all described rows).

    Both are indices into *pool*; candidates must be described and hold all *rows*.
    """
    candidates = np.flatnonzero(strata.described(pool)) if among is None else among
    fractions = [landcover_column(code) for code in strata.landcover_codes(pool)]
    known = pool.select([*_COLUMNS, *fractions]).take(pa.array(candidates))
    where = np.full(pool.num_rows, -1, np.int64)
    where[candidates] = np.arange(len(candidates))
    drawn = where[rows]
    if np.any(drawn < 0):
        raise ValueError("rows to measure are not among the candidates")

    climate, _ = strata.climates(known)
    cover, _ = strata.covers(known, presence)
    _, dominant = np.unique(numbers(known["lc_dominant"], np.int64), return_inverse=True)
    stratum = _joint(climate, cover)
    season, _ = encode(known["season"])
    pool_strata, sample_strata = _both(stratum, drawn)
    rare = pool_strata <= RARE_ROWS
    adjacent, colocated, places = _spread(known, drawn)
    mass = [numbers(known[name], np.float64)[drawn].sum() for name in fractions]
    return Measures(
        rows=len(rows),
        climates=effective_number(np.bincount(climate[drawn])),
        dominant=effective_number(np.bincount(dominant[drawn])),
        mass=effective_number(mass),
        strata=effective_number(sample_strata),
        coverage=float((sample_strata > 0).mean()),
        rare_recall=float(sample_strata[rare].sum() / pool_strata[rare].sum())
        if rare.any()
        else float("nan"),
        kl_pool=_divergence(*_both(_joint(climate, dominant), drawn)),
        ess=_effective_share(pool_strata, sample_strata),
        adjacent=adjacent,
        colocated=colocated,
        places=places,
        seasons=effective_number(np.bincount(season[drawn])),
    )


def _joint(first: Ints, second: Ints) -> Ints:
    index: Ints = np.unique(first * (int(second.max()) + 1) + second, return_inverse=True)[1]
    return index


def _both(kind: Ints, drawn: Ints) -> tuple[Ints, Ints]:
    """Candidates and drawn rows of each kind."""
    candidates = np.bincount(kind)
    return candidates.astype(np.int64), np.bincount(kind[drawn], minlength=len(candidates)).astype(np.int64)


def _divergence(candidates: Ints, drawn: Ints) -> float:
    share, expected = drawn / max(drawn.sum(), 1), candidates / candidates.sum()
    held = drawn > 0
    return float((share[held] * np.log(share[held] / expected[held])).sum())


def _effective_share(candidates: Ints, drawn: Ints) -> float:
    held = drawn > 0
    if not held.any():
        return float("nan")
    weight: Floats = candidates[held] / drawn[held]
    return float((drawn[held] * weight).sum() ** 2 / (drawn[held] * weight**2).sum() / drawn.sum())


def _spread(known: pa.Table, drawn: Ints) -> tuple[float, float, int]:
    """Share of rows with a drawn neighbour, share of rows that share their place, number of places."""
    if not len(drawn):
        return float("nan"), float("nan"), 0
    chosen = known.select(["place", "lon", "lat"]).take(pa.array(drawn))
    place, _ = encode(chosen["place"])
    _, first, times = np.unique(place, return_index=True, return_counts=True)
    lon, lat = (numbers(chosen[name], np.float64)[first] for name in ("lon", "lat"))
    colocated = float(times[times > 1].sum() / len(drawn))
    if len(first) == 1:
        return 0.0, colocated, 1
    points = unit_vectors(lon, lat)
    reach = chord(ADJACENT_KM)
    # asked of two neighbours: a place's nearest is itself, or another at the very same coordinates
    distance, _ = cKDTree(points).query(points, k=2, distance_upper_bound=reach)
    return float(times[distance[:, 1] < reach].sum() / len(drawn)), colocated, len(first)
