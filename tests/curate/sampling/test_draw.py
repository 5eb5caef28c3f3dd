"""The draw: exact, nested, independent of order, weighted, and plain about what it left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.catalog import InputError
from curate.recipe import Sampling, Splits
from curate.sampling import ALPHAS, Draw, draw

Allocation = Literal["representative", "balanced", "diverse", "equal"]
ALLOCATIONS = list(ALPHAS)
WHOLE = Splits(val=0, test=0)


def ids(pool: pa.Table, drawn: Draw) -> list[str]:
    return pool["chip_id"].take(pa.array(drawn.rows)).to_pylist()


def described(pool: pa.Table, drawn: Draw) -> list[tuple[Any, ...]]:
    """Everything a draw says of its rows, in seat order, by chip id."""
    columns = (ids(pool, drawn), drawn.stratum.tolist(), drawn.split.tolist(), drawn.weight.tolist())
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("budget", [1, 2, 7, 40, 600, 5000, 10**9])
def test_a_draw_has_exactly_its_budget(pool: pa.Table, allocation: Allocation, budget: int) -> None:
    drawn = draw(pool, Sampling(allocation=allocation), budget)
    assert len(drawn.rows) == len(set(drawn.rows.tolist())) == min(budget, len(drawn.available))
    assert set(drawn.rows.tolist()) <= set(drawn.available.tolist())


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_any_prefix_is_the_sample_of_that_budget(pool: pa.Table, allocation: Allocation) -> None:
    whole = draw(pool, Sampling(allocation=allocation), pool.num_rows)
    for budget in (1, 3, 10, 55, 144, 610, 1597, 4181, pool.num_rows - 1):
        part = draw(pool, Sampling(allocation=allocation), budget)
        n = len(part.rows)
        assert part.rows.tolist() == whole.rows[:n].tolist()
        assert part.stratum.tolist() == whole.stratum[:n].tolist()
        assert part.split.tolist() == whole.split[:n].tolist()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from(ALLOCATIONS), st.integers(1, 1500))
def test_order_and_chunks_of_the_pool_do_not_matter(
    make_pool: Callable[..., pa.Table], shuffle: int, allocation: Allocation, budget: int
) -> None:
    pool = make_pool(1500, seed=3)
    expected = described(pool, draw(pool, Sampling(allocation=allocation), budget))
    rng = np.random.default_rng(shuffle)
    shuffled = pool.take(pa.array(rng.permutation(pool.num_rows)))
    cuts = np.sort(rng.integers(0, pool.num_rows, 5)).tolist()
    bounds = zip([0, *cuts], [*cuts, pool.num_rows], strict=True)
    refiled = pa.concat_tables([shuffled.slice(a, b - a).select(pool.column_names[::-1]) for a, b in bounds])
    assert described(refiled, draw(refiled, Sampling(allocation=allocation), budget)) == expected


def test_the_seed_decides(pool: pa.Table) -> None:
    one, two = (set(ids(pool, draw(pool, Sampling(seed=s, splits=WHOLE), 600))) for s in (0, 1))
    assert len(one & two) < 300


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_weights_sum_to_the_candidates_they_stand_for(pool: pa.Table, allocation: Allocation) -> None:
    for budget in (30, 900):
        drawn = draw(pool, Sampling(allocation=allocation), budget)
        for name, counts in drawn.summary["splits"].items():
            weight = drawn.weight[drawn.split == name]
            assert weight.sum() == pytest.approx(counts["available"] - counts["unrepresented"])
        assert drawn.weight.sum() == pytest.approx(len(drawn.available) - drawn.summary["unrepresented"])
        assert (drawn.weight >= 1).all()


def test_weights_restore_the_pool(pool: pa.Table) -> None:
    drawn = draw(pool, Sampling(min_stratum=1, allocation="diverse", splits=WHOLE), 2500)
    assert drawn.summary["unrepresented"] == 0
    tree_cover = pool["lc_10"].to_numpy()
    plain = abs(tree_cover[drawn.rows].mean() - tree_cover.mean())
    weighted = abs(np.average(tree_cover[drawn.rows], weights=drawn.weight) - tree_cover.mean())
    assert weighted < 0.01 < plain


def test_the_summary_adds_up(make_pool: Callable[..., pa.Table]) -> None:
    pool = make_pool(2000, seed=5)
    gone = pa.array(np.arange(pool.num_rows) % 10 == 0)
    for name in ("koppen", "koppen_symbol"):
        nulls = pc.if_else(gone, pa.scalar(None, pool.schema.field(name).type), pool[name])
        pool = pool.set_column(pool.column_names.index(name), name, nulls)
    drawn = draw(pool, Sampling(), 500)
    summary = drawn.summary
    assert summary["in"] == 2000 and summary["undescribed"] == 200
    assert summary["in"] == summary["undescribed"] + summary["buffer"] + summary["available"]
    assert sum(s["drawn"] for s in summary["splits"].values()) == summary["taken"] == 500
    assert sum(s["available"] for s in summary["splits"].values()) == summary["available"]
    assert summary["strata_drawn"] <= summary["strata"]
    assert summary["message"] is None
    assert pc.all(pc.is_valid(pool["koppen"].take(pa.array(drawn.rows)))).as_py()


def test_a_budget_over_the_pool_takes_all_and_says_so(pool: pa.Table) -> None:
    drawn = draw(pool, Sampling(), 1_000_000)
    assert len(drawn.rows) == drawn.summary["available"]
    assert "1,000,000" in drawn.summary["message"] and "all of them" in drawn.summary["message"]
    assert (drawn.weight == 1).all()


def test_splits_have_their_share_and_the_same_kind_of_mix(make_pool: Callable[..., pa.Table]) -> None:
    pool = make_pool(8000, seed=2, sites=120)
    drawn = draw(pool, Sampling(), 2000)
    for counts in drawn.summary["splits"].values():
        share = counts["available"] / drawn.summary["available"]
        assert abs(counts["drawn"] - 2000 * share) < 1
        assert counts["drawn"] > 0
    assert drawn.summary["least_train_eval_km"] >= 5


def test_small_strata_merge_by_dominant_class(make_rows: Callable[..., pa.Table]) -> None:
    rows = 60
    shares = {10: np.full(rows, 0.9), 40: np.zeros(rows), 50: np.zeros(rows), 60: np.full(rows, 0.04)}
    shares[40][:30], shares[40][30:33], shares[50][33:36] = 0.1, 0.05, 0.1
    pool = make_rows(one_climate(rows, shares))
    drawn = draw(pool, Sampling(min_stratum=5, splits=WHOLE), rows)
    counts = dict(zip(*np.unique(drawn.stratum, return_counts=True), strict=True))
    assert counts == {"Cfb · 10+40": 33, "Cfb · 10": 24, "Cfb · 10+other": 3}
    assert drawn.summary["strata_merged"] == 1


def one_climate(rows: int, shares: dict[int, Any]) -> dict[str, Any]:
    codes = sorted(shares)
    return {
        "chip_id": [f"chip {k}" for k in range(rows)],
        "place": [f"place {k}" for k in range(rows)],
        "lon": np.linspace(5, 6, rows),
        "lat": np.linspace(45, 46, rows),
        "season": ["summer"] * rows,
        "koppen": [15] * rows,
        "lc_dominant": np.array(codes)[np.argmax([shares[c] for c in codes], axis=0)],
        "lc": shares,
    }


def test_one_stratum_is_drawn_like_any_other(make_rows: Callable[..., pa.Table]) -> None:
    pool = make_rows(one_climate(50, {10: np.ones(50)}))
    drawn = draw(pool, Sampling(splits=WHOLE), 20)
    assert len(drawn.rows) == 20 and set(drawn.stratum.tolist()) == {"Cfb · 10"}
    assert drawn.weight.tolist() == [2.5] * 20


def test_a_place_gives_its_other_dates_last(make_rows: Callable[..., pa.Table]) -> None:
    columns = one_climate(80, {10: np.ones(80)})
    columns["place"] = [f"place {k // 4}" for k in range(80)]
    columns["lon"], columns["lat"] = np.repeat(np.linspace(5, 6, 20), 4), np.full(80, 45.0)
    pool = make_rows(columns)
    places = pool["place"].take(pa.array(draw(pool, Sampling(splits=WHOLE), 80).rows)).to_pylist()
    for tier in range(4):
        assert len(set(places[20 * tier : 20 * tier + 20])) == 20


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_a_grown_pool_changes_no_more_rows_than_it_must(
    make_pool: Callable[..., pa.Table], allocation: Allocation
) -> None:
    """Rows that were there before enter only where a stratum's quota rose."""
    grown = make_pool(6000, seed=8)
    stays = np.random.default_rng(0).random(grown.num_rows) < 0.95
    pool = grown.filter(pa.array(stays))
    sampling = Sampling(allocation=allocation, splits=WHOLE, min_stratum=1)
    before, after = draw(pool, sampling, 1500), draw(grown, sampling, 1500)
    was, now = set(ids(pool, before)), set(ids(grown, after))
    new = now - set(pool["chip_id"].to_pylist())
    quota = {name: (before.stratum == name).sum() for name in set(before.stratum.tolist())}
    risen = sum(max(0, (after.stratum == n).sum() - quota.get(n, 0)) for n in set(after.stratum.tolist()))
    assert new
    assert len(was - now) == len(now - was) <= len(new) + risen
    assert len((now - was) - new) <= risen


