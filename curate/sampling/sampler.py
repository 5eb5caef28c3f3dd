"""A pool that has been counted, ready for draws of any budget.

Two passes over the pool, group by group. The first counts kinds of rows (`counting`); splits, strata and their seats
follow from the counts alone. The second collects, per stratum, the rows of smallest priority (`candidates`).
Whether those suffice is checked stratum by stratum, and where they do not, more are collected; so the result is that
of a sort of the whole pool, while memory goes with the budget and the number of strata.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from curate.catalog.errors import InputError
from curate.catalog.schema import SPLITS
from curate.running import running
from curate.sampling import counting
from curate.sampling.allocation import Seats, lead, seat
from curate.sampling.arrays import Floats, Ints, Mask, distinct, numbers
from curate.sampling.candidates import ALL, Candidates, Wanted, candidates
from curate.sampling.counting import Counted
from curate.sampling.distance import Queue, spread
from curate.sampling.draw import Draw
from curate.sampling.forest import Strata, strata_of
from curate.sampling.keeping import Kept, locate
from curate.sampling.levels import scheme_of
from curate.sampling.priority import order, season_shares
from curate.sampling.source import Pool, Run, threads
from curate.sampling.splits import Blocks, assign_blocks, blocks_are_wide, too_near
from curate.sampling.unique import refuse_duplicates
from curate.sphere import chord, unit_vectors

if TYPE_CHECKING:
    from curate.recipe import Sampling

_SURELY = 5.0  # standard deviations by which more candidates are collected than seats
_COMPLETE = 0.6  # a stratum of which so large a share is collected is collected whole
_SPATIAL = np.uint64(((1 << 14) - 1) << 50)  # the part of a priority that the dates of a place share
_TOGETHER = 32  # groups of rows whose kinds are put together at a time
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
        scheme = scheme_of(pool, sampling, self._run)
        folder = None if pool.in_memory else folder
        tasks = [counting.Task(group, scheme, folder) for group in pool.groups]
        self._counted: list[Counted] = self._run(counting.count, tasks)
        if folder is not None:
            counting.forget(folder, self._counted)
        refuse_duplicates(pool, self._counted, folder)
        self._kinds = [len(counted.kinds) for counted in self._counted]
        self.described = sum(int(counted.count.sum()) for counted in self._counted)
        if not self.described:
            raise InputError(
                f"None of the pool's {pool.rows:,} chips can be drawn",
                "each lacks a climate or a land cover, or what else the levels need",
                "Check that the maps cover the region, and describe it again: curate describe",
            )
        climates = sorted({label for counted in self._counted for label in counted.climates})
        self._blocks = self._assign(climates)
        self._out, buffered, by_season = self._buffer()
        self.buffered = sum(int(lost.sum()) for lost in buffered)
        seasons = sorted(by_season)
        self._shares = season_shares(seasons, np.array([by_season[name] for name in seasons], np.int64))
        kinds, rows, where = self._without_blocks(climates, buffered)
        self.strata: Strata = strata_of(
            np.concatenate(kinds), np.concatenate(rows), climates, scheme, sampling
        )
        leaves = np.split(self.strata.leaf.astype(np.int32), np.cumsum([len(part) for part in kinds])[:-1])
        self._leaf = [  # of each kind of row, group by group; the last one is that of rows not described
            np.append(leaf[index], np.int32(-1))
            for leaf, indices in zip(leaves, where, strict=True)
            for index in indices
        ]
        self._counted = [counted.without_kinds() for counted in self._counted]
        self._held = Candidates.none()
        self._forced = False  # whether rows are held whatever their priority
        self._high = np.zeros(len(self.strata.tree.leaf_size), np.int64)  # bounds up to which rows are held
        self._dates = self.described / max(1, sum(counted.places for counted in self._counted))

    def draw(self, budget: int, refused: Ints | None = None) -> Draw:
        """Draw *budget* rows, or all that there are; *refused*, indices into the pool, are not drawn.

        Where chips are kept (`sampling.keep`) they hold the first seats.

        Raises:
            InputError: the budget is below 1, or what is kept cannot be read.
        """
        if budget < 1:
            raise InputError(
                f"A budget of {budget} draws nothing", do="Write for example --budget 250k, 1M or 25%"
            )
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
        weight = (tree.leaf_size / np.maximum(seats.quota + lost, 1))[seats.leaf]
        split = tree.codes[:, 0]
        return Draw(
            rows=rows,
            labels=self._labels,
            label=seats.leaf,
            split=np.array(SPLITS)[split[seats.leaf]],
            weight=weight,
            summary=self._summary(budget, seats, capacity, weight, kept, len(holds)),
            find_available=lambda: self._available(refused),
        )

    @cached_property
    def _labels(self) -> npt.NDArray[np.str_]:
        return self.strata.labels()

    @cached_property
    def _kept(self) -> Kept:
        return locate(self.sampling.keep, self.pool, self._counted, self.sampling.seed, self._run)

    def _assign(self, climates: list[str]) -> Blocks:
        letters = sorted({label[:1] for label in climates})
        main = np.array([letters.index(label[:1]) for label in climates], np.int64)
        pairs, rows = [], []
        for counted in self._counted:
            kinds = _recoded(counted, climates)
            index, found = distinct([kinds[:, counting.BLOCK], main[kinds[:, counting.CLIMATE]]])
            pairs.append(found)
            rows.append(np.bincount(index, counted.count, minlength=len(found)))
        block, letter = np.concatenate(pairs).T
        arounds = [counted.around for counted in self._counted]
        splits = self.sampling.splits
        return assign_blocks(block, letter, np.concatenate(rows), arounds, splits, self.sampling.seed)

    def _without_blocks(
        self, climates: list[str], buffered: list[Ints]
    ) -> tuple[list[Ints], list[Ints], list[list[npt.NDArray[np.int32]]]]:
        """Kinds of rows with their split in place of their block, some groups at a time: far fewer.

        Returns:
            Of some groups at a time, kinds, how many rows outside the buffer each has, and which of them each kind
            of each group became.
        """
        kinds, rows, where = [], [], []
        for begin in range(0, len(self._counted), _TOGETHER):
            some = self._counted[begin : begin + _TOGETHER]
            old = np.concatenate([_recoded(counted, climates) for counted in some])
            old[:, counting.BLOCK] = self._blocks.of(old[:, counting.BLOCK])
            number = np.concatenate([counted.count for counted in some])
            left = number - np.concatenate(buffered[begin : begin + _TOGETHER])
            index, found = distinct(list(old.T))
            kinds.append(found)
            rows.append(np.bincount(index, left, minlength=len(found)).astype(np.int64))
            ends = np.cumsum([len(counted.kinds) for counted in some])
            where.append(np.split(index.astype(np.int32), ends[:-1]))
        return kinds, rows, where

    def _buffer(self) -> tuple[list[Ints], list[Ints], dict[str, int]]:
        """Rows too near to another split, group by group; how many of each kind; and rows left of each season."""
        by_season: dict[str, int] = {}
        for counted in self._counted:
            for name, number in zip(counted.seasons, counted.by_season.tolist(), strict=True):
                by_season[name] = by_season.get(name, 0) + number
        splits = self.sampling.splits
        everywhere = not blocks_are_wide(splits)
        if splits.buffer_km == 0 or len(np.unique(self._blocks.split)) < 2:
            near = [_NOTHING_NEAR for _ in self._counted]
        else:
            near = self._run(_borders, [(counted, self._blocks, everywhere) for counted in self._counted])
        lon, lat, split = (np.concatenate([part[k] for part in near]) for k in (1, 2, 3))
        index, place = distinct([lon.view(np.int64), lat.view(np.int64)])
        at = np.zeros(len(place), np.int64)
        at[index] = np.arange(len(index))
        out = too_near(lon[at], lat[at], split[at], splits.buffer_km)[index]
        parts = np.split(out, np.cumsum([len(part[0]) for part in near])[:-1])
        rows = [part[0][drop] for part, drop in zip(near, parts, strict=True)]
        kinds = [np.zeros(number, np.int64) for number in self._kinds]
        for i, (row, counted) in enumerate(zip(rows, self._counted, strict=True)):
            if len(row):
                kept = counted.rows()
                kinds[i] = np.bincount(kept.kind[row], minlength=self._kinds[i]).astype(np.int64)
                lost = np.bincount(kept.season[row], minlength=len(counted.seasons)).tolist()
                for name, number in zip(counted.seasons, lost, strict=True):
                    by_season[name] -= number
        return rows, kinds, {name: number for name, number in by_season.items() if number}

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
        low, high = np.append(low, 0), np.append(high, 0)  # the last one is that of leaf −1
        extra: dict[int, Ints] = {group: inside for group, _, inside in self.pool.locate(also)}
        none = np.empty(0, np.int64)
        groups = zip(self._counted, self.pool.groups, self._leaf, self._out, strict=True)
        tasks = [
            Wanted(
                counted,
                group.first,
                leaf,
                out,
                low,
                high,
                self._shares,
                self.sampling.seed,
                extra.get(i, none),
            )
            for i, (counted, group, leaf, out) in enumerate(groups)
            if i in extra or np.any(high[leaf] > low[leaf])
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
        fixed = np.isin(row, holds)
        before = np.where(fixed, first & _SPATIAL, first)  # a kept date of a place stands before its others
        ranked, foremost = order(leaf, held.cell[at], held.place[at], before, held.chip[at])
        if len(refused) or len(holds):
            fit = ~(np.isin(row, refused) | fixed)[ranked]
            ranked, foremost = ranked[fit], foremost[fit]
        leaf = leaf[ranked]
        sure = foremost & ((first[ranked] >> np.uint64(32)).astype(np.int64) < self._high[leaf])
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
        parts = []
        groups = zip(self._counted, self.pool.groups, self._leaf, self._out, strict=True)
        for counted, group, leaf, out in groups:
            drawable = leaf[counted.rows().kind] >= 0
            drawable[out] = False
            parts.append(np.flatnonzero(drawable) + group.first)
        every = np.concatenate(parts)
        return every[~np.isin(every, refused)]

    def _summary(
        self, budget: int, seats: Seats, capacity: Ints, weight: Floats, kept: Kept, holds: int
    ) -> dict[str, Any]:
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
            # so many rows of equal weight would estimate the pool as well (Kish, Survey Sampling, 1965)
            "effective_size": float(weight.sum() ** 2 / (weight**2).sum()) if taken else 0.0,
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


_NOTHING_NEAR = (np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.int8))


def _borders(task: tuple[Counted, Blocks, bool]) -> tuple[Ints, Floats, Floats, npt.NDArray[np.int8]]:
    """Rows of one group that may lie within the buffer of another split: position, place (degrees), split."""
    counted, blocks, everywhere = task
    mixed = blocks.borders(counted.around) | everywhere
    if not mixed.any():
        return _NOTHING_NEAR
    near = counted.edges()
    inner = mixed[near.around]
    split = blocks.of(counted.around.blocks[:, 0])[near.around[inner]]
    return near.row[inner].astype(np.int64), near.lon[inner], near.lat[inner], split


def _recoded(counted: Counted, climates: list[str]) -> Ints:
    """The kinds of one group, their climates as indices into those of the whole pool."""
    kinds = counted.kinds.astype(np.int64)
    code = np.array([climates.index(label) for label in counted.climates], np.int64)
    kinds[:, counting.CLIMATE] = code[kinds[:, counting.CLIMATE]]
    return kinds


def _positions(ascending: Ints, values: Ints) -> Ints:
    """Where *values* stand among *ascending*; those that do not are left out."""
    at = np.minimum(np.searchsorted(ascending, values), max(len(ascending) - 1, 0))
    return at[ascending[at] == values] if len(ascending) else np.empty(0, np.int64)
