"""Duplicates, against a plain loop over rows; and that a search's table does not depend on the order of answers."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely

from curate.archives.duplicates import older_rows, tile_of
from curate.archives.found import GATHERED, Answer, Found

FIRST = dt.datetime(2022, 5, 1, 10, 30, tzinfo=dt.UTC)


def random_rows(seed: int, number: int) -> list[dict[str, Any]]:
    """Scenes at few places and few times, so that many are duplicates of others."""
    random = np.random.default_rng(seed)
    rows = []
    for k in range(number):
        west, south = random.integers(0, 3) * 0.7, random.choice([0.0, 0.05, 0.6])
        tile = random.choice(["32TMS", "32TNS"])
        shape = shapely.box(west, south, west + 1, south + 1)
        box = dict(zip(("xmin", "ymin", "xmax", "ymax"), shape.bounds, strict=True))
        seconds = int(random.integers(0, 3)) * 40 + int(random.integers(0, 6))
        rows.append(
            {
                "id": f"S2A_{tile}_{random.integers(0, 5)}_{k}_L2A",
                "sensor": "sentinel-2-l2a",
                "platform": random.choice(["sentinel-2a", "Sentinel-2A", None], p=[0.6, 0.3, 0.1]),
                "datetime": FIRST + dt.timedelta(seconds=seconds) if random.random() > 0.05 else None,
                "relative_orbit": random.choice([8, 108, None]),
                "baseline": random.choice(["02.14", "05.00", None]),
                "processed": random.choice(["", "2022-06-01", "2023-06-01"]),
                "assets": [],
                "geometry": shapely.to_wkb(shape),
                "bbox": box,
            }
        )
    return rows


def by_loop(rows: list[dict[str, Any]]) -> set[str]:
    """Ids of the rows that stay: newest first, each compared with those that stay already."""

    def age(row: dict[str, Any]) -> Any:
        return row["baseline"] or "", row["processed"], [int(x) for x in row["id"].split("_")[2:4]], row["id"]

    def key(row: dict[str, Any]) -> Any:
        return row["platform"].lower(), row["relative_orbit"], tile_of(row["id"])

    single = [row for row in rows if row["datetime"] and row["platform"]]
    kept = {row["id"] for row in rows} - {row["id"] for row in single}
    for group in {key(row) for row in single}:
        inside = sorted((row for row in single if key(row) == group), key=lambda row: row["datetime"])
        runs: list[list[dict[str, Any]]] = []
        for row in inside:
            if runs and (row["datetime"] - runs[-1][-1]["datetime"]).total_seconds() <= 10:
                runs[-1].append(row)
            else:
                runs.append([row])
        for run in runs:
            stay: list[Any] = []
            for row in sorted(run, key=age, reverse=True):
                shape = shapely.from_wkb(row["geometry"])
                if all(shapely.area(shape & one) < 0.7 * shapely.area(shape | one) for one in stay):
                    stay.append(shape)
                    kept.add(row["id"])
    return kept


@pytest.mark.parametrize("number", [2, 20, 120, 900])
@pytest.mark.parametrize("seed", range(4))
def test_as_a_plain_loop_does_it(seed: int, number: int) -> None:
    rows = random_rows(seed, number)
    table = pa.Table.from_pylist(rows, schema=GATHERED)
    older = older_rows(table)
    assert set(table.filter(pa.array(~older))["id"].to_pylist()) == by_loop(rows)


def test_one_id_is_one_scene_whatever_it_lacks() -> None:
    rows = random_rows(1, 6)
    for k, row in enumerate(rows):
        row |= {"id": "static" if k < 4 else f"other-{k}", "datetime": None, "processed": f"202{k % 3}-01-01"}
        row["baseline"] = None
    older = older_rows(pa.Table.from_pylist(rows, schema=GATHERED))
    assert older.tolist() == [True, True, False, True, False, False]


def test_no_scene_at_all() -> None:
    assert older_rows(GATHERED.empty_table()).tolist() == []
    found = Found.of(iter([Answer()]))
    assert len(found) == 0 and found.scenes.num_rows == 0


def test_the_order_of_answers_does_not_matter() -> None:
    rows = random_rows(2, 500)
    random = np.random.default_rng(0)

    def gathered(order: Any) -> Found:
        answers = [Answer() for _ in range(7)]
        for place, k in enumerate(order):
            answers[place % 7]._rows.append(rows[k])
        return Found.of(iter(answers))

    one, two = gathered(range(500)), gathered(random.permutation(500))
    assert one.scenes.equals(two.scenes) and len(one) < 500
    assert len(one) + len(one.rejected) == len(two) + len(two.rejected) == 500
    pieces = list(one.tables(rows=16))
    assert max(piece.num_rows for piece in pieces) == 16
    assert pa.concat_tables(pieces).equals(one.scenes)
