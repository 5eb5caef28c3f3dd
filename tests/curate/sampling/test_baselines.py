"""What chance would have given, and the table of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from curate.recipe import Sampling
from curate.sampling import against_chance, compare, draw, random, uniform_by_area
from curate.sampling.sphere import EqualAreaTable


def test_random_is_nested_and_independent_of_order(pool: pa.Table) -> None:
    mixed = np.random.default_rng(0).permutation(pool.num_rows)
    for way in (random, uniform_by_area):
        rows = way(pool, 900, 1)
        assert len(set(rows.tolist())) == 900
        assert way(pool, 300, 1).tolist() == rows[:300].tolist()
        assert mixed[way(pool.take(pa.array(mixed)), 900, 1)].tolist() == rows.tolist()
        assert way(pool, 900, 2).tolist() != rows.tolist()
        assert len(way(pool, 10**7, 1)) == pool.num_rows


def test_uniform_by_area_fills_blocks_equally(pool: pa.Table) -> None:
    rows = uniform_by_area(pool, 1500, 0)
    lon, lat = pool["lon"].to_numpy(), pool["lat"].to_numpy()
    _, block = np.unique(EqualAreaTable.of_side(1.0).cell(lon, lat), return_inverse=True)
    size, drawn = np.bincount(block), np.bincount(block[rows], minlength=block.max() + 1)
    open_blocks = drawn[drawn < size]
    assert np.ptp(open_blocks) <= 1 and drawn.max() == open_blocks.max()


def test_candidates_bound_the_baselines(pool: pa.Table) -> None:
    among = np.arange(0, pool.num_rows, 3)
    for way in (random, uniform_by_area):
        assert set(way(pool, 400, 0, among).tolist()) <= set(among.tolist())


def test_the_default_is_more_diverse_than_chance(make_pool: Callable[..., pa.Table]) -> None:
    pool = make_pool(12_000, seed=1, sites=80)
    drawn = draw(pool, Sampling(), 1200)
    ours, chance, area = against_chance(pool, drawn, "diverse", seed=0)
    assert [row["way"] for row in (ours, chance, area)] == ["diverse", "random", "uniform by area"]
    for other in (chance, area):
        assert ours["rows"] == other["rows"] == 1200
        for name in ("climates", "dominant", "strata", "coverage", "rare_recall", "seasons"):
            assert ours[name] > other[name], name
    assert chance["ess"] > ours["ess"]


def test_spatial_priority_spreads_a_representative_sample(make_pool: Callable[..., pa.Table]) -> None:
    pool = make_pool(20_000, seed=1, sites=12)
    drawn = draw(pool, Sampling(allocation="representative"), 1000)
    ours, chance, _ = against_chance(pool, drawn, "representative", seed=0)
    assert ours["adjacent"] < 0.6 * chance["adjacent"]
    assert ours["colocated"] < 0.2 * chance["colocated"]


def test_ways_stand_in_the_order_given(pool: pa.Table) -> None:
    table = compare(pool, {"b": np.arange(10), "a": np.arange(20)})
    assert [(row["way"], row["rows"]) for row in table] == [("b", 10), ("a", 20)]
    assert pa.Table.from_pylist(table).num_rows == 2
