"""The draw: a budget of rows out of a pool, diverse, exact, nested, and the same whatever the rows' order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.catalog.errors import InputError
from curate.catalog.schema import SPLITS, landcover_column
from curate.sampling import strata
from curate.sampling.allocation import ALPHAS, Seats, seat
from curate.sampling.arrays import Floats, Ints, Mask, Words, numbers
from curate.sampling.hashing import hash_strings, stream
from curate.sampling.priority import cells, order, priority, season_shares
from curate.sampling.splits import Assignment, assign
from curate.sampling.tree import Level, Tree, plant

if TYPE_CHECKING:
    from curate.recipe import Sampling

_COLUMNS = ("chip_id", "place", "lon", "lat", "season", "koppen", "koppen_symbol", "lc_dominant")


@dataclass(frozen=True, eq=False)
class Draw:
    """The chosen rows in seat order: the first k are the sample of budget k.

    Weights belong to the whole draw: a prefix's own are N / n with the n of the prefix.
    """

    rows: Ints  # (n,) indices into the pool
    stratum: npt.NDArray[np.str_]  # (n,) climate and land-cover set: "Cfb · 10+40"
    split: npt.NDArray[np.str_]  # (n,) train, val or test
    weight: Floats  # (n,) candidates a row stands for: N / (n drawn + refused) of its stratum in its split
    available: Ints  # (m,) rows that could have been drawn: described, outside the buffer, not refused, in pool order
    summary: dict[str, Any]  # counts; see `_summary`


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
    _check(pool, budget)
    identity = hash_strings(pool["chip_id"], stream(sampling.seed, "chip"))
    _refuse_duplicates(pool, identity)
    fractions = [landcover_column(code) for code in strata.landcover_codes(pool)]
    has_descriptors = strata.described(pool)
    usable = np.flatnonzero(has_descriptors).astype(np.int64)
    if not len(usable):
        raise InputError(
            f"None of the pool's {pool.num_rows:,} chips can be drawn",
            "each lacks a climate or a land cover",
            "Check that the maps cover the region, and describe it again: curate describe",
        )
    known = pool.select([*_COLUMNS, *fractions]).filter(pa.array(has_descriptors))
    climate, symbols = strata.climates(known)
    lon, lat = (numbers(known[name], np.float64) for name in ("lon", "lat"))
    assignment = assign(lon, lat, _main(climate, symbols), sampling.splits, sampling.seed)
    inside = np.flatnonzero(~assignment.buffer)
    known, climate = known.filter(pa.array(~assignment.buffer)), climate[inside]

    cover, labels = strata.covers(known, sampling.presence)
    dominant = numbers(known["lc_dominant"], np.int64)
    cover, labels, merged = strata.merge_small(climate, cover, labels, dominant, sampling.min_stratum)
    alpha = ALPHAS[sampling.allocation]
    levels = (
        Level("split", assignment.split[inside].astype(np.int64), SPLITS, 1.0),
        Level("climate", climate, symbols, alpha),
        Level("cover", cover, labels, alpha),
    )
    tree, leaf = plant(levels, stream(sampling.seed, "tree"))
    unfit = np.zeros(len(inside), np.bool_) if refused is None else refused[usable[inside]]
    lost = np.bincount(leaf[unfit], minlength=len(tree.leaf_size)).astype(np.int64)
    capacity = tree.leaf_size - lost
    seats = seat(tree, min(budget, int(capacity.sum())), capacity)

    chip, place = identity[usable[inside]], hash_strings(known["place"], sampling.seed)
    cell = cells(lon[inside], lat[inside])
    first = priority(cell, place, known["season"], chip, season_shares(known), sampling.seed)
    ranked = order(leaf, cell, place, first, chip)
    ranked = ranked[
        np.argsort(2 * leaf[ranked] + unfit[ranked], kind="stable")
    ]  # unfit ones last in their leaf
    begins = np.cumsum(tree.leaf_size) - tree.leaf_size
    available = usable[inside]
    chosen = ranked[begins[seats.leaf] + seats.rank]
    texts = np.array([f"{symbols[c]} · {labels[s]}" for _, c, s in tree.codes.tolist()])
    return Draw(
        rows=available[chosen],
        stratum=texts[seats.leaf],
        split=np.array(SPLITS)[tree.codes[seats.leaf, 0]],
        weight=(tree.leaf_size / np.maximum(seats.quota + lost, 1))[seats.leaf],
        available=available[~unfit],
        summary=_summary(pool.num_rows, len(usable), budget, assignment, tree, seats, capacity, merged),
    )


def _check(pool: pa.Table, budget: int) -> None:
    if budget < 1:
        raise InputError(
            f"A budget of {budget} draws nothing", do="Write for example --budget 250k, 1M or 25%"
        )
    if missing := [name for name in _COLUMNS if name not in pool.column_names]:
        raise InputError(f"The pool has no column {missing[0]!r}", do="Describe it again: curate describe")
    if not pool.num_rows:
        raise InputError(
            "The pool is empty",
            "no pair of scenes gave a candidate chip",
            "See what was rejected in the summaries of: curate pair, curate describe",
        )


def _refuse_duplicates(pool: pa.Table, identity: Words) -> None:
    ordered = np.argsort(identity, kind="stable")
    same = np.flatnonzero(identity[ordered[1:]] == identity[ordered[:-1]])
    if not len(same):
        return
    suspects = np.unique(np.concatenate([ordered[same], ordered[same + 1]]))
    counts = pc.value_counts(pool["chip_id"].take(pa.array(suspects)))
    twice = sorted(entry["values"] for entry in counts.to_pylist() if entry["counts"] > 1)
    if twice:
        raise InputError(
            f"{len(twice):,} chip ids occur more than once in the pool: {', '.join(twice[:3])}",
            "a file may lie in the pool's folder twice",
            "Make the pool again: curate describe",
        )


def _main(climate: Ints, symbols: tuple[str, ...]) -> Ints:
    """Main climate of each row: its symbol's first letter (A tropical … E polar)."""
    letters = sorted({symbol[:1] for symbol in symbols})
    return np.array([letters.index(symbol[:1]) for symbol in symbols], np.int64)[climate]


