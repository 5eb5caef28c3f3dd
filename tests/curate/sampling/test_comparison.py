"""Ways side by side: the same candidates, intervals over seeds, and ways that refuse."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pytest

from curate.catalog.errors import InputError
from curate.recipe import Sampling
from curate.sampling import draw
from curate.sampling.comparison import Interval, side_by_side
from curate.sampling.ways import Way, shortlists, ways

SETTINGS = Sampling(seed=5)


def test_an_interval_by_hand() -> None:
    found = Interval.of([1.0, 2.0, 3.0])
    assert found.mean == 2
    assert found.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)  # t of 2 degrees of freedom, 97.5 %
    assert Interval.of([4.0]).mean == 4 and math.isnan(Interval.of([4.0]).half)


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    found = [Interval.of(rng.normal(size=3).tolist()) for _ in range(2000)]
    held = np.mean([abs(interval.mean) <= interval.half for interval in found])
    assert 0.93 < held < 0.97


def test_ways_draw_from_the_same_candidates_once_a_seed(pool: pa.Table) -> None:
    asked: list[tuple[int, int, tuple[int, ...]]] = []

    def note(pool: pa.Table, budget: int, seed: int, among: np.ndarray | None) -> np.ndarray:
        assert among is not None
        asked.append((budget, seed, tuple(among)))
        return among[:budget]

    done: list[int] = []
    found = side_by_side(
        pool, SETTINGS, [Way("a", "", note), Way("b", "", note)], 50, 2, done=lambda: done.append(1)
    )
    among = {
        seed: tuple(draw(pool, SETTINGS.model_copy(update={"seed": seed}), 50).available) for seed in (5, 6)
    }
    assert asked == [(50, seed, among[seed]) for seed in (5, 5, 6, 6)]
    assert len(done) == 4
    assert found.candidates == {seed: len(rows) for seed, rows in among.items()}
    assert [(run["way"], run["seed"]) for run in found.runs] == [("a", 5), ("a", 6), ("b", 5), ("b", 6)]
    assert found.intervals()["a"]["rows"].mean == 50


def test_a_way_that_refuses_is_listed_and_the_others_go_on(
    pool: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortlists, "CENTRE_BUDGET", 30)

    def greedy(*arguments: object) -> np.ndarray:
        raise MemoryError

    chosen = [*ways(["kcentre", "diverse", "random"], SETTINGS), Way("huge", "", greedy)]
    found = side_by_side(pool, SETTINGS, chosen, 40, 2)
    assert list(found.intervals()) == ["diverse", "random"]
    assert list(found.refused) == ["kcentre", "huge"]
    assert "at most 30" in found.refused["kcentre"] and "memory" in found.refused["huge"]
    table = found.table()
    assert table["way"].to_pylist() == ["diverse", "diverse", "random", "random", "kcentre", "huge"]
    assert table["refused"].null_count == 4 and table["climates"].null_count == 2
    assert table["vendi"].null_count == 6  # not asked for
    written = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert written["ways"]["diverse"]["climates"]["mean"] > written["ways"]["random"]["climates"]["mean"]
    assert written["ways"]["random"]["vendi"] == {"mean": None, "half": None}


def test_a_budget_over_the_candidates_compares_nothing(pool: pa.Table) -> None:
    with pytest.raises(InputError, match=r"budget of 10,000,000 is over the .* candidates"):
        side_by_side(pool, SETTINGS, ways(["random"], SETTINGS), 10**7, 1)
