"""Pairing against an oracle in plain Python, on random scenes and on the real archive."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely

from curate.catalog.errors import InputError
from curate.catalog.schema import SEASONS
from curate.grid import Grid
from curate.pairing import Cells, Scenes, candidate_cells, pair
from curate.pairing.choice import SAME_COVERAGE
from curate.pairing.places import meet
from curate.pairing.times import partners_in_time, seasons
from curate.recipe import Recipe
from curate.scenes import table
from curate.sensors import sensor

GRID = Grid(10)
S2, S1, DEM = "sentinel-2-l2a", "sentinel-1-rtc", "cop-dem-glo-30"
START = dt.datetime(2020, 1, 30, 10, 17, 33, 123_457, tzinfo=dt.UTC)


def scene(
    name: str, sensor: str, when: dt.datetime | None, shape: shapely.Geometry, cloud: float | None = None
) -> dict[str, Any]:
    return {
        "id": name,
        "sensor": sensor,
        "collection": sensor,
        "platform": "p",
        "datetime": when,
        "orbit_state": "ascending",
        "relative_orbit": 7,
        "baseline": "03.01",
        "offset": 0 if sensor == S2 else None,
        "cloud_cover": cloud,
        "assets": [],
        "geometry": shapely.to_wkb(shape),
        "bbox": dict(zip(("xmin", "ymin", "xmax", "ymax"), shape.bounds, strict=True)),
    }


def cells_of(box: tuple[float, float, float, float]) -> Cells:
    row, col = GRID.within(*box)
    return Cells(row, col, GRID.polygons(row, col))


def recipe(**options: Any) -> Recipe:
    return Recipe().with_options(
        {
            "pairing.per_season": 0,
            "pairing.policy": "nearest",
            "pairing.max_cloud_percent": 60,
            **{k.replace("__", "."): v for k, v in options.items()},
        }
    )


def run(cells: Cells, rows: list[dict[str, Any]], chosen: Recipe) -> tuple[pa.Table, int, dict[str, int]]:
    scenes = table(rows)
    return pair(cells, {name: Scenes.of(scenes, sensor(name)) for name in chosen.sensor_names}, chosen)


def random_scenes(seed: int) -> tuple[Cells, list[dict[str, Any]]]:
    """A dozen cells, S2 and S1 frames that cover, cut or miss them, times on a grid of exact hours and beside it."""
    random = np.random.default_rng(seed)
    lon, lat = random.uniform(-170, 170), random.uniform(-60, 60)
    cells = cells_of((lon, lat, lon + 0.3, lat + 0.2))
    rows = []
    for i in range(int(random.integers(4, 16))):
        sensor = S2 if random.random() < 0.5 else S1
        hours = float(random.choice([0, 12, 24, 48, 72, 96, 144, 200])) + random.choice([0, 0, 1 / 3600])
        west, south = lon + random.uniform(-0.4, 0.3), lat + random.uniform(-0.3, 0.2)
        shape = shapely.box(west, south, west + random.uniform(0.05, 0.8), south + random.uniform(0.05, 0.5))
        cloud = None if random.random() < 0.3 else float(random.integers(0, 100))
        when = START + dt.timedelta(seconds=round(hours * 3600))
        rows.append(scene(f"{sensor[9]}-{i:02d}", sensor, when, shape, cloud if sensor == S2 else None))
    return cells, rows


def margin(cell: shapely.Geometry, size_m: float) -> shapely.Geometry:
    """The cell with one chip around it, as wide in longitude as it must be at the cell's far end from the equator."""
    lat = max(abs(cell.bounds[1]), abs(cell.bounds[3]))
    return cell.buffer(size_m / 111_000 / max(np.cos(np.radians(lat)), 0.02), join_style="mitre")


def oracle(cells: Cells, rows: list[dict[str, Any]], chosen: Recipe) -> tuple[set[tuple[str, str, str]], int]:
    """Pairs (cell, anchor, partner) and how many anchors came in, by loops."""
    names = GRID.names(cells.row, cells.col)
    limit = dt.timedelta(days=chosen.pairing.max_dt_days)
    pairs, came_in = set(), 0
    shapes = {row["id"]: shapely.from_wkb(row["geometry"]) for row in rows}
    for name, cell in zip(names, cells.polygons, strict=True):
        for anchor in (row for row in rows if row["sensor"] == S2):
            if not (shapes[anchor["id"]] & cell).area:
                continue
            came_in += 1
            if (anchor["cloud_cover"] or 0) > chosen.pairing.max_cloud_percent:
                continue
            area = margin(cell, chosen.chips.size_m) & shapes[anchor["id"]]
            candidates = []
            for partner in (row for row in rows if row["sensor"] == S1):
                apart = abs(partner["datetime"] - anchor["datetime"])
                if apart <= limit and shapes[partner["id"]].intersects(cell):
                    cover = (area & shapes[partner["id"]] & cell).area
                    candidates.append((cover, apart, partner["datetime"], partner["id"]))
            if not candidates or max(candidates)[0] == 0:
                continue
            most = max(cover for cover, *_ in candidates)
            good = [c for c in candidates if c[0] >= SAME_COVERAGE * most]
            pairs.add((str(name), anchor["id"], min(good, key=lambda c: c[1:])[-1]))
    return pairs, came_in


