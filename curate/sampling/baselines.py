"""Ways side by side at one budget: what a sample is printed beside, and the table of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from curate.sampling.arrays import Ints
from curate.sampling.draw import Draw
from curate.sampling.measures import ADJACENT_KM, Yardstick
from curate.sampling.ways.chance import random, uniform_by_area


def compare(
    pool: pa.Table,
    ways: Mapping[str, Ints],
    among: Ints | None = None,
    presence: float = 0.05,
    adjacent_km: float = ADJACENT_KM,
) -> list[dict[str, Any]]:
    """Measures of several samples of one pool side by side: one row a way, its name under ``way``."""
    yardstick = Yardstick(pool, among, presence, adjacent_km)
    return [{"way": way, **asdict(yardstick.measure(rows))} for way, rows in ways.items()]


def against_chance(
    pool: pa.Table,
    drawn: Draw,
    name: str,
    seed: int,
    presence: float = 0.05,
    adjacent_km: float = ADJACENT_KM,
) -> list[dict[str, Any]]:
    """*drawn* beside random and uniform sampling, at its budget and from the rows it could have drawn."""
    budget, among = len(drawn.rows), drawn.available
    ways = {
        name: drawn.rows,
        "random": random(pool, budget, seed, among),
        "uniform by area": uniform_by_area(pool, budget, seed, among),
    }
    return compare(pool, ways, among, presence, adjacent_km)
