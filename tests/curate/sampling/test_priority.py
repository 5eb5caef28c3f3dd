"""Who comes first inside a stratum."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from curate.sampling import priority
from curate.sampling.hashing import hash_strings
from curate.sampling.priority import cells, order, season_code, season_shares, spatial_code


def lattice(side: int, lon0: float = 10.0, lat0: float = 50.0) -> tuple[np.ndarray, np.ndarray]:
    """Centres of side × side cells of the sampler's own 1.2 km lattice; (lon, lat) degrees."""
    step = 180 / 16_640
    row, column = (a.ravel() for a in np.meshgrid(np.arange(side), np.arange(side), indexing="ij"))
    lat = -90 + (math.floor((lat0 + 90) / step / 128) * 128 + row + 0.5) * step
    band = math.floor((lat0 + 90) / step / 128)
    columns = round(33_280 * math.cos(math.radians(-90 + (band + 0.5) * 180 / 130)))
    lon = -180 + (math.floor((lon0 + 180) / 360 * columns / 128) * 128 + column + 0.5) * 360 / columns
    return lon, lat


def test_a_square_of_128_cells_has_each_spatial_code_once() -> None:
    code = spatial_code(cells(*lattice(128)), seed=0)
    assert sorted(code.tolist()) == list(range(1 << 14))


def test_the_first_cells_of_a_square_form_a_coarse_lattice() -> None:
    code = spatial_code(cells(*lattice(128)), seed=3).reshape(128, 128)
    for level in (1, 2, 3):
        row, column = np.nonzero(code < (1 << 14) >> 2 * level)
        step = 1 << level
        assert len(row) == (128 // step) ** 2
        assert len(np.unique(row % step)) == len(np.unique(column % step)) == 1


def test_another_seed_shifts_the_lattice() -> None:
    cell = cells(*lattice(8))
    assert len({tuple(spatial_code(cell, seed).tolist()) for seed in range(5)}) > 1


def test_a_season_is_first_as_often_as_its_weight_says() -> None:
    places = pa.array([f"place {k}" for k in range(20_000)])
    hashed = hash_strings(places, 0)
    shares = {"winter": 2, "summer": 8}
    codes = {
        season: season_code(hashed, np.zeros(len(places), np.int64), [season], shares, 0) for season in shares
    }
    assert abs((codes["winter"] < codes["summer"]).mean() - 0.8) < 0.01
    assert max(int(code.max()) for code in codes.values()) < 1 << 16


def test_no_logarithm_lies_near_a_step() -> None:
    """A last digit of another platform's logarithm cannot change the table of −ln u."""
    scaled = np.array([-math.log((h + 0.5) / 65_536) * 340 for h in range(65_536)])
    assert np.abs(scaled - np.rint(scaled)).min() > 1e-8


def test_season_shares_are_coarse_and_never_zero() -> None:
    shares = season_shares(["winter", "spring", "summer"], np.array([1, 30, 69]))
    assert shares == {"winter": 1, "spring": 5, "summer": 11}


def test_a_second_date_of_a_place_comes_after_all_first_dates_of_its_leaf() -> None:
    leaf = np.array([0, 0, 0, 0, 1, 1])
    place = np.array([7, 7, 7, 9, 7, 8], np.uint64)
    first = np.array([1, 2, 3, 40, 50, 60], np.uint64)
    tie = np.zeros(6, np.uint64)
    cell = np.array([3, 3, 3, 4, 3, 5])
    foremost = order(leaf, cell, place, first, tie)[1]
    assert foremost.tolist() == [True, True, False, False, True, True]
    assert order(leaf, cell, place, first, tie)[0].tolist() == [0, 3, 1, 2, 4, 5]


def test_a_second_place_of_a_cell_comes_after_all_first_places_but_before_second_dates() -> None:
    leaf, tie = np.zeros(4, np.int64), np.zeros(4, np.uint64)
    cell = np.array([5, 5, 5, 6])
    place = np.array([1, 1, 2, 3], np.uint64)
    first = np.array([1, 2, 3, 40], np.uint64)
    assert order(leaf, cell, place, first, tie)[0].tolist() == [0, 3, 2, 1]


def test_equal_priorities_are_ordered_by_the_tie_breaker() -> None:
    first = np.array([5, 5, 1], np.uint64)
    tie = np.array([2, 1, 9], np.uint64)
    leaf, cell, place = np.zeros(3, np.int64), np.arange(3), np.arange(3).astype(np.uint64)
    assert order(leaf, cell, place, first, tie)[0].tolist() == [2, 1, 0]


def test_leaving_out_low_priorities_changes_no_order_above_them() -> None:
    """What a streaming draw relies on."""
    rng = np.random.default_rng(0)
    leaf, place = rng.integers(0, 5, 2000), rng.integers(0, 300, 2000).astype(np.uint64)
    first, tie = rng.integers(0, 2**63, 2000).astype(np.uint64), np.zeros(2000, np.uint64)
    cell = (place // np.uint64(2)).astype(np.int64)
    whole, _ = order(leaf, cell, place, first, tie)
    kept = np.flatnonzero(first < 2**62)
    part = kept[order(leaf[kept], cell[kept], place[kept], first[kept], tie[kept])[0]]
    assert [row for row in whole.tolist() if first[row] < 2**62] == part.tolist()


@pytest.mark.parametrize("at_once", [1, 40, 10**6])
def test_the_order_is_that_of_a_plain_sort_by_tiers(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Leaves of one to hundreds of rows, many dates of a place, places of one cell and equal priorities."""
    monkeypatch.setattr(priority, "_AT_ONCE", at_once)
    rng = np.random.default_rng(3)
    leaf = np.minimum(rng.geometric(0.3, 1500), 40) - 1
    place = rng.integers(0, 400, 1500)
    cell = place // 3
    code = rng.integers(0, 1 << 14, 134)[cell].astype(np.uint64)  # a function of the cell
    first = code << np.uint64(50) | rng.integers(0, 3, 1500).astype(np.uint64)
    tie = rng.permutation(1500).astype(np.uint64)
    expected = []
    for one in range(40):
        seen: Counter[tuple[int, ...]] = Counter()
        ranked = []
        for row in sorted(np.flatnonzero(leaf == one).tolist(), key=lambda r: (first[r], tie[r])):
            where = int(cell[row])
            date = seen[int(place[row]), where, -1]
            ranked.append((date, seen[where, date], first[row], tie[row], row))
            seen.update([(int(place[row]), where, -1), (where, date)])
        expected += [(row, not date and not other) for date, other, _, _, row in sorted(ranked)]
    rows, foremost = order(leaf, cell, place.astype(np.uint64), first, tie)
    assert list(zip(rows.tolist(), foremost.tolist(), strict=True)) == expected
