"""The draw: a budget of rows out of a pool, diverse, exact, nested, and the same whatever the rows' order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.sampling.arrays import Floats, Ints, Mask, numbers
from curate.sampling.source import Pool
from curate.sampling.splits import least_km

if TYPE_CHECKING:
    from curate.recipe import Sampling


@dataclass(frozen=True, eq=False)
class Draw:
    """The chosen rows in seat order: the first k are the sample of budget k.

    Weights belong to the whole draw: a prefix's own are N / n with the n of the prefix.
    """

    rows: Ints  # (n,) indices into the pool
    labels: npt.NDArray[np.str_]  # (strata,) labels of the levels: "Cfb · 10+40"; not all unlike each other
    label: Ints  # (n,) index into them
    split: npt.NDArray[np.str_]  # (n,) train, val or test
    weight: Floats  # (n,) candidates a row stands for: N / (n drawn + refused) of its stratum in its split
    summary: dict[str, Any]  # counts; see `Sampler.draw`
    find_available: Callable[[], Ints] = field(repr=False)

    @cached_property
    def stratum(self) -> npt.NDArray[np.str_]:
        """(n,) The stratum each row was drawn from."""
        return self.labels[self.label]

    @cached_property
    def available(self) -> Ints:
        """Rows that could have been drawn: described, outside the buffer, not refused, in pool order."""
        return self.find_available()


def draw(pool: pa.Table, sampling: Sampling, budget: int, refused: Mask | None = None) -> Draw:
    """Draw *budget* rows of *pool* (`curate.catalog.schema.pool_schema`); all of it where that is smaller.

    Args:
        refused: (rows,) True for candidates that were found to be unfit. They keep their say in splits, strata and
            weights, as nobody knows which other candidates are unfit; only their seats go to the next in line. So
            the sample of a small budget stays a prefix of that of a larger one, which finds more of them.

    Raises:
        InputError: the budget is below 1, the pool is empty, lacks a column, has a chip id twice, or has no
            described row.
    """
    from curate.sampling.sampler import Sampler

    sampler = Sampler(Pool.of_table(pool), sampling)
    unfit = np.empty(0, np.int64) if refused is None else np.flatnonzero(refused).astype(np.int64)
    drawn = sampler.draw(budget, unfit)
    chosen = pool.select(["lon", "lat"]).take(pa.array(drawn.rows))
    lon, lat = (numbers(chosen[name], np.float64) for name in ("lon", "lat"))
    drawn.summary["least_train_eval_km"] = least_km(lon, lat, drawn.split)
    return drawn
