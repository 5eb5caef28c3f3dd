"""Retrieval scores beside other implementations and beside what a person works out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors

from curate.catalog import InputError
from train.evaluate import retrieval
from train.evaluate.evidence import value
from train.evaluate.judging import compare_results, retrieve_by
from train.evaluate.results import Results
from train.evaluate.retrieval import chance, nearest, score


@pytest.fixture
def rng():
    return np.random.default_rng(4)


@pytest.mark.parametrize("engine", ["exact", "faiss"])
def test_neighbours_equal_scikit_learns(engine, rng, monkeypatch):
    if engine == "faiss":
        pytest.importorskip("faiss")
    monkeypatch.setattr(retrieval, "AT_ONCE", 37)
    archive, queries = rng.standard_normal((150, 9)), rng.standard_normal((60, 9))
    theirs = NearestNeighbors(n_neighbors=12, metric="cosine", algorithm="brute").fit(archive)
    assert np.array_equal(nearest(archive, queries, 12, engine), theirs.kneighbors(queries)[1])


def test_k_over_the_archive_returns_all_of_it(rng):
    found = nearest(rng.standard_normal((5, 3)), rng.standard_normal((4, 3)), 50)
    assert found.shape == (4, 5) and (np.sort(found, 1) == np.arange(5)).all()


def test_equal_similarities_keep_the_archives_order(monkeypatch):
    monkeypatch.setattr(retrieval, "AT_ONCE", 2)
    archive = np.array([[0.0, 1], [1, 0], [2, 0], [3, 0], [1, 0]])
    assert nearest(archive, np.array([[1.0, 0]]), 4).tolist() == [[1, 2, 3, 4]]


def by_definition(hits, queries, archive):
    """Plain loops over pairs, as CSMAE's definition reads."""
    rows = []
    for q, found in zip(queries, hits, strict=True):
        own = set(np.flatnonzero(q))
        p, r, f, gained, seen = [], [], [], 0.0, 0
        for rank, hit in enumerate(found, 1):
            his = set(np.flatnonzero(archive[hit]))
            both = len(own & his)
            p.append(both / len(his) if his else 0.0)
            r.append(both / len(own))
            f.append(2 * both / (len(own) + len(his)))
            if both:
                seen += 1
                gained += seen / rank
        relevant = sum(bool(own & set(np.flatnonzero(a))) for a in archive)
        rows.append(
            (np.mean(p), np.mean(r), np.mean(f), gained / min(relevant, len(found)) if relevant else np.nan)
        )
    return np.array(rows).T


@pytest.mark.parametrize("labels", [1, 6])
@pytest.mark.parametrize("k", [1, 7, 80])
def test_scores_equal_the_definition(labels, k, rng):
    queries, archive = (rng.integers(0, 2, (n, 6)) for n in (30, 50))
    if labels == 1:
        queries, archive = (np.eye(6, dtype=int)[rng.integers(6, size=n)] for n in (30, 50))
    queries[:, 0] |= ~queries.any(1)
    hits = nearest(rng.standard_normal((50, 4)), rng.standard_normal((30, 4)), k)
    found = score(hits, queries, archive)
    expected = by_definition(hits, queries, archive)
    for mine, theirs in zip(
        (found.precision, found.recall, found.pair_f1, found.average_precision), expected, strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=1e-12)
    evidence = found.evidence(np.arange(30).astype(str))
    p, r = expected[0].mean(), expected[1].mean()
    assert value(evidence["F1"]) == pytest.approx(2 * p * r / (p + r))
    assert value(evidence["F1 of pairs"]) == pytest.approx(expected[2].mean())
    if labels == 1:  # one label an image: all are the share of hits of the class
        assert value(evidence["F1"]) == pytest.approx(value(evidence["precision"])) == pytest.approx(r)


