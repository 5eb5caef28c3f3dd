"""Chips per second of cutting, beside the decode limit and what a user would write, local and over HTTP.

python benchmarks/cutting.py scenes FOLDER      # once: a Sentinel-2 and a Sentinel-1 scene of full size, about 2 GB
python benchmarks/cutting.py FOLDER [CHIPS]     # all ways in one run, two processes each

Every chip of the scene is cut (8,281 of 120 × 120 px, 10 bands of Sentinel-2 and two of Sentinel-1, with the scene
classification), or CHIPS of them. The limit decodes the same blocks once with plain GDAL and does nothing else: no
resampling, no shard; both run in turns, three times. The second limit only writes as many bytes as shards have,
hashes them, and waits for the disk.
The other ways cut a part of the chips, in the same order, and write nothing; over HTTP `curate cut` too cuts a part.
Every way runs in processes of its own, whose caches of blocks and of HTTP are empty.
CPU is processor time of both processes. odc-stac is left out where it is missing
(pip install odc-stac). The server answers every request after 50 ms.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import Process, Queue
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import rasterio
import rasterio.shutil
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.windows import from_bounds

from curate.engine import engine
from curate.gdal import set_environment
from curate.pixels.cutting import FROM_DISKS, cut
from curate.pixels.layers import Layer, Reading
from curate.pixels.plan import plan, tasks
from curate.pixels.tasks import Asset, CutTask, Shard
from curate.recipe import Pixels
from curate.sensors import SENSORS

S2, S1 = SENSORS["sentinel-2-l2a"], SENSORS["sentinel-1-rtc"]
BANDS = {
    "B02": 10,
    "B03": 10,
    "B04": 10,
    "B08": 10,
    "B05": 20,
    "B06": 20,
    "B07": 20,
    "B8A": 20,
    "B11": 20,
    "B12": 20,
}
BANDS |= {"SCL": 20, "VV": 10, "VH": 10}
EPSG, LEFT, TOP, SIDE_M = 32633, 499_980.0, 5_000_040.0, 109_800
CHIP_PX, WORKERS, LATENCY_S = 120, 2, 0.05
PER_SHARD = 128
TURNS = 3  # of the limit and the program, one after the other: the machine's speed changes by some percent
HTTP_CHIPS, WRITTEN = 2048, 2048
Timed = tuple[int, float, float]  # chips, seconds, seconds of processor time


def make_scenes(folder: Path) -> None:
    """Bands with structure at every scale, sensor noise and speckle; DEFLATE with predictor, blocks of 512 px."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, (name, resolution) in enumerate(BANDS.items()):
        if (folder / f"{name}.tif").exists():
            continue
        random = np.random.default_rng([1, i])
        size = SIDE_M // resolution
        texture = np.tile(landscape(random, size // 5), (5, 5))[:size, :size]
        texture += np.kron(random.normal(0, 0.5, (5, 5)), np.ones((size // 5, size // 5))).astype(np.float32)
        if name == "SCL":
            values: Any = np.where(texture > 2.2, 9, np.where(texture > 0, 4, 5)).astype(np.uint8)
        elif name in ("VV", "VH"):
            power = 10 ** ((-12 if name == "VV" else -18) / 10 + 0.25 * texture)
            values = (
                power * random.standard_gamma(4.4, size=texture.shape, dtype=np.float32) / np.float32(4.4)
            )
        else:
            noise = random.standard_normal(texture.shape, dtype=np.float32)
            values = (1000 + 1800 + 500 * texture + 6 * noise).clip(1).astype(np.uint16)
        write(folder / f"{name}.tif", values, resolution)
        print(f"{name}: {(folder / f'{name}.tif').stat().st_size / 1e6:.0f} MB", flush=True)


def landscape(random: np.random.Generator, size: int) -> Any:
    """Gaussian field with a power spectrum of f^-3.4, about that of reflectance; mean 0, deviation 1."""
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    f[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(random.normal(size=(size, size))) * f**-1.7, (size, size))
    return ((field - field.mean()) / field.std()).astype(np.float32)


def write(path: Path, values: Any, resolution: int) -> None:
    predictor = "FLOATING_POINT" if values.dtype.kind == "f" else "STANDARD"
    with rasterio.MemoryFile() as memory:
        profile = {
            "driver": "GTiff",
            "height": len(values),
            "width": len(values),
            "count": 1,
            "dtype": values.dtype,
        }
        profile |= {"crs": f"EPSG:{EPSG}", "transform": Affine(resolution, 0, LEFT, 0, -resolution, TOP)}
        with memory.open(**profile, nodata=-32768 if values.dtype.kind == "f" else 0) as file:
            file.write(values, 1)
        options = {"compress": "DEFLATE", "predictor": predictor, "blocksize": 512, "num_threads": 2}
        rasterio.shutil.copy(memory.name, path, driver="COG", **options)


def asset(root: str, band: str) -> Asset:
    href = f"{root}/{band}.tif"
    if band in ("VV", "VH"):
        return Asset(href, 1.0, 0.0, -32768, "power")
    return Asset(href, 1.0, 0.0, 0, "class") if band == "SCL" else Asset(href, 1e-4, -0.1, 0, "reflectance")


def corners() -> tuple[Any, Any]:
    """Left and top of every chip of the scene, in order of rows."""
    count, step = SIDE_M // (CHIP_PX * 10), CHIP_PX * 10
    rows, cols = np.divmod(np.arange(count**2), count)
    return LEFT + step * cols, TOP - step * rows


def cut_tasks(root: str, folder: Path, chips: int | None) -> list[CutTask]:
    """The tasks of the program itself."""
    left, top = (values[:chips] for values in corners())
    ids = [f"chip{i:05d}" for i in range(len(left))]
    transform = np.zeros((len(left), 6))
    transform[:, 2], transform[:, 5] = left, top
    table = {"chip_id": ids, "epsg": np.full(len(left), EPSG), "s2_id": ["a"] * len(left)}
    table |= {"transform": pa.FixedSizeListArray.from_arrays(pa.array(transform.ravel()), 6)}
    planned = plan(pa.table(table), pa.array(ids), "s2", PER_SHARD)
    optical = tuple(band for band in BANDS if band not in ("SCL", "VV", "VH"))
    infos = (S2.stored_info(optical, "bilinear"), S1.stored_info(("VV", "VH"), "bilinear"))
    assets = {"s2": {"a": {b: asset(root, b) for b in (*optical, "SCL")}}}
    assets["s1"] = {"b": {b: asset(root, b) for b in ("VV", "VH")}}
    return [
        CutTask(
            tuple(
                Shard(
                    one.name,
                    tuple(ids[i] for i in one.rows),
                    tuple(ids[i] for i in one.rows),
                    tuple((EPSG, float(left[i]), float(top[i])) for i in one.rows),
                    {"s2": ("a",) * len(one.rows), "s1": ("b",) * len(one.rows)},
                )
                for one in group
            ),
            folder, CHIP_PX, 10.0, infos, assets, Pixels(max_cloud=1.0),
        )
        for group in tasks(planned, WORKERS)
    ]  # fmt: skip


def timed(way: Callable[[Any], Any], task: Any) -> tuple[Any, float]:
    """What *way* makes of *task*, and the processor time that it took."""
    before = time.process_time()
    return way(task), time.process_time() - before


def by_curate(root: str, warm: str, scratch: Path, chips: int | None) -> Timed:
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    with engine(WORKERS) as running:
        first = [
            replace(task, shards=task.shards[:1]) for task in cut_tasks(warm, scratch, WORKERS * PER_SHARD)
        ]
        list(running.map(cut, first, ""))  # all is compiled; from other addresses, so that no cache is filled
        started = time.perf_counter()
        done = [made for _, made in running.map(partial(timed, cut), cut_tasks(root, scratch, chips), "")]
        seconds = time.perf_counter() - started
    shutil.rmtree(scratch)
    return (
        sum(len(entry.chips) for entries, _ in done for entry in entries), seconds, sum(cpu for _, cpu in done),
    )  # fmt: skip


def write_alone(scratch: Path, part: int) -> int:
    """Write what shards of `WRITTEN` chips hold, hash it and wait for the disk."""
    shard = np.random.default_rng(part).integers(0, 2**16, (PER_SHARD, 12 * CHIP_PX**2), np.uint16)
    scratch.mkdir(parents=True, exist_ok=True)
    shards = WRITTEN // PER_SHARD // WORKERS
    for i in range(shards):
        path = scratch / f"{part}-{i}"
        with path.open("wb") as file:
            hashlib.sha256(shard).hexdigest()
            shard.tofile(file)
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    return shards * PER_SHARD


def _ready(_: int) -> None:
    time.sleep(0.2)


def decode(root: str, part: int) -> int:
    """Read every block of the scene once, half of them in each process."""
    read = 0
    for band in BANDS:
        with rasterio.open(f"{root}/{band}.tif") as source:
            windows = [window for _, window in source.block_windows(1)]
            half = len(windows) // WORKERS
            for window in windows[part * half : (part + 1) * half if part + 1 < WORKERS else None]:
                read += source.read(1, window=window).nbytes
    return read


def windows_per_chip(root: str, chips: Sequence[tuple[float, float]]) -> int:
    """What one writes first: for each chip open each file and read its window, resampled to 10 m."""
    side = CHIP_PX * 10
    for left, top in chips:
        bounds = (left, top - side, left + side, top)
        chip = []
        for band in BANDS:
            with rasterio.open(f"{root}/{band}.tif") as source:
                window = from_bounds(*bounds, source.transform)
                how = Resampling.nearest if band == "SCL" else Resampling.bilinear
                chip.append(source.read(1, window=window, out_shape=(CHIP_PX, CHIP_PX), resampling=how))
    return len(chips)


def odc_per_chip(root: str, chips: Sequence[tuple[float, float]]) -> int:
    """odc-stac, a GeoBox for each chip."""
    import odc.stac
    import pystac
    from odc.geo.geobox import GeoBox

    item = pystac.Item(
        "a", {"type": "Polygon", "coordinates": [[[14, 44], [17, 44], [17, 46], [14, 46], [14, 44]]]},
        [14, 44, 17, 46], pystac.utils.str_to_datetime("2020-06-01T00:00:00Z"), {"proj:epsg": EPSG},
        stac_extensions=["https://stac-extensions.github.io/projection/v1.1.0/schema.json",
                         "https://stac-extensions.github.io/raster/v1.1.0/schema.json"],
    )  # fmt: skip
    for band, resolution in BANDS.items():
        found = pystac.Asset(f"{root}/{band}.tif", media_type=pystac.MediaType.COG, roles=["data"])
        dtype = "uint8" if band == "SCL" else "float32" if band in ("VV", "VH") else "uint16"
        size = SIDE_M // resolution
        found.extra_fields = {"raster:bands": [{"data_type": dtype, "nodata": 0}], "proj:shape": [size, size]}
        found.extra_fields["proj:transform"] = [resolution, 0, LEFT, 0, -resolution, TOP]
        item.add_asset(band, found)
    side = CHIP_PX * 10
    for left, top in chips:
        box = GeoBox.from_bbox((left, top - side, left + side, top), f"EPSG:{EPSG}", resolution=10)
        how = {"SCL": "nearest", "*": "bilinear"}
        odc.stac.load([item], bands=list(BANDS), geobox=box, resampling=how).load()
    return len(chips)


def in_processes(way: Callable[..., int], parts: Sequence[Any]) -> Timed:
    with ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(_ready, [0] * WORKERS))
        started = time.perf_counter()
        done = list(pool.map(partial(timed, way), parts))
        return sum(n for n, _ in done), time.perf_counter() - started, sum(cpu for _, cpu in done)


def split(count: int) -> list[list[tuple[float, float]]]:
    """The first *count* chips of each half of the scene, for two processes."""
    every = np.stack(corners(), axis=1)
    half, part = len(every) // WORKERS, count // WORKERS
    return [[(left, top) for left, top in every[i * half :][:part].tolist()] for i in range(WORKERS)]


class Slow(BaseHTTPRequestHandler):
    """A file server with ranges and keep-alive that lets every request wait."""

    protocol_version = "HTTP/1.1"
    folder = Path()

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def _answer(self, body: bool) -> None:
        time.sleep(LATENCY_S)
        path = self.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        size = path.stat().st_size
        asked = self.headers.get("Range")
        first, last = 0, size - 1
        if asked:
            low, high = asked.removeprefix("bytes=").split("-")
            first, last = int(low), min(int(high) if high else size - 1, size - 1)
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if body:
            self.wfile.flush()
            with path.open("rb") as file:
                while first <= last:
                    first += os.sendfile(self.connection.fileno(), file.fileno(), first, last - first + 1)

    def log_message(self, *_: Any) -> None:
        pass


def serve(folder: Path, port: Queue[int]) -> None:
    Slow.folder = folder
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    port.put(server.server_address[1])
    server.serve_forever()


class Counting(Layer):
    """A band that counts what it would read."""

    def _read_run(self, top: int, bottom: int, left: int, right: int) -> None:
        self.decoded += (bottom - top) * (right - left)


def decoded(root: str, folder: Path) -> Any:
    """Blocks of all bands: needed, read by the tasks of the program, read if every shard opened its scene anew."""
    needed = together = alone = 0
    planned = cut_tasks(root, folder, None)
    for band in BANDS:
        together += sum(_read(task, root, band) for task in planned)
        alone += sum(
            _read(replace(task, shards=(one,)), root, band) for task in planned for one in task.shards
        )
        with rasterio.open(f"{root}/{band}.tif") as source:
            needed += sum(1 for _ in source.block_windows(1))
    return needed, together, alone


def _read(task: CutTask, root: str, band: str) -> int:
    batches = task.batches(FROM_DISKS.batch_chips)
    number = np.repeat(np.arange(len(batches)), [len(batch) for batch in batches])
    reading = Reading(f"{root}/{band}.tif", 0, 0, "nearest" if band == "SCL" else "bilinear")
    layer = Counting(reading, task.grid(np.arange(task.chips)), number)
    for k in range(len(batches)):
        layer.load(k)
    return layer.decoded


def say(name: str, done: Timed, beside: float | None = None) -> float:
    chips, seconds, cpu = done
    share = f"{chips / seconds / beside:14.2f}" if beside else " " * 14
    print(
        f"{name:<40}{chips:>8,}{seconds:>8.1f}{chips / seconds:>10.1f}{share}{1e3 * cpu / chips:>14.2f}",
        flush=True,
    )
    return chips / seconds


def main(folder: Path, chips: int | None = None) -> None:
    set_environment()  # each way gets the same sensible settings, among them EMPTY_DIR and the block cache
    scratch, root = folder / "chips", str(folder)
    every = len(corners()[0])
    for band in BANDS:  # from the page cache for all
        (folder / f"{band}.tif").read_bytes()
    print(f"{'':<40}{'chips':>8}{'s':>8}{'chips/s':>10}  of the limit   CPU ms/chip")
    turns = []
    for _ in range(TURNS):
        _, *times = in_processes(partial(decode, root), range(WORKERS))
        limit = say("local: decode limit, plain GDAL", (every, *times))
        turns.append((say("local: curate cut", by_curate(root, f"{root}/.", scratch, chips), limit), limit))
    shares = sorted(rate / limit for rate, limit in turns)
    print(f"of the limit, {TURNS} times in turns: {', '.join(f'{share:.2f}' for share in shares)}")
    limit = sorted(limit for _, limit in turns)[TURNS // 2]
    say(
        "local: write limit, hashed and synced",
        in_processes(partial(write_alone, scratch), range(WORKERS)),
        limit,
    )
    say("local: rasterio, windows per chip", in_processes(partial(windows_per_chip, root), split(100)), limit)
    odc = _has_odc()
    if odc:
        say("local: odc-stac, GeoBox per chip", in_processes(partial(odc_per_chip, root), split(50)), limit)
    port: Queue[int] = Queue()
    server = Process(target=serve, args=(folder, port), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{port.get()}"
    naive = say(
        "HTTP 50 ms: rasterio, windows per chip", in_processes(partial(windows_per_chip, url), split(300))
    )
    if odc:
        say(
            "HTTP 50 ms: odc-stac, GeoBox per chip",
            in_processes(partial(odc_per_chip, url), split(120)),
            naive,
        )
    rate = say("HTTP 50 ms: curate cut", by_curate(url, root, scratch, HTTP_CHIPS))
    print(f"over HTTP {rate / naive:.0f} times the way by chip")
    server.kill()
    needed, together, alone = decoded(root, scratch)
    print(f"blocks needed {needed:,}, read {together:,}; if each shard opened its scene anew {alone:,}")


def _has_odc() -> bool:
    try:
        import odc.stac  # noqa: F401
    except ImportError:
        print("odc-stac is not installed")
        return False
    return True


if __name__ == "__main__":
    if sys.argv[1] == "scenes":
        make_scenes(Path(sys.argv[2]))
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)
