"""The sampler on real pairs: what the table of docs/measures.md says holds on a slice of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.sampling import strata
from curate.sampling.ways import WAYS, shortlists

pytestmark = pytest.mark.real
ROWS = 20_000


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "bigearthnet.py"
    spec = importlib.util.spec_from_file_location("bigearthnet", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pairs(real_data: Path) -> pa.Table:
    """Every 29th pair, so that all tiles and dates are in the slice."""
    table = pq.read_table(real_data / "tables" / "bigearthnet_pairs_590k.parquet")
    return table.take(pa.array(np.arange(0, 29 * ROWS, 29)))


def test_pairs_become_a_pool(benchmark: ModuleType, pairs: pa.Table) -> None:
    pool = benchmark.pool_of(pairs)
    assert pool.num_rows == ROWS == len(set(pool["chip_id"].to_pylist()))
    described = strata.described(pool)
    assert np.array_equal(described, pairs["koppen_beck2023_0p1"].to_numpy() > 0)
    codes = strata.landcover_codes(pool)
    fractions = np.stack([pool[f"lc_{code}"].to_numpy() for code in codes], axis=1)
    assert np.array_equal(fractions.sum(axis=1), np.ones(ROWS))
    assert np.array_equal(np.array(codes)[fractions.argmax(axis=1)], pool["lc_dominant"].to_numpy())
    august = np.flatnonzero(np.array([day.month == 8 for day in pairs["s2_date"].to_pylist()]))
    assert set(pool["season"].take(pa.array(august)).to_pylist()) == {"summer"}
    symbol = dict(zip(pool["koppen"].to_pylist(), pool["koppen_symbol"].to_pylist(), strict=True))
    assert symbol[26] == "Dfb" and symbol[8] == "Csa" and symbol[None] is None


def test_ways_side_by_side_on_real_pairs(
    benchmark: ModuleType, pairs: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortlists, "FACILITY_BUDGET", 1_000)
    found = benchmark.compared(benchmark.pool_of(pairs), "2000", WAYS, 2, full=False)
    assert list(found["refused"]) == ["facility"] and "at most 1,000" in found["refused"]["facility"]
    mean = {way: {name: each["mean"] for name, each in of.items()} for way, of in found["ways"].items()}
    assert all(of["rows"] == 2000 for of in mean.values())
    for name in ("climates", "dominant", "strata", "coverage", "cells"):
        assert mean["diverse"][name] > mean["random"][name], name
    assert mean["diverse"]["adjacent"] < 0.5 * mean["random"]["adjacent"]
    assert mean["diverse"]["ess"] > mean["equal"]["ess"] + 0.2  # what equal shares cost
    assert mean["representative"]["kl_pool"] < mean["random"]["kl_pool"]
    assert mean["diverse"]["coverage"] == mean["equal"]["coverage"] == 1
