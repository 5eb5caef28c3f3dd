"""How fast cells are paired at the scale of a continent, beside geopandas' sjoin and pandas' merge_asof.

python benchmarks/pairing.py s2_mgrs_grid_land.parquet [--cells 100000] [--scenes 1000000] [--workers 2]

Sentinel-2 footprints are the real land tiles (a table with a column of tile footprints), cut by the 290 km swath of
every relative orbit that meets them; Sentinel-1 footprints are IW frames of 250 km × 170 km on the real ground
tracks, ascending and descending. Every acquisition's footprint differs by some hundred metres from the last one's.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import shapely

from curate import stages
from curate.archives.simulated.orbits import DEGREE_KM, SENTINEL_1, SENTINEL_2, Orbit
from curate.catalog.geoparquet import write_geoparquet
from curate.engine import engine
from curate.grid import Grid
from curate.pairing import SCENE_COLUMNS, Cells, Scenes, groups, pair
from curate.recipe import Recipe
from curate.scenes import SCENES, SCENES_PER_GROUP, arranged
from curate.sensors import sensor
from curate.workspace import read_near

S2, S1 = "sentinel-2-l2a", "sentinel-1-rtc"
START = np.datetime64("2021-06-01T00:00:00", "us")
JITTER_DEG = 0.003
FRAME_DEG = 1.5  # of latitude: an IW frame is 170 km long


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tiles")
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--scenes", type=int, default=1_000_000, help="of each sensor")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--slice", type=int, nargs="*", default=[1_000, 5_000], help="cells of the straightforward way"
    )
    options = parser.parse_args()
    tiles = gpd.read_parquet(options.tiles).geometry.to_numpy()
    grid, recipe = Grid(10.0), Recipe()
    row, col = land_cells(grid, tiles, options.cells)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scenes.parquet"
        started = time.perf_counter()
        write_geoparquet(scenes_of(tiles, options.scenes), path, {}, SCENES_PER_GROUP)
        print(
            f"laid out {options.scenes:,} + {options.scenes:,} scenes in {time.perf_counter() - started:.0f} s"
        )
        whole(grid, row, col, path, recipe, options.workers)
        for number in options.slice:
            one_slice(grid, path, number)


def whole(grid: Grid, row: np.ndarray, col: np.ndarray, path: Path, recipe: Recipe, workers: int) -> None:
    """All cells by the stage's own tasks; memory is that of this process and the largest worker's."""
    with engine(workers) as running:
        started = time.perf_counter()
        pairs, came_in, rejected = stages.pairs_of(grid, row, col, path, recipe, running)
        seconds = time.perf_counter() - started
    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(
        f"{len(row):,} cells, {came_in:,} cells × anchors, {pairs.num_rows:,} pairs kept in {seconds:.1f} s, "
        f"{came_in / seconds:,.0f} anchors/s; peak memory {here / 2**20:.2f} GB"
        f" + {workers} × {worker / 2**20:.2f} GB"
    )
    for reason, number in rejected.items():
        print(f"  {number:,} × {reason}")


def one_slice(grid: Grid, path: Path, number: int) -> None:
    """Neighbouring cells in Europe, by three ways, each with every anchor and its nearest partner, in one process."""
    row, col = (side[:number] for side in grid.within(-8.0, 40.0, 28.0, 56.0))
    cells = Cells.of(grid, row, col)
    names = grid.names(row, col)
    print(f"slice of {len(cells):,} cells, one process, from the table of scenes to pairs:")
    seconds: dict[str, float] = {}
    ways: dict[str, Callable[[], int]] = {
        "this package": lambda: ours(grid, cells, path),
        "sjoin + merge_asof": lambda: straightforward(cells, names, path, same_choice=False),
        "sjoin, coverage, nearest": lambda: straightforward(cells, names, path, same_choice=True),
    }
    for name, way in ways.items():
        started = time.perf_counter()
        pairs = way()
        seconds[name] = time.perf_counter() - started
        print(f"  {name}: {pairs:,} pairs in {seconds[name]:.2f} s, {pairs / seconds[name]:,.0f} pairs/s")
    first, *others = seconds.values()
    print("  ratios " + ", ".join(f"{other / first:.1f}" for other in others))


def ours(grid: Grid, cells: Cells, path: Path) -> int:
    recipe = Recipe().with_options({"pairing.policy": "nearest", "pairing.per_season": 0})
    found = 0
    for row, col in groups(grid, cells.row, cells.col):
        some = Cells.of(grid, row, col)
        table = read_near(path, shapely.total_bounds(some.polygons), ["sensor", "geometry", *SCENE_COLUMNS])
        pairs, _, _ = pair(some, {name: Scenes.of(table, sensor(name)) for name in (S2, S1)}, recipe)
        found += pairs.num_rows
    return found


def straightforward(cells: Cells, names: np.ndarray, path: Path, same_choice: bool) -> int:
    """Cells joined to each sensor's footprints, then acquisitions to acquisitions within three days.

    With *same_choice* every candidate's coverage is worked out and the nearest of those that cover enough is taken, as
    this package does; else `merge_asof` takes the nearest, whatever it covers.
    """
    frame = gpd.GeoDataFrame({"cell": names}, geometry=cells.polygons, crs=4326)
    scenes = gpd.read_parquet(path, columns=["id", "sensor", "datetime", "geometry"])
    sides = []
    for name, prefix in ((S2, "s2"), (S1, "s1")):
        some = scenes[scenes["sensor"] == name].drop(columns="sensor")
        some = some.set_crs(4326, allow_override=True).reset_index(drop=True)
        joined = gpd.sjoin(frame, some, predicate="intersects").rename(columns={"datetime": "when"})
        joined[f"{prefix}_row"] = joined.pop("index_right")
        joined[f"{prefix}_time"] = joined["when"]
        joined = pd.DataFrame(joined.rename(columns={"id": f"{prefix}_id"})).drop(columns="geometry")
        sides.append((joined.sort_values("when"), some.geometry.to_numpy()))
    (left, first), (right, second) = sides
    if not same_choice:
        pairs = pd.merge_asof(
            left, right, on="when", by="cell", direction="nearest", tolerance=pd.Timedelta(days=3)
        ).dropna(subset=["s1_id"])
        pairs["dt_hours"] = (pairs["s1_time"] - pairs["s2_time"]).dt.total_seconds() / 3600
        return len(pairs)
    pairs = left.drop(columns="when").merge(right.drop(columns="when"), on="cell")
    pairs["dt_hours"] = (pairs["s1_time"] - pairs["s2_time"]).dt.total_seconds() / 3600
    pairs = pairs[pairs["dt_hours"].abs() <= 72].reset_index(drop=True)
    cell = frame.set_index("cell").geometry.loc[pairs["cell"]].to_numpy()
    both = shapely.intersection(shapely.intersection(cell, first[pairs["s2_row"]]), second[pairs["s1_row"]])
    pairs["coverage"] = shapely.area(both) / shapely.area(cell)
    most = pairs.groupby(["cell", "s2_id"])["coverage"].transform("max")
    pairs = pairs[(pairs["coverage"] > 0) & (pairs["coverage"] >= 0.9 * most)]
    pairs["apart"] = pairs["dt_hours"].abs()
    pairs = pairs.sort_values(["apart", "s1_time", "s1_id"]).drop_duplicates(["cell", "s2_id"])
    return len(pairs)


def land_cells(grid: Grid, tiles: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells spread evenly over those that hold the middle of a twentieth of a land tile."""
    west, south, east, north = shapely.bounds(tiles).T
    random = np.random.default_rng(0)
    keep = east - west < 180
    lon = random.uniform(west[keep, None], east[keep, None], (keep.sum(), 60)).ravel()
    lat = random.uniform(south[keep, None], north[keep, None], (keep.sum(), 60)).ravel()
    row, col = np.unique(np.stack(grid.at(lon, lat)), axis=1)
    some = np.linspace(0, len(row) - 1, number).astype(np.int64)
    return row[some], col[some]


