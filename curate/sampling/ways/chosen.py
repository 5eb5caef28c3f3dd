"""The way that a recipe names, as a draw with strata, splits and weights like the sampler's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from curate.catalog.errors import InputError
from curate.catalog.schema import landcover_column
from curate.sampling.arrays import Ints
from curate.sampling.draw import Draw
from curate.sampling.strata import landcover_codes
from curate.sampling.ways import ways

if TYPE_CHECKING:
    from curate.recipe import Sampling
    from curate.sampling.sampler import Sampler

MOST_ROWS = 20_000_000  # of a pool; a million take about 0.2 GB
_COLUMNS = ("chip_id", "lon", "lat", "koppen", "koppen_symbol")


def refuse_size(sampling: Sampling, rows: int, budget: int) -> None:
    """Refuse a pool of *rows* or a *budget* that the recipe's way cannot take, before anything is read.

    Raises:
        InputError: names the limit.
    """
    if sampling.way == "strata":
        return
    if rows > MOST_ROWS:
        raise InputError(
            f"The way {sampling.way!r} cannot take {rows:,} candidates",
            f"it holds the pool in memory, at most {MOST_ROWS:,}",
            "Draw with --way strata, which takes any pool",
        )
    ways([sampling.way], sampling)[0].refuse(rows, budget)


def draw_as_chosen(sampler: Sampler, budget: int, refused: Ints) -> Draw:
    """Draw *budget* rows as the recipe says; *refused*, indices into the pool, are not drawn.

    Raises:
        InputError: the way cannot take the pool or the budget.
    """
    sampling = sampler.sampling
    if sampling.way == "strata":
        return sampler.draw(budget, refused)
    refuse_size(sampling, sampler.pool.rows, budget)
    (way,) = ways([sampling.way], sampling)
    fractions = [landcover_column(code) for code in landcover_codes(sampler.pool.schema)]
    table = sampler.pool.read([*_COLUMNS, *fractions])
    return sampler.draw_by(
        lambda number, among: way.choice(table, number, sampling.seed, among), budget, refused
    )
