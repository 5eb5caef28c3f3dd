"""How far the Köppen-Geiger rules applied to station normals agree with the published map, and how fast they are.

    python benchmarks/koppen_stations.py [--data ../shared/data] [--cells 1000000]

The maps of Beck et al. were first made with the seasonal part of the aridity threshold inverted (a fault that their
program names and mends for version 2); each table is therefore printed for the rule as published, and for that one.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import rasterio
import xarray as xr

from curate.descriptors import koppen
from curate.descriptors.climatic import open_map
from curate.legends import KOPPEN_SYMBOLS

SOURCES = {"wc": "WorldClim 1.4", "cru": "CRU CL 2.0"}
SYMBOLS = np.array(["-", *KOPPEN_SYMBOLS])
MAIN = SYMBOLS.astype("U1")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--cells", type=int, default=1_000_000)
    options = parser.parse_args()
    climate = options.data / "climate"
    table = pq.read_table(climate / "station_monthly_normals.parquet")
    beck = table["beck2023_0p1"].to_numpy()
    for source, name in SOURCES.items():
        t, p = (
            np.stack([table[f"{source}_{kind}{month:02}"].to_numpy() for month in range(1, 13)])
            for kind in "tp"
        )
        agreement(name, koppen.classify(t, p), beck)
        with mock.patch.object(koppen, "pthreshold", first_release):
            agreement(f"{name}, threshold as in the first release of the maps", koppen.classify(t, p), beck)
    speed(t, p, options.cells)
    laos = climate / "laos_monthly_climate.nc"
    if laos.exists():
        grid(laos, climate / "koppen_beck2023_1991-2020_0p1.tif")


def first_release(MAT: np.ndarray, MAP: np.ndarray, Ps: np.ndarray, Pw: np.ndarray) -> np.ndarray:
    """`koppen.pthreshold` as hylken/Koppen-Geiger_maps, tools.py, says it was in Beck et al. 2018 and 2023."""
    return 2 * MAT + np.select([Ps * 2.333 > Pw, Pw * 2.333 > Ps], [28, 0], 14)


def agreement(name: str, codes: np.ndarray, beck: np.ndarray) -> None:
    both = (codes > 0) & (beck > 0)
    ours, theirs = codes[both], beck[both]
    print(
        f"{name}: {both.sum():,} places, same of 30 classes {np.mean(ours == theirs):.2%}, "
        f"same of 5 main classes {np.mean(MAIN[ours] == MAIN[theirs]):.2%}"
    )
    confused = Counter(zip(SYMBOLS[theirs].tolist(), SYMBOLS[ours].tolist(), strict=True))
    most = [(pair, n) for pair, n in confused.most_common() if pair[0] != pair[1]][:8]
    print("  map > computed: " + ", ".join(f"{a} > {b} {n}" for (a, b), n in most))


def speed(t: np.ndarray, p: np.ndarray, cells: int) -> None:
    """Time of *cells* drawn from stations that have normals, months first and last."""
    known = np.flatnonzero(~np.isnan(t + p).any(axis=0))
    drawn = np.random.default_rng(0).choice(known, cells)
    for order, axis in (("first", 0), ("last", -1)):
        cubes = [np.ascontiguousarray(np.moveaxis(values[:, drawn], 0, axis)) for values in (t, p)]
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            koppen.classify(*cubes, axis=axis)
            seconds.append(time.perf_counter() - started)
        print(f"{cells:,} cells, months {order}: {min(seconds):.2f} s on one core, best of 3")


def grid(path: Path, map_path: Path) -> None:
    """The classes of a NetCDF of daily minima, maxima and precipitation per day, beside those of the map."""
    variables = {}
    for name in ("tmin", "tmax", "precipitation"):
        with rasterio.open(f"netcdf:{path}:{name}") as source:
            units, affine = source.units[0], source.transform
            variables[name] = (
                ("month", "lat", "lon"),
                source.read(masked=True).filled(np.nan),
                {"units": units},
            )
    ds = xr.Dataset(variables)
    codes = koppen.classify_dataset(ds, ("tmin", "tmax"), "precipitation")
    rows, cols = np.nonzero(codes.values)
    lon, lat = affine * (cols + 0.5, rows + 0.5)
    print(f"{path.name}: {dict(ds.sizes)}, precipitation in {ds['precipitation'].units}")
    shares = Counter(SYMBOLS[codes.values.ravel()].tolist()).most_common()
    print("  cells: " + ", ".join(f"{symbol} {n:,}" for symbol, n in shares))
    agreement("  beside the map", codes.values[rows, cols], open_map(str(map_path)).at(lon, lat).code)


if __name__ == "__main__":
    main()
