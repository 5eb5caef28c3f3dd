"""Strata by other levels, exponents of their own, targets, floors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.catalog import InputError
from curate.recipe import Sampling, Splits
from curate.sampling import draw
from curate.sampling.allocation import targeted
from curate.sampling.sampler import Sampler
from curate.sampling.source import Pool

Makes = Callable[..., pa.Table]
WHOLE = Splits(val=0, test=0)


@pytest.fixture(scope="module")
def rich(make_pool: Makes) -> pa.Table:
    """A pool with a column for every level."""
    pool = make_pool(4000, seed=6)
    rng = np.random.default_rng(0)
    pool = pool.append_column("spectral_entropy", pa.array(rng.gamma(4, 1, 4000).astype(np.float32)))
    return pool.append_column("code", pa.array(rng.integers(0, 7, 4000).astype(np.int32)))


def settings(**more: Any) -> Sampling:
    return Sampling.model_validate({"splits": WHOLE, "min_stratum": 1} | more)


def labels(rows: np.ndarray, level: int) -> np.ndarray:
    return np.array([text.split(" · ")[level] for text in rows.tolist()])


def test_entropy_bins_are_equally_full_and_equally_drawn(rich: pa.Table) -> None:
    drawn = draw(rich, settings(levels=["entropy"], allocation="equal", entropy_bins=5), 500)
    assert Counter(drawn.stratum.tolist()) == dict.fromkeys(("e1", "e2", "e3", "e4", "e5"), 100)
    values = rich["spectral_entropy"].to_numpy()[drawn.rows]
    tops = [values[drawn.stratum == f"e{k}"].max() for k in range(1, 6)]
    lows = [values[drawn.stratum == f"e{k}"].min() for k in range(1, 6)]
    assert all(top < low for top, low in zip(tops[:-1], lows[1:], strict=True))
    whole = draw(rich, settings(levels=["entropy"], entropy_bins=5), 4000)
    assert all(abs(number - 800) < 60 for number in Counter(whole.stratum.tolist()).values())


def test_entropy_edges_may_be_fixed(rich: pa.Table) -> None:
    drawn = draw(rich, settings(levels=["climate", "entropy"], entropy_edges=[2.0, 4.0]), 4000)
    values = rich["spectral_entropy"].to_numpy()[drawn.rows]
    bins = np.array(["e1", "e2", "e3"])[np.digitize(values, [2.0, 4.0])]
    assert labels(drawn.stratum, 1).tolist() == bins.tolist()


def test_entropy_bins_are_those_of_any_files(rich: pa.Table, tmp_path: Path) -> None:
    mixed = rich.take(pa.array(np.random.default_rng(1).permutation(4000)))
    pq.write_table(mixed.slice(0, 900), tmp_path / "a.parquet")
    pq.write_table(mixed.slice(900), tmp_path / "b.parquet", row_group_size=500)
    pool = Pool.of_files([tmp_path / "a.parquet", tmp_path / "b.parquet"], 700)
    asked = settings(levels=["climate", "entropy", "cluster"], cluster_column="code")
    one, two = Sampler(pool, asked).draw(700), draw(rich, asked, 700)
    names = (mixed["chip_id"].take(pa.array(one.rows)), rich["chip_id"].take(pa.array(two.rows)))
    assert names[0].to_pylist() == names[1].to_pylist()
    assert one.stratum.tolist() == two.stratum.tolist()


def test_regions_are_cells_of_one_area_and_clusters_are_codes(rich: pa.Table) -> None:
    drawn = draw(rich, settings(levels=["region", "cluster"], cluster_column="code", region_deg=5), 4000)
    code = np.array([f"k{one}" for one in rich["code"].to_numpy()[drawn.rows]])
    assert labels(drawn.stratum, 1).tolist() == code.tolist()
    region = labels(drawn.stratum, 0)
    for name in np.unique(region):
        lat = rich["lat"].to_numpy()[drawn.rows][region == name]
        assert lat.max() - lat.min() <= 5
    equal = draw(rich, settings(levels=["region"], allocation="equal", region_deg=5), 60)
    assert max(Counter(equal.stratum.tolist()).values()) <= -(-60 // len(np.unique(region)))


def test_a_level_may_have_an_exponent_of_its_own(rich: pa.Table) -> None:
    flat = draw(rich, settings(levels=["climate", "dominant"], alpha={"climate": 0.0}), 100)
    few = Counter(labels(flat.stratum, 0).tolist())
    there = Counter(rich["koppen_symbol"].to_pylist())
    spare = [number for name, number in few.items() if number < there[name]]
    assert max(spare) - min(spare) <= 1 and len(spare) >= len(there) - 1
    steep = draw(rich, settings(levels=["climate", "dominant"], alpha={"climate": 1.0}), 400)
    pool = Counter(rich["koppen_symbol"].to_pylist())
    drawn = Counter(labels(steep.stratum, 0).tolist())
    assert all(abs(drawn[name] - number / 10) <= 1 for name, number in pool.items())


def test_rows_without_what_a_level_needs_are_kept_apart_and_counted(rich: pa.Table) -> None:
    values = rich["spectral_entropy"].to_numpy().copy()
    values[:100] = np.nan
    column = pa.array(values, mask=np.arange(4000) % 40 == 39)
    pool = rich.set_column(rich.column_names.index("spectral_entropy"), "spectral_entropy", column)
    drawn = draw(pool, settings(levels=["climate", "entropy"]), 4000)
    assert drawn.summary["undescribed"] == 100 + 98
    assert drawn.rows.min() >= 100 and not (drawn.rows % 40 == 39).any()


def test_a_level_without_its_column_is_refused(rich: pa.Table) -> None:
    bare = rich.drop_columns(["spectral_entropy"])
    with pytest.raises(InputError, match=r"no column 'spectral_entropy'.*level 'entropy' needs it"):
        draw(bare, settings(levels=["entropy"]), 10)
    with pytest.raises(InputError, match=r"no column 'cluster'.*level 'cluster' needs it"):
        draw(rich, settings(levels=["cluster"]), 10)


@pytest.mark.parametrize(
    "more, why",
    [
        ({"levels": ["climate", "climate"]}, "occurs twice"),
        ({"levels": []}, "at least 1"),
        ({"levels": ["biome"]}, "landcover"),
        ({"alpha": {"entropy": 0.5}}, "not among the levels"),
        ({"alpha": {"climate": 2}}, "less than or equal to 1"),
        ({"entropy_edges": [3, 2]}, "ascending"),
    ],
)
def test_levels_that_make_no_sense_are_refused(more: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        settings(**more)


def test_a_target_is_met_within_capacities(rich: pa.Table) -> None:
    pool = Counter(rich["koppen_symbol"].to_pylist())
    common, second, *_ = (name for name, _ in pool.most_common())
    rare = min(pool, key=lambda name: pool[name])
    drawn = draw(rich, settings(target={"climate": {common: 0.5, second: 0.25, rare: 0.25}}), 400)
    counts = Counter(labels(drawn.stratum, 0).tolist())
    if pool[rare] >= 100:
        assert counts == {common: 200, second: 100, rare: 100}
    assert drawn.summary["beyond_target"] == 0
    over = draw(rich, settings(target={"climate": {rare: 1.0}}), pool[rare] + 50)
    counts = Counter(labels(over.stratum, 0).tolist())
    assert counts[rare] == pool[rare] and over.summary["beyond_target"] == 50
    assert labels(over.stratum, 0)[: pool[rare]].tolist() == [rare] * pool[rare]


def test_what_a_target_leaves_is_for_those_it_does_not_name(rich: pa.Table) -> None:
    pool = Counter(rich["koppen_symbol"].to_pylist())
    named = pool.most_common(1)[0][0]
    drawn = draw(rich, settings(target={"climate": {named: 0.1}}, allocation="representative"), 500)
    counts = Counter(labels(drawn.stratum, 0).tolist())
    assert abs(counts[named] - 50) <= 1
    others = 4000 - pool[named]
    assert all(
        abs(counts[name] - 450 * number / others) <= 1.5 for name, number in pool.items() if name != named
    )


@pytest.mark.parametrize("file", ["target.csv", "target.parquet"])
def test_a_target_may_be_a_table_and_is_nested(rich: pa.Table, tmp_path: Path, file: str) -> None:
    inline = {"dominant": {"10": 0.6, "30": 0.3}}
    table = pa.table({"level": ["dominant"] * 2, "label": ["10", "30"], "share": [0.6, 0.3]})
    path = tmp_path / file
    if file.endswith("csv"):
        path.write_text("level,label,share\ndominant,10,0.6\ndominant,30,0.3\n")
    else:
        pq.write_table(table, path)
    asked = settings(levels=["climate", "dominant"], target=str(path))
    drawn = draw(rich, asked, 900)
    assert drawn.rows.tolist() == draw(rich, asked.model_copy(update={"target": inline}), 900).rows.tolist()
    for budget in (1, 10, 333):
        assert draw(rich, asked, budget).rows.tolist() == drawn.rows[:budget].tolist()


@pytest.mark.parametrize(
    "target, why",
    [
        ({"climate": {"Zzz": 0.5, "Yyy": 0.1}}, r"2 classes of level climate.*Yyy, Zzz"),
        ({"region": {"r1": 0.5}}, r"not a level of the strata"),
        ({"climate": {}}, r"there are none"),
        ("nowhere.csv", r"nowhere\.csv cannot be read"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused(rich: pa.Table, target: Any, why: str) -> None:
    with pytest.raises(InputError, match=why) as error:
        draw(rich, settings(target=target), 10)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, why",
    [
        ("climate,Cfb,0.5\n", "no table of shares"),
        ("level,label,share\nclimate,Cfb,much\n", "no table of shares"),
        ("level,label,share\nclimate,Cfb,0.7\nclimate,Dfb,0.7\n", "add up to 1.4"),
        ("level,label,share\nclimate,Cfb,0.2\nclimate,Cfb,0.2\n", "twice"),
        ("level,label,share\nclimate,Cfb,nan\n", "make no sense"),
    ],
)
def test_a_table_of_shares_that_makes_no_sense_is_refused(
    rich: pa.Table, tmp_path: Path, text: str, why: str
) -> None:
    path = tmp_path / "target.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=why):
        draw(rich, settings(target=str(path)), 10)


def test_weights_of_a_target_by_hand() -> None:
    nan = np.nan
    parent = np.array([0, 0, 0, 1, 1])
    found = targeted(parent, np.array([0.5, nan, nan, 1.0, nan]), np.array([9.0, 1.0, 3.0, 9.0, 5.0]))
    assert found[:4].tolist() == [2**29, 2**27, 3 * 2**27, 2**30]
    assert 0 < found[4] < 1e-20


def test_every_stratum_has_its_floor(rich: pa.Table) -> None:
    levels = ["climate", "dominant"]
    plain, floored = (settings(floor=k, allocation="representative", levels=levels) for k in (0, 3))
    budget = 400
    size = Counter(draw(rich, plain, 4000).stratum.tolist())
    without = Counter(draw(rich, plain, budget).stratum.tolist())
    drawn = draw(rich, floored, budget)
    counts = Counter(drawn.stratum.tolist())
    assert len(drawn.rows) == budget and any(without[name] < min(3, n) for name, n in size.items())
    assert all(counts[name] >= min(3, number) for name, number in size.items())
    assert all(counts[name] <= size[name] for name in counts)
    for part in (1, 7, 100, 300):
        assert draw(rich, floored, part).rows.tolist() == drawn.rows[:part].tolist()
    assert drawn.weight.sum() == pytest.approx(4000)


def test_the_effective_size_is_that_of_kish(rich: pa.Table) -> None:
    drawn = draw(rich, settings(), 800)
    assert drawn.summary["effective_size"] == pytest.approx(drawn.weight.sum() ** 2 / (drawn.weight**2).sum())
    assert drawn.summary["effective_size"] < 800
    assert draw(rich, settings(), 4000).summary["effective_size"] == pytest.approx(4000)