@pytest.mark.parametrize("seed", range(60))
def test_pairs_and_partners_are_those_of_the_oracle(seed: int) -> None:
    cells, rows = random_scenes(seed)
    chosen = recipe()
    pairs, came_in, rejected = run(cells, rows, chosen)
    expected, expected_in = oracle(cells, rows, chosen)
    found = list(zip(*(pairs[name].to_pylist() for name in ("cell", "s2_id", "s1_id")), strict=True))
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert came_in == expected_in == pairs.num_rows + sum(rejected.values())
    times = {row["id"]: row["datetime"] for row in rows}
    for _, anchor, partner, hours in zip(
        *(pairs[name].to_pylist() for name in ("cell", "s2_id", "s1_id", "s1_dt_hours")), strict=True
    ):
        assert hours == pytest.approx((times[partner] - times[anchor]).total_seconds() / 3600, abs=1e-6)


@pytest.mark.parametrize("seed", range(0, 60, 6))
def test_the_order_of_scenes_changes_nothing(seed: int) -> None:
    cells, rows = random_scenes(seed)
    first = run(cells, rows, recipe())
    scenes = table(rows)
    for turn in range(3):
        shuffled = scenes.take(np.random.default_rng(turn).permutation(scenes.num_rows))
        again = pair(cells, {name: Scenes.of(shuffled, sensor(name)) for name in (S2, S1)}, recipe())
        assert again[0].equals(first[0])
        assert again[1:] == first[1:]


@pytest.mark.parametrize("seed", range(0, 60, 6))
def test_per_season_keeps_the_best_and_accounts_for_the_rest(seed: int) -> None:
    cells, rows = random_scenes(seed)
    every, came_in, _ = run(cells, rows, recipe())
    kept, again_in, rejected = run(cells, rows, recipe(pairing__per_season=1))
    assert came_in == again_in == kept.num_rows + sum(rejected.values())
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in every.to_pylist():
        groups[row["cell"], row["season"]].append(row)
    expected = set()
    for (cell, _), members in groups.items():
        most = max(row["coverage"] for row in members)
        good = [row for row in members if row["coverage"] >= SAME_COVERAGE * most]
        best = min(
            good,
            key=lambda r: (
                100.0 if r["s2_cloud_cover"] is None else r["s2_cloud_cover"],
                abs(r["s1_dt_hours"]),
                r["s2_id"],
            ),
        )
        expected.add((cell, best["s2_id"]))
    assert set(zip(kept["cell"].to_pylist(), kept["s2_id"].to_pylist(), strict=True)) == expected
    assert kept.num_rows == len(expected)


@pytest.mark.parametrize("seconds", [0, 1, 17.25, 33.123457, 59.999999, 86399.999999])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("days", [3, 0.1, 0.7])
def test_the_limit_is_inclusive_to_the_microsecond(seconds: float, sign: int, days: float) -> None:
    cells = cells_of((10, 45, 10.05, 45.05))
    shape = shapely.box(9, 44, 11, 46)
    anchor = dt.datetime(2020, 6, 15, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)
    for beyond in (0, 1):
        other = anchor + sign * (dt.timedelta(days=days) + dt.timedelta(microseconds=beyond))
        rows = [scene("a", S2, anchor, shape), scene("b", S1, other, shape)]
        pairs, came_in, rejected = run(cells, rows, recipe(pairing__max_dt_days=days))
        assert pairs.num_rows == (0 if beyond else len(cells))
        if beyond:
            assert rejected == {f"no sentinel-1-rtc scene within {days} days": came_in}
        else:
            assert pairs["s1_dt_hours"].to_numpy() == pytest.approx(24 * days * sign, abs=1e-6)


