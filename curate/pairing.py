"""Scenes to pairs: for every grid cell, the anchor's acquisitions and the partners that go with them.

A pair is a cell, one acquisition of the anchor (optical) and one of every partner, none further from the anchor
in time than ``max_dt_days``; static layers are joined without a time. All steps are joins of arrays: cells with
footprints by a spatial index, acquisitions with acquisitions by a sorted search in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from curate.catalog.schema import BBOX, SEASONS, TIMESTAMP
from curate.grid import Floats, Grid, Ints
from curate.recipe import Recipe
from curate.sensors import sensor as sensor_named
from curate.summary import count

SAME_COVERAGE = 0.9  # acquisitions that cover nine tenths of what the best covers count as covering equally

# what a pair, and later a chip, keeps of each of its scenes
SCENE_COLUMNS = (
    "id",
    "datetime",
    "platform",
    "orbit_state",
    "relative_orbit",
    "baseline",
    "offset",
    "cloud_cover",
)


@dataclass(frozen=True)
class Cells:
    """Grid cells with their polygons in longitude and latitude."""

    row: Ints
    col: Ints
    polygons: npt.NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: npt.NDArray[Any]) -> Cells:
        return Cells(self.row[rows], self.col[rows], self.polygons[rows])


@dataclass(frozen=True)
class Scenes:
    """Acquisitions of one sensor as arrays."""

    table: pa.Table
    footprints: npt.NDArray[np.object_]
    hours: Floats  # since 1970; NaN for static layers
    cloud_percent: Floats  # NaN where the provider does not say

    @classmethod
    def of(cls, table: pa.Table, name: str) -> Scenes:
        """The scenes of sensor *name*, sorted by time and id."""
        chosen = table.filter(pc.equal(table["sensor"], name))
        chosen = chosen.sort_by([("datetime", "ascending"), ("id", "ascending")])
        micros = chosen["datetime"].cast(pa.int64()).to_numpy(zero_copy_only=False)
        return cls(
            chosen,
            np.asarray(shapely.from_wkb(chosen["geometry"].to_numpy(zero_copy_only=False)), dtype=object),
            np.asarray(micros, dtype=np.float64) / 3.6e9,
            np.asarray(chosen["cloud_cover"].to_numpy(zero_copy_only=False), dtype=np.float64),
        )

    def __len__(self) -> int:
        return len(self.footprints)

    def take(self, rows: npt.NDArray[Any]) -> Scenes:
        return Scenes(
            self.table.take(pa.array(np.arange(len(self))[rows])),
            self.footprints[rows],
            self.hours[rows],
            self.cloud_percent[rows],
        )


@dataclass(frozen=True)
class Matches:
    """Acquisitions that meet a cell: positions in two lists, sorted by cell and time."""

    cell: Ints
    scene: Ints


def candidate_cells(grid: Grid, area: shapely.Geometry, anchors: Scenes) -> Cells:
    """Cells of *area* that some anchor's footprint may meet."""
    boxes = np.unique(np.round(shapely.bounds(anchors.footprints), 6).reshape(-1, 4), axis=0)
    if not len(boxes):
        none = np.zeros(0, np.int64)
        return Cells(none, none, np.zeros(0, object))
    found = [np.stack(grid.within(*box)) for box in boxes]
    row, col = np.unique(np.concatenate(found, axis=1), axis=1)
    polygons = grid.polygons(row, col)
    shapely.prepare(area)
    inside = shapely.intersects(area, polygons)
    return Cells(row, col, polygons).take(inside)


def match(cells: Cells, scenes: Scenes) -> Matches:
    """Which scenes meet which cells, sorted by cell and within it by time."""
    cell, scene = shapely.STRtree(scenes.footprints).query(cells.polygons, predicate="intersects")
    order = np.lexsort((scene, cell))
    return Matches(cell[order].astype(np.int64), scene[order].astype(np.int64))


def partners_in_time(
    anchors: Scenes, anchor_matches: Matches, partners: Scenes, partner_matches: Matches, max_hours: float
) -> tuple[Ints, Ints]:
    """All partners of each anchor match within *max_hours*, limits inclusive.

    Returns:
        Positions in *anchor_matches* and in *partner_matches*, of equal length.
    """
    when = _micros(anchors.hours[anchor_matches.scene])
    if np.isnan(partners.hours).all():  # static layers go with any time
        low = np.searchsorted(partner_matches.cell, anchor_matches.cell, side="left")
        high = np.searchsorted(partner_matches.cell, anchor_matches.cell, side="right")
    else:
        partner_when, limit = _micros(partners.hours[partner_matches.scene]), _micros(max_hours)
        low = _search(partner_matches.cell, partner_when, anchor_matches.cell, when - limit, "left")
        high = _search(partner_matches.cell, partner_when, anchor_matches.cell, when + limit, "right")
    number = np.maximum(high - low, 0)
    anchor = np.repeat(np.arange(len(number)), number)
    return anchor, np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number) + np.repeat(
        low, number
    )


