"""Chips a second out of shards, beside a memory copy of the same bytes and beside formats that users know, in one run.

python benchmarks/loading.py [FORMAT …] [--chips 20000] [--seconds 5] [--folder /tmp/loading] [--write] [--keep]

Chips are pairs of 12 × 120 × 120 uint16 and 2 × 120 × 120 int16, random numbers, uncompressed everywhere, in random
order (WebDataset: shards in random order and a buffer of 1,000 samples, its usual way), in batches of 256, from the
page cache: every format is read once before it is timed. 20,000 chips are 8 GB in each format; where memory or
disk do not hold all, name one FORMAT or some at a time (copy is always timed beside them). --write only writes.
Workers are threads for our loader and processes of torch's DataLoader for the others; processor time is that of all of
them. "copy" is numpy's copy of a batch that lies in memory into memory that is used again. Then the first batch of
a catalog of a million rows is timed, imports apart.

Needs webdataset, zarr and rasterio: pip install webdataset zarr
"""

from __future__ import annotations

import argparse
import json
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import torch

from curate.catalog import BandInfo, BandStatistics, CatalogMeta, Moments, SensorInfo
from curate.catalog.geoparquet import write_geoparquet
from curate.catalog.schema import catalog_schema
from curate.catalog.shards import SensorChips, write_shard
from curate.catalog.statistics import write_statistics
from train.data import Chips, DataConfig, open_catalog
from train.loader import Loader

PX, BATCH, PER_SHARD, MILLION = 120, 256, 500, 1_000_000
WARM = 10  # batches before the time is taken
S2 = SensorInfo(
    *("s2", "sentinel-2-l2a", tuple(BandInfo(f"B{i:02d}") for i in range(12)), "uint16"),
    *(1e-4, 0.0, 0, "reflectance", "cubic"),
)
S1 = SensorInfo(
    *("s1", "sentinel-1-rtc", (BandInfo("VV"), BandInfo("VH")), "int16"),
    *(0.01, 0.0, -32768, "dB", "bilinear"),
)
CHIP_BYTES = 2 * 14 * PX * PX


def pixels(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(start)
    s2 = rng.integers(1, 10_000, (stop - start, 12, PX, PX), np.uint16)
    return s2, rng.integers(-3000, 0, (stop - start, 2, PX, PX), np.int16)


def blocks(chips: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + PER_SHARD, chips)) for start in range(0, chips, PER_SHARD))


def write_catalog(path: Path, rows: int, chips: int) -> None:
    """A catalog of *rows*: the *chips* of the shards, over and over."""
    schema = catalog_schema(["s2", "s1"], [10])
    at = np.arange(rows) % chips
    columns: dict[str, Any] = {
        "chip_id": [f"chip{i:07d}" for i in at],
        "place": [f"place{i:07d}" for i in range(rows)],
        "split": np.where(np.arange(rows) % 10 == 9, "val", "train"),
        "shard": [f"{i // PER_SHARD * PER_SHARD:06d}.arrow" for i in at],
        "shard_row": (at % PER_SHARD).astype(np.int32),
        "lc_dominant_name": ["Tree cover"] * rows,
        "koppen_symbol": ["Cfb"] * rows,
    }
    arrays = [
        pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(rows, f.type) for f in schema
    ]
    meta = CatalogMeta(
        region="bench",
        chip_px=PX,
        resolution_m=10.0,
        sensors=(S2, S1),
        landcover={10: "Tree cover"},
        recipe={},
        recipe_hash="0" * 32,
        source={"archive": "random", "simulated": True},
        software={},
        chips="chips",
        statistics="statistics.json",
        pool_rows=rows,
    )
    fields = [schema.field(i).with_nullable(True) for i in range(len(schema))]
    write_geoparquet(pa.table(arrays, schema=pa.schema(fields, schema.metadata)), path, meta.to_json())


