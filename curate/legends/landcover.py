"""Legends of land-cover maps, each with a crosswalk to nine classes in common.

A legend is a CSV with the columns ``code`` and ``name``; a code without a name, or called "No data", is unmapped.
Two more columns are optional: ``common`` names the class of `COMMON_KEYS` that a code belongs to, ``value`` is what
a raster may hold instead of the code (CORINE's rasters hold 1 to 44 for 111 to 523). The files beside this module
follow the published legends: WorldCover 2021 Product User Manual, table 3; CORINE nomenclature (EEA); CGLS-LC100
v3 Product User Manual; the Impact Observatory / Esri annual maps; MCD12Q1 collection 6 User Guide, table 3 (IGBP);
GLCNMO 2 (Tateishi et al. 2014). The crosswalks are this package's own; `docs/landcover.md` says what they decide.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from curate.catalog.errors import InputError
from curate.legends.tables import read_legend, read_rows, whole

NAMED = ("worldcover", "corine", "cgls", "io", "mcd12-igbp", "glcnmo")
COMMON: dict[int, str] = {
    10: "Tree cover",
    20: "Shrubland",
    30: "Grassland",
    40: "Cropland",
    50: "Built-up",
    60: "Bare or sparse vegetation",
    70: "Snow and ice",
    80: "Water",
    90: "Wetland",
}
COMMON_KEYS = dict(
    zip(("tree", "shrub", "grass", "crop", "built", "bare", "snow", "water", "wetland"), COMMON, strict=True)
)
_NO_DATA = ("", "no data", "nodata", "no-data")


@dataclass(frozen=True)
class Legend:
    """What the numbers in a land-cover map mean."""

    names: dict[int, str]  # code -> class, by rising code
    nodata: frozenset[int] = frozenset()  # numbers that say nothing about the land
    values: dict[int, int] = field(
        default_factory=dict
    )  # every number that a raster may hold -> its class's code
    common: dict[int, int] = field(default_factory=dict)  # code -> code of `COMMON`; empty where unknown

    @property
    def codes(self) -> tuple[int, ...]:
        """The classes' codes, rising."""
        return tuple(self.names)

    @property
    def numbers(self) -> dict[int, int]:
        """Number in a raster -> position of its class in `codes`."""
        position = {code: i for i, code in enumerate(self.codes)}
        return {number: position[code] for number, code in self.values.items()}

    def in_common(self) -> Legend:
        """This legend told in the nine classes of `COMMON`, so that maps of different legends can be compared.

        Raises:
            InputError: a class has none.
        """
        lost = [f"{code} ({name})" for code, name in self.names.items() if code not in self.common]
        if lost:
            raise InputError(
                "The legend does not say which common classes its classes are",
                f"without one: {', '.join(lost[:8])}",
                f"Give the CSV a column 'common' with: {', '.join(COMMON_KEYS)}",
            )
        values = {number: self.common[code] for number, code in self.values.items()}
        return Legend(COMMON, self.nodata, values, {code: code for code in COMMON})


def legend(name: str | None) -> Legend:
    """The legend called *name*, or the one in the CSV *name*; None: ESA WorldCover's.

    Raises:
        InputError: no such legend, or a broken CSV.
    """
    if name is None or name in NAMED:
        return _read(Path(__file__).parent / f"{name or 'worldcover'}.csv")
    if Path(name).suffix.lower() != ".csv" and not Path(name).exists():
        raise InputError(
            f"There is no legend {name!r}", f"known are {', '.join(NAMED)}", "Or give a CSV (code,name)"
        )
    return _read(Path(name))


def _read(path: Path) -> Legend:
    names = {
        code: name for code, name in sorted(read_legend(path).items()) if name.strip().lower() not in _NO_DATA
    }
    if not names:
        raise InputError(f"Legend {path} names no class")
    rows = [(whole(path, "code", row["code"]), row) for row in read_rows(path, "name")]
    nodata = frozenset(code for code, _ in rows if code not in names)
    named = [(code, row) for code, row in rows if code in names]
    values = {whole(path, "value", row["value"]): code for code, row in named if row.get("value")}
    both = sorted(number for number in values if number in names or number in nodata)
    if both:
        raise InputError(f"Legend {path} uses {both[0]} both as a code and as another code's value")
    common: dict[int, int] = {}
    for code, row in named:
        key = row.get("common", "").strip().lower()
        if key and key not in COMMON_KEYS:
            known = ", ".join(COMMON_KEYS)
            raise InputError(f"Legend {path} has a common class {row['common']!r}", f"they are {known}")
        if key:
            common[code] = COMMON_KEYS[key]
    return Legend(names, nodata, {code: code for code in names} | values, common)


WORLDCOVER: dict[int, str] = legend("worldcover").names