def _summary(
    rows: int,
    usable: int,
    budget: int,
    assignment: Assignment,
    tree: Tree,
    seats: Seats,
    capacity: Ints,
    merged: int,
) -> dict[str, Any]:
    """Counts of the draw; in = undescribed + buffer + refused + available.

    Where nothing was refused, Σ weight + unrepresented = available.
    """
    size, quota, split = capacity, seats.quota, tree.codes[:, 0]
    available, taken = int(size.sum()), int(quota.sum())
    stratum = np.unique(tree.codes[:, 1:], axis=0, return_inverse=True)[1].ravel()
    per_split = {
        name: {
            "blocks": assignment.blocks[name],
            "available": int(size[split == which].sum()),
            "drawn": int(quota[split == which].sum()),
            "unrepresented": int(size[(split == which) & (quota == 0)].sum()),
        }
        for which, name in enumerate(SPLITS)
    }
    message = f"The budget of {budget:,} exceeds the {available:,} candidates: all of them are taken."
    return {
        "in": rows,
        "undescribed": rows - usable,
        "buffer": int(assignment.buffer.sum()),
        "refused": int((tree.leaf_size - capacity).sum()),
        "available": available,
        "asked": budget,
        "taken": taken,
        "splits": per_split,
        "strata": int(stratum.max()) + 1,
        "strata_drawn": len(np.unique(stratum[quota > 0])),
        "strata_merged": merged,  # strata below min_stratum, before they were put together
        "unrepresented": int(
            size[quota == 0].sum()
        ),  # candidates of strata without a seat: no weight covers them
        "least_train_eval_km": assignment.least_km,
        "message": message if budget > available else None,
    }
