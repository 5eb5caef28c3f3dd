"""Accounts of stages."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from curate.summary import Summary, add, count, load, store

REASONS = st.lists(st.sampled_from("abcd"))


@given(REASONS, REASONS)
def test_counts_add_up(first: list[str], second: list[str]) -> None:
    assert add(count(first), count(second)) == count(first + second)
    assert list(count(first).values()) == sorted(count(first).values(), reverse=True)
    assert sum(count(first).values()) == len(first)


def test_summaries_are_kept_beside_each_other(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    assert load(path) == {}
    store(path, Summary("search", "scenes", 10, 8, {"no footprint": 2}))
    store(path, Summary("pair", "pairs", 5, 5))
    store(path, Summary("search", "scenes", 11, 11))
    kept = load(path)
    assert set(kept) == {"search", "pair"}
    assert kept["search"]["came_in"] == 11 and kept["search"]["rejected"] == {}
