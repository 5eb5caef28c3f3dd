"""How long `curate sample --no-cut` takes as a whole on a pool of any size, its catalog written, and how much memory.

    curate catalog --region LI --archive simulated --budget 10 --root ROOT
    python benchmarks/sampling_command.py ROOT --rows 10M --budget 1M

Candidates of `synthetic_pool.py` take the place of the region's own, with all columns that `curate describe` writes:
place and descriptors are theirs, scenes those of the region's chips. The draw is made once with nothing counted before,
and again with the counts kept. Wall-clock and processor seconds and the peak of resident memory, imports included.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from synthetic_pool import STEP_DEG, make, number_of

from curate.catalog.geoparquet import read_metadata, write_geoparquet
from curate.sampling.keys import legend

SAME_SCENE_ROWS = 4000


def whole(part: pa.Table, like: pa.Table) -> pa.Table:
    """The rows of *part* with the columns of *like*: its own where it has them, else those of rows of *like*."""
    source = np.arange(part.num_rows) // SAME_SCENE_ROWS % like.num_rows
    lon, lat = (part[name].to_numpy() for name in ("lon", "lat"))
    north = STEP_DEG / 2
    east = north / np.cos(np.radians(lat))
    bounds = (lon - east, lat - north, lon + east, lat + north)
    metres = np.stack([lon * 1e5 // 10 * 10, lat * 1e5 // 10 * 10])
    step = np.full(part.num_rows, 10.0)
    transform = np.stack([step, 0 * step, metres[0], 0 * step, -step, metres[1]], axis=1)
    made = {
        "geometry": pa.array(shapely.to_wkb(shapely.box(*bounds))),
        "bbox": pa.StructArray.from_arrays(
            [pa.array(side) for side in bounds], fields=list(like.schema.field("bbox").type)
        ),
        "transform": pa.FixedSizeListArray.from_arrays(pa.array(transform.ravel()), 6),
    }
    columns = []
    for field in like.schema:
        if field.name in made:
            column = made[field.name]
        elif field.name in part.column_names:
            column = part[field.name]
        else:
            column = like[field.name].take(pa.array(source))
        columns.append(column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=like.schema)


def write_wide(table: pa.Table, path: Path, like: pa.Table, metadata: dict[str, Any]) -> None:
    """Write a part of a pool with the columns of *like*."""
    if table.num_columns < like.num_columns:
        metadata = metadata | {"climates": legend(table)}
        table = whole(table, like)
    else:  # a part that was written and is cut to size
        metadata = read_metadata(path) or {}
    write_geoparquet(table, path, metadata, quick=True)


def widen(folder: Path, rows: int, workers: int) -> None:
    """Put *rows* synthetic candidates in the place of those in *folder*; goes on where it was stopped."""
    own = folder.parent / "own"
    if not own.exists():
        folder.rename(own)
    parts = sorted(own.glob("part-*.parquet"))
    like = pa.concat_tables(pq.read_table(path).replace_schema_metadata(None) for path in parts)
    metadata = read_metadata(parts[0]) or {}
    make(folder, rows, workers, partial(write_wide, like=like, metadata=metadata))
    first, *others = sorted(folder.glob("part-*.parquet"))
    complete = (read_metadata(first) or {}) | {"parts": 1 + len(others)}
    write_geoparquet(pq.read_table(first), first, complete, quick=True)


def measured(root: Path, budget: str, workers: int) -> tuple[float, float, float]:
    """Wall-clock and processor seconds and gigabytes of one run of the command."""
    command = [
        Path(sys.executable).with_name("curate"),
        "sample",
        "--no-cut",
        "--root",
        root,
        "--budget",
        budget,
    ]
    started = time.monotonic()
    process = subprocess.Popen([*map(str, command), "--workers", str(workers)])
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit("curate sample failed")
    return time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--rows", type=number_of, help="put so many candidates in the place of the region's")
    parser.add_argument("--budget", default="1M")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only-make", action="store_true")
    options = parser.parse_args()
    (folder,) = (path.parent for path in options.root.glob("*/pairs.parquet"))
    if options.rows:
        widen(folder / "pool", options.rows, options.workers)
    if options.only_make:
        return
    shutil.rmtree(folder / "counts", ignore_errors=True)
    print(f"{'':<8} {'wall s':>7} {'CPU s':>7} {'GB':>6}")
    for way in ("first", "counted"):
        wall, cpu, memory = measured(options.root, options.budget, options.workers)
        print(f"{way:<8} {wall:>7.2f} {cpu:>7.2f} {memory:>6.2f}", flush=True)


if __name__ == "__main__":
    main()
