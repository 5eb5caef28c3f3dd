"""Drawn rows keep their distance as far as their strata allow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial import cKDTree

from curate.recipe import Sampling, Splits
from curate.sampling import draw
from curate.sampling.distance import BLOCKS, Queue, spread
from curate.sphere import chord, unit_vectors

Makes = Callable[..., pa.Table]
WHOLE = Splits(val=0, test=0)


def near(pool: pa.Table, rows: np.ndarray, km: float) -> np.ndarray:
    """Pairs of drawn rows nearer than *km*, positions in the draw."""
    points = unit_vectors(pool["lon"].to_numpy()[rows], pool["lat"].to_numpy()[rows])
    return cKDTree(points).query_pairs(np.nextafter(chord(km), 0), output_type="ndarray")


@pytest.fixture(scope="module")
def dense(make_pool: Makes) -> pa.Table:
    return make_pool(8000, seed=2, sites=10)


def test_far_fewer_neighbours_at_the_same_strata(dense: pa.Table) -> None:
    asked = Sampling(splits=WHOLE, allocation="balanced")
    plain = draw(dense, asked, 400)
    apart = draw(dense, asked.model_copy(update={"min_distance_km": 1.8}), 400)
    assert len(set(apart.rows.tolist())) == 400
    assert sorted(apart.stratum.tolist()) == sorted(plain.stratum.tolist())
    assert apart.weight.sum() == pytest.approx(plain.weight.sum())
    assert len(near(dense, apart.rows, 1.8)) < len(near(dense, plain.rows, 1.8)) / 3


def test_none_is_near_where_the_stratum_is_large_enough(dense: pa.Table) -> None:
    one = Sampling(splits=WHOLE, levels=("climate",), allocation="representative", min_distance_km=2.5)
    assert len(near(dense, draw(dense, one, 300).rows, 2.5)) == 0


def test_only_what_had_no_choice_is_near(dense: pa.Table) -> None:
    """Of two rows that are near, one came from a stratum all of which is near to drawn rows."""
    drawn = draw(dense, Sampling(splits=WHOLE, min_distance_km=1.8), 500)
    whole = draw(dense, Sampling(splits=WHOLE), dense.num_rows)
    stratum = dict(zip(whole.rows.tolist(), whole.stratum.tolist(), strict=True))
    points = unit_vectors(dense["lon"].to_numpy(), dense["lat"].to_numpy())
    taken = cKDTree(points[drawn.rows])
    distance = taken.query(points)[0]
    pairs = near(dense, drawn.rows, 1.8)
    left = np.setdiff1d(np.arange(dense.num_rows), drawn.rows)
    free = {stratum[row] for row in left[distance[left] >= chord(1.8)].tolist()}
    assert len(pairs) and free
    assert not [pair for pair in drawn.stratum[pairs].tolist() if set(pair) <= free]


def test_budgets_at_the_end_of_a_block_are_prefixes(dense: pa.Table) -> None:
    asked = Sampling(min_distance_km=1.8)
    whole = draw(dense, asked, 2500).rows.tolist()
    for budget in [block for block in BLOCKS if block < 2500]:
        assert draw(dense, asked, budget).rows.tolist() == whole[:budget]
    budget = 1000
    sure = max(block for block in BLOCKS if block <= budget)
    part = draw(dense, asked, budget).rows.tolist()
    assert part[:sure] == whole[:sure]
    assert len(set(part) & set(whole[: budget + 100])) > 0.95 * budget


def test_two_seats_by_hand() -> None:
    """The second seat's first candidate lies beside the first seat's row, so it takes its second."""
    points = np.array([[0.0, 0, 0], [0.05, 0, 0], [0.4, 0, 0], [0.9, 0, 0]])
    queue = Queue(np.array([1, 3]), np.array([True, True]))
    chosen, short = spread(np.array([0, 1, 1, 1]), np.empty(0, np.int64), queue, points, 0.1)
    assert chosen.tolist() == [0, 2, 3, 1] and not short.any()
    incomplete = Queue(queue.number, np.array([True, False]))
    _, short = spread(np.array([0, 1, 1, 1]), np.empty(0, np.int64), incomplete, points, 0.1)
    assert short.tolist() == [False, True]
