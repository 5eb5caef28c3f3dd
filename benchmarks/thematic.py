"""Land-cover fractions of chips: how exact, how fast beside the limit and beside what one would write otherwise.

python benchmarks/thematic.py ESA_WorldCover_10m_2021_v200_N00E006_Map.tif [--patchy FOLDER] [--chips 2000]

Needs exactextract and rasterstats (pip install exactextract rasterstats). --patchy writes a tile of the same
structure whose land is as ragged as a cultivated landscape, and measures there too: a tile of sea is decoded for
nothing. Every figure is the best of several runs, all in one process; what is compared alternates.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter, zoom

from curate.chips import ChipPlaces, Lattice, from_zone
from curate.descriptors.thematic import LandcoverMap, open_map
from curate.descriptors.thematic.mesh import mesh_of
from curate.descriptors.thematic.rasters import look
from curate.engine import engine
from curate.grid import zone_epsg
from curate.legends import WORLDCOVER

SIZE_M = 1200.0
RUNS = 3
TILES = (
    6  # as many times are all chips described by workers, so that the run is longer than a cluster's delays
)
MEASURES = ("exactness", "limit", "speed", "memory")


def chips_in(bounds: tuple[float, float, float, float]) -> ChipPlaces:
    """All chips of 1.2 km whose centre lies 0.02° inside a tile of one zone, with the zone of its middle."""
    west, south, east, north = bounds
    epsg = int(zone_epsg(np.array([(west + east) / 2]), np.array([(south + north) / 2]))[0])
    lattice = Lattice(epsg, SIZE_M)
    corners = Transformer.from_crs(4326, epsg, always_xy=True).transform(
        [west, east, west, east, (west + east) / 2], [south, south, north, north, south]
    )
    ix, iy = lattice.index(*(np.array(side) for side in corners))
    i, j = (
        side.ravel()
        for side in np.meshgrid(np.arange(ix.min(), ix.max() + 1), np.arange(iy.min(), iy.max() + 1))
    )
    left, top = lattice.left_top(i, j)
    lon, lat = from_zone(epsg).transform(left + SIZE_M / 2, top - SIZE_M / 2)
    places = ChipPlaces(lattice, np.zeros(len(i), np.int64), i, j, lon, lat)
    return places.take(
        (lon > west + 0.02) & (lon < east - 0.02) & (lat > south + 0.02) & (lat < north - 0.02)
    )


def polygons(chips: ChipPlaces) -> Any:
    """The chips as polygons in longitude and latitude."""
    import geopandas

    return geopandas.GeoDataFrame({"id": np.arange(len(chips))}, geometry=chips.footprints(), crs="EPSG:4326")


def by_exactextract(path: Path, chips: ChipPlaces) -> np.ndarray:
    """Fractions by exact areas of pixels in the chips' polygons."""
    from exactextract import exact_extract

    wanted = [
        "unique",
        "frac",
        "count",
        "all=count(default_value=255)",
    ]  # the last counts what has no data too
    table = exact_extract(str(path), polygons(chips), wanted, output="pandas")
    shares = np.zeros((len(chips), len(WORLDCOVER) + 1))
    order = {code: i for i, code in enumerate(WORLDCOVER)}
    for i, row in enumerate(table.itertuples()):
        for code, fraction in zip(row.unique, row.frac, strict=True):
            shares[i, order[int(code)]] = fraction * row.count / row.all
    shares[:, -1] = 1 - shares[:, :-1].sum(1)
    return shares


def plain_exactextract(path: Path, chips: ChipPlaces) -> Any:
    """What one would write: the classes of each polygon and their shares of its mapped part."""
    from exactextract import exact_extract

    return exact_extract(str(path), polygons(chips), ["unique", "frac"], output="pandas")


def by_rasterstats(path: Path, chips: ChipPlaces) -> np.ndarray:
    """Counts by burning each polygon, as its manual shows."""
    from rasterstats import zonal_stats

    found = zonal_stats(polygons(chips), str(path), categorical=True)
    return np.array([sum(row.values()) for row in found])


