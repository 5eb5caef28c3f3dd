"""Duplicates: one acquisition under several ids, because it was processed again or listed twice."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from curate.radiometry import baseline_number

OLDER_DUPLICATE = "older duplicate"
_SAME_TIME_US = 10_000_000  # sensing times differ by seconds between baselines; S1 slices by 25 s
_SAME_PLACE = 0.7  # intersection over union: the two halves of a split Sentinel-2 tile have far less
_TILE = re.compile(r"^(?:S2|HLS).*?[_.]T?(\d{1,2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])(?=[_.]|$)")
_PROCESSED = ("processing:datetime", "s2:generation_time", "s1:processing_datetime", "updated", "created")
_FEW = 32  # rows at one time: all their pairs are compared; of more, those that lie near each other

Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def older_rows(table: pa.Table) -> Flags:
    """Which rows are superseded by another row of the same acquisition.

    One acquisition: the same id; or same sensor, platform, relative orbit and tile, sensed within 10 s, and
    footprints that cover each other by 70 % of their union. The highest processing baseline stays, then the latest
    processing time, then the last id in natural order. Without a time (static layers) or a platform only rows of
    one id are duplicates.

    Args:
        table: columns of `SCENES` (assets are not needed) and ``processed``.
    """
    older = np.zeros(table.num_rows, bool)
    rank = _Ranks(table)
    sensor = _codes(table["sensor"])
    rows, run_of = _newest_first(_runs(np.stack([sensor, _codes(table["id"])])), rank)
    older[rows[1:][np.diff(run_of) == 0]] = True
    single = pc.and_(pc.is_valid(table["datetime"]), pc.is_valid(table["platform"])).to_numpy() & ~older
    rows = np.flatnonzero(single)
    if not len(rows):
        return older
    part = table.select(["id", "platform", "relative_orbit", "datetime"]).take(pa.array(rows))
    times = part["datetime"].cast(pa.int64()).to_numpy()
    tiles = pa.array([tile_of(name) for name in part["id"].to_pylist()], pa.string())
    platforms = pc.utf8_lower(part["platform"])
    keys = np.stack([sensor[rows], *map(_codes, (platforms, part["relative_orbit"], tiles))])
    older[_superseded(table, [rows[run] for run in _runs(keys, times)], rank)] = True
    return older


def tile_of(name: str) -> str | None:
    """The MGRS tile that a product's id names (``S2A_T31UFS_…``, ``S2A_31UFS_…``), without a leading zero."""
    found = _TILE.match(name)
    return found[1].lstrip("0") if found else None


def processing_time(properties: Mapping[str, Any]) -> str:
    """When an item was processed, else listed, as its properties say it, in UTC; empty where they are silent."""
    said = next((str(properties[key]) for key in _PROCESSED if properties.get(key)), "")
    try:
        time = dt.datetime.fromisoformat(said)
        time = time.astimezone(dt.UTC) if time.tzinfo else time.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        return said
    return time.isoformat(timespec="microseconds")


def _codes(column: pa.ChunkedArray | pa.Array) -> Ints:
    """Equal numbers for equal values; nulls are equal to each other."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    indices = array.dictionary_encode(null_encoding="encode").indices
    codes: Ints = indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _runs(keys: Ints, times: Ints | None = None) -> list[Ints]:
    """Rows of two and more with equal *keys* (shape: keys, rows) whose *times* follow each other closely."""
    order = np.lexsort((np.zeros(keys.shape[1]) if times is None else times, *keys))
    breaks = (np.diff(keys[:, order], axis=1) != 0).any(axis=0)
    if times is not None:
        breaks |= np.diff(times[order]) > _SAME_TIME_US
    starts = np.flatnonzero(np.concatenate([[True], breaks])) if len(order) else np.zeros(0, np.int64)
    ends = np.append(starts[1:], len(order))
    several = np.flatnonzero(ends - starts > 1)
    return [order[starts[k] : ends[k]] for k in several]


class _Ranks:
    """Sort keys of rows, older before newer, made for the few rows that need one."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table.select(["id", "baseline", "processed", "geometry"])

    def of(self, rows: Ints) -> Ints:
        """Ranks of *rows* among themselves, 0 the oldest."""
        part = self._table.take(pa.array(rows)).to_pylist()
        keys = [_age(row) for row in part]
        ranks = np.empty(len(rows), np.int64)
        ranks[sorted(range(len(rows)), key=keys.__getitem__)] = np.arange(len(rows))
        return ranks


def _age(row: Mapping[str, Any]) -> tuple[float, str, list[tuple[int, str]], bytes]:
    """Sorts older before newer."""
    baseline = baseline_number(row["baseline"]) or 0.0  # 99.99 says nothing, and displaces nothing
    natural = [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", row["id"])]
    return baseline, row["processed"], natural, row["geometry"]


def _newest_first(runs: list[Ints], rank: _Ranks) -> tuple[Ints, Ints]:
    """Rows of all runs, the newest of each run first, and the number of the run that each belongs to."""
    rows = np.concatenate([np.zeros(0, np.int64), *runs])
    run_of = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
    order = np.lexsort((-rank.of(rows), run_of))
    return rows[order], run_of[order]


def _superseded(table: pa.Table, runs: list[Ints], rank: _Ranks) -> Ints:
    """Rows of *runs* that lie where a newer row of their run lies that stays itself.

    All runs at a time: first every run's newest row stays, then its second is compared with that one, and so on.
    """
    if not runs:
        return np.zeros(0, np.int64)
    rows, run_of = _newest_first(runs, rank)
    place = np.arange(len(rows)) - np.searchsorted(run_of, run_of)
    shapes = shapely.from_wkb(table["geometry"].take(pa.array(rows)).to_numpy(zero_copy_only=False))
    newer, later = _candidates(run_of, shapes)
    common = shapely.area(shapely.intersection(shapes[newer], shapes[later]))
    union = shapely.area(shapes[newer]) + shapely.area(shapes[later]) - common
    same = common >= _SAME_PLACE * union
    newer, later = newer[same], later[same]
    older = np.zeros(len(rows), bool)
    by_place = np.argsort(place[later], kind="stable")
    newer, later = newer[by_place], later[by_place]
    for group in np.split(np.arange(len(later)), np.flatnonzero(np.diff(place[later])) + 1):
        older[later[group][~older[newer[group]]]] = True
    return rows[older]


def _candidates(run_of: Ints, shapes: npt.NDArray[np.object_]) -> tuple[Ints, Ints]:
    """Pairs of positions (newer, older) of one run whose footprints may be the same."""
    starts = np.flatnonzero(np.concatenate([[True], np.diff(run_of) != 0]))
    sizes = np.diff(np.append(starts, len(run_of)))
    firsts: list[Ints] = []
    seconds: list[Ints] = []
    for size in np.unique(sizes):
        at = starts[sizes == size]
        if size <= _FEW:
            i, j = np.triu_indices(size, 1)
            firsts.append((at[:, None] + i).ravel())
            seconds.append((at[:, None] + j).ravel())
            continue
        for start in at:
            inside = shapes[start : start + size]
            i, j = shapely.STRtree(inside).query(inside)
            firsts.append(start + i[i < j])
            seconds.append(start + j[i < j])
    return np.concatenate(firsts), np.concatenate(seconds)
