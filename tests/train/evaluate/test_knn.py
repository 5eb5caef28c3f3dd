import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score
from sklearn.neighbors import KNeighborsClassifier

from train.evaluate.knn import knn, score


@pytest.mark.parametrize("k", [1, 5, 20])
def test_votes_equal_scikit_learn(k):
    rng = np.random.default_rng(0)
    labels, truth = rng.integers(4, size=300), rng.integers(4, size=80)
    centres = rng.standard_normal((4, 12))
    bank, queries = (centres[y] + 1.5 * rng.standard_normal((len(y), 12)) for y in (labels, truth))
    theirs = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1 - distance) / 0.07)
    )
    expected = theirs.fit(bank, labels).predict(queries)
    assert np.array_equal(knn(bank, labels, queries, k), expected)


def test_fewer_than_k_all_vote():
    bank = np.eye(3)
    assert knn(bank, np.array([2, 0, 0]), np.array([[1.0, 0.1, 0.1]]), k=20).tolist() == [2]


def test_scores_equal_scikit_learn():
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(5, size=200), rng.integers(6, size=200)
    found = score(truth, predicted, np.arange(200).astype(str))
    assert found.accuracy.value == pytest.approx(accuracy_score(truth, predicted))
    expected = f1_score(truth, predicted, average="macro", labels=np.unique(truth), zero_division=0)
    assert found.macro_f1.value == pytest.approx(expected)
    for estimate in (found.accuracy, found.macro_f1):
        assert estimate.low < estimate.value < estimate.high


def test_the_interval_of_accuracy_is_that_of_a_binomial():
    rng = np.random.default_rng(2)
    truth = np.zeros(400, int)
    predicted = (rng.random(400) < 0.3).astype(int)
    found = score(truth, predicted, np.arange(400).astype(str), draws=4000).accuracy
    half = 1.96 * np.sqrt(found.value * (1 - found.value) / 400)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_repeated_dates_of_a_place_widen_the_interval():
    rng = np.random.default_rng(3)
    truth = np.repeat(rng.integers(2, size=50), 8)
    predicted = np.repeat(rng.integers(2, size=50), 8)
    alone = score(truth, predicted, np.arange(400).astype(str)).accuracy
    together = score(truth, predicted, np.repeat(np.arange(50), 8).astype(str)).accuracy
    assert together.value == alone.value
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_a_seed_decides_the_interval():
    truth, predicted = np.arange(60) % 3, np.arange(60) % 4 % 3
    places = np.arange(60).astype(str)
    assert score(truth, predicted, places, seed=5) == score(truth, predicted, places, seed=5)
