"""Candidates as points: what their distances mean, and which of them are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.catalog.errors import InputError
from curate.sampling.features import Embedding, distinct, features


def test_distances_of_descriptors_by_hand(make_rows: Callable[[dict[str, Any]], pa.Table]) -> None:
    pool = make_rows(
        {
            "chip_id": list("abcd"),
            "place": list("abcd"),
            "lon": [0.0] * 4,
            "lat": [0.0] * 4,
            "season": ["winter"] * 4,
            "koppen": [1, 1, 15, 1],
            "lc_dominant": [10, 40, 10, 10],
            "lc": {10: np.array([1, 0, 1, 0.64]), 40: np.array([0, 1, 0, 0.36])},
        }
    )
    found = features(pool, np.arange(4))
    points = found.points(slice(None)).astype(float)
    apart = np.linalg.norm(points - points[0], axis=1)
    assert apart[1] == pytest.approx(np.sqrt(2))  # no class in common
    assert apart[2] == pytest.approx(np.sqrt(0.5))  # another climate
    assert apart[3] == pytest.approx(np.sqrt(2 - 2 * 0.8), rel=1e-6)  # Bhattacharyya coefficient 0.8
    assert np.array_equal(found.points(np.array([2, 0])), found.points(slice(None))[[2, 0]])
    turned = features(pool, np.array([3, 1])).points(slice(None))
    assert turned[0] @ turned[1] == pytest.approx(0.6 + 0.25)


def vectors(values: list[Any], dimensions: int = 2) -> pa.Table:
    return pa.table({"z": pa.array(values, pa.list_(pa.float32(), dimensions))})


def test_an_embedding_is_scaled_to_length_one() -> None:
    found = Embedding(vectors([[3, 4], [0, 2], [-1, 0]]), "z")
    assert len(found) == 3
    assert np.allclose(found.points(slice(0, 2)), [[0.6, 0.8], [0, 1]])
    assert np.allclose(found.points(np.array([2, 0])), [[-1, 0], [0.6, 0.8]])


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        (pa.table({"a": [1]}), "no column of vectors"),
        (pa.table({"z": [1.0]}), "fixed-size list"),
        (vectors([[1, 2], None]), "1 rows of column 'z' have no vector"),
        (vectors([[1, 2], [0, 0]]), "without a direction"),
        (vectors([[1, float("nan")]]), "without a direction"),
    ],
)
def test_an_embedding_that_cannot_be_used(pool: pa.Table, words: str) -> None:
    with pytest.raises(InputError, match=words):
        features(pool, np.arange(pool.num_rows), "z").points(slice(None))


def test_distinct_points_come_in_the_order_of_their_first_rows() -> None:
    points = np.array([[2, 0], [1, 1], [2, -0.0], [1, 1], [0, 3]], np.float32)
    first, which = distinct(points)
    assert first.tolist() == [0, 1, 4]
    assert which.tolist() == [0, 1, 0, 1, 2]
