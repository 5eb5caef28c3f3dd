"""Duplicates: one acquisition under several ids, because it was processed again or listed twice."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from typing import Any

import shapely

from curate.scenes import Rejected

OLDER_DUPLICATE = "older duplicate"
_SAME_TIME = dt.timedelta(seconds=10)  # sensing times differ by seconds between baselines; S1 slices by 25 s
_SAME_PLACE = 0.7  # intersection over union: the two halves of a split Sentinel-2 tile have far less
_TILE = re.compile(r"^(?:S2|HLS).*?[_.]T?(\d{1,2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])(?=[_.]|$)")
_PROCESSED = ("processing:datetime", "s2:generation_time", "s1:processing_datetime", "updated", "created")


def newest(
    rows: Iterable[dict[str, Any]], processed: Mapping[str, str] | None = None
) -> tuple[list[dict[str, Any]], list[Rejected]]:
    """Rows of `SCENES` with one row per acquisition, in their order, and the older ones that were left out.

    One acquisition: same sensor, platform, relative orbit and tile, sensed within 10 s, and footprints that cover
    each other by 70 % of their union. The highest processing baseline stays, then the latest processing time, then
    the last id in natural order. Rows without a time (static layers) or a platform all stay.

    Args:
        processed: id -> when it was processed, ISO 8601 UTC (`processing_time`), where that is known.
    """
    rows = list(rows)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, row in enumerate(rows):
        if row["datetime"] is not None and row["platform"] is not None:
            key = (row["sensor"], str(row["platform"]).lower(), row["relative_orbit"], tile_of(row["id"]))
            groups.setdefault(key, []).append(i)
    older: set[int] = set()
    for group in groups.values():
        group.sort(key=lambda i: rows[i]["datetime"])
        for near in _near_in_time(rows, group):
            older |= _superseded(rows, near, processed or {})
    kept = [row for i, row in enumerate(rows) if i not in older]
    return kept, [Rejected(rows[i]["id"], OLDER_DUPLICATE) for i in sorted(older)]


def tile_of(name: str) -> str | None:
    """The MGRS tile that a product's id names (``S2A_T31UFS_…``, ``S2A_31UFS_…``), without a leading zero."""
    found = _TILE.match(name)
    return found[1].lstrip("0") if found else None


def processing_time(properties: Mapping[str, Any]) -> str:
    """When an item was processed, else listed, as its properties say it; empty where they are silent."""
    return next((str(properties[key]) for key in _PROCESSED if properties.get(key)), "")


def _near_in_time(rows: list[dict[str, Any]], group: list[int]) -> Iterable[list[int]]:
    """Runs of two and more whose times lie close to each other; *group* is sorted by time."""
    run: list[int] = []
    for i in group:
        if run and rows[i]["datetime"] - rows[run[-1]]["datetime"] > _SAME_TIME:
            if len(run) > 1:
                yield run
            run = []
        run.append(i)
    if len(run) > 1:
        yield run


def _superseded(rows: list[dict[str, Any]], run: list[int], processed: Mapping[str, str]) -> set[int]:
    """Those of *run* that lie where a newer one lies."""
    best_first = sorted(run, key=lambda i: _age(rows[i], processed), reverse=True)
    kept: list[shapely.Geometry] = []
    older: set[int] = set()
    for i in best_first:
        shape = shapely.from_wkb(rows[i]["geometry"])
        if any(_same_place(shape, other) for other in kept):
            older.add(i)
        else:
            kept.append(shape)
    return older


def _same_place(one: shapely.Geometry, other: shapely.Geometry) -> bool:
    common = shapely.area(shapely.intersection(one, other))
    return bool(common >= _SAME_PLACE * (shapely.area(one) + shapely.area(other) - common))


def _age(row: dict[str, Any], processed: Mapping[str, str]) -> tuple[list[int], str, list[tuple[int, str]]]:
    """Sorts older before newer."""
    baseline = [int(number) for number in re.findall(r"\d+", row["baseline"] or "")]
    natural = [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", row["id"])]
    return baseline, processed.get(row["id"], ""), natural
