"""Ways side by side at the same budget, from the same candidates, over several seeds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from curate.catalog.errors import InputError
from curate.sampling import measures
from curate.sampling.arrays import Ints
from curate.sampling.draw import draw
from curate.sampling.measures import ADJACENT_KM, Yardstick
from curate.sampling.ways import Way

if TYPE_CHECKING:
    from curate.recipe import Sampling

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """Mean over seeds and half the width of its 95 % interval; NaN where there is one seed."""

    mean: float
    half: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Student's t interval of the mean of *values*; they are taken as independent and normal."""
        from scipy.stats import t

        found = np.asarray(values, np.float64)
        if len(found) < 2:
            return cls(float(found.mean()) if len(found) else math.nan, math.nan)
        error = float(found.std(ddof=1)) / math.sqrt(len(found))
        return cls(float(found.mean()), float(t.ppf((1 + CONFIDENCE) / 2, len(found) - 1)) * error)


@dataclass(frozen=True)
class Comparison:
    """Ways side by side. A way is in `runs` once a seed, or in `refused` with its reason."""

    budget: int
    seeds: tuple[int, ...]
    candidates: dict[int, int]  # by seed: described rows outside the buffers of that seed's splits
    runs: list[dict[str, Any]]  # way, seed, seconds, and every measure
    refused: dict[str, str]  # way -> why it did not draw

    def intervals(self) -> dict[str, dict[str, Interval]]:
        """Way -> measure -> its interval over seeds, `seconds` too."""
        found: dict[str, dict[str, Interval]] = {}
        for name in dict.fromkeys(run["way"] for run in self.runs):
            of = [run for run in self.runs if run["way"] == name]
            found[name] = {
                measure: Interval.of([float(run[measure]) for run in of])
                for measure in ("seconds", *measures.names())
            }
        return found

    def table(self) -> pa.Table:
        """One row a way and seed, and one a way that refused; NaN is null."""
        rows = [{"budget": self.budget, **run, "refused": None} for run in self.runs]
        rows += [{"budget": self.budget, "way": way, "refused": why} for way, why in self.refused.items()]
        whole = pa.int64()
        types = {"way": pa.string(), "budget": whole, "seed": whole, "seconds": pa.float64()}
        types |= {name: whole if name in ("rows", "places") else pa.float64() for name in measures.names()}
        types |= {"refused": pa.string()}
        return pa.Table.from_arrays(
            [
                pa.array([row.get(name) for row in rows], dtype, from_pandas=True)
                for name, dtype in types.items()
            ],
            names=list(types),
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values; NaN is None."""
        ways = {
            way: {name: plain(asdict(interval)) for name, interval in intervals.items()}
            for way, intervals in self.intervals().items()
        }
        return {
            "budget": self.budget,
            "seeds": list(self.seeds),
            "candidates": {str(seed): number for seed, number in self.candidates.items()},
            "ways": ways,
            "refused": self.refused,
            "runs": [plain(run) for run in self.runs],
        }


def plain(fields: dict[str, Any]) -> dict[str, Any]:
    """*fields* with None for what is not finite, which JSON cannot hold."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in fields.items()
    }


def candidates_of(pool: pa.Table, sampling: Sampling) -> Ints:
    """Rows of *pool* that a draw under *sampling* chooses from: described, and outside the splits' buffers."""
    return draw(pool, sampling, 1).available


def side_by_side(
    pool: pa.Table,
    sampling: Sampling,
    ways: Sequence[Way],
    budget: int,
    seeds: int = 3,
    adjacent_km: float = ADJACENT_KM,
    *,
    full: bool = False,
    done: Callable[[], None] = lambda: None,
) -> Comparison:
    """Draw *budget* rows of *pool* by each of *ways* with *seeds* seeds from *sampling*'s on, and measure them.

    A way that cannot take the pool or the budget is listed with its reason, and the others go on.

    Args:
        full: take the slow measures too.
        done: called after each way and seed.

    Raises:
        InputError: the budget is more than the candidates, or the pool cannot be drawn from.
    """
    every = tuple(range(sampling.seed, sampling.seed + seeds))
    runs: list[dict[str, Any]] = []
    refused: dict[str, str] = {}
    candidates: dict[int, int] = {}
    for seed in every:
        settings = sampling.model_copy(update={"seed": seed, "keep": None})
        among = candidates_of(pool, settings)
        candidates[seed] = len(among)
        if budget > len(among):
            raise InputError(
                f"A budget of {budget:,} is over the {len(among):,} candidates",
                "of the whole pool every way would draw the same",
                "Give a smaller --budget, for example 25%",
            )
        yardstick = Yardstick(pool, among, sampling.presence, adjacent_km)
        for way in ways:
            if way.name not in refused:
                try:
                    begun = time.perf_counter()
                    rows = way(pool, budget, seed, among)
                except InputError as error:
                    refused[way.name] = str(error)
                except MemoryError:
                    refused[way.name] = "It ran out of memory."
                else:
                    seconds = time.perf_counter() - begun
                    found = asdict(yardstick.measure(rows, full=full))
                    runs.append({"way": way.name, "seed": seed, "seconds": seconds, **found})
            done()
    runs = [run for way in ways for run in runs if run["way"] == way.name and way.name not in refused]
    return Comparison(budget, every, candidates, runs, refused)
