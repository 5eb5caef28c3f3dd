"""The pool: candidate chips of pairs, with what land and what climate they show."""

from __future__ import annotations

from collections.abc import Sequence
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
from curate.descriptors import further
from curate.descriptors.candidates import Candidates, Descriptor
from curate.descriptors.climatic import ClimateMap, open_map
from curate.descriptors.thematic import LandcoverMap, class_count, dominant, entropy_bits
from curate.grid import Grid, Ints
from curate.pairing import SCENE_COLUMNS
from curate.recipe import Recipe
from curate.running import running
from curate.sampling.keys import kinds, made
from curate.sensors import sensor as sensor_named
from curate.summary import count

VERSION = 3  # of what is written: a pool of another one is described anew
SQUARE_CELLS = (
    16  # cells along a side of the square that a task covers: a map's blocks on its edge are read twice
)
ROWS_PER_TASK = (
    200_000  # candidates that a task makes at most (more only where one cell has more): bounds memory
)
EDGE_TOLERANCE_M = 1.0  # footprints are written with finite digits; a chip may touch their edge


@dataclass(frozen=True)
class Task:
    """Pairs of neighbouring cells in one zone."""

    pairs: pa.Table
    epsg: int
    area: bytes  # WKB of the area of interest near these cells
    landcover: LandcoverMap
    recipe: Recipe
    further: tuple[Descriptor, ...] = ()  # optional ones, beside land cover and climate


@dataclass(frozen=True)
class Described:
    """Candidate chips of one task."""

    pool: pa.Table
    came_in: int  # chips × dates whose centre lies in a cell with a pair
    rejected: dict[str, int]