def accuracy(path: Path, chips: ChipPlaces, number: int) -> None:
    """Fractions against exact areas, for chips drawn at random and for those that hold land."""
    land = open_map(str(path), [])
    every = land.fractions(chips)
    random = np.random.default_rng(0)
    mixed = np.flatnonzero(((every > 0.02) & (every < 0.98)).any(1))
    for name, rows in (
        ("drawn from all", random.choice(len(chips), min(number, len(chips)), replace=False)),
        ("drawn from those with two classes or more", random.permutation(mixed)[:number]),
    ):
        chosen = chips.take(np.sort(rows))
        found, exact = every[np.sort(rows)], by_exactextract(path, chosen)
        apart = np.abs(found - exact)
        print(
            f"  {len(chosen):,} chips {name}: largest difference {apart.max():.5f}, mean {apart.mean():.1e}, "
            f"sums {found.sum(1).min():.7f} to {found.sum(1).max():.7f}"
        )


def overviews(path: Path, chips: ChipPlaces) -> None:
    """What coarser overviews cost in exactness, and how they were made."""
    full = open_map(str(path), []).fractions(chips)
    with rasterio.open(path) as file:
        factors = file.overviews(1)
    mixed = ((full > 0.02) & (full < 0.98)).any(1)
    for level, factor in enumerate(factors[:4]):
        land = open_map(str(path), [], resolution_m=9.277 * factor)
        started = time.perf_counter()
        found = land.fractions(chips)
        seconds = time.perf_counter() - started
        apart = np.abs(found - full)[mixed]
        same = (found[:, :-1].argmax(1) == full[:, :-1].argmax(1))[mixed].mean()
        print(
            f"  overview of {9.277 * factor:.0f} m: {len(chips) / seconds:,.0f} chips/s; {mixed.sum():,} mixed chips: "
            f"mean {apart.mean():.5f}, 95 % {np.quantile(apart.max(1), 0.95):.3f}, largest {apart.max():.3f}, "
            f"same dominant class {same:.1%}; {made_by(path, level, factor)}"
        )


