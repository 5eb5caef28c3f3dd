"""The slow measures against plain loops over every two rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from curate.sampling import measure, random, reach
from curate.sampling.diversity import vendi
from curate.sampling.features import Descriptors
from curate.sampling.hashing import hash_strings


@pytest.fixture(scope="module")
def points(pool: pa.Table) -> Descriptors:
    return Descriptors(pool)


def test_similarity_is_that_of_every_two_rows(pool: pa.Table, points: Descriptors) -> None:
    rows = np.arange(0, pool.num_rows, 200)
    found = reach.similarity(points, rows)
    codes = [name for name in pool.column_names if name.startswith("lc_") and name != "lc_dominant"]
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            shares = [(pool[c][int(a)].as_py(), pool[c][int(b)].as_py()) for c in codes]
            alike = sum((f * g) ** 0.5 for f, g in shares) ** 4
            alike *= 1 if pool["koppen"][int(a)] == pool["koppen"][int(b)] else 0.5
            assert found[i, j] == pytest.approx(alike, abs=1e-5)
    assert np.linalg.eigvalsh(found).min() > -1e-9


def test_the_vendi_score_of_a_small_sample_is_that_of_all_its_rows(
    pool: pa.Table, points: Descriptors
) -> None:
    rows = random(pool, 300, 0)
    identity = hash_strings(pool["chip_id"], 0)
    found = reach.vendi_score(points, rows, identity[rows])
    assert found == pytest.approx(vendi(reach.similarity(points, rows)))
    assert found == pytest.approx(reach.vendi_score(points, rows[::-1], identity[rows[::-1]]))


def test_the_vendi_score_of_subsets_is_near_that_of_the_whole(
    pool: pa.Table, points: Descriptors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "VENDI_ROWS", 300)
    rows = np.arange(600)
    identity = hash_strings(pool["chip_id"], 0)
    found = reach.vendi_score(points, rows, identity[rows])
    whole = vendi(reach.similarity(points, rows))
    assert 0.7 * whole < found < whole  # fewer rows show fewer kinds


def test_distances_are_to_the_nearest_drawn_row(pool: pa.Table, points: Descriptors) -> None:
    drawn, probes = random(pool, 80, 0), random(pool, 60, 1)
    identity = hash_strings(pool["chip_id"], 0)
    found = reach.distance_to_sample(points, drawn, identity[drawn], probes)
    everywhere = points.points(slice(None)).astype(float)
    plain = [min(np.linalg.norm(everywhere[p] - everywhere[d]) for d in drawn) for p in probes]
    assert found == pytest.approx(np.mean(plain), rel=1e-5)
    assert reach.distance_to_sample(points, probes, identity[probes], probes) == pytest.approx(0, abs=1e-6)


def test_the_tail_is_probed_once_a_stratum(pool: pa.Table) -> None:
    stratum = np.arange(pool.num_rows) // 7
    probes = reach.tail_probes(stratum, hash_strings(pool["chip_id"], 0))
    assert sorted(stratum[probes].tolist()) == list(range(stratum.max() + 1))
    assert len(set((probes % 7).tolist())) == 7  # chance picks within a stratum


def test_measures_on_request_do_not_depend_on_the_order_of_rows(
    pool: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "VENDI_ROWS", 300)
    mixed = np.random.default_rng(0).permutation(pool.num_rows)
    rows = random(pool, 1000, 0)
    back = np.argsort(mixed)
    found = measure(pool, rows, full=True)
    again = measure(pool.take(pa.array(mixed)), back[rows], full=True)
    for name in ("vendi", "head", "tail", "nearest_km", "repeated"):
        assert getattr(found, name) == pytest.approx(getattr(again, name)), name


def test_measures_on_request_are_left_out_otherwise(pool: pa.Table) -> None:
    found = measure(pool, random(pool, 100, 0))
    assert np.isnan([found.vendi, found.head, found.tail]).all()
