"""Every way behind the door keeps the same promises, and does what its name says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.catalog.errors import InputError
from curate.recipe import Sampling
from curate.sampling import ALPHAS, draw
from curate.sampling.features import Descriptors, distinct
from curate.sampling.sampler import Sampler
from curate.sampling.source import Pool
from curate.sampling.ways import WAYS, Way, clusters, shortlists, ways
from curate.sampling.ways.chosen import draw_as_chosen, refuse_size

SETTINGS = Sampling(min_stratum=5)


@pytest.fixture(scope="module")
def small(make_pool: Callable[..., pa.Table]) -> pa.Table:
    return make_pool(2500, seed=3, sites=30)


@pytest.fixture(autouse=True)
def few_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "CLUSTERS", 20)


def named(name: str) -> Way:
    return ways([name], SETTINGS)[0]


@pytest.mark.parametrize("name", WAYS)
def test_a_way_draws_the_budget_nested_and_from_the_candidates(small: pa.Table, name: str) -> None:
    way = named(name)
    among = draw(small, SETTINGS, 1).available
    rows = way(small, 400, 0, among)
    assert rows.dtype == np.int64 and len(rows) == len(set(rows.tolist())) == 400
    assert set(rows.tolist()) <= set(among.tolist())
    for budget in (1, 7, 150):
        assert way(small, budget, 0, among).tolist() == rows[:budget].tolist()
    assert way(small, 400, 0, among).tolist() == rows.tolist()
    assert way(small, 400, 1, draw(small, SETTINGS, 1).available).tolist() != rows.tolist()


@pytest.mark.parametrize("name", WAYS)
def test_a_way_does_not_depend_on_the_order_of_rows(small: pa.Table, name: str) -> None:
    way = named(name)
    mixed = np.random.default_rng(0).permutation(small.num_rows)
    among = draw(small, SETTINGS, 1).available
    shuffled = small.take(pa.array(mixed))
    rows = way(shuffled, 300, 0, np.sort(np.argsort(mixed)[among]))
    assert mixed[rows].tolist() == way(small, 300, 0, among).tolist()


@pytest.mark.parametrize("name", WAYS)
def test_a_budget_over_the_candidates_takes_them_all(small: pa.Table, name: str) -> None:
    among = draw(small, SETTINGS, 1).available[:60]
    assert sorted(named(name)(small, 5000, 0, among).tolist()) == among.tolist()


def test_strata_are_drawn_as_by_the_sampler(small: pa.Table) -> None:
    drawn = draw(small, SETTINGS.model_copy(update={"allocation": "equal", "seed": 4}), 200)
    assert named("equal")(small, 200, 4, drawn.available).tolist() == drawn.rows.tolist()


def test_clusters_have_equal_shares(small: pa.Table) -> None:
    among = np.arange(small.num_rows)
    found = Descriptors(small)
    chance = np.arange(small.num_rows, dtype=np.uint64)
    centres = clusters.learn(found, chance, 20, 0)
    assert len(centres) == 20
    cluster = clusters.nearest(found, centres)
    apart = np.linalg.norm(found.points(slice(None))[:, None] - centres, axis=2)
    assert np.allclose(apart[among, cluster], apart.min(axis=1), atol=1e-4)
    spread = apart.min(axis=1).mean()
    assert (
        spread
        < 0.8 * np.linalg.norm(found.points(slice(None)) - found.points(slice(None)).mean(0), axis=1).mean()
    )


def test_kmeans_fills_clusters_equally_as_far_as_they_reach(
    small: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = np.repeat([0, 1, 2], [2000, 450, 50])
    monkeypatch.setattr(clusters, "nearest", lambda found, centres: cluster)
    drawn = np.bincount(cluster[clusters.kmeans(small, 600, 0)])
    assert drawn.tolist() == [275, 275, 50]


def test_hierarchical_kmeans_fills_groups_first(small: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = np.repeat([0, 1, 2], [2000, 450, 50])
    monkeypatch.setattr(clusters, "nearest", lambda found, centres: cluster)
    monkeypatch.setattr(clusters, "learn", lambda *arguments: np.zeros((3, 2), np.float32))
    monkeypatch.setattr(clusters, "_group", lambda *arguments: np.array([0, 1, 1]))
    drawn = np.bincount(cluster[clusters.hierarchical_kmeans(small, 600, 0)])
    assert drawn.tolist() == [300, 250, 50]


def test_as_few_distinct_points_as_clusters_are_the_centres(
    make_rows: Callable[[dict[str, Any]], pa.Table],
) -> None:
    koppen = [1] * 900 + [15] * 90 + [26] * 10
    pool = make_rows(
        {
            "chip_id": [f"c{k}" for k in range(1000)],
            "place": [f"c{k}" for k in range(1000)],
            "lon": np.arange(1000) / 10,
            "lat": np.zeros(1000),
            "season": ["winter"] * 1000,
            "koppen": koppen,
            "lc_dominant": [10] * 1000,
            "lc": {10: np.ones(1000)},
        }
    )
    for way, shares in (("kmeans", [10, 40, 40]), ("hkmeans", [10, 35, 45])):  # of two groups, one has two
        drawn = np.array(koppen)[named(way)(pool, 90, 0)]
        assert sorted(np.unique(drawn, return_counts=True)[1].tolist()) == shares
    for way in ("kcentre", "facility"):  # one of each first, then chance
        assert len(set(np.array(koppen)[named(way)(pool, 3, 0)].tolist())) == 3


def test_farthest_first_is_the_textbooks() -> None:
    points = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    plain = [0]
    apart = np.linalg.norm(points - points[0], axis=1)
    for _ in range(49):
        plain.append(int(apart.argmax()))
        apart = np.minimum(apart, np.linalg.norm(points - points[plain[-1]], axis=1))
    assert shortlists.farthest_first(points, 50).tolist() == plain
    assert sorted(shortlists.farthest_first(points, 1000).tolist()) == list(range(300))


def test_facilities_are_the_greedy_ones() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(700, 4)).astype(np.float32)
    times = rng.integers(1, 9, 700).astype(np.float64)
    alike = np.maximum(points.astype(float) @ points.T.astype(float), 0)
    best, plain = np.zeros(700), []
    for _ in range(40):
        gain = (times[:, None] * np.maximum(alike - best[:, None], 0)).sum(axis=0)
        gain[plain] = -1
        plain.append(int(gain.argmax()))
        best = np.maximum(best, alike[:, plain[-1]])
    assert shortlists.greedy_facilities(points, times, 40).tolist() == plain


def test_k_centre_reaches_farther_than_chance(small: pa.Table) -> None:
    points = Descriptors(small).points(slice(None))

    def farthest(rows: np.ndarray) -> float:
        return float(max(np.linalg.norm(points[rows] - point, axis=1).min() for point in points))

    assert farthest(named("kcentre")(small, 80, 0)) < 0.9 * farthest(named("random")(small, 80, 0))


def test_facilities_are_more_like_the_shortlist_than_chance(small: pa.Table) -> None:
    points = Descriptors(small).points(slice(None))

    def likeness(rows: np.ndarray) -> float:
        return float((points @ points[rows].T).max(axis=1).mean())

    assert likeness(named("facility")(small, 40, 0)) > likeness(named("random")(small, 40, 0)) + 0.01


def test_a_shortlist_bounds_what_is_looked_at(small: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortlists, "CENTRE_SHORTLIST", 100)
    shortlist = set(named("random")(small, 100, 0).tolist())
    rows = shortlists.k_centre(small, 100, 0)
    assert set(rows.tolist()) == shortlist
    assert len(distinct(Descriptors(small).points(rows[:50]))[0]) == 50


def test_embeddings_decide_instead_of_descriptors(small: pa.Table) -> None:
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2, 3], [2380, 40, 40, 40])
    vectors = np.eye(4)[group] + rng.normal(scale=0.01, size=(2500, 4))
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel().astype(np.float32)), 4)
    pool = small.append_column("z", column)
    for name in ("kmeans", "hkmeans", "kcentre", "facility"):
        (way,) = ways([name], SETTINGS, embedding="z")
        drawn = np.bincount(group[way(pool, 100, 0)], minlength=4)
        assert drawn.min() >= (1 if name == "facility" else 5), name
        with pytest.raises(InputError, match="no column 'z'"):
            way(small, 10, 0)


def test_what_a_way_cannot_hold_is_refused_before_it_starts() -> None:
    def never(*arguments: Any) -> Any:
        raise AssertionError("it started")

    pool = pa.table({"chip_id": ["a"] * 10})
    with pytest.raises(InputError, match="'slow' cannot take 10 candidates: it holds at most 9"):
        Way("slow", "", never, most_candidates=9)(pool, 5, 0)
    with pytest.raises(
        InputError, match=r"cannot draw 5 chips: .* at most 4, from a shortlist of 8\. .*--budget"
    ):
        Way("slow", "", never, most_budget=4, shortlist=8)(pool, 5, 0)
    with pytest.raises(InputError, match="budget of 0"):
        Way("slow", "", never)(pool, 0, 0)
    for name, limit in (("kcentre", shortlists.CENTRE_BUDGET), ("facility", shortlists.FACILITY_BUDGET)):
        with pytest.raises(InputError, match=f"{limit:,}"):
            named(name).refuse(10**6, limit + 1)
        named(name).refuse(10**8, limit)
    with pytest.raises(InputError, match="20,000,000"):
        named("kmeans").refuse(10**8, 10)


def test_an_unknown_way_lists_all() -> None:
    with pytest.raises(InputError, match=r"'best'.*representative, balanced, diverse.*facility"):
        ways(["random", "best"], SETTINGS)
    assert [way.name for way in ways(["random", "area", "random"], SETTINGS)] == ["random", "area"]
    assert [way.name for way in ways(WAYS, SETTINGS)] == list(WAYS)


@pytest.mark.parametrize("name", [name for name in WAYS if name not in ALPHAS])
def test_any_way_makes_a_draw_with_splits_weights_and_replacements(small: pa.Table, name: Any) -> None:
    sampler = Sampler(Pool.of_table(small), SETTINGS.model_copy(update={"way": name}))
    nobody = np.empty(0, np.int64)
    drawn = draw_as_chosen(sampler, 300, nobody)
    assert len(set(drawn.rows.tolist())) == 300 and set(drawn.split.tolist()) <= {"train", "val", "test"}
    assert drawn.weight.sum() == pytest.approx(drawn.summary["available"] - drawn.summary["unrepresented"])
    assert draw_as_chosen(sampler, 40, nobody).rows.tolist() == drawn.rows[:40].tolist()
    again = draw_as_chosen(sampler, 299, drawn.rows[3:4])
    assert again.rows.tolist() == np.delete(drawn.rows, 3).tolist()
    assert again.summary["refused"] == 1


def test_a_way_refuses_a_size_before_it_starts() -> None:
    with pytest.raises(InputError, match="'random' cannot take 20,000,001 candidates"):
        refuse_size(Sampling(way="random"), 20_000_001, 5)
    with pytest.raises(InputError, match="'kcentre' cannot draw 20,001 chips"):
        refuse_size(Sampling(way="kcentre"), 100_000, 20_001)
    refuse_size(Sampling(), 10**9, 10**6)


@pytest.mark.parametrize(
    "idle", [{"allocation": "equal"}, {"floor": 2}, {"keep": "x"}, {"min_distance_km": 1}]
)
def test_options_of_strata_are_refused_beside_another_way(idle: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is of no use to the way random"):
        Sampling.model_validate({"way": "random"} | idle)


def test_a_draw_is_called_by_what_chose_it() -> None:
    assert Sampling(allocation="equal").chosen_by == "equal"
    assert Sampling(way="kmeans").chosen_by == "kmeans"
    assert Sampling(way="random").chosen_by in WAYS
