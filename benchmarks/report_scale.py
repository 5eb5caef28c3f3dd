"""The page of a catalog of 10⁶ rows: its size, the time to write it, and the time to open it in a browser.

    python benchmarks/report_scale.py catalogs/eu.parquet [--rows 1000000] [--pool 4000000] [--keep FOLDER]

The rows of a catalog that `make catalog` wrote are repeated at random places on the land of the whole globe, with
random climates, seasons and splits, and so is its pool. Opening needs playwright and Chromium (CHROMIUM, or on the
PATH); it is timed three times from the start of the navigation to the first whole picture of the map.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from curate.catalog.schema import SEASONS, SPLITS
from curate.legends import KOPPEN_SYMBOLS

PART = 250_000


def on_land(number: int, chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random places, alike over the area of the land."""
    coast = pq.read_table(Path(__file__).parents[1] / "curate" / "data" / "coast.parquet")
    land = coast.filter(pc.equal(coast["kind"], "land"))["geometry"].to_numpy(zero_copy_only=False)
    tree = shapely.STRtree(shapely.from_wkb(land))
    found: list[np.ndarray] = []
    while sum(map(len, found)) < number:
        lon = chance.uniform(-180, 180, number)
        lat = np.degrees(np.arcsin(chance.uniform(-0.9, 0.99, number)))
        hit = np.unique(tree.query(shapely.points(lon, lat), predicate="within")[0])
        found.append(np.stack([lon[hit], lat[hit]], 1))
    places = np.concatenate(found)[:number]
    return places[:, 0], places[:, 1]


def spread(table: pa.Table, first: int, number: int, chance: np.random.Generator) -> pa.Table:
    """*number* rows of *table*, again and again, somewhere else and of other kinds."""
    rows = table.take(pa.array(chance.integers(0, table.num_rows, number)))
    lon, lat = on_land(number, chance)
    koppen = chance.integers(0, 30, number)
    ids = pa.array([f"chip-{first + i}" for i in range(number)])
    new = {
        "chip_id": ids, "place": ids, "lon": pa.array(lon), "lat": pa.array(lat),
        "koppen": pa.array((koppen + 1).astype(np.int8)),
        "koppen_symbol": pa.array(np.array(KOPPEN_SYMBOLS)[koppen]),
        "season": pa.array(np.array(SEASONS)[chance.integers(0, 4, number)]),
        "split": pa.array(np.array(SPLITS)[chance.choice(3, number, p=(0.8, 0.1, 0.1))]),
        "cell": pa.array([f"{a}U_{b}R" for a, b in zip((lat * 11).astype(int), (lon * 11).astype(int), strict=True)]),
    }  # fmt: skip
    for name, values in new.items():
        if name in rows.column_names:
            at = rows.schema.get_field_index(name)
            rows = rows.set_column(at, rows.schema.field(at), values)
    return rows


def write(source: Path, folder: Path, rows: int, pool_rows: int) -> Path:
    """A catalog of *rows* rows in *folder*, with a pool of *pool_rows*."""
    chance = np.random.default_rng(0)
    beside = source.with_suffix("")
    shutil.copytree(beside, folder / beside.name, ignore=shutil.ignore_patterns("pool"))
    pool = sorted((beside / "pool").glob("part-*.parquet"))[0]
    for path, number, out in (
        (source, rows, folder / source.name),
        (pool, pool_rows, folder / beside.name / "pool" / pool.name),
    ):
        table = pq.read_table(path)
        metadata = dict(table.schema.metadata)
        about = json.loads(metadata[b"curate"])
        about |= {"parts": 1} if "parts" in about else {"pool_rows": pool_rows}
        metadata[b"curate"] = json.dumps(about).encode()
        out.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(out, table.schema.with_metadata(metadata), compression="zstd") as writer:
            for first in range(0, number, PART):
                writer.write_table(spread(table, first, min(PART, number - first), chance))
    return folder / source.name


def opened(page: Path) -> list[float]:
    """Seconds from navigation until the map has been painted, three times."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    seconds = []
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(3):
            view = browser.new_page(viewport={"width": 1440, "height": 900})
            begun = time.perf_counter()
            view.goto(page.resolve().as_uri())
            view.evaluate(
                """async () => { await map;
                    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))); }"""
            )
            seconds.append(time.perf_counter() - begun)
            zoom = view.evaluate(
                """() => new Promise((done) => { const from = performance.now();
                    document.getElementById('zoom-in').click();
                    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - from))); })"""
            )
            print(f"opened in {seconds[-1]:.2f} s, zoomed in {zoom:.0f} ms")
            view.close()
        browser.close()
    return seconds


def main() -> None:
    from curate.report import write_report

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pool", type=int, default=4_000_000)
    parser.add_argument("--keep", type=Path, help="Leave the catalog and its page here.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        path = folder / given.catalog.name
        if not path.exists():
            path = write(given.catalog, folder, given.rows, given.pool)
        begun = time.perf_counter()
        page = write_report(path)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        took = time.perf_counter() - begun
        print(
            f"{given.rows:,} rows of {given.pool:,}: {page.bytes / 1e6:.1f} MB in {took:.1f} s, peak {peak:.1f} GB"
        )
        opened(page.path)


if __name__ == "__main__":
    main()