def scenes_of(tiles: np.ndarray, number: int) -> pa.Table:
    """*number* scenes of each sensor."""
    optical = acquired(*tile_swaths(tiles), number, SENTINEL_2, 5.0, S2)
    radar = acquired(*frames(tiles), number, SENTINEL_1, 6.0, S1)
    return arranged(pa.concat_tables([optical, radar]))


def acquired(
    shapes: np.ndarray,
    track: np.ndarray,
    ascending: np.ndarray,
    number: int,
    orbit: Orbit,
    days: float,
    name: str,
) -> pa.Table:
    """Repeat the footprints every *days* until there are *number*, each time moved a little."""
    times = -(-number // len(shapes))
    repeat, place = np.divmod(np.arange(number), len(shapes))
    random = np.random.default_rng(len(name))
    shift = random.normal(0, JITTER_DEG, (number, 2))
    chosen = shapes[place]
    counts = shapely.get_num_coordinates(chosen)
    moved = shapely.set_coordinates(
        chosen.copy(), shapely.get_coordinates(chosen) + np.repeat(shift, counts, axis=0)
    )
    lat = shapely.get_y(shapely.centroid(shapes))
    turn = np.where(ascending, lat, 180 - lat) / 360  # share of a revolution
    hours = ((track - 1 + turn) * orbit.cycle_days / orbit.revolutions * 24)[place] + repeat * days * 24
    hours -= times * days * 12  # the middle of both sensors' periods is one time
    when = START + (hours * 3.6e9).astype("timedelta64[us]")
    bounds = shapely.bounds(moved).T
    columns = {
        "id": np.char.add(f"{name}-", np.arange(number).astype(str)),
        "sensor": np.full(number, name),
        "collection": np.full(number, name),
        "platform": np.where(repeat % 2, f"{name[:10]}a", f"{name[:10]}b"),
        "datetime": pa.array(when).cast(SCENES.field("datetime").type),
        "orbit_state": np.where(ascending, "ascending", "descending")[place],
        "relative_orbit": track[place].astype(np.int16),
        "cloud_cover": random.uniform(0, 100, number).astype(np.float32) if name == S2 else None,
        "assets": pa.array([[]] * number, SCENES.field("assets").type),
        "geometry": shapely.to_wkb(moved),
        "bbox": pa.StructArray.from_arrays(
            [pa.array(side) for side in bounds], fields=list(SCENES.field("bbox").type)
        ),
    }
    arrays = [
        pa.nulls(number, field.type)
        if columns.get(field.name) is None
        else pa.array(columns[field.name], field.type)
        for field in SCENES
    ]
    return pa.Table.from_arrays(arrays, schema=SCENES)


def tile_swaths(tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each tile cut by the swath of every descending relative orbit that meets it."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    west, south, east, north = shapely.bounds(tiles).T
    inner = (east - west < 180) & (np.abs(south) < 81) & (np.abs(north) < 81)
    tiles, south, north, middle = tiles[inner], south[inner], north[inner], (west + east)[inner] / 2
    for track in range(1, SENTINEL_2.revolutions + 1):
        strips = strip(SENTINEL_2, track, south, north, middle, False, -145.0, 145.0)
        parts = shapely.intersection(tiles, strips)
        met = np.flatnonzero(shapely.area(parts) > 1e-3)
        found.append((parts[met], np.full(len(met), track)))
    shapes, tracks = (np.concatenate(side) for side in zip(*found, strict=True))
    return shapes, tracks, np.zeros(len(shapes), bool)


def frames(tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """IW frames that meet land, on all tracks in both directions."""
    land = shapely.STRtree(tiles)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    south = np.arange(-78.0, 80.0, FRAME_DEG)
    for ascending in (True, False):
        for track in range(1, SENTINEL_1.revolutions + 1):
            near = np.array([SENTINEL_1.track_lon(track, lat, ascending) for lat in south + FRAME_DEG / 2])
            shapes = strip(SENTINEL_1, track, south, south + FRAME_DEG, near, ascending, 370.0, 620.0)
            bounds = shapely.bounds(shapes)
            whole = (bounds[:, 0] > -180) & (bounds[:, 2] < 180)
            on_land = np.unique(land.query(shapes, predicate="intersects")[0])
            met = on_land[whole[on_land]]
            found.append((shapes[met], np.full(len(met), track), np.full(len(met), ascending)))
    shapes, tracks, states = (np.concatenate(side) for side in zip(*found, strict=True))
    return shapes, tracks, states


def strip(
    orbit: Orbit,
    track: int,
    south: np.ndarray,
    north: np.ndarray,
    near_lon: np.ndarray,
    ascending: bool,
    left_km: float,
    right_km: float,
) -> np.ndarray:
    """The swath between two parallels, from *left_km* to *right_km* right of the flight, next to *near_lon*."""
    table = np.arange(-81.0, 81.01, 0.25)
    lons = np.unwrap([orbit.track_lon(track, float(lat), ascending) for lat in table], period=360)
    corners = []
    for lat, side in ((south, left_km), (south, right_km), (north, right_km), (north, left_km)):
        lon = np.interp(lat, table, lons)
        lon = near_lon + (lon - near_lon + 180) % 360 - 180
        heading = np.radians(np.interp(lat, table, [orbit.heading_deg(float(y), ascending) for y in table]))
        lon = lon + side / (DEGREE_KM * np.cos(np.radians(lat)) * np.cos(heading))
        corners.append(np.column_stack([lon, lat]))
    return shapely.polygons(np.stack([*corners, corners[0]], axis=1))


if __name__ == "__main__":
    main()
