"""Levels of the tree by name: what of a row each looks at, and what its codes mean.

``climate`` and ``landcover`` (the set of classes present) are the default; ``dominant`` is the largest class alone,
``entropy`` a bin of the chip's spectral entropy, ``region`` a cell of an equal-area table, ``cluster`` the code of
a cluster of embeddings. The last three read a column that the pool must have, or the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.catalog.errors import InputError
from curate.catalog.schema import landcover_column
from curate.sampling import keys, strata
from curate.sampling.arrays import Ints, Mask, encode, numbers
from curate.sampling.source import Group, Pool, Run
from curate.sampling.sphere import EqualAreaTable

if TYPE_CHECKING:
    from curate.recipe import Sampling

COLUMNS = ("chip_id", "place", "lon", "lat", "season", "koppen", "koppen_symbol", "lc_dominant")
_LOOKED_AT = ("spot", "season", "koppen", "koppen_symbol", "lc_dominant")  # in place of the column kind
_STEPS = 32  # quantiles of the entropy are rounded to so many steps a bit, that a pool may grow a little


@dataclass(frozen=True)
class Scheme:
    """All that decides how a row is counted; rows and scheme alike, counts alike."""

    seed: int
    levels: tuple[str, ...]
    presence: float
    landcover: tuple[int, ...]  # codes of the classes whose fractions the pool holds
    block_deg: float
    buffer_km: float
    entropy_column: str = ""
    entropy_edges: tuple[float, ...] = ()  # between the bins, ascending
    region_deg: float = 0.0
    cluster_column: str = ""
    # of the climates in the column kind: codes and how they read; None where descriptors are read in its place
    climates: tuple[tuple[int, str], ...] | None = None


def scheme_of(pool: Pool, sampling: Sampling, run: Run) -> Scheme:
    """How *pool* is counted under *sampling*.

    Raises:
        InputError: the pool lacks a column that a level needs.
    """
    needed = list(COLUMNS)
    asked = {"entropy": sampling.entropy_column, "cluster": sampling.cluster_column}
    needed += [column for name, column in asked.items() if name in sampling.levels]
    for name in needed:
        if name not in pool.schema.names:
            levels = [level for level, column in asked.items() if column == name and level in sampling.levels]
            why = f"the level {levels[0]!r} needs it" if levels else ""
            raise InputError(f"The pool has no column {name!r}", why, "Describe it again: curate describe")
    entropy = "entropy" in sampling.levels
    edges: tuple[float, ...] = ()
    if entropy:
        edges = sampling.entropy_edges or _quantiles(
            pool, sampling.entropy_column, sampling.entropy_bins, run
        )
    landcover = strata.landcover_codes(pool.schema)
    known = pool.legend if len(landcover) <= keys.MOST_CLASSES else None
    return Scheme(
        seed=sampling.seed,
        levels=tuple(sampling.levels),
        presence=sampling.presence,
        landcover=landcover,
        block_deg=sampling.splits.block_deg,
        buffer_km=sampling.splits.buffer_km,
        entropy_column=sampling.entropy_column if entropy else "",
        entropy_edges=edges,
        region_deg=sampling.region_deg if "region" in sampling.levels else 0.0,
        cluster_column=sampling.cluster_column if "cluster" in sampling.levels else "",
        climates=known.climates if known and known.presence == sampling.presence else None,
    )


def columns(scheme: Scheme) -> list[str]:
    """The pool's columns that the first pass reads."""
    further = [name for name in (scheme.entropy_column, scheme.cluster_column) if name]
    if scheme.climates is not None:
        return ["spot", "kind", *further]
    fractions = [landcover_column(code) for code in scheme.landcover] if "landcover" in scheme.levels else []
    return [*_LOOKED_AT, *fractions, *further]


def described(table: pa.Table, scheme: Scheme) -> Mask:
    """True where a row has climate, land cover, and what else the levels need."""
    known = scheme.climates is not None
    valid = numbers(table["kind"], np.uint64) != 0 if known else strata.described(table)
    if scheme.entropy_column:
        valid &= np.isfinite(_floats(table, scheme.entropy_column))
    if scheme.cluster_column:
        valid &= np.asarray(pc.is_valid(table[scheme.cluster_column]).to_numpy()).astype(np.bool_)
    return valid


def climates(known: pa.Table) -> tuple[Ints, tuple[str, ...]]:
    """Climate of each row as an index into the labels: symbols, or codes where the map names none."""
    symbol = known["koppen_symbol"]
    return encode(symbol) if not symbol.null_count else strata.climates(known)


def further(scheme: Scheme) -> list[str]:
    """The levels whose codes are counted beside climate and dominant class."""
    return [name for name in scheme.levels if name not in ("climate", "dominant")]


def own(scheme: Scheme) -> list[str]:
    """Those of them that the column kind does not say."""
    return [name for name in further(scheme) if name != "landcover"]


def codes(name: str, known: pa.Table, scheme: Scheme) -> Ints:
    """Code of each described row on the level *name*, one meaning in every group of rows."""
    if name == "landcover":
        return strata.presence_sets(known, scheme.landcover, scheme.presence).view(np.int64)
    if name == "entropy":
        edges = np.asarray(scheme.entropy_edges)
        return np.searchsorted(edges, _floats(known, scheme.entropy_column), side="right").astype(np.int64)
    if name == "region":
        spot = numbers(known["spot"], np.uint64)
        return EqualAreaTable.of_side(scheme.region_deg).at(spot).astype(np.int64)
    return numbers(known[scheme.cluster_column].cast(pa.int64()), np.int64)


def label(name: str, code: int, scheme: Scheme) -> str:
    """How a code of level *name* reads: ``10+40``, ``10``, ``e2`` (from ``e1``), ``r123``, ``k7``."""
    if name == "landcover":
        return "+".join(str(one) for bit, one in enumerate(scheme.landcover) if code >> bit & 1)
    return {"dominant": f"{code}", "entropy": f"e{code + 1}", "region": f"r{code}", "cluster": f"k{code}"}[
        name
    ]


def _quantiles(pool: Pool, column: str, bins: int, run: Run) -> tuple[float, ...]:
    """Edges between *bins* equally full bins, in whole steps; fewer where the values are alike."""
    parts: Sequence[tuple[Ints, Ints]] = run(_steps, [(group, column) for group in pool.groups])
    step = np.concatenate([part[0] for part in parts]) if parts else np.empty(0, np.int64)
    number = np.concatenate([part[1] for part in parts]) if parts else np.empty(0, np.int64)
    if not len(step):
        return ()
    found, index = np.unique(step, return_inverse=True)
    running = np.cumsum(np.bincount(index, weights=number))
    last = [int(np.searchsorted(running, running[-1] * k / bins)) for k in range(1, bins)]
    edges = sorted({int(found[at]) + 1 for at in last if at < len(found) - 1})
    return tuple(edge / _STEPS for edge in edges)


def _steps(task: tuple[Group, str]) -> tuple[Ints, Ints]:
    """The values of one group's column in whole steps, and how often each occurs."""
    group, column = task
    values = _floats(group.read([column]), column)
    step, number = np.unique(np.floor(values[np.isfinite(values)] * _STEPS), return_counts=True)
    return step.astype(np.int64), number.astype(np.int64)


def _floats(table: pa.Table, column: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray(pc.fill_null(table[column].cast(pa.float64()), float("nan")).to_numpy())
