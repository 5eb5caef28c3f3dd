"""Synthetic pools of any size: long-tailed strata, neighbours alike, one to four dates a place, in the pool's columns.

Tiles of 91 × 91 patches of 1.2 km lie on land-like patches of the globe; climate and land cover follow smooth random
fields, with shares like those of the Köppen-Geiger classes. A place's land cover is the same at all its dates.

    python benchmarks/synthetic_pool.py FOLDER --rows 10M
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.catalog.geoparquet import encodings
from curate.sampling.keys import keyed, kinds, legend

CLASSES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
_LAND = (  # Köppen-Geiger class and its share of the land, percent
    "Af 5,Am 3.5,Aw 11.5,BWh 14,BWk 5.5,BSh 5,BSk 6,Csa 2,Csb 0.8,Csc 0.05,Cwa 2.5,Cwb 1.5,Cwc 0.06,Cfa 5,Cfb 3,"
    "Cfc 0.2,Dsa 0.3,Dsb 0.5,Dsc 0.6,Dsd 0.05,Dwa 0.7,Dwb 1,Dwc 2,Dwd 1,Dfa 1.8,Dfb 5,Dfc 11,Dfd 3,ET 4,EF 3.5"
)
SYMBOLS = [text.split()[0] for text in _LAND.split(",")]
SHARES = [float(text.split()[1]) for text in _LAND.split(",")]
SIDE = 91  # patches along a tile
NODES = 17  # points along a tile at which fields are worked out
STEP_DEG = 1.2 / 111.195
TILES = 11_750
FILE_ROWS = 1_000_000
Write = Callable[[pa.Table, Path], None]
PRESENCE = 0.05  # a class is present in a chip from this share of it


def field(lon: np.ndarray, lat: np.ndarray, scale_km: float, seed: int) -> np.ndarray:
    """A smooth random field of unit variance and the length *scale_km*, a sum of 12 waves on the sphere."""
    rng = np.random.default_rng(seed)
    east, north = np.radians(lon), np.radians(lat)
    points = np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
    waves = rng.normal(size=(12, 3)) * (6371 / scale_km)
    value = np.zeros(len(lon))
    for wave, phase in zip(waves, rng.uniform(0, 2 * np.pi, 12), strict=True):
        value += np.cos(wave @ points + phase)
    return value / np.sqrt(6)


@lru_cache(maxsize=1)
def tiles(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """South-western corners of the tiles, degrees, in an order that spreads them."""
    rng = np.random.default_rng(seed)
    rows = np.arange(-55, 74)
    lat = np.repeat(rows, np.round(360 * np.cos(np.radians(rows))).astype(int)).astype(float)
    lon = np.concatenate([np.linspace(-180, 180, round(360 * np.cos(np.radians(r))), False) for r in rows])
    land = np.argsort(-field(lon, lat, 2500, seed + 1), kind="stable")[:TILES]
    land = rng.permutation(land)
    return lon[land], lat[land]


def over_tile(lon0: float, lat0: float, scale_km: float, seed: int) -> np.ndarray:
    """The field at a tile's patches, (SIDE, SIDE) from south to north: linear between NODES × NODES of its points."""
    steps = np.linspace(0, SIDE * STEP_DEG, NODES)
    lat, lon = np.meshgrid(lat0 + steps, lon0 + steps / np.cos(np.radians(lat0)), indexing="ij")
    nodes = field(lon.ravel(), lat.ravel(), scale_km, seed).reshape(NODES, NODES)
    middles = (np.arange(SIDE) + 0.5) * (NODES - 1) / SIDE
    near = np.maximum(0, 1 - np.abs(middles[:, None] - np.arange(NODES)))
    return near @ nodes @ near.T


def places_of(tile: int, keep: float) -> dict[str, np.ndarray]:
    """Places of one tile with their descriptors; *keep* of them have a candidate."""
    rng = np.random.default_rng([7, tile])
    lon0, lat0 = (axis[tile] for axis in tiles())
    iy, ix = np.divmod(np.flatnonzero(rng.random(SIDE * SIDE) < keep), SIDE)
    lat = lat0 + (iy + 0.5) * STEP_DEG
    lon = lon0 + (ix + 0.5) * STEP_DEG / np.cos(np.radians(lat0))

    def at(scale_km: float, seed: int) -> np.ndarray:
        return over_tile(lon0, lat0, scale_km, seed)[iy, ix]

    rank = 0.5 + 0.5 * np.tanh(0.8 * at(2200, 21) + 0.15 * at(120, 22))
    bounds = np.cumsum(SHARES) / np.sum(SHARES)
    climate = np.searchsorted(bounds[:-1], np.clip(rank, 0, 1))
    prior = np.random.default_rng(3).normal(0, 1.2, (len(SYMBOLS), len(CLASSES)))
    likely = prior[climate] - np.log(np.arange(1, len(CLASSES) + 1))
    for k in range(len(CLASSES)):
        likely[:, k] += at(350, 100 + k) + at(45, 200 + k)
    likely = np.exp(likely)
    likely /= likely.sum(1, keepdims=True)
    kappa = np.array([1.8, 7, 45])[np.clip((at(60, 5) + 1.5).astype(int), 0, 2)]
    share = rng.standard_gamma((kappa[:, None] * likely + 1e-6).astype(np.float32), dtype=np.float32)
    share[share < 0.01 * share.sum(1, keepdims=True)] = 0
    share /= np.maximum(share.sum(1, keepdims=True), 1e-9)
    return {"lon": lon, "lat": lat, "ix": ix, "iy": iy, "climate": climate, "share": share}


