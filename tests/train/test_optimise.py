from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from train.models import CSMoE
from train.optimise import TrainConfig, optimiser_for, set_lr

CONFIG = TrainConfig(steps=100, batch_size=4, lr=1e-3, scale_lr=10.0)


def test_the_rate_rises_then_falls():
    rates = [CONFIG.lr_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == rates[9] == rates[10] == pytest.approx(1e-3)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(1e-5, rel=0.1)


def test_only_matrices_are_decayed(small_config):
    model = CSMoE(small_config)
    names = {id(p): name for name, p in model.named_parameters()}
    optimiser = optimiser_for(model, CONFIG)
    decayed = {
        names[id(p)] for group in optimiser.param_groups if group["weight_decay"] for p in group["params"]
    }
    kept = set(names.values()) - decayed
    for part in ("norm", "bias", "cls_token", "mask_token", "phi", "scale"):
        assert not any(part in name for name in decayed), part
    assert all("norm" in n or n.endswith(("bias", "phi", "scale")) or "token" in n for n in kept)
    assert any("mlp.fc1.weight" in name for name in decayed)
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(names)


def test_routing_scales_learn_at_their_own_rate(small_config):
    model = CSMoE(small_config)
    optimiser = optimiser_for(model, CONFIG)
    set_lr(optimiser, 0.5)
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == (5.0 if name.endswith(".scale") else 0.5)


def test_routing_scales_decay_at_their_own_rate(small_config):
    model = CSMoE(small_config)
    optimiser = optimiser_for(model, replace(CONFIG, scale_decay=0.03))
    decays = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    found = {decays[id(p)] for name, p in model.named_parameters() if name.endswith(".scale")}
    assert found == {0.03}


def test_masks_of_a_step_do_not_depend_on_what_came_before():
    draws = [torch.rand(3, generator=CONFIG.mask_generator(7)) for _ in range(2)]
    assert torch.equal(*draws)
    assert not torch.equal(draws[0], torch.rand(3, generator=CONFIG.mask_generator(8)))


def test_a_configuration_survives_json():
    import json

    assert TrainConfig.from_json(json.loads(json.dumps(CONFIG.to_json()))) == CONFIG
