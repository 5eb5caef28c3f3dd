"""Diversity numbers against closed forms and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.sampling.diversity import (
    divergence,
    divergence_from_uniform,
    effective_number,
    kish,
    kish_of_strata,
    vendi,
)

COUNTS = st.lists(st.integers(0, 1000), min_size=1, max_size=20)


@given(COUNTS)
def test_an_effective_number_lies_between_one_and_the_kinds_held(counts: list[int]) -> None:
    held = sum(count > 0 for count in counts)
    found = effective_number(counts)
    assert (held == 0 and found == 0) or 1 - 1e-9 <= found <= held + 1e-9
    assert effective_number([7 * count for count in counts]) == pytest.approx(found)


def test_divergence_from_equal_shares() -> None:
    assert divergence_from_uniform(np.array([9, 5, 1, 0]), np.array([2, 2, 2, 0])) == pytest.approx(0)
    three_of_one = divergence_from_uniform(np.array([9, 5, 1, 0]), np.array([3, 0, 0, 0]))
    assert three_of_one == pytest.approx(math.log(3))
    assert math.isnan(divergence_from_uniform(np.array([9]), np.array([0])))


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=12))
def test_divergence_is_the_sum_and_never_negative(pairs: list[tuple[int, int]]) -> None:
    pool, drawn = (np.array(side) for side in zip(*pairs, strict=True))
    found = divergence(pool, drawn)
    if not drawn.sum():
        assert math.isnan(found)
        return
    plain = 0.0
    for n, k in pairs:
        if k:
            share = k / drawn.sum()
            plain += share * math.log(share / (n / pool.sum()))
    assert found == pytest.approx(plain, abs=1e-12)
    assert found > -1e-12


def test_kish_of_equal_and_of_one_weight() -> None:
    assert kish(np.full(7, 3.0)) == pytest.approx(1)
    assert kish(np.array([1.0, 0, 0, 0])) == pytest.approx(1 / 4)
    assert kish(np.array([1.0, 3.0])) == pytest.approx(16 / 10 / 2)
    assert math.isnan(kish(np.array([])))


def test_kish_of_strata_is_kish_of_their_rows_weights() -> None:
    pool, drawn = np.array([100, 40, 7, 5]), np.array([10, 10, 7, 0])
    rows = np.repeat((pool / np.maximum(drawn, 1))[:3], drawn[:3])
    assert kish_of_strata(pool, drawn) == pytest.approx(kish(rows))


@pytest.mark.parametrize("groups", [(1,) * 6, (6,), (3, 3), (4, 1, 1)])
def test_the_vendi_score_of_groups_of_equals_is_their_effective_number(groups: tuple[int, ...]) -> None:
    which = np.repeat(np.arange(len(groups)), groups)
    same = (which[:, None] == which).astype(float)
    assert vendi(same) == pytest.approx(effective_number(groups))


def test_the_vendi_score_of_two_rows_by_hand() -> None:
    alike = 0.6  # eigenvalues of K/2 are (1 ± 0.6)/2
    found = vendi(np.array([[1, alike], [alike, 1]]))
    assert found == pytest.approx(math.exp(-(0.8 * math.log(0.8) + 0.2 * math.log(0.2))))