def tasks(
    pairs: pa.Table,
    area: shapely.Geometry,
    landcover: LandcoverMap,
    recipe: Recipe,
    descriptors: tuple[Descriptor, ...] = (),
) -> list[Task]:
    """The table of pairs in groups of neighbouring cells."""
    anchor = sensor_named(recipe.sensors.anchor).prefix
    grid = Grid(recipe.chips.cell_km)
    names = pairs["cell"].to_numpy().astype(str)
    row, col = _squares(grid, names)
    pairs = pairs.append_column("_row", pa.array(row)).append_column("_col", pa.array(col))
    by = ("epsg", "_row", "_col", "cell", f"{anchor}_datetime", f"{anchor}_id")
    pairs = pairs.sort_by([(name, "ascending") for name in by])
    square = np.stack([pairs[name].to_numpy() for name in ("epsg", "_row", "_col")])
    pairs = pairs.drop_columns(["_row", "_col"])
    names = pairs["cell"].to_numpy().astype(str)
    new_square = np.flatnonzero(np.diff(square).any(0)) + 1
    chips_per_cell = max(1.0, (grid.spacing_km * 1000.0 / recipe.chips.size_m) ** 2)
    most = max(1, round(ROWS_PER_TASK / chips_per_cell))
    result = []
    for rows in np.split(np.arange(pairs.num_rows), new_square) if pairs.num_rows else []:
        start = np.concatenate([[0], np.flatnonzero(names[rows][1:] != names[rows][:-1]) + 1])
        first = np.repeat(start, np.diff(start, append=len(rows)))  # row at which each row's cell starts
        for part in np.split(rows, np.flatnonzero(np.diff(first // most)) + 1):
            chosen = pairs.slice(part[0], len(part))
            west, south, east, north = shapely.total_bounds(shapely.from_wkb(chosen["geometry"].to_numpy()))
            bounds = (west - 1, south - 1, east + 1, north + 1)
            near = shapely.clip_by_rect(area, *bounds)
            epsg = int(square[0, part[0]])
            result.append(
                Task(chosen, epsg, shapely.to_wkb(near), landcover.near(bounds), recipe, descriptors)
            )
    return result


def _squares(grid: Grid, names: npt.NDArray[Any]) -> tuple[Ints, Ints]:
    """The square of about `SQUARE_CELLS` cells along a side that each cell lies in: row, and column in its row."""
    row, col = grid.parse(names)
    west, _, east, _ = grid.bounds(row, col)
    square = row // SQUARE_CELLS
    count = np.maximum(1, grid.col_count(square * SQUARE_CELLS + SQUARE_CELLS // 2) // SQUARE_CELLS)
    column = np.floor(((west + east) / 2 + 180.0) / 360.0 * count).astype(np.int64)
    return square, column


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
    i = running(number) + np.repeat(low, number)
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
    recipe = task.recipe
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
    for name in recipe.sensor_names:
        prefix = sensor_named(name).prefix
        for column in (*SCENE_COLUMNS, "dt_hours"):
            columns[f"{prefix}_{column}"] = task.pairs[f"{prefix}_{column}"].take(pa.array(pair))
    columns |= _landcover(task, places, place, pair)
    columns |= _climate(
        _climate_map(recipe.descriptors.climate, recipe.descriptors.climate_legend), places, place
    )
    time, scene = (task.pairs[f"{anchor}_{name}"].to_numpy()[pair] for name in ("datetime", "id"))
    candidates = Candidates(places, place, columns["chip_id"], time.astype("datetime64[us]"), scene)
    columns |= further.describe(task.further, candidates)
    prefixes = [sensor_named(name).prefix for name in recipe.sensor_names]
    schema = pool_schema(prefixes, task.landcover.codes, further.columns(task.further))
    columns |= _keys(columns, task.landcover.codes, recipe.descriptors.landcover_presence)
    return pa.table({field.name: _column(columns[field.name], field.type) for field in schema}, schema=schema)


def _keys(columns: dict[str, Any], codes: Sequence[int], presence: float) -> dict[str, Any]:
    """What the sampler reads in place of texts, coordinates and fractions."""
    read = ("chip_id", "place", "lon", "lat", "season", "koppen", "lc_dominant")
    table = pa.table({name: columns[name] for name in (*read, *(landcover_column(code) for code in codes))})
    return made(table) | {"kind": kinds(table, tuple(codes), presence)}


def _column(values: Any, dtype: pa.DataType) -> Any:
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks().cast(dtype)
    return values.cast(dtype) if isinstance(values, pa.Array) else pa.array(values, dtype)


def _lattice_names(places: ChipPlaces) -> npt.NDArray[Any]:
    return np.char.add(np.char.add(places.ix.astype(str), "_"), places.iy.astype(str))


def _landcover(task: Task, places: ChipPlaces, place: Ints, pair: Ints) -> dict[str, Any]:
    """Fractions and what they amount to, in the map of the year nearest to each pair's anchor."""
    landcover = task.landcover
    shares = np.zeros((len(place), len(landcover.codes) + 1), np.float32)
    year = np.zeros(len(place), np.int64)
    edition = _editions(task)[pair]
    for wanted in np.unique(edition):
        rows = np.flatnonzero(edition == wanted)
        used, which = np.unique(place[rows], return_inverse=True)
        here, map_then = places.take(used), landcover.of_year(int(wanted))
        shares[rows] = map_then.fractions(here)[which]
        year[rows] = map_then.years_at(here)[which]
    top = dominant(shares)
    unknown = top < 0
    codes, names = np.array(landcover.codes), np.array(list(landcover.legend.names.values()), dtype=object)
    columns: dict[str, Any] = {landcover_column(code): shares[:, i] for i, code in enumerate(landcover.codes)}
    presence = task.recipe.descriptors.landcover_presence
    return columns | {
        "lc_unmapped": shares[:, -1],
        "lc_dominant": pa.array(codes[top], pa.int16(), mask=unknown),
        "lc_dominant_name": pa.array(names[top], pa.string(), mask=unknown),
        "lc_classes": class_count(shares, presence),
        "lc_entropy": pa.array(entropy_bits(shares), pa.float32(), mask=unknown),
        "lc_year": pa.array(year, pa.int16(), mask=(year == 0) | unknown),
    }


def _editions(task: Task) -> Ints:
    """Year of the map for each pair: that nearest to the anchor's, of two the later; 0 where maps have no year."""
    years = np.array(task.landcover.years, np.int64)
    if not len(years):
        return np.zeros(task.pairs.num_rows, np.int64)
    anchor = sensor_named(task.recipe.sensors.anchor).prefix
    taken = pc.year(task.pairs[f"{anchor}_datetime"]).fill_null(int(years[-1])).to_numpy()
    later_first = years[::-1]
    return np.asarray(later_first[np.abs(taken[:, None] - later_first).argmin(1)], np.int64)


def _climate(climate: ClimateMap, places: ChipPlaces, place: Ints) -> dict[str, Any]:
    found = climate.over(places)
    unknown = found.code[place] == 0
    return {
        "koppen": pa.array(found.code[place], pa.int8(), mask=unknown),
        "koppen_symbol": pa.array(found.symbols[place], pa.string(), mask=unknown),
        "koppen_nearest": found.nearest[place],
        "koppen_purity": pa.array(found.purity[place], pa.float32(), mask=unknown),
    }


@lru_cache(maxsize=2)
def _climate_map(name: str, legend: str | None) -> ClimateMap:
    return open_map(name, legend)