def _micros(hours: Any) -> Any:
    """Hours as whole microseconds, in which limits are exact: 72.0 h apart is within 3 days."""
    return np.rint(hours * 3.6e9)


def _search(cell: Ints, when: Floats, wanted_cell: Ints, wanted_when: Floats, side: str) -> Ints:
    """`np.searchsorted` on (cell, time), both levels sorted."""
    times, rank = np.unique(np.concatenate([when, wanted_when]), return_inverse=True)
    key = cell * len(times) + rank[: len(when)]
    wanted = wanted_cell * len(times) + rank[len(when) :]
    found: Ints = np.searchsorted(key, wanted, side="left" if side == "left" else "right")
    return found


def best(group: Ints, coverage: Floats, *cost: npt.NDArray[Any], keep: int = 1) -> Ints:
    """The best *keep* rows of every group: enough coverage first, then the smallest costs in their order."""
    if not len(group):
        return np.zeros(0, np.int64)
    _, group = np.unique(group, return_inverse=True)
    most = np.zeros(group.max() + 1)
    np.maximum.at(most, group, coverage)
    poor = coverage < SAME_COVERAGE * most[group]
    order = np.lexsort((*cost[::-1], poor, group))
    ordered = group[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered, side="left")
    return np.sort(order[rank < keep])


def seasons(hours: Floats, lat: Floats) -> npt.NDArray[Any]:
    """Local meteorological seasons of times (hours since 1970) at latitudes; the southern year is shifted."""
    month = (hours * 3600).astype("datetime64[s]").astype("datetime64[M]").astype(
        np.int64
    ) % 12  # 0 = January
    quarter = (month + 1) % 12 // 3
    return np.array(SEASONS)[np.where(lat >= 0, quarter, (quarter + 2) % 4)]


def pair(cells: Cells, scenes: dict[str, Scenes], recipe: Recipe) -> tuple[pa.Table, int, dict[str, int]]:
    """Pairs of *cells*, how many anchor acquisitions per cell came in, and why the others made no pair.

    Args:
        cells: cells of one or several zones.
        scenes: scenes by sensor name; the recipe's anchor and partners.
    """
    grid = Grid(recipe.chips.cell_km)
    anchors = scenes[recipe.sensors.anchor]
    found = match(cells, anchors)
    came_in = len(found.cell)
    cloudy = anchors.cloud_percent[found.scene] > recipe.pairing.max_cloud_percent
    reasons = [f"{recipe.sensors.anchor} cloudier than {recipe.pairing.max_cloud_percent:g} %"] * int(
        cloudy.sum()
    )
    cell, scene = found.cell[~cloudy], found.scene[~cloudy]
    usable = _clip(_reach(cells, recipe.chips.size_m)[cell], anchors.footprints[scene])
    chosen: dict[str, Ints] = {recipe.sensors.anchor: scene}
    for name in recipe.sensors.partners:
        here = Matches(cell, scene)
        partner = match(cells, scenes[name])
        max_hours = recipe.pairing.max_dt_days * 24
        i, j = partners_in_time(anchors, here, scenes[name], partner, max_hours)
        shared = _clip(usable[i], scenes[name].footprints[partner.scene[j]])
        coverage = shapely.area(_clip(shared, cells.polygons[cell[i]]))
        apart = np.nan_to_num(np.abs(scenes[name].hours[partner.scene[j]] - anchors.hours[scene[i]]))
        kept = best(i, coverage, apart, partner.scene[j])
        kept = kept[coverage[kept] > 0]
        without = np.setdiff1d(np.arange(len(cell)), i[kept])
        nowhere = ~np.isin(cell[without], partner.cell)
        reasons += [f"no {name} scene here"] * int(nowhere.sum())
        reasons += [f"no {name} scene within {recipe.pairing.max_dt_days:g} days"] * int((~nowhere).sum())
        chosen = {sensor: rows[i[kept]] for sensor, rows in chosen.items()}
        chosen[name] = partner.scene[j[kept]]
        cell, scene, usable = cell[i[kept]], scene[i[kept]], shared[kept]
    pairs = _table(grid, cells, cell, usable, scenes, chosen, recipe)
    if recipe.pairing.per_season:
        kept = _best_of_season(pairs, recipe)
        reasons += ["not among the best of its season"] * (pairs.num_rows - len(kept))
        pairs = pairs.take(pa.array(kept))
    return pairs, came_in, count(reasons)


