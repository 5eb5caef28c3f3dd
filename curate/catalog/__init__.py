"""The contract between `curate` and `train`: what a catalog is, how to write it, read it and check it.

Imports pyarrow and numpy only, so that a GPU node can read catalogs without a geospatial stack.
"""

import sys

from curate import Command
from curate.catalog.errors import InputError, RunError
from curate.catalog.reader import Catalog, read_meta
from curate.catalog.schema import SCHEMA_VERSION, SEASONS, SPLITS, BandInfo, CatalogMeta, SensorInfo
from curate.catalog.statistics import BandStatistics, Moments

__all__ = [
    "SCHEMA_VERSION",
    "SEASONS",
    "SPLITS",
    "BandInfo",
    "BandStatistics",
    "Catalog",
    "CatalogMeta",
    "InputError",
    "Moments",
    "RunError",
    "SensorInfo",
    "read_meta",
]

sys.modules[__name__].__class__ = Command
