"""Legends: what the codes of a categorical map mean."""

from curate.legends.koppen import KOPPEN_CODES, KOPPEN_SYMBOLS
from curate.legends.landcover import COMMON, NAMED, WORLDCOVER, Legend, legend
from curate.legends.tables import read_legend

__all__ = [
    "COMMON",
    "KOPPEN_CODES",
    "KOPPEN_SYMBOLS",
    "NAMED",
    "WORLDCOVER",
    "Legend",
    "legend",
    "read_legend",
]