def test_average_precision_over_the_whole_archive_is_scikit_learns(rng):
    archive, query = rng.standard_normal((40, 5)), rng.standard_normal((1, 5))
    labels = np.eye(3, dtype=int)[rng.integers(3, size=40)]
    wanted = np.array([[0, 1, 0]])
    similarity = archive @ query[0] / np.linalg.norm(archive, axis=1)
    found = score(nearest(archive, query, 40), wanted, labels)
    assert found.average_precision[0] == pytest.approx(average_precision_score(labels[:, 1], similarity))


def test_hand_computed():
    # the query shows forest and water; hits show forest, all three, built-up
    query, archive = np.array([[1, 1, 0]]), np.array([[1, 0, 0], [1, 1, 1], [0, 0, 1]])
    found = score(np.array([[0, 2, 1]]), query, archive)
    assert found.precision[0] == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert found.recall[0] == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert found.pair_f1[0] == pytest.approx((2 / 3 + 0 + 4 / 5) / 3)
    assert found.average_precision[0] == pytest.approx((1 + 2 / 3) / 2)


def test_queries_without_labels_and_without_anything_relevant():
    archive = np.array([[1, 0], [1, 0], [0, 0]])
    queries = np.array([[0, 0], [0, 1], [1, 0]])
    hits = np.tile([2, 1, 0], (3, 1))
    found = score(hits, queries, archive)
    assert np.isnan(found.precision).tolist() == [True, False, False]
    assert np.isnan(found.average_precision).tolist() == [True, True, False]
    assert found.precision[1] == 0 and found.precision[2] == pytest.approx(
        2 / 3
    )  # the hit without labels counts
    assert value(found.evidence(np.array(["a", "b", "c"]))["precision"]) == pytest.approx(1 / 3)


def test_one_class_is_found_always(rng):
    ones = np.ones((20, 1), int)
    found = score(chance(ones, ones, 5), ones, ones)
    for values in (found.precision, found.recall, found.pair_f1, found.average_precision):
        np.testing.assert_allclose(values, 1)


def test_the_command_shows_baselines_pictures_and_differences(weights, toy, tmp_path):
    out = tmp_path / "r.json"
    said = []
    results = retrieve_by([weights], toy, k=5, pictures=True, out=out, say=said.append)
    ways = {"s2 -> s2", "s2 -> s1", "s1 -> s2", "s1 -> s1"}
    assert ways == {row.sensors for row in results.find(features="trained")}
    assert {row.sensors for row in results.find(features="mean-band values")} == {"s2 -> s2", "s1 -> s1"}
    assert all(len(row.seeds) == 2 for row in results.find(features="random weights"))
    assert results.find(features="chance")
    for row in results.rows:
        assert 0 <= row.estimate.low <= row.estimate.value <= row.estimate.high <= 1
    cost = results.about["cost"]
    assert cost["parameters"] > 0 and cost["gflop_per_image"] > 0 and cost["images_per_s"] > 0
    sheet = np.asarray(Image.open(tmp_path / "r-landcovers-s2-s1-best.png"))
    assert sheet.shape[1] == 6 * (32 + 4) and sheet.std() > 10
    again = Results.read(out)
    assert again.rows == results.rows
    retrieve_by([weights], toy, k=5, out=tmp_path / "same.json", say=said.append)
    rows = compare_results([out, tmp_path / "same.json"], say=said.append)
    gaps = [other["difference"] for row in rows for other in row["others"].values()]
    assert len(gaps) == len(results.rows) and all(
        gap["value"] == gap["low"] == gap["high"] == 0 for gap in gaps
    )
    with pytest.raises(InputError, match="Give two files"):
        compare_results([out])
    with pytest.raises(InputError, match="holds no results"):
        compare_results([out, tmp_path / "absent.json"])
    with pytest.raises(InputError, match="no search engine"):
        retrieve_by([weights], toy, engine="magic", say=said.append)
    with pytest.raises(InputError, match="no label 'soil'"):
        retrieve_by([weights], toy, ["soil"], say=said.append)
