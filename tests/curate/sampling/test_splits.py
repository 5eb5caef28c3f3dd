"""Splits: whole blocks, every climate, and a buffer checked by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from curate.catalog.schema import SPLITS
from curate.recipe import Splits
from curate.sampling.sphere import EqualAreaTable
from curate.sampling.splits import TEST, TRAIN, VAL, Assignment, _shares, assign, least_km
from curate.sphere import kilometres, unit_vectors


def scatter(places: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dense places over a few degrees, main climate by latitude with a ragged border."""
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(5, 10, places), rng.uniform(45, 49, places)
    return lon, lat, (lat + 0.2 * np.sin(9 * lon) > 47).astype(np.int64)


def distance_km(points: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    between = points[first][:, None] - points[second][None]
    return np.vectorize(kilometres)(np.sqrt((between**2).sum(-1)).min(1))


@pytest.mark.parametrize("buffer_km", [0.0, 5.0, 20.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_splits_lie_a_buffer_apart_and_no_row_is_left_out_without_need(buffer_km: float, seed: int) -> None:
    lon, lat, main = scatter()
    found = assign(lon, lat, main, Splits(val=0.2, test=0.2, buffer_km=buffer_km), seed)
    points = unit_vectors(lon, lat)
    train, val, test = (np.flatnonzero((found.split == s) & ~found.buffer) for s in (TRAIN, VAL, TEST))
    assert min(map(len, (train, val, test))) > 0
    to_train = distance_km(points, np.concatenate([val, test]), train)
    assert to_train.min() >= buffer_km
    assert distance_km(points, val, test).min() >= buffer_km
    kept = ~found.buffer
    least = least_km(lon[kept], lat[kept], np.array(SPLITS)[found.split[kept]])
    assert least == pytest.approx(to_train.min(), rel=1e-6)
    assert not found.buffer[found.split == TRAIN].any()
    dropped = np.flatnonzero(found.buffer)
    if len(dropped):
        near_train = distance_km(points, dropped, train) < buffer_km
        near_test = distance_km(points, dropped, test) < buffer_km
        assert (near_train | ((found.split[dropped] == VAL) & near_test)).all()


def test_a_block_lies_in_one_split() -> None:
    lon, lat, main = scatter()
    split = assign(lon, lat, main, Splits(), 0).split
    block = EqualAreaTable.of_side(1.0).cell(lon, lat)
    assert all(len(set(split[block == b].tolist())) == 1 for b in np.unique(block))


@pytest.mark.parametrize("seed", range(5))
def test_every_main_climate_of_three_blocks_is_in_every_split(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = [3, 4, 7, 30]
    lon = np.concatenate([np.arange(n) * 3.0 for n in blocks])
    lat = np.repeat([10.5, 25.5, 45.5, 60.5], blocks)
    main = np.repeat(np.arange(4), blocks)
    where = np.repeat(np.arange(len(lon)), rng.integers(1, 9, len(lon)))
    split = assign(lon[where], lat[where], main[where], Splits(val=0.05, test=0.05), seed).split
    for climate in range(4):
        assert set(split[main[where] == climate].tolist()) == {TRAIN, VAL, TEST}


def test_shares_of_blocks() -> None:
    assert _shares(1, 0.1, 0.1) == (0, 0)
    assert _shares(2, 0.1, 0.1) == (0, 0)
    assert _shares(3, 0.1, 0.1) == (1, 1)
    assert _shares(3, 0.5, 0.4) == (1, 1)
    assert _shares(1, 0.6, 0.2) == (0, 0)
    assert _shares(25, 0.1, 0.1) == (3, 3)
    assert _shares(100, 0.0, 0.2) == (0, 20)
    assert sum(_shares(7, 0.5, 0.5)) == 7


def test_without_evaluation_all_is_training() -> None:
    lon, lat, main = scatter(200)
    found = assign(lon, lat, main, Splits(val=0, test=0), 0)
    assert (found.split == TRAIN).all() and not found.buffer.any()
    assert least_km(lon, lat, np.array(SPLITS)[found.split]) is None


def test_all_may_be_evaluation() -> None:
    lon, lat, main = scatter(400)
    found = assign(lon, lat, main, Splits(val=0, test=1), 0)
    assert (found.split == TEST).all()
    assert least_km(lon, lat, np.array(SPLITS)[found.split]) is None


def test_the_order_of_rows_does_not_matter() -> None:
    lon, lat, main = scatter()
    mixed = np.random.default_rng(1).permutation(len(lon))
    one: Assignment = assign(lon, lat, main, Splits(), 4)
    two = assign(lon[mixed], lat[mixed], main[mixed], Splits(), 4)
    assert two.split.tolist() == one.split[mixed].tolist()
    assert two.buffer.tolist() == one.buffer[mixed].tolist()


def test_shares_beyond_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"more than 1"):
        Splits(val=0.7, test=0.7)


def test_a_small_area_across_a_block_border_never_empties_a_split() -> None:
    table = EqualAreaTable.of_side(1.0)
    sites = [(10.0 + 3 * i, 46.0 if i % 2 else 46.5) for i in range(8)]  # every other one across a border
    rng = np.random.default_rng(0)
    lon = np.concatenate([x + rng.uniform(-0.04, 0.04, 60) for x, _ in sites])
    lat = np.concatenate([y + rng.uniform(-0.03, 0.03, 60) for _, y in sites])
    assert len(np.unique(table.cell(lon, lat))) > len(sites)
    for seed in range(20):
        found = assign(lon, lat, np.zeros(len(lon), np.int64), Splits(), seed)
        kept = found.split[~found.buffer]
        assert {TRAIN, VAL, TEST} == set(kept.tolist())
        assert not found.buffer.any()
