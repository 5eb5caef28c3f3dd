"""What a sample looks like beside the pool it was drawn from: diversity, coverage, balance, spread.

`docs/measures.md` says what each measure means and how it reads. All but three are always taken; those three, which
compare rows with rows, take seconds and are taken on request.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import pyarrow as pa

from curate.catalog.schema import landcover_column
from curate.sampling import reach, strata
from curate.sampling.arrays import Floats, Ints, Words, encode, numbers
from curate.sampling.diversity import (
    divergence,
    divergence_from_uniform,
    effective_number,
    kish,
    kish_of_strata,
)
from curate.sampling.features import Descriptors
from curate.sampling.hashing import hash_strings, hash_words
from curate.sampling.spacing import spacing

__all__ = [
    "ADJACENT_KM",
    "ENTROPY",
    "OF_POOL",
    "Measures",
    "Yardstick",
    "effective_number",
    "measure",
    "reach_km",
]

RARE_ROWS = 100  # a stratum of at most so many candidates is rare
ADJACENT_KM = 1.3  # chips of 1.2 km that share a side are nearer than this
ENTROPY = "spectral_entropy"  # column of a pool whose chips' pixels were looked at, bits
_STEPS = 200  # descriptors that agree to ½ % are near-duplicates
_COLUMNS = ("chip_id", "place", "lon", "lat", "season", "koppen", "koppen_symbol", "lc_dominant")
_NAN = float("nan")


@dataclass(frozen=True)
class Measures:
    """Measures of a sample; an effective number is exp(entropy), so many equally frequent kinds."""

    rows: int
    climates: float  # effective number of climates
    dominant: float  # effective number of dominant land-cover classes
    mass: float  # effective number of land-cover classes by area
    climate_cover: float  # effective number of climate × dominant class
    strata: float  # effective number of climate × land-cover-set strata
    coverage: float  # share of the pool's strata with at least one row
    rare_recall: float  # share of the candidates in rare strata that were drawn; NaN where there are none
    kl_pool: float  # Kullback-Leibler divergence from the pool over climate × dominant class, nats
    kl_uniform: float  # divergence from equal shares of the pool's climates, nats
    ess: float  # effective sample size per row of its weights, or were strata weighted back to the pool
    adjacent: float  # share of rows with another drawn place within reach
    colocated: float  # share of rows whose place was drawn more than once
    places: int  # distinct places
    nearest_km: float  # median distance to the nearest other drawn place
    cells: float  # effective number of 1° cells of equal area
    seasons: float  # effective number of seasons
    repeated: float  # share of rows whose climate and fractions, in steps of ½ %, another drawn row shares
    entropy: float = _NAN  # mean spectral entropy, bits; NaN without the column `ENTROPY`
    entropy_spread: float = _NAN  # its standard deviation
    vendi: float = _NAN  # Vendi score; NaN unless asked for, as those below
    head: float = _NAN  # mean distance of random candidates to the sample, in feature space
    tail: float = _NAN  # the same of one candidate of each of many strata


OF_POOL = (
    "coverage",
    "rare_recall",
    "kl_pool",
    "kl_uniform",
    "head",
    "tail",
)  # say something only beside a pool


def reach_km(chip_m: float) -> float:
    """Distance within which the centres of chips of side *chip_m* (metres) are neighbours, kilometres."""
    return 1.1 * chip_m / 1000


class Yardstick:
    """A pool's candidates, encoded once, to measure any number of samples of them."""

    def __init__(
        self,
        pool: pa.Table,
        among: Ints | None = None,
        presence: float = 0.05,
        adjacent_km: float = ADJACENT_KM,
    ) -> None:
        """Candidates are the rows *among* of *pool* (None: all described rows); each must be described.

        Args:
            presence: share of a chip from which a land-cover class counts as present.
            adjacent_km: distance within which two places are neighbours.
        """
        self.candidates = np.flatnonzero(strata.described(pool)).astype(np.int64) if among is None else among
        codes = strata.landcover_codes(pool)
        self._fractions = [landcover_column(code) for code in codes]
        extra = [ENTROPY] if ENTROPY in pool.column_names else []
        self._known = pool.select([*_COLUMNS, *self._fractions, *extra]).take(pa.array(self.candidates))
        self._where = np.full(pool.num_rows, -1, np.int64)
        self._where[self.candidates] = np.arange(len(self.candidates))
        self._adjacent_km = adjacent_km
        self._climate, _ = strata.climates(self._known)
        cover, _ = strata.covers(self._known, presence)
        _, dominant = np.unique(numbers(self._known["lc_dominant"], np.int64), return_inverse=True)
        self._dominant: Ints = dominant.astype(np.int64)
        self._stratum = _joint(self._climate, cover)
        self._pair = _joint(self._climate, self._dominant)
        self._season, _ = encode(self._known["season"])

    def measure(self, rows: Ints, weight: Floats | None = None, *, full: bool = False) -> Measures:
        """Measures of *rows*, indices into the pool.

        Args:
            weight: of each row, where the sample has its own; `ess` is theirs then.
            full: whether to take the slow measures too: vendi, head, tail.

        Raises:
            ValueError: a row is not among the candidates.
        """
        drawn = self._where[rows]
        if np.any(drawn < 0):
            raise ValueError("rows to measure are not among the candidates")
        chosen = self._known.select(["place", "lon", "lat"]).take(pa.array(drawn))
        placed = spacing(chosen, self._adjacent_km)
        pool_strata, sample_strata = _both(self._stratum, drawn)
        pool_climates, sample_climates = _both(self._climate, drawn)
        rare = pool_strata <= RARE_ROWS
        mean, spread = self._entropy(drawn)
        slow = self._slow(drawn) if full else (_NAN, _NAN, _NAN)
        return Measures(
            rows=len(rows),
            climates=effective_number(sample_climates),
            dominant=effective_number(np.bincount(self._dominant[drawn])),
            mass=effective_number(
                [numbers(self._known[name], np.float64)[drawn].sum() for name in self._fractions]
            ),
            climate_cover=effective_number(np.bincount(self._pair[drawn])),
            strata=effective_number(sample_strata),
            coverage=float((sample_strata > 0).mean()),
            rare_recall=float(sample_strata[rare].sum() / pool_strata[rare].sum()) if rare.any() else _NAN,
            kl_pool=divergence(*_both(self._pair, drawn)),
            kl_uniform=divergence_from_uniform(pool_climates, sample_climates),
            ess=kish_of_strata(pool_strata, sample_strata) if weight is None else kish(weight),
            adjacent=placed.adjacent,
            colocated=placed.colocated,
            places=placed.places,
            nearest_km=placed.nearest_km,
            cells=placed.cells,
            seasons=effective_number(np.bincount(self._season[drawn])),
            repeated=self._repeated(drawn),
            entropy=mean,
            entropy_spread=spread,
            vendi=slow[0],
            head=slow[1],
            tail=slow[2],
        )

    def _repeated(self, drawn: Ints) -> float:
        if not len(drawn):
            return _NAN
        steps = [
            np.rint(numbers(self._known[name], np.float32)[drawn] * _STEPS).astype(np.int64)
            for name in self._fractions
        ]
        code = hash_words(self._climate[drawn], *steps, seed=0)
        _, times = np.unique(code, return_counts=True)
        return float(times[times > 1].sum() / len(drawn))

    def _entropy(self, drawn: Ints) -> tuple[float, float]:
        """Mean and standard deviation of spectral entropy over the rows that have one."""
        if ENTROPY not in self._known.column_names:
            return _NAN, _NAN
        column = self._known[ENTROPY].take(pa.array(drawn)).drop_null()
        values = numbers(column, np.float64)
        return (float(values.mean()), float(values.std())) if len(values) else (_NAN, _NAN)

    def _slow(self, drawn: Ints) -> tuple[float, float, float]:
        identity = self._identity[drawn]
        return (
            reach.vendi_score(self._points, drawn, identity),
            reach.distance_to_sample(self._points, drawn, identity, self._head),
            reach.distance_to_sample(self._points, drawn, identity, self._tail),
        )

    @cached_property
    def _identity(self) -> Words:
        return hash_strings(self._known["chip_id"], 0)

    @cached_property
    def _points(self) -> Descriptors:
        return Descriptors(self._known)

    @cached_property
    def _head(self) -> Ints:
        return reach.head_probes(self._identity)

    @cached_property
    def _tail(self) -> Ints:
        return reach.tail_probes(self._stratum, self._identity)


def measure(
    pool: pa.Table, rows: Ints, among: Ints | None = None, presence: float = 0.05, *, full: bool = False
) -> Measures:
    """Measures of *rows* of *pool* against the candidates *among* (None: all described rows).

    Both are indices into *pool*; candidates must be described and hold all *rows*. A `Yardstick` measures several
    samples of one pool with less work.
    """
    return Yardstick(pool, among, presence).measure(rows, full=full)


def names() -> tuple[str, ...]:
    """Names of all measures, in order."""
    return tuple(field.name for field in fields(Measures))


def _joint(first: Ints, second: Ints) -> Ints:
    index: Ints = np.unique(first * (int(second.max()) + 1) + second, return_inverse=True)[1]
    return index


def _both(kind: Ints, drawn: Ints) -> tuple[Ints, Ints]:
    """Candidates and drawn rows of each kind."""
    candidates = np.bincount(kind)
    return candidates.astype(np.int64), np.bincount(kind[drawn], minlength=len(candidates)).astype(np.int64)