def test_static_layers_are_joined_without_a_time() -> None:
    cells = cells_of((10, 45, 10.3, 45.05))
    middle = 10.15
    rows = [
        scene("a", S2, START, shapely.box(9, 44, 11, 46)),
        scene("west", DEM, None, shapely.box(9, 44, middle, 46)),
        scene("east", DEM, None, shapely.box(middle, 44, 11, 46)),
    ]
    pairs, came_in, rejected = run(cells, rows, recipe(sensors__partners=[DEM]))
    assert pairs.num_rows == came_in == len(cells)
    assert rejected == {}
    assert pairs["dem_dt_hours"].to_pylist() == pairs["dem_datetime"].to_pylist() == [None] * len(cells)
    for name, tile in zip(pairs["cell"].to_pylist(), pairs["dem_id"].to_pylist(), strict=True):
        west, _, east, _ = GRID.bounds(*GRID.parse(np.array([name])))
        assert tile == ("west" if (west + east)[0] / 2 < middle else "east")


def test_two_partners_share_the_area_that_all_cover() -> None:
    cells = cells_of((10, 45, 10.02, 45.02))
    rows = [
        scene("a", S2, START, shapely.box(9, 44, 11, 46)),
        scene("b", S1, START + dt.timedelta(hours=-5), shapely.box(9, 44, 10.05, 46)),
        scene("d", DEM, None, shapely.box(9, 45.01, 11, 46)),
    ]
    pairs, _, _ = run(cells, rows, recipe(sensors__partners=[S1, DEM]))
    for row in pairs.to_pylist():
        area = shapely.from_wkb(row["geometry"])
        assert area.bounds[2] <= 10.05 + 1e-9 and area.bounds[1] >= 45.01 - 1e-9
        cell = GRID.polygons(*GRID.parse(np.array([row["cell"]])))[0]
        assert row["coverage"] == pytest.approx((area & cell).area / cell.area)
        assert row["s1_dt_hours"] == -5.0


def test_reasons_tell_what_is_missing() -> None:
    cells = cells_of((10, 45, 10.02, 45.02))
    here, away = shapely.box(9, 44, 11, 46), shapely.box(50, 44, 51, 46)
    cloudy = [scene("a", S2, START, here, 61.0), scene("b", S1, START, here)]
    assert run(cells, cloudy, recipe())[2] == {"sentinel-2-l2a cloudier than 60 %": len(cells)}
    assert run(cells, [cloudy[0] | {"cloud_cover": 60.0}, cloudy[1]], recipe())[2] == {}
    lonely = [scene("a", S2, START, here), scene("b", S1, START, away)]
    assert run(cells, lonely, recipe())[2] == {"no sentinel-1-rtc scene here": len(cells)}
    late = [scene("a", S2, START, here), scene("b", S1, START + dt.timedelta(days=4), here)]
    assert run(cells, late, recipe())[2] == {"no sentinel-1-rtc scene within 3 days": len(cells)}


def test_nothing_to_pair_is_an_empty_table() -> None:
    cells = cells_of((10, 45, 10.02, 45.02))
    pairs, came_in, rejected = run(cells, [], recipe())
    assert (pairs.num_rows, came_in, rejected) == (0, 0, {})
    only = [scene("a", S2, START, shapely.box(9, 44, 11, 46))]
    assert run(cells, only, recipe())[2] == {"no sentinel-1-rtc scene here": len(cells)}


@pytest.mark.parametrize("lon", [(179.9, 180.0), (-180.0, -179.9)])
def test_pairs_across_the_antimeridian(lon: tuple[float, float]) -> None:
    shape = shapely.MultiPolygon([shapely.box(178, -19, 180, -15), shapely.box(-180, -19, -178, -15)])
    rows = [scene("a", S2, START, shape), scene("b", S1, START, shape)]
    cells = cells_of((lon[0], -17.1, lon[1], -17.0))
    pairs, _, _ = run(cells, rows, recipe())
    assert pairs.num_rows == len(cells)
    assert pairs["coverage"].to_numpy() == pytest.approx(1.0)


def test_candidate_cells_are_those_of_the_area_that_a_footprint_meets() -> None:
    anchors = table([scene("a", S2, START, shapely.box(10, 45, 11, 46))])
    area = shapely.box(10.5, 45.5, 20, 50)
    cells = candidate_cells(GRID, area, anchors)
    every = cells_of((9, 44, 21, 51))
    wanted = shapely.intersects(every.polygons, shapely.box(10.5, 45.5, 11, 46))
    names = set(GRID.names(cells.row, cells.col))
    assert names >= set(GRID.names(every.row, every.col)[wanted])
    assert shapely.intersects(area, cells.polygons).all()
    assert len(candidate_cells(GRID, area, table([]))) == 0
    assert len(meet(cells, cells.reach(1200), Scenes.of(table([]), sensor(S2)))) == 0


