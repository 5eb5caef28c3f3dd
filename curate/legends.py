"""Legends: what the codes of a categorical map mean."""

from __future__ import annotations

import csv
from pathlib import Path

from curate.catalog.errors import InputError

WORLDCOVER: dict[int, str] = {  # ESA WorldCover 2021 v200, Product User Manual, table 3
    10: "Tree cover",
    20: "Shrubland",
    30: "Grassland",
    40: "Cropland",
    50: "Built-up",
    60: "Bare / sparse vegetation",
    70: "Snow and ice",
    80: "Permanent water bodies",
    90: "Herbaceous wetland",
    95: "Mangroves",
    100: "Moss and lichen",
}

# Beck et al. 2018 (doi 10.1038/sdata.2018.214), table 2, and 2023: codes 1 to 30 in this order
KOPPEN_SYMBOLS = (
    "Af", "Am", "Aw", "BWh", "BWk", "BSh", "BSk", "Csa", "Csb", "Csc", "Cwa", "Cwb", "Cwc", "Cfa", "Cfb",
    "Cfc", "Dsa", "Dsb", "Dsc", "Dsd", "Dwa", "Dwb", "Dwc", "Dwd", "Dfa", "Dfb", "Dfc", "Dfd", "ET", "EF",
)  # fmt: skip
KOPPEN_CODES = {symbol: code for code, symbol in enumerate(KOPPEN_SYMBOLS, start=1)} | {"As": 3}


def read_legend(path: Path, column: str = "name") -> dict[int, str]:
    """Codes and names from a CSV with the columns ``code`` and *column*; rows without a name are nodata.

    Where a column ``band`` tells several maps apart, the rows of its first value count.

    Raises:
        InputError: no such file, a column missing, a code that is no number, or one code with two names.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Legend {path} cannot be read", str(error)) from error
    if not rows or "code" not in rows[0] or column not in rows[0]:
        raise InputError(
            f"Legend {path} is not complete",
            f"it needs the columns 'code' and '{column}'",
            "Write them in its head",
        )
    legend: dict[int, str] = {}
    for row in rows:
        if row.get("band") != rows[0].get("band") or not row[column]:
            continue
        try:
            code = int(row["code"])
        except ValueError as error:
            raise InputError(
                f"Legend {path} has a code {row['code']!r}", "codes are whole numbers"
            ) from error
        if legend.setdefault(code, row[column]) != row[column]:
            raise InputError(f"Legend {path} gives code {code} two names")
    return legend
