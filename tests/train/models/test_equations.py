"""Our model beside the published equations written one after the other (benchmarks/straightforward.py), in float64."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from train.flops import cost
from train.models import CSMoE, ModelConfig
from train.objectives import MASKINGS, RECONSTRUCTIONS, Mask, draw_masks

LIMIT = 1e-12  # relative L2 in float64
LIMIT_FP32 = 5e-6
SMALL = ModelConfig(
    sensors={"s1": ("VH", "VV"), "s2": tuple("abcde")},
    image_size=24,
    patch_size=4,
    embed_dim=24,
    num_heads=3,
    specific_depth=2,
    shared_depth=1,
    decoder_dim=16,
    decoder_depth=2,
    decoder_heads=2,
)
VARIANTS = {
    "SESD": {},
    "SECD": {"common_decoder": True},
    "CESD": {"specific_depth": 0, "shared_depth": 3},
    "CECD": {"specific_depth": 0, "shared_depth": 3, "common_decoder": True},
}
MIXED = {"experts": 3, "slots": 2, "scale_init": 6.0}
BATCH = 3


def load_straightforward() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "straightforward.py"
    spec = importlib.util.spec_from_file_location("straightforward", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["straightforward"] = module
    spec.loader.exec_module(module)
    return module


straightforward = load_straightforward()


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found.detach() - expected.detach()).norm() / expected.detach().norm())


def facts(config: ModelConfig):
    return straightforward.Shape(
        config.patch_size,
        config.num_heads,
        config.decoder_heads,
        config.reconstruction,
        config.tau,
        config.band_weights,
        config.norm_pixels,
        config.pool,
        bool(config.mde_weight),
    )


def shuffled(masks: dict[str, Mask]) -> tuple[dict[str, Tensor], dict[str, int]]:
    shuffles = {s: torch.cat([mask.visible, mask.masked], 1) for s, mask in masks.items()}
    return shuffles, {s: mask.visible.shape[1] for s, mask in masks.items()}


def compare(config: ModelConfig, masking: str, ratio: float = 0.5, dtype=torch.float64, limit: float = LIMIT):
    torch.manual_seed(0)
    model = CSMoE(config)
    with torch.no_grad():  # gains of one and biases of zero would hide mistakes
        for parameter in model.parameters():
            parameter += 0.03 * torch.randn_like(parameter)
    model = model.to(dtype)
    side = config.image_size
    images = {s: torch.randn(BATCH, len(b), side, side, dtype=dtype) for s, b in config.sensors.items()}
    masks = draw_masks(masking, model.sensors, BATCH, config.tokens, ratio)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        expected = straightforward.losses(
            dict(model.named_parameters()), facts(config), images, *shuffled(masks)
        )
    finally:
        torch.set_default_dtype(default)
    output, predictions = model(images, masks), model.reconstruct(images, masks)

    for name, prediction in predictions.items():
        assert distance(prediction, expected[f"pred {name}"]) < limit, name
    for sensor, feature in output.features.items():
        assert distance(feature, expected[f"feature {sensor}"]) < limit, sensor
    for name, term in output.terms.items():
        assert distance(term, expected[name]) < limit, name
    for name in ("umr", "cmr", "mim", "total"):
        assert distance(output.losses[name], expected[name]) < limit, name

    names, parameters = zip(*model.named_parameters(), strict=True)
    ours = torch.autograd.grad(output.losses["total"], parameters, allow_unused=True)
    theirs = torch.autograd.grad(expected["total"], parameters, allow_unused=True)
    largest = max(float(g.norm()) for g in theirs if g is not None)
    for name, found, truth in zip(names, ours, theirs, strict=True):
        if truth is None or float(truth.norm()) < 1e-3 * limit * largest:
            assert found is None or float(found.norm()) < limit * largest, name
            continue
        # A key's bias moves every score of a query alike: its part of the gradient is zero but for rounding.
        assert distance(found, truth) < 10 * limit, name
    return output


@pytest.mark.parametrize("reconstruction", RECONSTRUCTIONS)
@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_masking_and_mode(variant, masking, reconstruction):
    config = replace(SMALL, **VARIANTS[variant], reconstruction=reconstruction)
    assert config.variant == variant
    compare(config, masking)


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_with_experts(variant, masking):
    compare(replace(SMALL, **VARIANTS[variant], **MIXED), masking)


@pytest.mark.parametrize("variant", VARIANTS)
def test_where_sensors_see_different_numbers_of_patches(variant):
    compare(replace(SMALL, **VARIANTS[variant], reconstruction="identical"), "disjoint", ratio=0.7)


@pytest.mark.parametrize(
    "fields",
    [
        {"norm_pixels": True},
        {"band_weights": {"s2": (1.0, 2.0, 0.0, 0.5, 3.0)}},
        {"pool": "token"},
        {"mde_weight": 1.0},
        {"tau": 0.1},
        {"moe_blocks": (1, 2), "experts": 2, "shared_experts": 4, "shared_slots": 3, "scale_init": 4.0},
    ],
    ids=str,
)
def test_with_every_choice(fields):
    compare(replace(SMALL, **fields), "random")


@pytest.mark.parametrize("fields", [{}, MIXED])
def test_single_precision_is_as_close_as_it_can_be(fields):
    """Wide enough that products run on the kernels that training uses."""
    config = replace(SMALL, image_size=48, embed_dim=96, decoder_dim=64, decoder_heads=4, **fields)
    compare(config, "random", dtype=torch.float32, limit=LIMIT_FP32)


def test_published_flops_are_those_of_the_published_computation():
    """The closed formulas, as published, beside torch's counter on the straightforward computation."""
    for fields in ({}, {"common_decoder": True}, {"specific_depth": 0, "shared_depth": 2}):
        config = replace(SMALL, **fields)
        model = CSMoE(config).double()
        side = config.image_size
        images = {s: torch.randn(2, len(b), side, side).double() for s, b in config.sensors.items()}
        masks = draw_masks("random", model.sensors, 2, config.tokens, 0.5)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            straightforward.losses(dict(model.named_parameters()), facts(config), images, *shuffled(masks))
        counted = cost(config, published=True, batch=2).forward
        assert counter.get_total_flops() == 2 * sum(counted.values())
