"""A pool that has been counted, ready for draws of any budget.

Two passes over the pool, group by group. The first counts kinds of rows (`counting`); splits, strata and their seats
follow from the counts alone. The second collects, per stratum, the rows of smallest priority (`candidates`).
Whether those suffice is checked stratum by stratum, and where they do not, more are collected; so the result is that
of a sort of the whole pool, while memory goes with the budget and the number of strata.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.catalog.errors import InputError
from curate.catalog.schema import SEASONS, SPLITS
from curate.running import running
from curate.sampling import counting
from curate.sampling.allocation import Seats, lead, seat
from curate.sampling.arrays import Floats, Ints, Mask, Words, distinct, numbers
from curate.sampling.buffer import Rows
from curate.sampling.buffer import part as part_up
from curate.sampling.candidates import ALL, Candidates, Leaves, Wanted, candidates, drawable
from curate.sampling.counting import Counted
from curate.sampling.distance import Queue, spread
from curate.sampling.draw import Draw
from curate.sampling.forest import Strata, strata_of
from curate.sampling.hashing import hash_strings
from curate.sampling.keeping import Kept, locate
from curate.sampling.kinds import Kinds
from curate.sampling.levels import scheme_of
from curate.sampling.priority import order, season_shares
from curate.sampling.source import Pool, Run, threads
from curate.sampling.splits import Blocks, assign_blocks
from curate.sampling.unique import refuse_duplicates
from curate.sphere import chord, unit_vectors

if TYPE_CHECKING:
    from curate.recipe import Sampling

_SURELY = 5.5  # standard deviations by which more candidates are collected than seats
_COMPLETE = 0.6  # a stratum of which so large a share is collected is collected whole
_SPATIAL = np.uint64(((1 << 14) - 1) << 50)  # the part of a priority that the dates of a place share
_PLACES = 8.0  # places by which a leaf's dates are drawn towards the mean
_MORE = 4  # times as many, where candidates did not suffice


class Sampler:
    """A counted pool."""

    def __init__(
        self, pool: Pool, sampling: Sampling, run: Run | None = None, folder: Path | None = None
    ) -> None:
        """Count *pool*.

        Args:
            run: runs a function over tasks; by default on threads of this process.
            folder: where counts are kept and looked for, a file a group of rows; None keeps them in memory.

        Raises:
            InputError: the pool is empty, lacks a column, has a chip id twice or no described row, or a file of it
                is broken.
        """
        if not pool.rows:
            raise InputError(
                "The pool is empty",
                "no pair of scenes gave a candidate chip",
                "See what was rejected in the summaries of: curate pair, curate describe",
            )
        self.pool, self.sampling = pool, sampling
        self._run = run or threads()
        self._scheme = scheme_of(pool, sampling, self._run)
        folder = None if pool.in_memory else folder
        self._tasks = [counting.Task(group, self._scheme, folder) for group in pool.groups]
        counted: list[Counted] = self._run(counting.count, self._tasks)
        if folder is not None:
            counting.forget(folder, counted)
        refuse_duplicates(pool, counted, self._run, folder)
        self.described = sum(part.described for part in counted)
        if not self.described:
            raise InputError(
                f"None of the pool's {pool.rows:,} chips can be drawn",
                "each lacks a climate or a land cover, or what else the levels need",
                "Check that the maps cover the region, and describe it again: curate describe",
            )
        kinds = Kinds.of(counted)
        self._blocks = _assign(counted, kinds, sampling)
        parted = part_up(self._tasks, counted, kinds, self._blocks, sampling, self._run, folder)
        out = parted.buffer
        self.buffered = len(out.row)
        self._seasons = _seasons(counted, out, sampling.seed)
        split = np.repeat(np.arange(len(SPLITS)), len(kinds))
        codes = np.column_stack([split, np.tile(kinds.codes, (len(SPLITS), 1))])
        self.strata: Strata = strata_of(
            codes, parted.number.ravel(), list(kinds.climates), self._scheme, sampling
        )
        leaf = self.strata.leaf.astype(np.int32).reshape(parted.number.shape)
        parts = np.split(out.row, np.searchsorted(out.group, np.arange(1, len(counted))))
        self._leaves = [
            Leaves(part.word, np.ascontiguousarray(leaf[:, index]), self._blocks, lost)
            for part, index, lost in zip(counted, kinds.index, parts, strict=True)
        ]
        self._dates = _dates(counted, kinds, leaf, len(self.strata.tree.leaf_size))
        self._held = Candidates.none()
        self._forced = False  # whether rows are held whatever their priority
        self._high = np.zeros(len(self.strata.tree.leaf_size), np.int64)  # bounds up to which rows are held

    def draw(self, budget: int, refused: Ints | None = None) -> Draw:
        """Draw *budget* rows, or all that there are; *refused*, indices into the pool, are not drawn.

        Where chips are kept (`sampling.keep`) they hold the first seats.

        Raises:
            InputError: the budget is below 1, or what is kept cannot be read.
        """
        _refuse_nothing(budget)
        tree = self.strata.tree
        leaves = len(tree.leaf_size)
        refused = np.empty(0, np.int64) if refused is None else np.unique(refused)
        kept = self._kept
        self._also(np.concatenate([refused, kept.rows]))
        lost = np.bincount(self._leaves_of(self._drawable(refused)), minlength=leaves).astype(np.int64)
        capacity = tree.leaf_size - lost
        holds = self._drawable(kept.rows[~np.isin(kept.rows, refused)])
        seats = seat(tree, min(budget, int(capacity.sum())), capacity)
        if len(holds) or self.sampling.floor:
            floor = np.minimum(capacity, self.sampling.floor)
            seats = lead(seats, self._leaves_of(holds), floor, tree.path, len(seats.leaf))
        rows = self._fill(seats, holds, refused, lost)
        return self._draw_of(
            rows, seats, lost, refused, self._summary(budget, seats, capacity, kept, len(holds))
        )

    def draw_by(self, choose: Callable[[int, Ints], Ints], budget: int, refused: Ints) -> Draw:
        """The draw of the rows that *choose* gives, with the strata, splits and weights of this pool.

        Args:
            choose: (number, among) → so many of the rows *among*, in order; the first of them are those of a
                smaller number, so that a refused row's seat goes to the next one.

        Raises:
            InputError: the budget is below 1.
        """
        _refuse_nothing(budget)
        among = self._available(np.empty(0, np.int64))
        refused = np.unique(refused)
        rows = choose(min(budget + len(refused), len(among)), among)
        rows = rows[~np.isin(rows, refused)][:budget]
        self._also(np.concatenate([refused, rows]))
        tree = self.strata.tree
        leaves = len(tree.leaf_size)
        lost = np.bincount(self._leaves_of(self._drawable(refused)), minlength=leaves).astype(np.int64)
        leaf = self._leaves_of(rows)
        seats = Seats(leaf, np.empty(0, np.int64), np.bincount(leaf, minlength=leaves).astype(np.int64))
        nothing = Kept(np.empty(0, np.int64), 0, 0)
        summary = self._summary(budget, seats, tree.leaf_size - lost, nothing, 0)
        return self._draw_of(rows, seats, lost, refused, summary)

    def _draw_of(self, rows: Ints, seats: Seats, lost: Ints, refused: Ints, summary: dict[str, Any]) -> Draw:
        tree = self.strata.tree
        weight = (tree.leaf_size / np.maximum(seats.quota + lost, 1))[seats.leaf]
        # so many rows of equal weight would estimate the pool as well (Kish, Survey Sampling, 1965)
        summary["effective_size"] = float(weight.sum() ** 2 / (weight**2).sum()) if len(rows) else 0.0
        return Draw(
            rows=rows,
            labels=self._labels,
            label=seats.leaf,
            split=np.array(SPLITS)[tree.codes[:, 0][seats.leaf]],
            weight=weight,
            summary=summary,
            find_available=lambda: self._available(refused),
        )

    @cached_property
    def _labels(self) -> npt.NDArray[np.str_]:
        return self.strata.labels()

    @cached_property
    def _kept(self) -> Kept:
        return locate(self.sampling.keep, self.pool, self._run)

    def _also(self, rows: Ints) -> None:
        """Hold *rows*, whatever their priority, as far as they can be drawn."""
        rows = np.unique(rows[~np.isin(rows, self._held.row)]) if len(rows) else rows
        if len(rows):
            nothing = np.zeros_like(self._high)
            self._collect(nothing, nothing, rows)

    def _hold(self, need: Ints, tries: int) -> None:
        """Hold candidates for *need* more rows of each leaf than are surely held."""
        size = self.strata.tree.leaf_size
        wanted = self._dates * (need + _SURELY * np.sqrt(need) + 4) * float(_MORE) ** tries
        share = np.where(need > 0, wanted / np.maximum(size, 1), 0.0)
        share = np.where(share > _COMPLETE, 1.0, share)
        high = np.maximum(self._high, np.ceil(share * ALL).astype(np.int64))
        if np.any(high > self._high):
            self._collect(self._high, high, np.empty(0, np.int64))
            self._high = high

    def _collect(self, low: Ints, high: Ints, also: Ints) -> None:
        extra: dict[int, Ints] = {group: inside for group, _, inside in self.pool.locate(also)}
        none = np.empty(0, np.int64)
        shown = high > low
        tasks = [
            Wanted(task, leaves, low, high, self._seasons, extra.get(i, none))
            for i, (task, leaves) in enumerate(zip(self._tasks, self._leaves, strict=True))
            if i in extra or np.any(shown[leaves.leaf[leaves.leaf >= 0]])
        ]
        found = Candidates.stack(self._held, *self._run(candidates, tasks))
        if len(also) or self._forced:  # rows held whatever their priority come again with their equals
            self._forced = True
            found = found.take(np.unique(found.row, return_index=True)[1])
        self._held = found

    def _fill(self, seats: Seats, holds: Ints, refused: Ints, lost: Ints) -> Ints:
        """The row of each seat."""
        need = np.where(seats.quota > 0, seats.quota + lost, 0)
        every = np.ones(len(need), np.bool_)
        ranking = _Ranking.none(len(need))
        tries = 0
        if self._high.any():  # what an earlier draw has collected may do
            ranking = self._rank(ranking, every, holds, refused)
            rows, short = self._seated(seats, ranking, holds)
        else:
            rows, short = holds, every
        while short.any():
            self._hold(np.where(short, need, 0), tries)
            ranking = self._rank(ranking, short, holds, refused)
            rows, short = self._seated(seats, ranking, holds)
            tries += 1
        return rows

    def _rank(self, ranking: _Ranking, leaves: Mask, holds: Ints, refused: Ints) -> _Ranking:
        """*ranking* with the candidates of some *leaves* ranked anew."""
        held = self._held
        at: Ints | slice = slice(None) if leaves.all() else np.flatnonzero(leaves[held.leaf])
        leaf, first, row = held.leaf[at], held.first[at], held.row[at]
        if len(holds):  # a kept date of a place stands before its others
            first = np.where(np.isin(row, holds), first & _SPATIAL, first)
        ranked, foremost = order(leaf, held.cell[at], held.place[at], first, held.chip[at])
        if len(refused) or len(holds):
            fit = ~np.isin(row, np.concatenate([refused, holds]))[ranked]
            ranked, foremost = ranked[fit], foremost[fit]
        leaf, sure = leaf[ranked], foremost
        if self._forced:  # some were not held for their priority, and others may come before them
            sure = foremost & ((held.first[at][ranked] >> np.uint64(32)).astype(np.int64) < self._high[leaf])
        number = np.bincount(leaf, minlength=len(leaves)).astype(np.int64)
        enough = np.bincount(leaf[sure], minlength=len(leaves)).astype(np.int64)
        return ranking.replaced(leaves, row[ranked], number, enough)

    def _seated(self, seats: Seats, ranking: _Ranking, holds: Ints) -> tuple[Ints, Mask]:
        """The row of each seat from what is held, and the leaves of which too little is held to be sure."""
        leaf_of = self._leaves_of(holds)
        before = np.bincount(leaf_of, minlength=len(seats.quota))
        complete = self._high >= ALL
        short = ~complete & (ranking.enough < seats.quota - before)
        if short.any():
            return holds, short
        leading = holds[: len(seats.leaf)]
        begin = np.cumsum(ranking.number) - ranking.number
        if self.sampling.min_distance_km > 0:
            # beyond the first of each place and cell, what is held is complete only where all is held
            number = np.where(complete, ranking.number, ranking.enough)
            index = np.repeat(begin, number) + running(number)
            rows = np.concatenate([ranking.row[index], leading])
            fixed = len(index) + np.arange(len(leading))
            reach = chord(self.sampling.min_distance_km)
            queue = Queue(number, complete)
            chosen, short = spread(seats.leaf, fixed, queue, self._points(rows), reach)
            return rows[np.maximum(chosen, 0)], short
        later = seats.rank >= before[seats.leaf]
        if len(leading) == 0:
            return ranking.row[begin[seats.leaf] + seats.rank], short
        rows = np.empty(len(seats.leaf), np.int64)
        rows[: len(leading)] = leading
        rows[later] = ranking.row[(begin - before)[seats.leaf[later]] + seats.rank[later]]
        return rows, short

    def _drawable(self, rows: Ints) -> Ints:
        """Those of *rows*, which were to be held, that are: the others cannot be drawn."""
        return rows[np.isin(rows, self._held.row)] if len(rows) else rows

    def _leaves_of(self, rows: Ints) -> Ints:
        """Leaf of each of some *rows* that are held."""
        if not len(rows):
            return np.empty(0, np.int64)
        by_row = np.argsort(self._held.row)
        at = by_row[_positions(self._held.row[by_row], rows)]
        return self._held.leaf[at].astype(np.int64)

    def _points(self, rows: Ints) -> Floats:
        table = self.pool.take(rows, ["lon", "lat"])
        lon, lat = (numbers(table[name], np.float64) for name in ("lon", "lat"))
        return unit_vectors(lon, lat)

    def _available(self, refused: Ints) -> Ints:
        every = np.concatenate(self._run(drawable, list(zip(self._tasks, self._leaves, strict=True))))
        return every[~np.isin(every, refused)]

    def _summary(self, budget: int, seats: Seats, capacity: Ints, kept: Kept, holds: int) -> dict[str, Any]:
        """Counts of the draw; in = undescribed + buffer + refused + available.

        Where nothing was refused, Σ weight + unrepresented = available.
        """
        tree, quota, split = self.strata.tree, seats.quota, self.strata.tree.codes[:, 0]
        available, taken = int(capacity.sum()), int(quota.sum())
        stratum, kinds = distinct(list(tree.codes[:, 1:].T))
        blocks = self._blocks.counts()
        per_split = {
            name: {
                "blocks": blocks[name],
                "available": int(capacity[split == which].sum()),
                "drawn": int(quota[split == which].sum()),
                "unrepresented": int(capacity[(split == which) & (quota == 0)].sum()),
            }
            for which, name in enumerate(SPLITS)
        }
        message = f"The budget of {budget:,} exceeds the {available:,} candidates: all of them are taken."
        summary = {
            "in": self.pool.rows,
            "undescribed": self.pool.rows - self.described,
            "buffer": self.buffered,
            "refused": int((tree.leaf_size - capacity).sum()),
            "available": available,
            "asked": budget,
            "taken": taken,
            "splits": per_split,
            "levels": list(self.sampling.levels),
            "strata": len(kinds),
            "strata_drawn": len(np.unique(stratum[quota > 0])),
            "strata_merged": self.strata.merged,  # below min_stratum, before they were put together
            # candidates of strata without a seat: no weight covers them
            "unrepresented": int(capacity[quota == 0].sum()),
            "message": message if budget > available else None,
        }
        if self.sampling.keep:
            gone = {"not_in_pool": kept.absent, "not_drawable": len(kept.rows) - holds}
            summary["kept"] = {"asked": kept.asked, "held": min(holds, taken), **gone}
        if self.sampling.target:
            summary["beyond_target"] = self.strata.beyond(quota)
        return summary


@dataclass(frozen=True, eq=False)
class _Ranking:
    """Rows that are held in the order in which they are drawn, leaf after leaf."""

    row: Ints
    number: Ints  # (leaves,) rows of each leaf
    enough: Ints  # (leaves,) of which so many, the first, stay the first whatever else the leaf has

    @classmethod
    def none(cls, leaves: int) -> _Ranking:
        return cls(np.empty(0, np.int64), np.zeros(leaves, np.int64), np.zeros(leaves, np.int64))

    def replaced(self, leaves: Mask, row: Ints, number: Ints, enough: Ints) -> _Ranking:
        """With other rows for some *leaves*."""
        if leaves.all():
            return _Ranking(row, number, enough)
        stay = np.repeat(~leaves, self.number)
        counts = np.where(leaves, number, self.number)
        rows = np.empty(int(counts.sum()), np.int64)
        new = np.repeat(leaves, counts)
        rows[new], rows[~new] = row, self.row[stay]
        return _Ranking(rows, counts, np.where(leaves, enough, self.enough))


def _refuse_nothing(budget: int) -> None:
    if budget < 1:
        raise InputError(
            f"A budget of {budget} draws nothing", do="Write for example --budget 250k, 1M or 25%"
        )


def _assign(counted: Sequence[Counted], kinds: Kinds, sampling: Sampling) -> Blocks:
    letters = sorted({label[:1] for label in kinds.climates})
    main = [
        np.array([letters.index(label[:1]) for label in part.climates], np.int64)[part.climate]
        for part in counted
    ]
    block = np.concatenate([part.block for part in counted]).astype(np.int64)
    rows = np.concatenate([part.count for part in counted]).astype(np.float64)
    arounds = [part.around for part in counted]
    return assign_blocks(block, np.concatenate(main), rows, arounds, sampling.splits, sampling.seed)


def _seasons(counted: Sequence[Counted], out: Rows, seed: int) -> tuple[Words, Words]:
    """Hash of each season, and its share among the rows outside the buffer, in sixteenths."""
    rows = np.sum([part.by_season for part in counted], axis=0)
    shares = season_shares(SEASONS, rows - np.bincount(out.season, minlength=len(SEASONS)))
    hashes = hash_strings(pa.array(SEASONS, pa.string()), seed)
    return hashes, np.array([shares[name] for name in SEASONS], np.uint64)


def _dates(counted: Sequence[Counted], kinds: Kinds, leaf: npt.NDArray[np.int32], leaves: int) -> Floats:
    """(leaves,) At most about so many rows a place, from places chosen by hash; all that is known where few are."""
    rows, places = np.zeros(len(kinds)), np.zeros(len(kinds))
    for part, index in zip(counted, kinds.index, strict=True):
        rows[index] += part.some
        places[index] += part.places
    mean = max(rows.sum(), 1.0) / max(places.sum(), 1.0)  # in a small pool no place may be among the chosen
    within = leaf >= 0
    kind = np.broadcast_to(np.arange(len(kinds)), leaf.shape)[within]
    some = np.bincount(leaf[within], rows[kind], minlength=leaves) + _PLACES * mean
    found = np.bincount(leaf[within], places[kind], minlength=leaves) + _PLACES
    return np.asarray(some / found * (1 + 1 / np.sqrt(found)), np.float64)


def _positions(ascending: Ints, values: Ints) -> Ints:
    """Where *values* stand among *ascending*; those that do not are left out."""
    at = np.minimum(np.searchsorted(ascending, values), max(len(ascending) - 1, 0))
    return at[ascending[at] == values] if len(ascending) else np.empty(0, np.int64)
