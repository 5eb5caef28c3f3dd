"""Measures against values worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.sampling import effective_number, measure
from curate.sampling.measures import ENTROPY, Yardstick, reach_km


@pytest.fixture
def eight(make_rows: Callable[[dict[str, Any]], pa.Table]) -> pa.Table:
    """Eight rows at six places on the equator, 1.11 km and then far apart; two climates, two classes."""
    tree = np.array([1, 1, 1, 1, 0.5, 0.5, 0, 0])
    return make_rows(
        {
            "chip_id": [f"c{k}" for k in range(8)],
            "place": ["a", "a", "b", "c", "d", "e", "f", "f"],
            "lon": [0.0, 0.0, 0.01, 1.0, 2.0, 3.0, 4.0, 4.0],
            "lat": [0.0] * 8,
            "season": ["winter", "summer"] * 4,
            "koppen": [1, 1, 1, 1, 1, 1, 15, 15],
            "lc_dominant": [10, 10, 10, 10, 10, 10, 40, 40],
            "lc": {10: tree, 40: 1 - tree},
        }
    )


def test_effective_numbers() -> None:
    assert effective_number([5, 5, 5, 5]) == pytest.approx(4)
    assert effective_number([7, 0]) == pytest.approx(1)
    assert effective_number([]) == 0
    assert effective_number([3, 1]) == pytest.approx(4 / 3**0.75)


def test_a_sample_by_hand(eight: pa.Table) -> None:
    found = measure(eight, np.array([0, 1, 2, 6]))
    assert found.rows == 4
    assert found.climates == pytest.approx(effective_number([3, 1]))
    assert found.dominant == pytest.approx(effective_number([3, 1]))
    assert found.mass == pytest.approx(effective_number([3, 1]))
    assert found.strata == pytest.approx(effective_number([3, 1]))  # Af · 10 and Cfb · 40, not Af · 10+40
    assert found.coverage == pytest.approx(2 / 3)
    assert found.rare_recall == pytest.approx(4 / 8)
    assert found.kl_pool == pytest.approx(0.0)  # 3:1 of the sample as of the pool
    weight = np.array([4 / 3, 4 / 3, 4 / 3, 2])
    assert found.ess == pytest.approx(weight.sum() ** 2 / (weight**2).sum() / 4)
    assert found.adjacent == pytest.approx(3 / 4)  # a twice and b, 1.11 km apart
    assert found.colocated == pytest.approx(2 / 4)
    assert found.places == 3
    assert found.seasons == pytest.approx(effective_number([3, 1]))


def test_divergence_by_hand(eight: pa.Table) -> None:
    found = measure(eight, np.array([0, 6]))
    assert found.kl_pool == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))
    assert found.adjacent == 0 and found.colocated == 0


def test_the_whole_pool_measures_as_itself(eight: pa.Table) -> None:
    found = measure(eight, np.arange(8))
    assert (found.coverage, found.rare_recall, found.ess) == (1, 1, 1)
    assert found.kl_pool == pytest.approx(0)
    assert found.colocated == pytest.approx(4 / 8)


def test_candidates_bound_what_is_measured_against(eight: pa.Table) -> None:
    found = measure(eight, np.array([0]), among=np.array([0, 2, 3]))
    assert found.coverage == 1 and found.rare_recall == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="not among"):
        measure(eight, np.array([7]), among=np.array([0, 2, 3]))


def test_two_places_at_one_point_are_neighbours(make_rows: Callable[..., pa.Table], eight: pa.Table) -> None:
    place = pa.array(["a", "x", "b", "c", "d", "e", "f", "f"])
    twins = eight.set_column(eight.column_names.index("place"), "place", place)
    found = measure(twins, np.array([0, 1]))
    assert found.adjacent == 1 and found.colocated == 0


def test_spread_in_climate_cover_and_space_by_hand(eight: pa.Table) -> None:
    found = measure(eight, np.array([0, 2, 6]))
    assert found.climate_cover == pytest.approx(effective_number([2, 1]))
    assert found.kl_uniform == pytest.approx(math.log(2) - math.log(effective_number([2, 1])))
    assert found.nearest_km == pytest.approx(1.112, abs=1e-3)  # a–b, b–a, f–b: the median is 0.01°
    assert found.cells == pytest.approx(effective_number([2, 1]))


def test_near_duplicates_agree_in_climate_and_to_half_a_percent(
    make_rows: Callable[[dict[str, Any]], pa.Table],
) -> None:
    tree = np.array([0.8, 0.801, 0.81, 0.8, 0.8])
    pool = make_rows(
        {
            "chip_id": list("abcde"),
            "place": list("abcde"),
            "lon": np.arange(5.0),
            "lat": np.zeros(5),
            "season": ["winter"] * 5,
            "koppen": [1, 1, 1, 15, 1],
            "lc_dominant": [10] * 5,
            "lc": {10: tree, 40: 1 - tree},
        }
    )
    assert measure(pool, np.array([0, 1, 2, 3])).repeated == pytest.approx(2 / 4)
    assert measure(pool, np.array([0, 2, 3])).repeated == 0
    assert measure(pool, np.arange(5)).repeated == pytest.approx(3 / 5)


def test_spectral_entropy_where_the_pool_has_it(eight: pa.Table) -> None:
    assert math.isnan(measure(eight, np.array([0, 1])).entropy)
    values = [1.0, 3.0, None, 5.0, 0.0, 0.0, 0.0, 0.0]
    known = eight.append_column(ENTROPY, pa.array(values, pa.float32()))
    found = measure(known, np.array([0, 1, 2, 3]))
    assert found.entropy == pytest.approx(3)
    assert found.entropy_spread == pytest.approx(math.sqrt(8 / 3))


def test_weights_of_ones_own_decide_the_effective_size(eight: pa.Table) -> None:
    yardstick = Yardstick(eight)
    assert yardstick.measure(np.array([0, 6]), np.array([1.0, 3.0])).ess == pytest.approx(0.8)


def test_neighbours_lie_within_the_reach_of_a_chip(eight: pa.Table) -> None:
    rows = np.array([0, 2])
    assert Yardstick(eight, adjacent_km=reach_km(1200)).measure(rows).adjacent == 1
    assert Yardstick(eight, adjacent_km=reach_km(240)).measure(rows).adjacent == 0
