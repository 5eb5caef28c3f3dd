"""Sharing out seats: exact, within capacities, nested, top-down."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.sampling.allocation import ALPHAS, seat, weights
from curate.sampling.tree import Level, Tree, plant


def levels_of(groups: list[list[int]], alpha: float) -> list[Level]:
    """Two levels: groups[g][c] rows in child c of group g."""
    group = np.repeat(np.arange(len(groups)), [sum(g) for g in groups])
    child = np.concatenate([np.repeat(np.arange(len(g)), g) for g in groups])
    names = ("group", "child")
    return [
        Level(name, codes, tuple(f"{name} {k}" for k in range(int(codes.max()) + 1)), alpha)
        for name, codes in zip(names, (group, child), strict=True)
    ]


def tree_of(groups: list[list[int]], alpha: float, seed: int = 0) -> tuple[Tree, np.ndarray]:
    return plant(levels_of(groups, alpha), seed)


sizes = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=6), min_size=1, max_size=6)


@settings(deadline=None)
@given(sizes, st.sampled_from([*ALPHAS.values(), 0.25, 0.6]), st.integers(0, 5), st.data())
def test_any_budget_is_met_within_capacities_and_nested(
    groups: list[list[int]], alpha: float, seed: int, data: st.DataObject
) -> None:
    tree, _ = tree_of(groups, alpha, seed)
    total = sum(map(sum, groups))
    whole = seat(tree, total)
    assert whole.quota.tolist() == tree.leaf_size.tolist()
    budget = data.draw(st.integers(0, total))
    part = seat(tree, budget)
    assert part.quota.sum() == budget
    assert (part.quota <= tree.leaf_size).all()
    assert part.leaf.tolist() == whole.leaf[:budget].tolist()
    assert part.rank.tolist() == whole.rank[:budget].tolist()


@settings(deadline=None)
@given(sizes, st.sampled_from(list(ALPHAS.values())), st.integers(0, 2**32))
def test_the_order_of_rows_does_not_matter(groups: list[list[int]], alpha: float, shuffle: int) -> None:
    tree, leaf = tree_of(groups, alpha)
    mixed = np.random.default_rng(shuffle).permutation(len(leaf))
    again, again_leaf = plant([replace(lv, codes=lv.codes[mixed]) for lv in levels_of(groups, alpha)], 0)
    assert again_leaf.tolist() == leaf[mixed].tolist()
    assert seat(again, len(leaf)).leaf.tolist() == seat(tree, len(leaf)).leaf.tolist()


def quotas(groups: list[list[int]], alpha: float, budget: int) -> dict[tuple[int, int], int]:
    tree, _ = tree_of(groups, alpha)
    pairs = map(tuple, tree.codes.tolist())
    return dict(zip(pairs, seat(tree, budget).quota.tolist(), strict=True))


def test_proportional_and_equal_by_hand() -> None:
    assert quotas([[60, 30], [10]], 1.0, 10) == {(0, 0): 6, (0, 1): 3, (1, 0): 1}
    assert quotas([[60, 30], [10]], 0.0, 20) == {(0, 0): 5, (0, 1): 5, (1, 0): 10}


def test_what_a_short_child_cannot_take_goes_to_its_siblings_first() -> None:
    assert quotas([[100, 2], [100, 100]], 0.0, 40) == {(0, 0): 18, (0, 1): 2, (1, 0): 10, (1, 1): 10}


def test_power_allocation_by_hand() -> None:
    assert quotas([[400], [100], [4]], 0.5, 32) == {(0, 0): 20, (1, 0): 10, (2, 0): 2}


def test_ties_are_not_broken_by_position() -> None:
    """With more equal strata than seats, who gets one is a matter of hashes, and of the seed."""
    taken = set()
    for seed in range(4):
        tree, _ = tree_of([[1]] * 50, 0.0, seed)
        group = tree.codes[seat(tree, 10).leaf, 0]
        assert group.max() > 20
        taken.add(tuple(sorted(group.tolist())))
    assert len(taken) == 4


@pytest.mark.parametrize("quarters", range(5))
def test_weights_are_the_nearest_whole_steps(quarters: int) -> None:
    size = np.unique(np.geomspace(1, 10**7, 400).astype(np.int64))
    exact = [(math.isqrt(math.isqrt(16 * 1024**4 * n**quarters)) + 1) // 2 for n in size.tolist()]
    assert weights(size, quarters / 4).tolist() == exact


def test_budgets_beyond_the_candidates_are_refused() -> None:
    tree, _ = tree_of([[3]], 1.0)
    with pytest.raises(ValueError, match="exceeds"):
        seat(tree, 4)
