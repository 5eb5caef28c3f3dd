"""The pool: candidate chips of pairs, with what land and what climate they show."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from curate.catalog.schema import BBOX, landcover_column, pool_schema
from curate.chips import ChipPlaces, places_in, to_zone
from curate.descriptors.climatic import ClimateMap, open_map
from curate.descriptors.thematic import LandcoverMap
from curate.grid import Grid, Ints
from curate.pairing import SCENE_COLUMNS
from curate.recipe import Recipe
from curate.sensors import sensor as sensor_named
from curate.summary import count

CELLS_PER_TASK = 64
EDGE_TOLERANCE_M = 1.0  # footprints are written with finite digits; a chip may touch their edge


@dataclass(frozen=True)
class Task:
    """Pairs of neighbouring cells in one zone."""

    pairs: pa.Table
    epsg: int
    area: bytes  # WKB of the area of interest near these cells
    landcover: LandcoverMap
    recipe: Recipe


@dataclass(frozen=True)
class Described:
    """Candidate chips of one task."""

    pool: pa.Table
    came_in: int  # chips × dates whose centre lies in a cell with a pair
    rejected: dict[str, int]


def tasks(pairs: pa.Table, area: shapely.Geometry, landcover: LandcoverMap, recipe: Recipe) -> list[Task]:
    """The table of pairs in groups of neighbouring cells."""
    anchor = sensor_named(recipe.sensors.anchor).prefix
    by = ("epsg", "cell", f"{anchor}_datetime", f"{anchor}_id")
    pairs = pairs.sort_by([(name, "ascending") for name in by])
    names = np.char.add(pairs["epsg"].to_numpy().astype(str), pairs["cell"].to_numpy().astype(str))
    _, first = np.unique(names, return_index=True)
    number = np.zeros(pairs.num_rows, np.int64)
    number[np.sort(first)] = 1
    cell = np.cumsum(number) - 1
    zone = pairs["epsg"].to_numpy()
    result = []
    for epsg in np.unique(zone):
        rows = np.flatnonzero(zone == epsg)
        group = (cell[rows] - cell[rows[0]]) // CELLS_PER_TASK
        for part in np.split(rows, np.flatnonzero(np.diff(group)) + 1):
            chosen = pairs.slice(part[0], len(part))
            bounds = shapely.total_bounds(shapely.from_wkb(chosen["geometry"].to_numpy())) + np.array(
                [-1, -1, 1, 1]
            )
            near = shapely.clip_by_rect(area, *bounds)
            tiles = tuple(
                t for t in landcover.tiles if shapely.intersects(shapely.box(*t.bounds), shapely.box(*bounds))
            )
            here = LandcoverMap(landcover.name, tiles, landcover.legend)
            result.append(Task(chosen, int(epsg), shapely.to_wkb(near), here, recipe))
    return result


def describe(task: Task) -> Described:
    """Candidate chips of *task* with their descriptors, as rows of `pool_schema`."""
    recipe, grid = task.recipe, Grid(task.recipe.chips.cell_km)
    names = task.pairs["cell"].to_numpy().astype(str)
    cells, pair_cell = np.unique(names, return_inverse=True)
    row, col = grid.parse(cells)
    places = places_in(grid, row, col, task.epsg, recipe.chips.size_m)
    inside = shapely.intersects_xy(shapely.from_wkb(task.area), places.lon, places.lat)
    place, pair = _join(places.owner, pair_cell)
    covered = _covered(task, places, place, pair)
    within = inside[place]
    came_in = int(within.sum())
    reasons = ["not inside every footprint"] * int((within & ~covered).sum())
    place, pair = place[within & covered], pair[within & covered]
    used, place = np.unique(place, return_inverse=True)
    places = places.take(used)
    pool = _table(task, grid, cells, places, place, pair)
    unique = _first_of_each(pool["chip_id"])
    reasons += ["same place and time as another"] * (pool.num_rows - len(unique))
    return Described(pool.take(pa.array(unique)), came_in, count(reasons))


def _join(left: Ints, right: Ints) -> tuple[Ints, Ints]:
    """Positions of all equal values in *left* (sorted) and *right*."""
    low, high = np.searchsorted(left, right, side="left"), np.searchsorted(left, right, side="right")
    number = high - low
    j = np.repeat(np.arange(len(right)), number)
    i = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number) + np.repeat(low, number)
    return i, j


def _covered(task: Task, places: ChipPlaces, place: Ints, pair: Ints) -> npt.NDArray[np.bool_]:
    """Whether each chip lies inside the area that all scenes of its pair cover."""
    shapes = shapely.from_wkb(task.pairs["geometry"].to_numpy())
    forward = to_zone(task.epsg)

    def project(points: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.stack(forward.transform(points[:, 0], points[:, 1]), axis=1)

    flat = shapely.buffer(
        shapely.transform(shapely.segmentize(shapes, 0.02), project), EDGE_TOLERANCE_M, join_style="mitre"
    )
    shapely.prepare(flat)
    return np.asarray(shapely.covers(flat[pair], places.squares()[place]), dtype=bool)


def _first_of_each(ids: pa.ChunkedArray) -> Ints:
    _, first = np.unique(ids.to_numpy().astype(str), return_index=True)
    return np.sort(first)


def _table(
    task: Task, grid: Grid, cells: npt.NDArray[Any], places: ChipPlaces, place: Ints, pair: Ints
) -> pa.Table:
    """Rows of the pool: place *place[i]* with the scenes of pair *pair[i]*."""
    recipe, landcover = task.recipe, task.landcover
    left, top = places.lattice.left_top(places.ix, places.iy)
    footprints = places.footprints()
    bounds = shapely.bounds(footprints).reshape(-1, 4)
    names = np.char.add(np.char.add(cells[places.owner], "_"), _lattice_names(places))
    anchor = sensor_named(recipe.sensors.anchor).prefix
    stamp = pc.strftime(task.pairs[f"{anchor}_datetime"], "%Y%m%dT%H%M%S").to_numpy().astype("U15")
    step = recipe.chips.resolution_m
    transform = np.column_stack(
        [
            np.full(len(places), step),
            np.zeros(len(places)),
            left,
            np.zeros(len(places)),
            np.full(len(places), -step),
            top,
        ]
    )[place]
    columns: dict[str, Any] = {
        "chip_id": np.char.add(np.char.add(names[place], "_"), stamp[pair]),
        "geometry": shapely.to_wkb(footprints)[place],
        "bbox": pa.StructArray.from_arrays([pa.array(side) for side in bounds[place].T], fields=list(BBOX)),
        "lon": places.lon[place],
        "lat": places.lat[place],
        "place": names[place],
        "cell": cells[places.owner][place],
        "epsg": np.full(len(place), task.epsg, np.int32),
        "transform": pa.FixedSizeListArray.from_arrays(pa.array(transform.ravel()), 6),
        "season": task.pairs["season"].take(pa.array(pair)),
    }
    for name in recipe.sensors.all:
        prefix = sensor_named(name).prefix
        for column in (*SCENE_COLUMNS, "dt_hours"):
            columns[f"{prefix}_{column}"] = task.pairs[f"{prefix}_{column}"].take(pa.array(pair))
    columns |= _landcover(landcover, grid, places, place)
    columns |= _climate(
        _climate_map(recipe.descriptors.climate, recipe.descriptors.climate_legend), places, place
    )
    prefixes = [sensor_named(name).prefix for name in recipe.sensors.all]
    schema = pool_schema(prefixes, landcover.codes)
    return pa.table({field.name: _column(columns[field.name], field.type) for field in schema}, schema=schema)


def _column(values: Any, dtype: pa.DataType) -> Any:
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks().cast(dtype)
    return values.cast(dtype) if isinstance(values, pa.Array) else pa.array(values, dtype)


def _lattice_names(places: ChipPlaces) -> npt.NDArray[Any]:
    return np.char.add(np.char.add(places.ix.astype(str), "_"), places.iy.astype(str))


def _landcover(landcover: LandcoverMap, grid: Grid, places: ChipPlaces, place: Ints) -> dict[str, Any]:
    """Fractions, one window of the map for the chips of each cell."""
    fractions = np.zeros((len(places), len(landcover.codes) + 1), np.float32)
    order = np.argsort(places.owner, kind="stable")
    edges = np.flatnonzero(np.diff(places.owner[order])) + 1
    for rows in np.split(order, edges) if len(order) else []:
        fractions[rows] = landcover.fractions(places.take(rows))
    mapped = fractions[:, :-1]
    dominant = mapped.argmax(1) if len(landcover.codes) else np.zeros(len(places), np.int64)
    known = mapped.max(1, initial=0.0) > 0
    codes, legend = np.array(landcover.codes), np.array(list(landcover.legend.values()), dtype=object)
    columns: dict[str, Any] = {
        landcover_column(code): fractions[place, i] for i, code in enumerate(landcover.codes)
    }
    return columns | {
        "lc_unmapped": fractions[place, -1],
        "lc_dominant": pa.array(codes[dominant][place], pa.int16(), mask=~known[place]),
        "lc_dominant_name": pa.array(legend[dominant][place], pa.string(), mask=~known[place]),
    }


def _climate(climate: ClimateMap, places: ChipPlaces, place: Ints) -> dict[str, Any]:
    found = climate.at(places.lon, places.lat)
    unknown = found.code[place] == 0
    return {
        "koppen": pa.array(found.code[place], pa.int8(), mask=unknown),
        "koppen_symbol": pa.array(found.symbols[place], pa.string(), mask=unknown),
        "koppen_nearest": found.nearest[place],
    }


@lru_cache(maxsize=2)
def _climate_map(name: str, legend: str | None) -> ClimateMap:
    return open_map(name, legend)
