"""The sampler itself as a way: strata with one of the named allocations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curate.sampling.arrays import Ints
from curate.sampling.draw import draw

if TYPE_CHECKING:
    from curate.recipe import Sampling


def allocated(
    pool: pa.Table, budget: int, seed: int, among: Ints | None, sampling: Sampling, allocation: str
) -> Ints:
    """*budget* rows of *pool* as `draw` chooses them under *sampling* with *seed* and *allocation*, in order.

    Levels, a target and a minimum distance are those of *sampling*; chips of an earlier catalog are not kept. Rows
    outside *among* give up their seats; they keep their say in splits and strata.
    """
    refused = None
    if among is not None:
        refused = np.ones(pool.num_rows, np.bool_)
        refused[among] = False
    settings = sampling.model_copy(update={"seed": seed, "allocation": allocation, "keep": None})
    return draw(pool, settings, budget, refused).rows