def rows_of(tile: int, keep: float) -> pa.Table:
    """Candidates of one tile: its places at one to four dates, date after date."""
    rng = np.random.default_rng([8, tile])
    at = places_of(tile, keep)
    dates = int(rng.choice((1, 2, 3, 4), p=(0.35, 0.35, 0.2, 0.1)))
    parts = []
    place = pc.binary_join_element_wise(
        pa.scalar(f"{tile:05d}U_{tile % 997:04d}R"),
        pa.array(at["ix"] + 400).cast(pa.string()),
        pa.array(at["iy"] + 4000).cast(pa.string()),
        "_",
    )
    for date in range(dates):
        season = str(rng.choice(("winter", "spring", "summer", "autumn"), p=(0.1, 0.2, 0.5, 0.2)))
        stamp = f"2021{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}T10{date:02d}31"
        number = len(place)
        share = at["share"]
        if date:  # a map a year on: a few places differ
            few = np.flatnonzero(rng.random(number) < 0.03)
            other = share[few] * rng.lognormal(0, 0.5, (len(few), len(CLASSES)))
            share = share.copy()
            share[few] = other / np.maximum(other.sum(1, keepdims=True), 1e-9)
        columns = {
            "chip_id": pc.binary_join_element_wise(place, pa.scalar(stamp), "_"),
            "place": place,
            "lon": pa.array(at["lon"]),
            "lat": pa.array(at["lat"]),
            "season": pa.array([season]).take(pa.array(np.zeros(number, np.int64))),
            "koppen": pa.array((at["climate"] + 1).astype(np.int8)),
            "koppen_symbol": pa.array(SYMBOLS).take(pa.array(at["climate"])),
            "lc_dominant": pa.array(np.array(CLASSES, np.int16)[share.argmax(1)]),
        }
        columns |= {f"lc_{code}": pa.array(share[:, k]) for k, code in enumerate(CLASSES)}
        parts.append(pa.table(columns))
    table = keyed(pa.concat_tables(parts))
    kind = pa.field("kind", pa.uint64(), nullable=False)
    return table.append_column(kind, kinds(table, CLASSES, PRESENCE))


def write_part(task: tuple[Path, range, float, Write]) -> int:
    """Write the candidates of some tiles as one file, where it is not there yet; how many there are."""
    path, which, keep, write = task
    if path.exists():
        return pq.read_metadata(path).num_rows
    table = pa.concat_tables(rows_of(tile, keep) for tile in which)
    write(table, path)
    return table.num_rows


def write_narrow(table: pa.Table, path: Path) -> None:
    """Write *table* as `curate describe` writes a part of a pool."""
    metadata = {"presence": PRESENCE, "climates": legend(table)}
    table = table.replace_schema_metadata({b"curate": json.dumps(metadata).encode()})
    part = path.with_suffix(".part")
    pq.write_table(table, part, row_group_size=131_072, **encodings(table.schema, quick=True))
    part.rename(path)


def make(folder: Path, rows: int, workers: int, write: Write = write_narrow) -> None:
    """A pool of exactly *rows* candidates in files of about a million; goes on where it was stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    share = {1_000_000: 1500, 10_000_000: 5000}.get(rows, TILES)
    keep = min(1.0, 1.02 * rows / (share * SIDE * SIDE * 2.05))
    per_file = max(1, round(FILE_ROWS / (SIDE * SIDE * 2.05 * keep)))
    parts = [range(a, min(a + per_file, share)) for a in range(0, share, per_file)]
    left = rows
    with ProcessPoolExecutor(workers) as pool:
        paths = [folder / f"part-{k:05d}.parquet" for k in range(len(parts))]
        tasks = [(path, part, keep, write) for path, part in zip(paths, parts, strict=True)]
        for path, number in zip(paths, pool.map(write_part, tasks), strict=True):
            if number > left:  # the last file that is needed
                if left:
                    write(pq.read_table(path).slice(0, left), path)
                else:
                    path.unlink()
            left -= min(number, left)
    if left:
        raise SystemExit(f"{left:,} rows are missing: the tiles do not hold so many")


def number_of(text: str) -> int:
    """``10M`` as a number."""
    return int(float(text[:-1]) * {"k": 1e3, "M": 1e6}[text[-1]]) if text[-1] in "kM" else int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=number_of, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    started = time.monotonic()
    make(options.folder, options.rows, options.workers)
    size = sum(path.stat().st_size for path in options.folder.glob("*.parquet"))
    print(f"{options.rows:,} rows, {size / 1e6:,.0f} MB, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
