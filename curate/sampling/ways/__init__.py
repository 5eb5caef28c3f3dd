"""Ways to draw a budget of rows out of a pool, all behind one door: ``way(pool, budget, seed, among) -> rows``.

Rows are indices into the pool, in order. Every way here nests: the first k rows are its sample of budget k. None
depends on the order of the pool's rows. A way that cannot hold a size refuses it before it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from curate.catalog.errors import InputError
from curate.sampling.allocation import ALPHAS
from curate.sampling.arrays import Ints
from curate.sampling.ways import clusters, shortlists
from curate.sampling.ways.allocated import allocated
from curate.sampling.ways.chance import random, uniform_by_area

if TYPE_CHECKING:
    from curate.recipe import Sampling

__all__ = ["WAYS", "Way", "random", "uniform_by_area", "ways"]

Choice = Callable[[pa.Table, int, int, Ints | None], Ints]
WAYS = (*ALPHAS, "random", "area", "kmeans", "hkmeans", "kcentre", "facility")


@dataclass(frozen=True)
class Way:
    """One way to draw, and what it can hold."""

    name: str
    meaning: str  # for a person
    choice: Choice
    most_candidates: int | None = None  # None: as many as fit into memory
    most_budget: int | None = None
    shortlist: int | None = None  # it chooses from so many candidates, themselves chosen by chance

    def __call__(self, pool: pa.Table, budget: int, seed: int, among: Ints | None = None) -> Ints:
        """*budget* rows of *pool* in order, drawn with *seed* from the rows *among* (None: all rows).

        Raises:
            InputError: it cannot hold so many candidates or so large a budget, or the budget is none.
        """
        self.refuse(pool.num_rows if among is None else len(among), budget)
        return self.choice(pool, budget, seed, among)

    def refuse(self, candidates: int, budget: int) -> None:
        """Refuse what it cannot hold, before anything is read.

        Raises:
            InputError: names the limit.
        """
        if budget < 1:
            raise InputError(f"A budget of {budget} draws nothing", do="Write for example 250k, 1M or 25%")
        if self.most_candidates is not None and candidates > self.most_candidates:
            raise InputError(
                f"The way {self.name!r} cannot take {candidates:,} candidates",
                f"it holds at most {self.most_candidates:,}",
                "Draw a smaller pool with another way first",
            )
        if self.most_budget is not None and budget > self.most_budget:
            raise InputError(
                f"The way {self.name!r} cannot draw {budget:,} chips",
                f"it draws at most {self.most_budget:,}, from a shortlist of {self.shortlist or candidates:,}",
                "Give a smaller --budget, or another way",
            )


def ways(names: Sequence[str], sampling: Sampling, embedding: str | None = None) -> list[Way]:
    """The ways *names*, in their order; *sampling* says how strata are made, *embedding* what clusters are of.

    Raises:
        InputError: an unknown name; names all that there are.
    """
    every = _all(sampling, embedding)
    if not names:
        raise InputError("There is no way to draw given", do=f"Ways are: {', '.join(WAYS)}")
    for name in names:
        if name not in every:
            raise InputError(f"There is no way {name!r}", do=f"Ways are: {', '.join(WAYS)}")
    return [every[name] for name in dict.fromkeys(names)]


def _all(sampling: Sampling, embedding: str | None) -> dict[str, Way]:
    found = [
        Way(
            name,
            f"strata, shares by size to the power {alpha:g}",
            partial(allocated, sampling=sampling, allocation=name),
        )
        for name, alpha in ALPHAS.items()
    ]
    of = "land cover and climate" if embedding is None else f"column {embedding}"
    found += [
        Way("random", "chance", random),
        Way("area", "equal shares for 1° blocks of equal area", uniform_by_area),
        Way(
            "kmeans",
            f"equal shares for {clusters.CLUSTERS:,} clusters of {of}",
            partial(clusters.kmeans, embedding=embedding),
            most_candidates=clusters.MOST_CANDIDATES,
        ),
        Way(
            "hkmeans",
            f"equal shares for clusters of {clusters.CLUSTERS:,} clusters of {of}",
            partial(clusters.hierarchical_kmeans, embedding=embedding),
            most_candidates=clusters.MOST_CANDIDATES,
        ),
        Way(
            "kcentre",
            f"farthest first in {of}",
            partial(shortlists.k_centre, embedding=embedding),
            most_budget=shortlists.CENTRE_BUDGET,
            shortlist=shortlists.CENTRE_SHORTLIST,
        ),
        Way(
            "facility",
            f"facility location in {of}",
            partial(shortlists.facility_location, embedding=embedding),
            most_budget=shortlists.FACILITY_BUDGET,
            shortlist=shortlists.FACILITY_SHORTLIST,
        ),
    ]
    return {way.name: way for way in found}