def _reach(cells: Cells, size_m: float) -> npt.NDArray[np.object_]:
    """Cells with a margin of one chip: a chip belongs to the cell of its centre and may stick out of it."""
    north = np.abs(shapely.bounds(cells.polygons).reshape(-1, 4)[:, [1, 3]]).max(1)
    margin_deg = size_m / 111_000.0 / np.maximum(np.cos(np.radians(north)), 0.02)
    return np.asarray(shapely.buffer(cells.polygons, margin_deg, join_style="mitre"), dtype=object).reshape(
        -1
    )


def _clip(first: npt.NDArray[np.object_], second: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    return np.asarray(shapely.intersection(first, second), dtype=object).reshape(-1)


def _best_of_season(pairs: pa.Table, recipe: Recipe) -> Ints:
    """Rows of the best pairs of each cell and season: coverage, then scene cloud, time difference, and id."""
    prefixes = [sensor_named(name).prefix for name in recipe.sensors.all]
    apart = sum(
        np.nan_to_num(np.abs(pairs[f"{p}_dt_hours"].to_numpy(zero_copy_only=False).astype(float)))
        for p in prefixes
    )
    cloud = pairs[f"{prefixes[0]}_cloud_cover"].to_numpy(zero_copy_only=False).astype(float)
    names = np.char.add(pairs["cell"].to_numpy().astype(str), pairs["season"].to_numpy().astype(str))
    _, group = np.unique(names, return_inverse=True)
    _, identity = np.unique(pairs[f"{prefixes[0]}_id"].to_numpy().astype(str), return_inverse=True)
    costs = (np.nan_to_num(cloud, nan=100.0), np.asarray(apart), identity)
    return best(group, pairs["coverage"].to_numpy(), *costs, keep=recipe.pairing.per_season)


def pairs_schema(prefixes: list[str]) -> pa.Schema:
    """Columns of the table of pairs."""
    fields = [
        pa.field("cell", pa.string(), nullable=False),
        pa.field("epsg", pa.int32(), nullable=False),
        pa.field("season", pa.string(), nullable=False),
        pa.field("coverage", pa.float64(), nullable=False),  # share of the cell that all its scenes cover
        pa.field(
            "geometry", pa.binary(), nullable=False
        ),  # that area, with a margin of one chip around the cell
        pa.field("bbox", BBOX, nullable=False),
    ]
    types = {
        "datetime": TIMESTAMP,
        "relative_orbit": pa.int16(),
        "offset": pa.int32(),
        "cloud_cover": pa.float32(),
    }
    for prefix in prefixes:
        fields += [pa.field(f"{prefix}_{name}", types.get(name, pa.string())) for name in SCENE_COLUMNS]
        fields.append(pa.field(f"{prefix}_dt_hours", pa.float64()))
    return pa.schema(fields)


def _table(
    grid: Grid,
    cells: Cells,
    cell: Ints,
    usable: npt.NDArray[np.object_],
    scenes: dict[str, Scenes],
    chosen: dict[str, Ints],
    recipe: Recipe,
) -> pa.Table:
    bounds = shapely.bounds(usable).reshape(-1, 4)
    anchor_hours = scenes[recipe.sensors.anchor].hours[chosen[recipe.sensors.anchor]]
    middle_lat = np.asarray([shapely.get_y(shapely.centroid(cells.polygons))]).reshape(-1)[cell]
    columns: dict[str, Any] = {
        "cell": grid.names(cells.row, cells.col)[cell],
        "epsg": grid.epsg(cells.row, cells.col)[cell].astype(np.int32),
        "season": seasons(anchor_hours, middle_lat),
        "coverage": shapely.area(_clip(usable, cells.polygons[cell])) / shapely.area(cells.polygons[cell]),
        "geometry": shapely.to_wkb(usable),
        "bbox": pa.StructArray.from_arrays([pa.array(side) for side in bounds.T], fields=list(BBOX)),
    }
    for name in recipe.sensors.all:
        prefix, rows = sensor_named(name).prefix, chosen[name]
        taken = scenes[name].table.take(pa.array(rows))
        columns |= {f"{prefix}_{column}": taken[column] for column in SCENE_COLUMNS}
        columns[f"{prefix}_dt_hours"] = pa.array(
            np.round(scenes[name].hours[rows] - anchor_hours, 6), from_pandas=True
        )
    schema = pairs_schema([sensor_named(name).prefix for name in recipe.sensors.all])
    arrays = [
        pa.array(columns[f.name], f.type)
        if not isinstance(columns[f.name], pa.ChunkedArray)
        else columns[f.name].combine_chunks()
        for f in schema
    ]
    anchor_prefix = sensor_named(recipe.sensors.anchor).prefix
    table = pa.Table.from_arrays(arrays, schema=schema)
    return table.sort_by(
        [(name, "ascending") for name in ("cell", f"{anchor_prefix}_datetime", f"{anchor_prefix}_id")]
    )
