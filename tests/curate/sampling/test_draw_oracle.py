"""The draw against a slow, plain second writing of its definition, on integers and fractions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.recipe import Sampling, Splits
from curate.sampling import draw

ALL = (1 << 64) - 1
QUARTERS = {"representative": 4, "balanced": 3, "diverse": 2, "equal": 0}
COLUMN = {"climate": "koppen_symbol", "landcover": "cover", "dominant": "dominant"}
Row = dict[str, Any]


def mix(x: int) -> int:
    x = (x + 0x9E3779B97F4A7C15) & ALL
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & ALL
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & ALL
    return x ^ (x >> 31)


def hashed(key: str | tuple[int, ...], seed: int) -> int:
    data = key.encode() if isinstance(key, str) else b"".join(k.to_bytes(8, "little") for k in key)
    state = mix(seed)
    for begin in range(0, len(data), 8):
        state = mix(state ^ int.from_bytes(data[begin : begin + 8], "little"))
    return mix(state ^ len(data))


def cell(row: Row) -> tuple[int, int]:
    north, east = math.floor((row["lat"] + 90) / 180 * 2**32), math.floor((row["lon"] + 180) / 360 * 2**32)
    y = north * 16_640 >> 32
    columns = round(33_280 * math.cos(math.radians(-90 + (y // 128 + 0.5) * 180 / 130)))
    return y, east * columns >> 32


def place_code(row: Row, seed: int) -> int:
    y, x = row["cell"] = cell(row)
    bits = [(v >> b) & 1 for b in range(7) for v in (y, x)]
    code = int("".join(map(str, bits)), 2)
    return code ^ hashed((y // 128, x // 128), hashed("square", seed)) >> 50


def priority(row: Row, shares: dict[str, int], seed: int) -> tuple[int, int]:
    chip = hashed((hashed(row["chip_id"], 0),), hashed("chip", seed))
    pair = (hashed(row["place"], 0) >> 32, hashed(row["season"], seed))
    u = (hashed(pair, hashed("season", seed)) >> 48) + 0.5
    late = math.floor(-math.log(u / 65_536) * 340) * shares[row["season"]]
    return place_code(row, seed) << 50 | late << 34 | chip >> 30, chip


def strata(rows: list[Row], presence: float, least: int) -> None:
    codes = sorted(int(name[3:]) for name in rows[0] if name[3:].isdigit())
    for row in rows:
        shown = {c for c in codes if 0 < row[f"lc_{c}"] >= np.float32(presence)} | {row["lc_dominant"]}
        row["set"] = "+".join(map(str, sorted(shown)))
    count = Counter((row["koppen_symbol"], row["set"]) for row in rows)
    for row in rows:
        small = count[row["koppen_symbol"], row["set"]] < least
        row["cover"] = f"{row['lc_dominant']}+other" if small else row["set"]
        row["dominant"] = str(row["lc_dominant"])


def seated(rows: list[Row], levels: list[tuple[str, Any]], path: int, seed: int) -> list[Row]:
    """All of a node's rows in seat order."""
    if not levels:
        before: Counter[Any] = Counter()
        for row in sorted(rows, key=lambda r: r["priority"]):
            date = before[row["place"]]
            row["tiers"] = date, before[row["cell"], date]
            before.update([row["place"], (row["cell"], date)])
        return sorted(rows, key=lambda r: (r["tiers"], r["priority"]))
    (name, quarters), *below = levels
    children = defaultdict(list)
    for row in rows:
        children[row[name]].append(row)
    seats = []
    for label, members in children.items():
        if isinstance(quarters, dict):  # a target: shares given, of all children
            weight = round(quarters[label] * 2**30)
        else:
            weight = (math.isqrt(math.isqrt(16 * 1024**4 * len(members) ** quarters)) + 1) // 2
        branch = hashed((path, hashed(label, seed)), seed)
        queue = seated(members, below, branch, seed)
        seats += [(Fraction(2 * r + 1, weight), branch, r, queue[r]) for r in range(len(queue))]
    return [seat[-1] for seat in sorted(seats, key=lambda s: s[:3])]


