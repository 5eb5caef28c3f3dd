"""The classes of Köppen-Geiger maps."""

from __future__ import annotations

# Beck et al. 2018 (doi 10.1038/sdata.2018.214), table 2, and 2023: codes 1 to 30 in this order
KOPPEN_SYMBOLS = (
    "Af", "Am", "Aw", "BWh", "BWk", "BSh", "BSk", "Csa", "Csb", "Csc", "Cwa", "Cwb", "Cwc", "Cfa", "Cfb",
    "Cfc", "Dsa", "Dsb", "Dsc", "Dsd", "Dwa", "Dwb", "Dwc", "Dwd", "Dfa", "Dfb", "Dfc", "Dfd", "ET", "EF",
)  # fmt: skip
KOPPEN_CODES = {symbol: code for code, symbol in enumerate(KOPPEN_SYMBOLS, start=1)} | {"As": 3}
