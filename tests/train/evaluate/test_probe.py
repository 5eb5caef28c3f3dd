import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from train.data import Chips, DataConfig, open_catalog
from train.evaluate.embed import embed
from train.evaluate.probe import Probe, probe
from train.evaluate.routing import routing
from train.kinds import KINDS


@pytest.fixture(scope="module")
def catalog(toy):
    return open_catalog(toy)


@pytest.fixture(scope="module")
def splits(catalog):
    data = DataConfig.of(catalog)
    return {split: Chips(catalog, data, split) for split in ("train", "val", "test")}


@pytest.fixture(scope="module")
def model(small_config):
    return KINDS["csmoe"].untrained(small_config, 0).eval()


def test_features_do_not_depend_on_the_batch(model, splits):
    whole, pieces = embed(model, splits["test"], 100), embed(model, splits["test"], 5)
    assert set(whole) == {"s2", "s1", "all"}
    assert whole["all"].shape == (len(splits["test"]), 2 * 24)
    np.testing.assert_array_equal(whole["all"], np.concatenate([whole["s2"], whole["s1"]], 1))
    for sensor in whole:
        np.testing.assert_allclose(whole[sensor], pieces[sensor], atol=1e-5)


def test_untrained_models_leave_the_global_generator_alone(small_config):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    KINDS["csmoe"].untrained(small_config, 7)
    assert torch.equal(torch.rand(3), expected)


def test_every_kind_of_features_goes_through_the_same_probe(model, splits):
    found = probe(model, model, splits["train"], splits["test"])
    assert [p.label for p in found] == ["dominant land cover", "Köppen main class"]
    for each in found:
        assert not each.skipped
        assert each.queries == sum(each.classes.values()) == len(splits["test"])
        kinds = [(r.features, r.sensors) for r in each.results]
        assert len(kinds) == len(set(kinds)) == 9
        scores = {kind: r.score for kind, r in zip(kinds, each.results, strict=True)}
        for sensors in ("all", "s2", "s1"):  # the same model twice here
            assert scores["trained", sensors] == scores["random weights", sensors]
        assert Probe.from_json(json.loads(json.dumps(each.to_json()))) == each
    assert found[1].classes.keys() <= set("ABCDE")


def test_pixels_that_tell_of_classes_are_found_out(model, splits):
    cover = probe(model, model, splits["train"], splits["test"])[0]
    best = max(r.score.accuracy.value for r in cover.results)
    assert best > cover.majority + 0.2


def with_columns(chips, **columns):
    from copy import copy

    other = copy(chips)
    other.columns = {**chips.columns, **columns}
    return other


def test_too_little_to_probe_is_said(model, splits):
    train, test = splits["train"], splits["test"]
    none = np.full(len(train), None, object)
    one = np.full(len(train), "Tree cover", object)
    cases = [
        (with_columns(train, lc_dominant_name=none), test, "has 0 labelled chips"),
        (with_columns(train, lc_dominant_name=one), test, "every chip of the train split is 'Tree cover'"),
        (train, test.some(3, 0), "the test split has 3 labelled chips"),
        (train.some(5, 0), test, "the train split has 5 labelled chips"),
    ]
    for bank, queries, reason in cases:
        assert reason in probe(model, model, bank, queries)[0].skipped


def test_chips_without_a_label_are_left_out(model, splits):
    names = splits["train"].columns["koppen_symbol"].copy()
    names[:7] = None
    found = probe(model, model, with_columns(splits["train"], koppen_symbol=names), splits["test"])
    assert found[1].bank == len(splits["train"]) - 7


def test_routing_tells_of_every_layer(model, splits, small_config):
    layers = routing(model, splits["val"])
    assert len(layers) == 3  # one block for each sensor and a shared one
    for layer in layers.values():
        assert 1 <= layer["tokens_per_slot"] <= small_config.tokens + 1
        assert 1 <= layer["slots_per_token"] <= 4
        assert layer["scale"] == pytest.approx(5.0)
    assert routing(KINDS["csmoe"].untrained(replace(small_config, experts=0), 0), splits["val"]) == {}