def oracle(rows: list[Row], sampling: Sampling, split: dict[str, str]) -> list[Row]:
    """The rows in *split* (chip id → split) in seat order, the whole pool of them."""
    rows = [row | {"split": split[row["chip_id"]]} for row in rows if row["chip_id"] in split]
    strata(rows, sampling.presence, sampling.min_stratum)
    counts = Counter(row["season"] for row in rows)
    shares = {s: max(1, math.floor(Fraction(16 * c, len(rows)) + Fraction(1, 2))) for s, c in counts.items()}
    for row in rows:
        row["priority"] = priority(row, shares, sampling.seed)
    quarters = {
        name: round(4 * sampling.alpha.get(name, QUARTERS[sampling.allocation] / 4)) for name in COLUMN
    }
    given = sampling.target if isinstance(sampling.target, dict) else {}
    levels = [("split", 4), *((COLUMN[name], given.get(name, quarters[name])) for name in sampling.levels)]
    return seated(rows, levels, 0, hashed("tree", sampling.seed))


@pytest.mark.parametrize("allocation", list(QUARTERS))
@pytest.mark.parametrize("rows, seed, least", [(700, 0, 1), (1500, 1, 20), (10_000, 2, 5)])
def test_the_draw_is_as_defined(
    make_pool: Callable[..., pa.Table], allocation: Any, rows: int, seed: int, least: int
) -> None:
    pool = make_pool(rows, seed=seed)
    sampling = Sampling(allocation=allocation, seed=seed, min_stratum=least, splits=Splits(val=0.2, test=0.1))
    whole = draw(pool, sampling, rows)
    chips = pool["chip_id"].to_pylist()
    split = {chips[row]: name for row, name in zip(whole.rows.tolist(), whole.split.tolist(), strict=True)}
    expected = oracle(pool.to_pylist(), sampling, split)
    assert [chips[row] for row in whole.rows.tolist()] == [row["chip_id"] for row in expected]
    for budget in (9, rows // 10, rows // 2):
        part = draw(pool, sampling, budget)
        size = Counter((row["split"], row["koppen_symbol"], row["cover"]) for row in expected)
        quota = Counter((row["split"], row["koppen_symbol"], row["cover"]) for row in expected[:budget])
        for k, row in enumerate(expected[:budget]):
            leaf = (row["split"], row["koppen_symbol"], row["cover"])
            assert chips[part.rows[k]] == row["chip_id"]
            assert part.stratum[k] == f"{leaf[1]} · {leaf[2]}" and part.split[k] == leaf[0]
            assert part.weight[k] == size[leaf] / quota[leaf]


@pytest.mark.parametrize(
    "levels, alpha",
    [
        (["dominant", "climate"], {"dominant": 1.0, "climate": 0.25}),
        (["climate", "dominant", "landcover"], {"landcover": 0.0}),
        (["landcover"], {}),
    ],
)
def test_the_draw_is_as_defined_for_other_levels_and_exponents(
    make_pool: Callable[..., pa.Table], levels: list[str], alpha: dict[str, float]
) -> None:
    pool = make_pool(2000, seed=7)
    sampling = Sampling.model_validate({"levels": levels, "alpha": alpha, "min_stratum": 1})
    whole = draw(pool, sampling, 2000)
    chips = pool["chip_id"].to_pylist()
    split = {chips[row]: name for row, name in zip(whole.rows.tolist(), whole.split.tolist(), strict=True)}
    expected = [row["chip_id"] for row in oracle(pool.to_pylist(), sampling, split)]
    assert [chips[row] for row in whole.rows.tolist()] == expected
    assert [chips[row] for row in draw(pool, sampling, 333).rows.tolist()] == expected[:333]


def test_the_draw_is_as_defined_for_a_target(make_pool: Callable[..., pa.Table]) -> None:
    pool = make_pool(10_000, seed=8)
    climates = sorted(set(pool["koppen_symbol"].to_pylist()))
    shares = {climate: (k + 1) / 64 for k, climate in enumerate(climates[:-1])}
    shares[climates[-1]] = 1 - sum(shares.values())
    sampling = Sampling.model_validate({"target": {"climate": shares}, "min_stratum": 5})
    whole = draw(pool, sampling, 10_000)
    chips = pool["chip_id"].to_pylist()
    split = {chips[row]: name for row, name in zip(whole.rows.tolist(), whole.split.tolist(), strict=True)}
    expected = [row["chip_id"] for row in oracle(pool.to_pylist(), sampling, split)]
    assert [chips[row] for row in draw(pool, sampling, 1000).rows.tolist()] == expected[:1000]
    assert [chips[row] for row in whole.rows.tolist()] == expected
