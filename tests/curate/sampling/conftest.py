"""A synthetic pool: a few regions, long-tailed strata, neighbours alike, one to four dates a place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.catalog import SEASONS

CLASSES = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)
BECK_CODES = (
    "Af Am Aw BWh BWk BSh BSk Csa Csb Csc Cwa Cwb Cwc Cfa Cfb Cfc "
    "Dsa Dsb Dsc Dsd Dwa Dwb Dwc Dwd Dfa Dfb Dfc Dfd ET EF"
)
SYMBOLS = tuple(BECK_CODES.split())
COMMON = (15, 26, 27, 7, 9, 29, 14, 6, 8, 25)  # Cfb Dfb Dfc BSk Csb ET Cfa BSh Csa Dfa, common first


def pool_of(columns: dict[str, Any]) -> pa.Table:
    """A table with the pool's types from plain columns; fractions by class code under ``lc``."""
    rows = len(columns["chip_id"])
    lc = columns.get("lc", {})
    fields = {
        "chip_id": pa.array(columns["chip_id"], pa.string()),
        "place": pa.array(columns["place"], pa.string()),
        "lon": pa.array(columns["lon"], pa.float64()),
        "lat": pa.array(columns["lat"], pa.float64()),
        "season": pa.array(columns["season"], pa.string()),
        "koppen": pa.array(columns["koppen"], pa.int8(), from_pandas=True),
        "lc_dominant": pa.array(columns["lc_dominant"], pa.int16(), from_pandas=True),
    }
    symbols = [SYMBOLS[k - 1] if k is not None else None for k in fields["koppen"].to_pylist()]
    fields["koppen_symbol"] = pa.array(symbols, pa.string())
    for code in CLASSES:
        fields[f"lc_{code}"] = pa.array(np.asarray(lc.get(code, np.zeros(rows)), np.float32))
    return pa.table(fields)


def make_pool_(rows: int, seed: int = 0, sites: int = 24) -> pa.Table:
    """About *rows* candidates in *sites* clusters over Europe; exactly *rows* after cutting."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(rows / sites / 1.8))) + 1
    i, j = (a.ravel() for a in np.meshgrid(np.arange(side), np.arange(side)))
    lon0, lat0 = rng.uniform(-9, 30, sites), rng.uniform(36, 69, sites)
    lat = (lat0[:, None] + 0.0108 * i).ravel()
    lon = (lon0[:, None] + 0.0108 * j / np.cos(np.radians(lat0))[:, None]).ravel()
    site = np.repeat(np.arange(sites), side * side)
    u, v = np.tile(i, sites) / side, np.tile(j, sites) / side
    waves = rng.normal(size=(sites, len(CLASSES), 3))[site]
    likely = np.exp(2.2 * (waves[..., 0] + waves[..., 1] * np.sin(6 * u)[:, None]))
    likely *= np.exp(waves[..., 2] * np.cos(6 * v)[:, None]) / np.arange(1, len(CLASSES) + 1) ** 1.5
    share = rng.standard_gamma(0.01 + 2 * likely / likely.sum(1, keepdims=True))
    share = (share / share.sum(1, keepdims=True)).astype(np.float32)
    zipf = 1 / np.arange(1, len(COMMON) + 1) ** 1.3
    home = rng.choice(COMMON, size=sites, p=zipf / zipf.sum())
    climate = np.where(u + 0.3 * v > 1.1, rng.choice(COMMON, size=sites)[site], home[site])

    dates = rng.integers(1, 5, len(site))
    of = np.repeat(np.arange(len(site)), dates)
    of = of[np.sort(rng.choice(len(of), rows, replace=False))] if len(of) > rows else of
    date = np.concatenate([[0], np.where(np.diff(of) == 0, 1, 0)])
    date = np.arange(len(of)) - np.maximum.accumulate(np.where(date == 0, np.arange(len(of)), 0))
    # maps are static, so dates of a place look alike; a few do not, as where two maps meet
    unlike = rng.lognormal(0, 0.5, (len(of), len(CLASSES))) ** (rng.random((len(of), 1)) < 0.03)
    seen = (share[of] * unlike).astype(np.float32)
    seen /= seen.sum(1, keepdims=True)
    places = np.char.add("P", np.char.zfill(of.astype(str), 6))
    columns = {
        "chip_id": np.char.add(np.char.add(places, "_d"), date.astype(str)),
        "place": places,
        "lon": lon[of],
        "lat": lat[of],
        "season": np.array(SEASONS)[rng.choice(4, len(of), p=(0.1, 0.2, 0.5, 0.2))],
        "koppen": climate[of],
        "lc_dominant": np.array(CLASSES)[seen.argmax(1)],
        "lc": {code: seen[:, k] for k, code in enumerate(CLASSES)},
    }
    return pool_of(columns)


@pytest.fixture(scope="session")
def make_pool() -> Callable[..., pa.Table]:
    return make_pool_


@pytest.fixture(scope="session")
def make_rows() -> Callable[[dict[str, Any]], pa.Table]:
    return pool_of


@pytest.fixture(scope="session")
def pool() -> pa.Table:
    return make_pool_(6000)