def made_by(path: Path, level: int, factor: int) -> str:
    """Which pixel of each block of the map an overview shows, by comparison over its most varied part."""
    with rasterio.open(path) as file, rasterio.open(path, overview_level=level) as coarse:
        small = file.read(1, out_shape=(file.height // 64, file.width // 64))
        spread = (np.diff(small.astype(int), axis=1) != 0)[:-1] + (np.diff(small.astype(int), axis=0) != 0)[
            :, :-1
        ]
        sums = zoom(gaussian_filter(spread.astype(float), 4), 1)
        row, col = (int(64 * n) // factor for n in np.unravel_index(sums.argmax(), sums.shape))
        side = 512
        row, col = (
            max(0, min(row - side // 2, coarse.height - side)),
            max(0, min(col - side // 2, coarse.width - side)),
        )
        shown = coarse.read(1, window=Window(col, row, side, side))
        fine = file.read(1, window=Window(col * factor, row * factor, side * factor, side * factor))
    blocks = fine.reshape(side, factor, side, factor)
    mixed = blocks.max((1, 3)) != blocks.min((1, 3))
    counts = np.stack([(blocks == code).sum((1, 3)) for code in (0, *WORLDCOVER)])
    mode = np.array([0, *WORLDCOVER])[counts.argmax(0)]
    picks = {
        f"pixel {i},{j}": (blocks[:, i, :, j] == shown)[mixed].mean()
        for i in range(factor) for j in range(factor)
    }  # fmt: skip
    best = max(picks, key=lambda name: picks[name])
    modes = (mode == shown)[mixed].mean()
    return f"of {mixed.sum():,} mixed blocks it shows the mode in {modes:.1%}, {best} in {picks[best]:.1%}"


def blocks_of(path: Path, chips: ChipPlaces) -> list[Window]:
    """Every block of the file that a chip touches."""
    raster = look(open_map(str(path), []).tiles[0])
    assert raster is not None and raster.grid is not None
    mesh = mesh_of(chips, raster.grid)
    assert mesh is not None
    _, top, bottom, left, right = mesh.boxes()
    height, width = raster.block
    corners = [
        np.stack([(row - raster.top) // height, (col - raster.left) // width])
        for row in (top, bottom)
        for col in (left, right)
    ]
    whole = Window(0, 0, raster.width, raster.height)
    return [
        Window(col * width, row * height, width, height).intersection(whole)
        for row, col in np.unique(np.concatenate(corners, axis=1), axis=1).T.tolist()
    ]


def decode(task: tuple[Path, list[Window]]) -> int:
    """Read blocks of the file and do nothing else; how many pixels that were."""
    path, blocks = task
    with rasterio.open(path) as file:
        return sum(file.read(1, window=block).size for block in blocks)


def timed(function: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that a call takes."""
    started = clock()
    function()
    return clock() - started


def beside_the_limit(path: Path, chips: ChipPlaces) -> None:
    """Chips and pixels a second of one core's own time, which a busy machine disturbs less, beside plain decoding."""
    land, blocks = open_map(str(path), []), blocks_of(path, chips)
    pixels = decode((path, blocks))
    land.fractions(chips.take(np.arange(1)))  # loads what is compiled
    plain, ours = [], []
    for _ in range(RUNS):
        plain.append(timed(lambda: decode((path, blocks)), time.process_time))
        ours.append(timed(lambda: land.fractions(chips), time.process_time))
    print(
        f"  {len(chips):,} chips in {len(blocks):,} blocks, {pixels / 1e6:,.0f} Mpx, per core and in its own time:"
    )
    print(f"    decode alone  {min(plain):6.2f} s  {pixels / min(plain) / 1e6:7,.0f} Mpx/s")
    print(
        f"    fractions     {min(ours):6.2f} s  {pixels / min(ours) / 1e6:7,.0f} Mpx/s  "
        f"{len(chips) / min(ours):9,.0f} chips/s = {min(plain) / min(ours):.0%} of the limit"
    )


def beside_others(path: Path, chips: ChipPlaces, few: int) -> None:
    """Chips a second beside two other tools."""
    land = open_map(str(path), [])
    middle = np.argsort(np.hypot(chips.ix - chips.ix.mean(), chips.iy - chips.iy.mean()))[:few]
    some = chips.take(np.sort(middle))
    here = min(timed(lambda: land.fractions(some)) for _ in range(3)) / few
    for name, function in (("rasterstats", by_rasterstats), ("exactextract", plain_exactextract)):
        each = min(timed(lambda f=function: f(path, some)) for _ in range(2)) / few
        print(
            f"    {name:<13} {1 / each:9,.0f} chips/s on {few:,} neighbouring chips, "
            f"where fractions makes {1 / here:,.0f}: {each / here:.0f} ×"
        )


def of_part(task: tuple[LandcoverMap, ChipPlaces]) -> np.ndarray:
    """One task: a square of chips."""
    land, places = task
    return land.fractions(places)


def workers(path: Path, chips: ChipPlaces) -> None:
    """One and two workers, processes and threads, beside two that decode the same blocks and do nothing else."""
    blocks = blocks_of(path, chips)
    pixels = sum(block.width * block.height for block in blocks)
    halves = [(path, blocks[: len(blocks) // 2]), (path, blocks[len(blocks) // 2 :])]
    limit: dict[str, list[float]] = {"2 processes": [], "2 threads": []}
    land = open_map(str(path), [])
    square = (chips.ix // 128) * 100_000 + chips.iy // 128
    order = np.argsort(square, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(square[order])) + 1)
    tasks = [(land, chips.take(rows)) for rows in parts]
    times_over = tasks * TILES
    with engine(workers=2) as two:
        results: dict[str, np.ndarray] = {}

        def keep(name: str, found: dict[int, np.ndarray]) -> None:
            results[name] = np.concatenate([found[i] for i in range(len(times_over))])

        start = timed(lambda: list(two.map(of_part, [(land, chips.take(np.arange(1)))] * 4, "start")))
        print(f"    2 processes are started, with what they import and load, in {start:.1f} s")
        list(two.map(decode, halves, "start"))
        seconds: dict[str, list[float]] = {"1 worker": [], "2 processes": [], "2 threads": []}
        for _ in range(RUNS):
            with engine(workers=1) as one:
                seconds["1 worker"].append(
                    timed(lambda: keep("1 worker", dict(one.map(of_part, times_over, "one"))))
                )
            seconds["2 processes"].append(
                timed(lambda: keep("2 processes", dict(two.map(of_part, times_over, "two"))))
            )
            limit["2 processes"].append(timed(lambda: list(two.map(decode, halves * TILES, "limit"))))
            with ThreadPoolExecutor(2) as pool:
                limit["2 threads"].append(timed(lambda: list(pool.map(decode, halves * TILES))))
                seconds["2 threads"].append(
                    timed(lambda: keep("2 threads", dict(enumerate(pool.map(of_part, times_over)))))
                )
    pixels *= TILES
    for name, times in limit.items():
        print(f"    decode alone, {name}: {min(times):.2f} s, {pixels / min(times) / 1e6:,.0f} Mpx/s")
    # a task is a square of 128 × 128 chips, about as in `describe`; its neighbours decode blocks at the border too
    single = np.array(seconds["1 worker"])
    for name, times in seconds.items():
        same = np.array_equal(results[name], results["1 worker"])
        print(
            f"    {name:<12} {min(times):6.2f} s in {len(times_over)} tasks, "
            f"{len(chips) * TILES / min(times):9,.0f} chips/s, "
            f"{pixels / min(times) / 1e6:,.0f} Mpx/s, {min(limit.get(name, [np.nan])) / min(times):.0%} of the limit, "
            f"× {single.min() / min(times):.2f} (pairs × {np.median(single / np.array(times)):.2f}), the same: {same}"
        )


def peak_mib(path: Path, chips: ChipPlaces | None) -> float:
    """Highest memory of a fresh process that describes the chips."""
    if chips is not None:
        open_map(str(path), []).fractions(chips)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(path: Path, chips: ChipPlaces) -> None:
    """Highest memory while the number of chips grows tenfold, each in a process of its own."""
    order = np.lexsort((chips.ix, chips.iy))
    for share in (0.0, 0.1, 1.0):
        some = chips.take(order[: int(len(order) * share)]) if share else None
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            peak = fresh.submit(peak_mib, path, some).result()
        print(f"    {len(some) if some else 0:7,} chips: {peak:,.0f} MiB", flush=True)


def patchy(folder: Path) -> Path:
    """Write a tile of WorldCover's structure with ragged fields, woods, lakes and towns; keep one that is there."""
    path = folder / "patchy.tif"
    if path.exists():
        return path
    random, side = np.random.default_rng(0), 12288

    def field(*scales: int) -> np.ndarray:
        total = np.zeros((side, side), np.float32)
        for n, scale in enumerate(scales):
            noise = random.standard_normal((side // scale + 4, side // scale + 4)).astype(np.float32)
            noise = gaussian_filter(noise, 1)
            total += 0.75**n * zoom(noise / noise.std(), scale, order=1)[:side, :side]
        return total

    height, moist, town = field(512, 128, 32, 8, 2), field(256, 64, 16, 4), field(128, 4, 2)
    codes = np.full((side, side), 30, np.uint8)
    codes[height > -0.2], codes[height > 0.7] = 40, 10
    codes[(moist > 1.6) & (height < 0.3)] = 20
    codes[moist < -2.2], codes[height < -2.6], codes[town > 2.3] = 60, 80, 50
    profile = {
        "driver": "GTiff", "height": 36000, "width": 36000, "count": 1, "dtype": "uint8", "crs": "EPSG:4326",
        "transform": rasterio.Affine(1 / 12000, 0, 9, 0, -1 / 12000, 48), "nodata": 0, "tiled": True,
        "blockxsize": 1024, "blockysize": 1024, "compress": "deflate",
    }  # fmt: skip
    part = path.with_suffix(".part.tif")
    with rasterio.open(part, "w", **profile) as file:
        for row in range(0, 36000, 1024):
            rows = codes[np.arange(row, min(row + 1024, 36000)) % side][:, np.arange(36000) % side]
            file.write(rows, 1, window=Window(0, row, 36000, len(rows)))
        file.build_overviews([2, 4, 8, 16, 32, 64], Resampling.nearest)
    part.rename(path)
    run = codes.size / (np.count_nonzero(codes[:, 1:] != codes[:, :-1]) + side)
    print(f"wrote {path}: {path.stat().st_size / 1e6:.0f} MB, {run:.1f} pixels a run on average")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tile", type=Path)
    parser.add_argument("--patchy", type=Path, help="folder for a ragged tile; measures there too")
    parser.add_argument("--chips", type=int, default=2000, help="compared with exact areas")
    parser.add_argument("--few", type=int, default=1000, help="chips given to the other tools")
    parser.add_argument("--measure", nargs="+", default=MEASURES, choices=MEASURES)
    options = parser.parse_args()
    for path in [options.tile, *([patchy(options.patchy)] if options.patchy else [])]:
        with rasterio.open(path) as file:
            chips = chips_in(tuple(file.bounds))
        print(f"{path.name}: {len(chips):,} chips of {SIZE_M:g} m")
        if "exactness" in options.measure:
            accuracy(path, chips, options.chips)
            overviews(path, chips)
        if "limit" in options.measure:
            beside_the_limit(path, chips)
        if "speed" in options.measure:
            beside_others(path, chips, options.few)
            workers(path, chips)
        if "memory" in options.measure:
            memory(path, chips)


if __name__ == "__main__":
    main()