def write_ours(folder: Path, chips: int) -> None:
    for start, stop in blocks(chips):
        s2, s1 = pixels(start, stop)
        ids = [f"chip{i:07d}" for i in range(start, stop)]
        ones = np.ones(stop - start, np.float32)
        write_shard(
            folder / "chips" / f"{start:06d}.arrow",
            (S2, S1),
            ids,
            {"s2": SensorChips(s2, ones, 0 * ones), "s1": SensorChips(s1, ones, 0 * ones)},
        )
    statistics = {info.prefix: flat_statistics(info) for info in (S2, S1)}
    write_statistics(folder / "statistics.json", statistics)
    write_catalog(folder / "catalog.parquet", chips, chips)


def write_tars(folder: Path, chips: int) -> None:
    for start, stop in blocks(chips):
        s2, s1 = pixels(start, stop)
        with tarfile.open(folder / f"{start:06d}.tar", "w") as tar:
            for row in range(stop - start):
                for sensor, values in (("s2", s2[row]), ("s1", s1[row])):
                    data = BytesIO()
                    np.save(data, values)
                    info = tarfile.TarInfo(f"chip{start + row:07d}.{sensor}.npy")
                    info.size = data.tell()
                    data.seek(0)
                    tar.addfile(info, data)


def write_zarr(folder: Path, chips: int) -> None:
    import zarr

    arrays = [
        zarr.create_array(
            folder / f"{name}.zarr", shape=(chips, bands, PX, PX), chunks=(1, bands, PX, PX), dtype=dtype,
            compressors=None,
        )
        for name, bands, dtype in (("s2", 12, "u2"), ("s1", 2, "i2"))
    ]  # fmt: skip
    for start, stop in blocks(chips):
        for array, values in zip(arrays, pixels(start, stop), strict=True):
            array[start:stop] = values


def write_tiffs(folder: Path, chips: int) -> None:
    import rasterio

    for start, stop in blocks(chips):
        for sensor, chip_values in zip(("s2", "s1"), pixels(start, stop), strict=True):
            for row, values in enumerate(chip_values, start):
                profile = {"driver": "GTiff", "count": len(values), "height": PX, "width": PX}
                with rasterio.open(folder / f"{row}_{sensor}.tif", "w", dtype=values.dtype, **profile) as tif:
                    tif.write(values)


def flat_statistics(info: SensorInfo) -> BandStatistics:
    values = np.random.default_rng(0).integers(1, 1000, (4, len(info.bands), 8, 8)).astype(info.dtype)
    return BandStatistics.of(info, Moments.of_chips(values, info).merged())


class Tiffs(torch.utils.data.Dataset):
    def __init__(self, folder: Path, chips: int) -> None:
        self.folder, self.chips = folder, chips

    def __len__(self) -> int:
        return self.chips

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        import rasterio

        found = []
        for sensor in ("s2", "s1"):
            with rasterio.open(self.folder / f"{index}_{sensor}.tif") as tif:
                found.append(tif.read())
        return found[0], found[1]


class Zarr(Tiffs):
    arrays: list[Any] | None = None

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        import zarr

        if self.arrays is None:
            self.arrays = [
                zarr.open_array(self.folder / f"{sensor}.zarr", mode="r") for sensor in ("s2", "s1")
            ]
        return self.arrays[0][index], self.arrays[1][index]


def torch_loader(data: Any, workers: int) -> Iterator[int]:
    options = {"multiprocessing_context": "forkserver", "persistent_workers": True} if workers else {}
    loader = torch.utils.data.DataLoader(
        data, BATCH, shuffle=True, num_workers=workers, drop_last=True, **options
    )
    while True:
        for s2, _ in loader:
            yield len(s2)


def web(folder: Path, workers: int) -> Iterator[int]:
    import webdataset as wds

    tars = sorted(str(path) for path in folder.glob("*.tar"))
    data = (
        wds.WebDataset(tars, shardshuffle=len(tars), seed=0)
        .shuffle(1000)
        .decode()
        .to_tuple("s2.npy", "s1.npy")
        .batched(BATCH, partial=False)
        .repeat()
    )
    for s2, _ in wds.WebLoader(data, batch_size=None, num_workers=workers):
        yield len(s2)


