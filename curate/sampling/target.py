"""Shares given for classes of a level: ``{climate: {Cfb: 0.5, Dfb: 0.25}}``, or a table of level, label, share."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.catalog.errors import InputError

_COLUMNS = ("level", "label", "share")

Target = Mapping[str, Mapping[str, float]]  # level -> label -> share among siblings


def read_target(given: str | Target | None, labels: Mapping[str, tuple[str, ...]]) -> Target:
    """The shares *given*, inline or as the name of a CSV or Parquet file, checked against the pool's *labels*.

    Shares of one level add up to at most 1. What they leave is for the labels that are not named; where they leave
    nothing, those are drawn only when all that is named has been.

    Raises:
        InputError: the file cannot be read, a level is not one of the tree's, a label is not in the pool, or shares
            make no sense.
    """
    if given is None:
        return {}
    name = given if isinstance(given, str) else "the target"
    target = read_shares(given) if isinstance(given, str) else given
    for level, shares in target.items():
        if level not in labels:
            raise InputError(
                f"The target {name} has shares of level {level!r}"
                if isinstance(given, str)
                else f"The target has shares of level {level!r}",
                "which is not a level of the strata",
                f"Levels are: {', '.join(labels)}; choose others with --levels",
            )
        if unknown := sorted(set(shares) - set(labels[level])):
            known = sorted(labels[level])
            raise InputError(
                f"The target names {len(unknown)} classes of level {level} that the pool does not have: "
                + ", ".join(unknown[:5]),
                do=f"It has: {', '.join(known[:30])}{', ...' if len(known) > 30 else ''}",
            )
        total = math.fsum(shares.values())
        if not all(0 <= share <= 1 for share in shares.values()) or total > 1 + 1e-9 or not shares:
            raise InputError(
                f"The target's shares of level {level} make no sense",
                f"they add up to {total:g}" if shares else "there are none",
                "Give shares of 0 to 1 that add up to at most 1",
            )
    return target


def read_shares(name: str) -> dict[str, dict[str, float]]:
    """The shares in the CSV or Parquet file *name*, by level and label.

    Raises:
        InputError: it cannot be read or is no such table.
    """
    path = Path(name)
    try:
        rows = _rows(path)
        target: dict[str, dict[str, float]] = {}
        for row in rows:
            level, label = str(row["level"]).strip(), str(row["label"]).strip()
            if label in target.setdefault(level, {}):
                raise InputError(f"The target {path} names {label!r} of level {level} twice")
            target[level][label] = float(row["share"])
        if not target:
            raise ValueError("it has no row")
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())
        raise InputError(f"The target {path} cannot be read", why) from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"The target {path} is no table of shares",
            " ".join(str(error).split()),
            f"Give columns {', '.join(_COLUMNS)}, as CSV or Parquet",
        ) from error
    return target


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(path, columns=list(_COLUMNS)).to_pylist()
        return rows
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))
