"""Highest memory of `curate describe` while the pool grows tenfold, on real maps of land cover and climate.

    python benchmarks/describe_memory.py TILE KOPPEN [--chips 100000 1000000]

The pairs are made up: every grid cell of a WorldCover tile, at so many dates that the pool has as many candidates as
asked for. Each size runs in a process of its own, with one worker, so that all memory is that process's.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
import shapely

from curate import stages
from curate.catalog.geoparquet import write_geoparquet
from curate.catalog.schema import BBOX
from curate.engine import Engine
from curate.grid import Grid
from curate.pairing import pairs_schema
from curate.recipe import Recipe
from curate.sensors import sensor
from curate.workspace import Workspace


def pairs_over(bounds: tuple[float, float, float, float], dates: int, recipe: Recipe) -> pa.Table:
    """Pairs of all cells inside *bounds* at so many *dates*, with scenes that cover them."""
    grid = Grid(recipe.chips.cell_km)
    row, col = grid.within(*bounds)
    left, low, right, high = grid.bounds(row, col)
    cells = np.repeat(grid.names(row, col), dates)
    boxes = np.repeat(shapely.box(left - 0.02, low - 0.02, right + 0.02, high + 0.02), dates)
    day = np.tile(np.arange(dates), len(row))
    schema = pairs_schema([sensor(name).prefix for name in recipe.sensor_names])
    told = {
        "cell": pa.array(cells),
        "geometry": pa.array(shapely.to_wkb(boxes)),
        "bbox": pa.StructArray.from_arrays(list(map(pa.array, shapely.bounds(boxes).T)), fields=list(BBOX)),
        "epsg": pa.array(np.repeat(grid.epsg(row, col), dates)),
    }
    columns = []
    for field in schema:
        if field.name in told:
            columns.append(told[field.name].cast(field.type))
        elif pa.types.is_timestamp(field.type):
            time_of = np.datetime64("2021-01-01", "s") + day.astype("timedelta64[D]")
            columns.append(pa.array(time_of).cast(field.type))
        elif pa.types.is_string(field.type):
            columns.append(pa.array(np.char.add("scene", day.astype(str))))
        elif pa.types.is_floating(field.type):
            columns.append(pa.array(np.ones(len(day))).cast(field.type))
        else:
            columns.append(pa.nulls(len(day), field.type))
    return pa.table(columns, schema=schema)


def described(tile: str, koppen: str, chips: int) -> tuple[int, float, float, float]:
    """Candidates, seconds, highest memory before and after, MiB, of a pool of about *chips*."""
    with rasterio.open(tile) as file:
        bounds = tuple(file.bounds)
    recipe = Recipe().with_options(
        {
            "region": "bbox:" + ",".join(f"{side:g}" for side in bounds),
            "descriptors.landcover": tile,
            "descriptors.climate": koppen,
        }
    )
    area = (bounds[2] - bounds[0]) * (bounds[3] - bounds[1]) * 111.2**2
    dates = max(1, round(chips / (area / (recipe.chips.size_m / 1000) ** 2)))
    with tempfile.TemporaryDirectory() as folder:
        workspace: Workspace = stages.start(recipe, Path(folder))
        workspace.folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"id": ["none"]}), workspace.scenes)
        pairs = pairs_over(bounds, dates, recipe)
        write_geoparquet(pairs, workspace.pairs, {"key": stages._pair_key(recipe, workspace)})
        before, started = peak_mib(), time.perf_counter()
        summary = stages.describe(recipe, workspace, Engine(workers=1))
        return summary.left, time.perf_counter() - started, before, peak_mib()


def peak_mib() -> float:
    """Highest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tile")
    parser.add_argument("koppen")
    parser.add_argument("--chips", type=int, nargs="+", default=[100_000, 1_000_000])
    options = parser.parse_args()
    for chips in options.chips:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            number, seconds, before, peak = fresh.submit(
                described, options.tile, options.koppen, chips
            ).result()
        print(f"{number:,} chips in {seconds:.1f} s: {before:,.0f} MiB before, {peak:,.0f} MiB at most")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
