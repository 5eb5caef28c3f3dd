"""Metrics beside scikit-learn's, and intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from train.evaluate.evidence import Evidence, average_precision, difference, estimate, value


def places(n):
    return np.array([f"{i // 3:03d}" for i in range(n)])


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 60), st.integers(1, 5), st.integers(0, 10_000))
def test_class_metrics_equal_scikit_learns(n, classes, seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(classes, size=n), rng.integers(classes, size=n)
    there = np.unique(truth)
    quiet = {"labels": there, "average": "macro", "zero_division": 0}
    expected = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "macro F1": metrics.f1_score(truth, predicted, **quiet),
        "mean IoU": metrics.jaccard_score(truth, predicted, **quiet),
    }
    for rule, wanted in expected.items():
        evidence = Evidence.classes(rule, truth, predicted, places(n), classes)
        assert value(evidence) == pytest.approx(wanted)
        assert value(evidence.by_place()) == pytest.approx(wanted)


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 50), st.integers(2, 5), st.integers(0, 10_000))
def test_label_metrics_equal_scikit_learns(n, labels, seed):
    rng = np.random.default_rng(seed)
    truth, claimed = rng.integers(2, size=(n, labels)), rng.integers(2, size=(n, labels))
    scores = rng.integers(5, size=(n, labels)) / 4  # with ties
    there = truth.any(0)
    if not there.any():
        return
    f1 = Evidence.labels("label F1", truth, claimed, places(n))
    micro = Evidence.labels("micro F1", truth, claimed, places(n))
    per_label = metrics.f1_score(truth, claimed, average=None, zero_division=0)
    assert value(f1) == pytest.approx(per_label[there].mean())
    assert value(micro) == pytest.approx(metrics.f1_score(truth.ravel(), claimed.ravel(), zero_division=0))
    ranked = Evidence("average precision", places(n), (scores, truth.astype(float)))
    assert value(ranked) == pytest.approx(
        metrics.average_precision_score(truth[:, there], scores[:, there], average="macro")
    )


def test_weights_of_a_draw_are_repetitions():
    rng = np.random.default_rng(0)
    scores, truth, times = rng.random((30, 2)), rng.integers(2, size=(30, 2)), rng.integers(3, size=30)
    weighted = average_precision(scores, truth.astype(float), times[None].astype(float))[0]
    repeated = metrics.average_precision_score(np.repeat(truth, times, 0), np.repeat(scores, times, 0))
    assert weighted == pytest.approx(repeated)


def test_regression_metrics_equal_scikit_learns():
    rng = np.random.default_rng(1)
    y, p = rng.normal(size=50), rng.normal(size=50)
    error, one = (y - p) ** 2, np.ones(50)
    assert value(Evidence("root mean", places(50), (np.stack([error, one], 1),))) == pytest.approx(
        metrics.root_mean_squared_error(y, p)
    )
    sums = np.stack([error, y, y**2, one], 1)
    assert value(Evidence("explained", places(50), (sums,))) == pytest.approx(metrics.r2_score(y, p))


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        values = rng.normal(size=60)
        found = estimate([Evidence.mean(values, np.arange(60).astype(str))], draws=300)
        covered += found.low <= 0 <= found.high
    assert 0.89 <= covered / 200 <= 0.99


def test_paired_differences_are_narrower_than_the_two_intervals():
    rng = np.random.default_rng(3)
    base = rng.normal(size=80)
    first = Evidence.mean(base, places(80))
    second = Evidence.mean(base + 0.1 + 0.02 * rng.normal(size=80), places(80))
    gap = difference([first], [second])
    assert gap.low > 0 and gap.value == pytest.approx(0.1, abs=0.01)
    assert gap.high - gap.low < 0.2 * (estimate([first]).high - estimate([first]).low)
    with pytest.raises(ValueError, match="different places"):
        difference([first], [Evidence.mean(base[:60], places(60))])


def test_items_without_a_value_do_not_count():
    values = np.array([1.0, np.nan, 0.0])
    assert value(Evidence.mean(values, np.array(["a", "b", "c"]))) == 0.5
