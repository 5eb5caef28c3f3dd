"""Legends as CSV files, with the columns ``code`` and a name."""

from __future__ import annotations

import csv
from pathlib import Path

from curate.catalog.errors import InputError


def read_legend(path: Path, column: str = "name") -> dict[int, str]:
    """Codes and names from a CSV with the columns ``code`` and *column*; rows without a name are left out.

    Where a column ``band`` tells several maps apart, the rows of its first value count.

    Raises:
        InputError: no such file, a column missing, a code that is no number, or one code with two names.
    """
    names: dict[int, str] = {}
    for row in read_rows(path, column):
        code = whole(path, "code", row["code"])
        if row[column] and names.setdefault(code, row[column]) != row[column]:
            raise InputError(f"Legend {path} gives code {code} two names")
    return names


def read_rows(path: Path, column: str) -> list[dict[str, str]]:
    """The rows of a legend's first band, as text.

    Raises:
        InputError: no such file, or no columns ``code`` and *column*.
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
    first = rows[0].get("band")
    return [
        {key: value or "" for key, value in row.items() if key} for row in rows if row.get("band") == first
    ]


def whole(path: Path, column: str, text: str) -> int:
    """A whole number of a legend.

    Raises:
        InputError: it is none.
    """
    try:
        return int(text)
    except ValueError as error:
        raise InputError(f"Legend {path} has a {column} {text!r}", f"a {column} is a whole number") from error
