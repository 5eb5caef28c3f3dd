"""How far the coast of `curate.descriptors.coast` lies from that of a real land-cover map.

    python benchmarks/coast_accuracy.py ESA_WorldCover_10m_2021_v200_N00E006_Map.tif

Points on the shore of the map (a class of land beside nodata or water, at 80 m) of its larger islands, and their
distance to the generalised coast.
"""

from __future__ import annotations

import sys

import numpy as np
import rasterio
from scipy import ndimage

from curate.descriptors.coast import coast_km

FACTOR = 8
SEA = (0, 80)
LEAST_PX = 1000  # of an island, 6.4 km²: what is smaller the coast leaves out


def main() -> None:
    with rasterio.open(sys.argv[1]) as source:
        shape = (source.height // FACTOR, source.width // FACTOR)
        codes, at = source.read(1, out_shape=shape), source.transform
    land = ndimage.binary_fill_holes(~np.isin(codes, SEA))
    name, number = ndimage.label(land)
    size = np.bincount(name.ravel(), minlength=number + 1)
    size[0] = 0
    large = (size >= LEAST_PX)[name]
    row, col = np.nonzero(large & ~ndimage.binary_erosion(large))
    lon, lat = at.c + at.a * FACTOR * (col + 0.5), at.f + at.e * FACTOR * (row + 0.5)
    apart = np.abs(coast_km(lon, lat))
    islands, least = (size >= LEAST_PX).sum(), LEAST_PX * (FACTOR / 100) ** 2
    print(f"{islands} islands of at least {least:.1f} km², {len(apart):,} points on their shore")
    within = np.percentile(apart, 95)
    print(f"km to the coast: mean {apart.mean():.2f}, 95 % within {within:.2f}, most {apart.max():.2f}")


if __name__ == "__main__":
    main()