def copies(threads: int) -> Iterator[int]:
    """Batches copied from memory to memory that is used again."""
    source = np.ones((8, BATCH, CHIP_BYTES // 2), np.uint16)
    targets = [np.ones_like(source[0]) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        for turn in repeat(range(8)):
            for first in range(0, 8, threads):
                pairs = [(targets[t], source[turn[first + t]]) for t in range(threads)]
                list(pool.map(lambda pair: np.copyto(*pair), pairs))
                yield threads * BATCH


def ours(folder: Path, workers: int) -> Iterator[int]:
    catalog = open_catalog(folder / "catalog.parquet")
    chips = Chips(catalog, DataConfig.of(catalog), "train")
    for batch in Loader(chips, BATCH, seed=0).batches(0, 1_000_000, workers):
        yield len(batch.chips)


def processor_s() -> float:
    """Processor time of this process and of its workers."""
    me = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in (me, *me.children(recursive=True)))


def rate(make: Callable[[], Iterator[int]], seconds: float) -> tuple[float, float]:
    """Chips a second, once there is memory for batches, and microseconds of processor time a chip."""
    batches = make()
    for _ in range(WARM):
        next(batches)
    done, started, before = 0, time.perf_counter(), processor_s()
    while (passed := time.perf_counter() - started) < seconds:
        done += next(batches)
    busy = processor_s() - before
    close = getattr(batches, "close", None)
    if close:
        close()
    return done / passed, 1e6 * busy / done


def first_batch(folder: Path, chips: int) -> float:
    """Seconds from opening a catalog of a million rows to its first batch."""
    path = folder / "million.parquet"
    write_catalog(path, MILLION, chips)
    started = time.perf_counter()
    catalog = open_catalog(path)
    split = Chips(catalog, DataConfig.of(catalog), "train")
    split.digest()
    next(Loader(split, BATCH, seed=0).batches(0, 1))
    return time.perf_counter() - started


FORMATS: dict[str, tuple[Callable[[Path, int], None], Callable[[Path, int, int], Iterator[int]]]] = {
    "ours": (write_ours, lambda folder, chips, workers: ours(folder, workers)),
    "webdataset": (write_tars, lambda folder, chips, workers: web(folder, workers)),
    "zarr": (write_zarr, lambda folder, chips, workers: torch_loader(Zarr(folder, chips), workers)),
    "geotiff": (write_tiffs, lambda folder, chips, workers: torch_loader(Tiffs(folder, chips), workers)),
}


def written(folder: Path, name: str, chips: int) -> Path:
    """The folder of one format, written if need be."""
    whole = folder / name / "whole"
    if not whole.exists():
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
        FORMATS[name][0](folder / name, chips)
        whole.touch()
    return folder / name


def timed(
    name: str, make: Callable[[int], Iterator[int]], seconds: float, beside: dict[int, float]
) -> dict[int, float]:
    """Chips a second by number of workers, printed beside those of the memory copy."""
    found = {}
    for workers in (1, 2):
        found[workers], busy = rate(partial(make, workers), seconds)
        value = found[workers]
        share = value / beside.get(workers, value)
        print(
            f"{name:11} {workers} workers {value:9,.0f} chips/s {value * CHIP_BYTES / 1e6:9,.0f} MB/s "
            f"{share:6.1%} of the copy {busy:9,.0f} µs of processor a chip",
            flush=True,
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("--chips", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/loading"))
    parser.add_argument("--write", action="store_true", help="write the files and keep them, time nothing")
    parser.add_argument("--keep", action="store_true", help="keep the files; those that are there are used")
    options = parser.parse_args()
    chips, found = options.chips, {}
    if not options.write:
        print(f"{chips:,} chips of {CHIP_BYTES / 1e3:.0f} kB, batches of {BATCH}")
        found["copy"] = timed("copy", copies, options.seconds, {})
    for name in options.formats or FORMATS:
        folder = written(options.folder, name, chips)
        if options.write:
            continue
        for path in folder.rglob("*"):
            if path.is_file():
                path.read_bytes()
        make = partial(FORMATS[name][1], folder, chips)
        found[name] = timed(name, make, options.seconds, found["copy"])
        if name == "ours":
            print(
                f"first batch of a catalog of {MILLION:,} rows: {first_batch(folder, chips):.2f} s",
                flush=True,
            )
        if not options.keep:
            shutil.rmtree(folder)
    print(json.dumps({"chips": chips, "rates": found}))


if __name__ == "__main__":
    main()
