"""Colours that readers know: Köppen-Geiger climates and land covers."""

from __future__ import annotations

from collections.abc import Iterable

from curate.catalog.schema import SPLITS
from curate.legends import NAMED, WORLDCOVER, legend

NONE = "#9a9f9e"
# Beck et al. 2018 (doi 10.1038/sdata.2018.214), legend.txt
KOPPEN = {
    "Af": "#0000ff", "Am": "#0078ff", "Aw": "#46aafa", "BWh": "#ff0000", "BWk": "#ff9696", "BSh": "#f5a500",
    "BSk": "#ffdc64", "Csa": "#ffff00", "Csb": "#c8c800", "Csc": "#969600", "Cwa": "#96ff96", "Cwb": "#64c864",
    "Cwc": "#329632", "Cfa": "#c8ff50", "Cfb": "#64ff50", "Cfc": "#32c800", "Dsa": "#ff00ff", "Dsb": "#c800c8",
    "Dsc": "#963296", "Dsd": "#966496", "Dwa": "#aab4ff", "Dwb": "#5a78dc", "Dwc": "#4b50b4", "Dwd": "#320087",
    "Dfa": "#00ffff", "Dfb": "#37c8ff", "Dfc": "#007d7d", "Dfd": "#00465f", "ET": "#b2b2b2", "EF": "#666666",
}  # fmt: skip
# ESA WorldCover 2021 Product User Manual, table 3
_WORLDCOVER = {
    10: "#006400", 20: "#ffbb22", 30: "#ffff4c", 40: "#f096ff", 50: "#fa0000", 60: "#b4b4b4", 70: "#f0f0f0",
    80: "#0064c8", 90: "#0096a0", 95: "#00cf75", 100: "#fae6a0",
}  # fmt: skip
SPLIT_VARIABLES = tuple(
    f"--{name}" for name in SPLITS
)  # of the page: Okabe and Ito's blue, orange and purple
SPLIT_COLOURS = dict(zip(SPLITS, ("#0072b2", "#e69f00", "#cc79a7"), strict=True))


def landcovers(names: Iterable[str]) -> dict[str, str]:
    """A colour for each class of a map, by its name: WorldCover's own, or that of the class it is nearest to."""
    known = {name: _WORLDCOVER[code] for code, name in WORLDCOVER.items()}
    for called in NAMED:
        of = legend(called)
        for code, name in of.names.items():
            if code in of.common:
                known.setdefault(name, _WORLDCOVER[of.common[code]])
    for code, name in legend("worldcover").in_common().names.items():
        known.setdefault(name, _WORLDCOVER[code])
    return {name: known.get(name, NONE) for name in names}