def test_duplicates_are_named(pool: pa.Table) -> None:
    twice = pa.concat_tables([pool, pool.slice(17, 2)])
    with pytest.raises(InputError, match=r"2 chip ids occur more than once") as error:
        draw(twice, Sampling(), 100)
    assert pool["chip_id"][17].as_py() in str(error.value)


def test_bad_input_is_refused_in_one_line(pool: pa.Table) -> None:
    nulls = pa.nulls(pool.num_rows, pa.int8())
    bare = pool.set_column(pool.column_names.index("koppen"), "koppen", nulls)
    cases: list[tuple[pa.Table, int, str]] = [
        (pool.slice(0, 0), 10, "empty"),
        (bare, 10, "lacks a climate or a land cover"),
        (pool, 0, "draws nothing"),
        (pool.drop_columns(["season"]), 10, "no column 'season'"),
        (
            pool.drop_columns([n for n in pool.column_names if n[:3] == "lc_" and n[3:].isdigit()]),
            10,
            "lc_<code>",
        ),
        (pool.drop_columns(["lc_30"]), 10, "lc_30"),
    ]
    for table, budget, why in cases:
        with pytest.raises(InputError, match=why) as error:
            draw(table, Sampling(), budget)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("allocation", ["representative", "diverse", "equal"])
@pytest.mark.parametrize("seed", [0, 1])
def test_prefixes_stay_samples_when_chips_are_refused(
    allocation: Literal["representative", "diverse", "equal"], seed: int, make_pool: Callable[..., pa.Table]
) -> None:
    """Unfit chips are found out only when they are drawn, so a larger budget knows of more of them."""
    pool = make_pool(rows=3000, seed=seed)
    unfit = np.random.default_rng(seed).random(pool.num_rows) < 0.4
    sampling = Sampling(allocation=allocation)

    def settled(budget: int) -> list[str]:
        refused = np.zeros(pool.num_rows, bool)
        while True:
            found = draw(pool, sampling, budget, refused)
            bad = unfit[found.rows]
            if not bad.any():
                return pool["chip_id"].take(pa.array(found.rows)).to_pylist()
            refused[found.rows[bad]] = True

    large = settled(1200)
    for budget in (1, 40, 300, 900):
        assert settled(budget) == large[:budget]