@pytest.mark.parametrize(
    ("date", "north", "south"),
    [
        ("2020-01-01", "winter", "summer"),
        ("2020-02-29T23:59:59", "winter", "summer"),
        ("2020-03-01", "spring", "autumn"),
        ("2020-07-15", "summer", "winter"),
        ("2020-11-30T23:59:59", "autumn", "spring"),
        ("2020-12-01", "winter", "summer"),
    ],
)
def test_seasons(date: str, north: str, south: str) -> None:
    hours = np.array([np.datetime64(date, "s").astype(float) / 3600])
    assert [SEASONS[i] for i in seasons(hours.repeat(3), np.array([50.0, -50.0, 0.0]))] == [
        north,
        south,
        north,
    ]


@pytest.mark.real
def test_every_real_pair_is_found_and_none_twice(real_data: Path) -> None:
    """Usable scenes of the archive against a count by loops over the items' own JSON, and the archive's own list."""
    from curate.archives import open_archive

    archive, partner = open_archive(str(real_data / "archive")), "sentinel-1-grd"
    world = shapely.box(-180, -90, 180, 90)
    found = {S2: archive.search(world, Recipe().period, sensor(S2), ("B11",)).scenes}
    found[partner] = archive.search(world, Recipe().period, sensor(partner), ("VV",)).scenes
    scenes = {name: Scenes.of(rows, sensor(name)) for name, rows in found.items()}
    cells = candidate_cells(GRID, world, found[S2])
    reach = cells.reach(240)
    first, second = (meet(cells, reach, scenes[name]) for name in (S2, partner))
    i, j = partners_in_time(scenes[S2], first, scenes[partner], second, 72.0)
    both = _names(scenes[S2], first.scene[i]), _names(scenes[partner], second.scene[j])
    candidates = Counter(zip(GRID.names(cells.row, cells.col)[first.cell[i]], *both, strict=True))
    assert set(candidates.values()) == {1}, "a pair is found twice"

    items = _items(real_data / "archive", {*found[S2]["id"].to_pylist(), *found[partner]["id"].to_pylist()})
    expected = set()
    for s2 in found[S2]["id"].to_pylist():
        for s1 in found[partner]["id"].to_pylist():
            apart = abs(_when(items[s2]) - _when(items[s1]))
            if apart <= dt.timedelta(hours=72) and _shape(items[s2]).intersects(_shape(items[s1])):
                expected.add((s2, s1))
    assert {(s2, s1) for _, s2, s1 in candidates} >= expected
    with (real_data / "archive" / "pairs_within_3_days.csv").open() as file:
        listed = {(line["s2_item"], line["s1_item"]) for line in csv.DictReader(file)}
    usable = {(s2, s1) for s2, s1 in listed if s2 in items and s1 in items and items[s2]["collection"] == S2}
    usable = {(s2, s1) for s2, s1 in usable if items[s1]["collection"] == partner}
    assert usable == expected and len(expected) == 82  # of 83: one has an L1C scene as its anchor

    chosen = recipe(sensors__partners=[partner], pairing__max_cloud_percent=100, chips__size_px=24)
    pairs, came_in, rejected = pair(cells, scenes, chosen)
    assert came_in == pairs.num_rows + sum(rejected.values())
    rows = pairs.to_pylist()
    assert len({(row["cell"], row["s2_id"]) for row in rows}) == len(rows)
    assert {row["s2_id"] for row in rows} == {s2 for s2, _ in expected}
    for row in rows:
        s2, s1 = items[row["s2_id"]], items[row["s1_id"]]
        assert row["s1_dt_hours"] == pytest.approx((_when(s1) - _when(s2)).total_seconds() / 3600, abs=1e-5)
        assert row["s1_relative_orbit"] == s1["properties"].get("sat:relative_orbit")
        assert row["s1_orbit_state"] == s1["properties"].get("sat:orbit_state")
        assert (row["cell"], row["s2_id"], row["s1_id"]) in candidates


def _names(scenes: Scenes, rows: np.ndarray) -> list[str]:
    return [str(name) for name in scenes.table["id"].to_numpy()[rows]]


def _items(folder: Path, ids: set[str]) -> dict[str, dict[str, Any]]:
    documents = (json.loads(path.read_text()) for path in folder.rglob("*.json"))
    return {item["id"]: item for item in documents if item.get("type") == "Feature" and item["id"] in ids}


def _when(item: dict[str, Any]) -> dt.datetime:
    return dt.datetime.fromisoformat(item["properties"]["datetime"])


def _shape(item: dict[str, Any]) -> shapely.Geometry:
    return shapely.from_geojson(json.dumps(item["geometry"]))


def test_an_unknown_sensor_is_said_to_be_unknown() -> None:
    with pytest.raises(InputError, match="no sensor 'sentinel-9'"):
        sensor("sentinel-9")
