"""Policies of radar partners, rules and reasons, against a plain Python oracle."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
import shapely.affinity

from curate.catalog.errors import InputError
from curate.catalog.geoparquet import write_geoparquet
from curate.catalog.schema import SEASONS
from curate.chips import wrapped
from curate.grid import Grid
from curate.pairing import Cells, Scenes, groups, pair
from curate.pairing.choice import SAME_COVERAGE
from curate.pairing.places import meet
from curate.pairing.times import seasons
from curate.recipe import Recipe
from curate.scenes import arranged, table
from curate.sensors import sensor
from curate.workspace import read_near

GRID = Grid(10)
S2, S1 = "sentinel-2-l2a", "sentinel-1-rtc"
START = dt.datetime(2020, 2, 20, 10, tzinfo=dt.UTC)
HERE = shapely.box(9, 44, 11, 46)


def scene(
    name: str, sensor: str, hours: float, shape: shapely.Geometry = HERE, **more: Any
) -> dict[str, Any]:
    row = {
        "id": name,
        "sensor": sensor,
        "collection": sensor,
        "platform": "p",
        "datetime": START + dt.timedelta(hours=hours),
        "orbit_state": "ascending",
        "relative_orbit": 7,
        "baseline": None,
        "offset": None,
        "cloud_cover": None,
        "assets": [],
        "geometry": shapely.to_wkb(shape),
        "bbox": dict(zip(("xmin", "ymin", "xmax", "ymax"), shape.bounds, strict=True)),
    }
    return row | more


def cells_of(box: tuple[float, float, float, float]) -> Cells:
    return Cells.of(GRID, *GRID.within(*box))


def recipe(**options: Any) -> Recipe:
    return Recipe().with_options(
        {"pairing.per_season": 0, **{k.replace("__", "."): v for k, v in options.items()}}
    )


def run(cells: Cells, rows: list[dict[str, Any]], chosen: Recipe) -> tuple[pa.Table, int, dict[str, int]]:
    scenes = table(rows)
    return pair(cells, {n: Scenes.of(scenes, sensor(n)) for n in chosen.sensor_names}, chosen)


def random_scenes(seed: int) -> tuple[Cells, list[dict[str, Any]]]:
    """Some weeks of passes on a few orbits over a dozen cells, with gaps and partly covered cells."""
    random = np.random.default_rng(seed)
    lon, lat = random.uniform(-170, 170), random.uniform(-60, 60)
    rows = []
    orbits = [
        (int(number), state, random.uniform(0, 144), random.uniform(-0.1, 0.25), random.choice([1, -1]))
        for number, state in zip(
            random.integers(1, 176, 3), random.choice(["ascending", "descending", None], 3), strict=True
        )
    ]
    for i in range(int(random.integers(3, 9))):
        shape = shapely.box(lon - 1, lat - 1, lon + random.uniform(0.05, 1), lat + 1)
        rows.append(scene(f"S2-{i}", S2, float(random.uniform(0, 1500)), shape))
    for number, state, first, edge, side in orbits:
        for i in range(int(random.integers(1, 10))):
            east, west = (lon + 2, lon + edge) if side > 0 else (lon + edge, lon - 2)
            shape = shapely.box(west, lat - 1, east, lat + 1)
            hours = first + 144 * int(random.integers(0, 11))
            track = None if random.random() < 0.05 else number
            rows.append(scene(f"S1-{number}-{i}", S1, hours, shape, orbit_state=state, relative_orbit=track))
    return cells_of((lon, lat, lon + 0.25, lat + 0.15)), rows


def candidates(cell: shapely.Geometry, rows: list[dict[str, Any]], days: float) -> list[dict[str, Any]]:
    """Anchor and partner of one cell, with what they cover together, in time and space."""
    found = []
    for anchor in (row for row in rows if row["sensor"] == S2):
        for partner in (row for row in rows if row["sensor"] == S1):
            apart = abs(anchor["datetime"] - partner["datetime"])
            shapes = [shapely.from_wkb(row["geometry"]) for row in (anchor, partner)]
            cover = (cell & shapes[0] & shapes[1]).area / cell.area
            if apart <= dt.timedelta(days=days) and cover > 1e-12:
                orbit = (partner["relative_orbit"] or -1, partner["orbit_state"] or "")
                hours = apart.total_seconds() / 3600
                found.append(
                    {"anchor": anchor, "partner": partner, "cover": cover, "hours": hours, "orbit": orbit}
                )
    return found


def nearest(found: list[dict[str, Any]]) -> dict[str, Any]:
    most = max(one["cover"] for one in found)
    good = [one for one in found if one["cover"] >= SAME_COVERAGE * most]
    return min(good, key=lambda one: (one["hours"], one["partner"]["datetime"], one["partner"]["id"]))


def by(found: list[dict[str, Any]], key: Any) -> dict[Any, list[dict[str, Any]]]:
    result = defaultdict(list)
    for one in found:
        result[key(one)].append(one)
    return result


def same_orbit_oracle(cells: Cells, rows: list[dict[str, Any]], days: float) -> set[tuple[str, str, str]]:
    pairs = set()
    for name, cell in zip(GRID.names(cells.row, cells.col), cells.polygons, strict=True):
        lat = (cell.bounds[1] + cell.bounds[3]) / 2
        best = None
        for orbit, served in by(candidates(cell, rows, days), lambda one: one["orbit"]).items():
            chosen = [nearest(group) for group in by(served, lambda one: one["anchor"]["id"]).values()]
            hours = np.array([one["anchor"]["datetime"].timestamp() / 3600 for one in chosen])
            lasts = len(set(seasons(hours, np.full(len(hours), lat))))
            area = sum(one["cover"] for one in chosen)
            far = sum(one["cover"] * one["hours"] for one in chosen) / area
            score = (-lasts, -round(area, 9), far, orbit)
            best = min(best or (score, chosen), (score, chosen), key=lambda one: one[0])
        if best:
            pairs |= {(str(name), one["anchor"]["id"], one["partner"]["id"]) for one in best[1]}
    return pairs


@pytest.mark.parametrize("seed", range(60))
def test_same_orbit_keeps_the_orbit_that_serves_most(seed: int) -> None:
    cells, rows = random_scenes(seed)
    pairs, came_in, rejected = run(cells, rows, recipe())
    found = list(zip(*(pairs[name].to_pylist() for name in ("cell", "s2_id", "s1_id")), strict=True))
    assert set(found) == same_orbit_oracle(cells, rows, 3)
    assert len(found) == len(set(found))
    assert came_in == pairs.num_rows + sum(rejected.values())
    kept = defaultdict(set)
    for row in pairs.to_pylist():
        kept[row["cell"]].add((row["s1_relative_orbit"], row["s1_orbit_state"]))
    assert all(len(orbits) == 1 for orbits in kept.values())


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_both_passes_gives_every_pair_one_of_each(seed: int) -> None:
    cells, rows = random_scenes(seed)
    chosen = recipe(pairing__policy="both_passes", pairing__max_dt_days=12)
    assert chosen.sensor_names == (S2, f"{S1}:ascending", f"{S1}:descending")
    pairs, came_in, rejected = run(cells, rows, chosen)
    assert came_in == pairs.num_rows + sum(rejected.values())
    for row in pairs.to_pylist():
        assert (row["s1asc_orbit_state"], row["s1desc_orbit_state"]) == ("ascending", "descending")
        assert max(abs(row["s1asc_dt_hours"]), abs(row["s1desc_dt_hours"])) <= 12 * 24
    one_way = recipe(sensors__partners=[f"{S1}:ascending"], pairing__max_dt_days=12)
    ascending, _, _ = run(cells, rows, one_way)
    first = {(r["cell"], r["s2_id"]): r["s1asc_id"] for r in ascending.to_pylist()}
    assert all(first[row["cell"], row["s2_id"]] == row["s1asc_id"] for row in pairs.to_pylist())


def test_an_orbit_that_lasts_wins_over_one_that_is_nearer() -> None:
    cells = cells_of((10, 45, 10.02, 45.02))
    rows = [scene("a", S2, 0), scene("b", S2, 24 * 60)]  # winter, spring
    rows += [scene(f"far-{i}", S1, h + 60, relative_orbit=8) for i, h in enumerate((0, 24 * 60))]
    rows += [scene("near", S1, 1, relative_orbit=9)]
    pairs, _, rejected = run(cells, rows, recipe())
    assert set(pairs["s1_relative_orbit"].to_pylist()) == {8}
    assert rejected == {}
    one = recipe(pairing__seasons=["winter"])
    pairs, came_in, rejected = run(cells, rows, one)
    assert set(pairs["s1_id"].to_pylist()) == {"near"}
    assert rejected == {"season not wanted": len(cells)} and came_in == 2 * len(cells)
    assert set(pairs["season"].to_pylist()) == {"winter"}


def test_what_is_taken_in_another_orbit_is_counted() -> None:
    cells = cells_of((10, 45, 10.02, 45.02))
    rows = [scene("a", S2, 0), scene("b", S2, 24), scene("c", S2, 400)]
    rows += [scene("one", S1, 1, relative_orbit=8), scene("two", S1, 401, relative_orbit=9)]
    pairs, _, rejected = run(cells, rows, recipe())
    assert set(pairs["s1_id"].to_pylist()) == {"one"}
    assert rejected == {f"no {S1} scene within 3 days in the orbit kept here": len(cells)}
    pairs, _, rejected = run(cells, rows, recipe(pairing__policy="nearest"))
    assert rejected == {} and pairs.num_rows == 3 * len(cells)


def test_partners_of_other_kinds_have_no_orbit_to_keep() -> None:
    cells = cells_of((10, 45, 10.02, 45.02))
    rows = [scene("a", S2, 0), scene("b", S2, 500)]
    rows += [scene(f"L{i}", "landsat-c2-l2", h, relative_orbit=i) for i, h in enumerate((1, 501))]
    pairs, _, rejected = run(cells, rows, recipe(sensors__partners=["landsat-c2-l2"]))
    assert pairs.num_rows == 2 * len(cells) and rejected == {}


def test_coverage_below_the_limit_is_counted() -> None:
    cells = cells_of((10, 45, 10.02, 45.02))
    assert len(cells) == 1
    west, _, east, _ = cells.polygons[0].bounds
    half = shapely.box(9, 44, (west + east) / 2, 46)
    rows = [scene("a", S2, 0), scene("b", S1, 1, half)]
    pairs, _, _ = run(cells, rows, recipe(pairing__min_coverage=0.49))
    assert pairs["coverage"].to_pylist() == pytest.approx([0.5])
    pairs, _, rejected = run(cells, rows, recipe(pairing__min_coverage=0.51))
    assert rejected == {f"no {S1} scene within 3 days covers enough": 1}
    touching = [scene("a", S2, 0), scene("b", S1, 1, shapely.box(9, 44, west, 46))]
    assert run(cells, touching, recipe())[2] == {f"no {S1} scene here": 1}


def test_footprints_that_are_not_convex_or_cross_the_antimeridian_are_measured_alike() -> None:
    for shift in (0.0, 170.0):
        cells = cells_of((9.9 + shift, 45, 10.0 + shift, 45.02))
        notch = shapely.Polygon([(9, 44), (11, 44), (11, 46), (10, 45.01), (9, 46)])
        cut = shapely.box(9.93, 44, 11, 46)
        rows = []
        for name, what, shape in (("a", S2, notch), ("b", S1, cut)):
            moved = wrapped(shapely.affinity.translate(shape, shift))
            rows.append(scene(name, what, 0, moved))
        pairs, _, _ = run(cells, rows, recipe())
        assert pairs.num_rows >= 1
        for row in pairs.to_pylist():
            cell = GRID.polygons(*GRID.parse(np.array([row["cell"]])))[0]
            both = shapely.from_wkb(rows[0]["geometry"]) & shapely.from_wkb(rows[1]["geometry"]) & cell
            assert row["coverage"] == pytest.approx(both.area / cell.area, abs=1e-9)


def test_coverage_counts_for_an_anchor_alone() -> None:
    cells = cells_of((10, 45, 10.02, 45.02))
    west, _, east, _ = cells.polygons[0].bounds
    rows = [scene("a", S2, 0, shapely.box(9, 44, west + 0.1 * (east - west), 46))]
    alone = recipe(sensors__partners=[], pairing__min_coverage=0.5)
    pairs, came_in, rejected = run(cells, rows, alone)
    assert (pairs.num_rows, came_in, rejected) == (0, 1, {f"{S2} covers too little": 1})


def test_a_cell_at_the_antimeridian_reaches_across_it() -> None:
    row, col = GRID.at(np.array([179.99, -179.99]), np.array([-17.0, -17.0]))
    cells = Cells.of(GRID, row, col)
    both = wrapped(shapely.box(178, -19, 182, -15))
    pairs, _, _ = run(cells, [scene("a", S2, 0, both), scene("b", S1, 1, both)], recipe())
    assert pairs["coverage"].to_pylist() == [1.0, 1.0]
    for shape in shapely.from_wkb(pairs["geometry"].to_numpy()):
        assert shape.is_valid
        for lon in (179.995, -179.995):
            assert shape.intersects(shapely.Point(lon, -17.0))


def test_slanted_footprints_meet_the_cells_that_they_overlap_and_no_others() -> None:
    random = np.random.default_rng(3)
    cells = cells_of((10.0, 45.0, 13.0, 47.0))
    rows = []
    for i in range(60):
        box = shapely.box(-0.6, -0.5, 0.6, 0.5)
        shape = shapely.affinity.rotate(box, float(random.uniform(0, 90)))
        rows.append(
            scene(f"s{i}", S2, i, shapely.affinity.translate(shape, *random.uniform((10, 45), (13, 47))))
        )
    scenes = Scenes.of(table(rows), sensor(S2))
    met = meet(cells, cells.reach(1200), scenes)
    shares = (
        shapely.area(shapely.intersection(cells.polygons[:, None], scenes.footprints[None, :]))
        / shapely.area(cells.polygons)[:, None]
    )
    expected = {(int(c), int(s)) for c, s in np.argwhere(shares > 1e-9)}
    assert set(zip(met.cell.tolist(), met.scene.tolist(), strict=True)) == expected
    assert met.coverage == pytest.approx(shares[met.cell, met.scene], abs=1e-9)


def test_groups_hold_every_cell_once_and_one_zone_each() -> None:
    row, col = GRID.within(-20, 30, 40, 84)
    parts = groups(GRID, row, col)
    assert len(parts) > 20
    again = np.concatenate([np.stack(part) for part in parts], axis=1)
    assert again.shape[1] == len(row) and np.array_equal(
        np.unique(again, axis=1), np.unique([row, col], axis=1)
    )
    for rows, cols in parts:
        assert len(np.unique(GRID.epsg(rows, cols))) == 1
        assert len(rows) <= 2_500


@pytest.mark.parametrize("per_group", [1, 7, 1000])
def test_reading_what_is_near_finds_the_same_rows_however_the_file_is_cut(
    per_group: int, tmp_path: Path
) -> None:
    random = np.random.default_rng(1)
    rows = []
    for i in range(300):
        west, south = random.uniform(-180, 179), random.uniform(-80, 79)
        rows.append(scene(f"s{i}", S2, i, shapely.box(west, south, west + 1, south + 1)))
    rows.append(scene("across", S2, 0, wrapped(shapely.box(179, 0, 181, 1))))
    write_geoparquet(arranged(table(rows)), tmp_path / "scenes.parquet", {}, per_group)
    for bounds in ((0, 0, 40, 40), (-180, -90, 180, 90), (179.5, 0.2, 180, 0.3), (-179.9, 0.2, -179.8, 0.3)):
        found = set(read_near(tmp_path / "scenes.parquet", np.array(bounds), ["id"])["id"].to_pylist())
        box = shapely.box(*bounds)
        assert found == {r["id"] for r in rows if box.intersects(shapely.box(*r["bbox"].values()))}


def test_a_pass_is_a_view_of_a_sensor() -> None:
    view = sensor(f"{S1}:descending")
    assert (view.name, view.prefix, view.orbit_state) == (S1, "s1desc", "descending")
    with pytest.raises(InputError, match="sideways"):
        sensor(f"{S1}:sideways")
    assert recipe(pairing__policy="both_passes", sensors__partners=[S1, "cop-dem-glo-30"]).partners == (
        f"{S1}:ascending",
        f"{S1}:descending",
        "cop-dem-glo-30",
    )
    assert set(SEASONS) == set(Recipe().pairing.seasons)
