"""Sensors that are missing, that are three, or that come in another size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from train.layers import sincos_positions
from train.models import CSMoE, ModelConfig
from train.objectives import Mask, draw_masks

SMALL = ModelConfig(
    sensors={"s2": tuple("abc"), "s1": ("VV", "VH")},
    image_size=24,
    patch_size=4,
    embed_dim=24,
    num_heads=3,
    specific_depth=1,
    shared_depth=1,
    decoder_dim=16,
    decoder_depth=2,
    decoder_heads=2,
    experts=2,
    slots=2,
    scale_init=5.0,
)
THREE = replace(SMALL, sensors={**SMALL.sensors, "dem": ("elevation",)})


def built(config: ModelConfig) -> CSMoE:
    torch.manual_seed(0)
    return CSMoE(config).double()


def drawn(config: ModelConfig, batch: int = 4, masking: str = "random"):
    generator = torch.Generator().manual_seed(1)
    side = config.image_size
    images = {
        s: torch.randn(batch, len(bands), side, side, generator=generator, dtype=torch.float64)
        for s, bands in config.sensors.items()
    }
    return images, draw_masks(masking, list(config.sensors), batch, config.tokens, 0.5, generator)


def part(masks: dict[str, Mask], rows: torch.Tensor) -> dict[str, Mask]:
    return {s: Mask(m.visible[rows], m.masked[rows], m.restore[rows]) for s, m in masks.items()}


def gradients(model: CSMoE, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {
        n: torch.zeros_like(p) if g is None else g for n, p, g in zip(names, parameters, found, strict=True)
    }


@pytest.mark.parametrize("fields", [{}, {"common_decoder": True}, {"specific_depth": 0, "mde_weight": 1.0}])
def test_terms_are_those_of_the_images_that_have_both_sensors(fields):
    model = built(replace(THREE, **fields))
    images, masks = drawn(THREE)
    present = {"s1": torch.tensor([True, False, True, True]), "dem": torch.tensor([False, True, True, True])}
    output = model(images, masks, present)
    for name, term in output.terms.items():
        both = torch.ones(4, dtype=torch.bool)
        for sensor in name.split("->"):
            both &= present.get(sensor, both)
        rows = both.nonzero()[:, 0]
        alone = model({s: x[rows] for s, x in images.items()}, part(masks, rows))
        torch.testing.assert_close(term, alone.terms[name])
    mim = mde = 0.0
    for first, second in (("s2", "s1"), ("s2", "dem"), ("s1", "dem")):
        rows = (
            present.get(first, torch.ones(4).bool()) & present.get(second, torch.ones(4).bool())
        ).nonzero()[:, 0]
        pair = {s: images[s][rows] for s in (first, second)}
        losses = model(pair, part(masks, rows)).losses
        mim, mde = mim + losses["mim"], mde + losses["mde"]
    torch.testing.assert_close(output.losses["mim"], mim)
    torch.testing.assert_close(output.losses["mde"], mde)


def test_what_stands_in_a_missing_sensors_place_reaches_nothing():
    model = built(THREE)
    images, masks = drawn(THREE)
    present = {"s1": torch.tensor([True, False, True, True])}
    before = model(images, masks, present).losses["total"]
    images["s1"][1] = torch.nan
    after = model(images, masks, present).losses["total"]
    assert torch.equal(before, after)
    first, again = gradients(model, before), gradients(model, after)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(g.isfinite().all() for g in again.values())


def test_a_sensor_that_no_image_has_costs_nothing_and_learns_nothing():
    model = built(THREE)
    images, masks = drawn(THREE)
    output = model(images, masks, {"dem": torch.zeros(4, dtype=torch.bool)})
    without = model({s: images[s] for s in ("s2", "s1")}, masks)
    torch.testing.assert_close(output.losses["total"], without.losses["total"])
    found = gradients(model, output.losses["total"])
    assert not any(g.any() for name, g in found.items() if ".dem." in name or name.endswith(".dem"))


def test_sensors_that_are_all_present_change_nothing():
    model = built(SMALL)
    images, masks = drawn(SMALL)
    everywhere = {s: torch.ones(4, dtype=torch.bool) for s in images}
    for name, loss in model(images, masks, everywhere).losses.items():
        torch.testing.assert_close(loss, model(images, masks).losses[name])


def test_only_chosen_pairs_meet_in_cross_losses():
    model = built(replace(THREE, pairs=(("s2", "s1"),)))
    images, masks = drawn(THREE)
    output = model(images, masks)
    assert set(output.terms) == {"s2->s2", "s1->s1", "dem->dem", "s2->s1", "s1->s2"}
    two = model({s: images[s] for s in ("s2", "s1")}, masks)
    torch.testing.assert_close(output.losses["cmr"], two.losses["cmr"])
    torch.testing.assert_close(output.losses["mim"], two.losses["mim"])


@pytest.mark.parametrize("fields", [{}, {"common_decoder": True}])
def test_another_image_size_keeps_the_places_of_the_tokens_it_shares(fields):
    """A model sees the top left quarter of a larger image as it sees that quarter alone: positions are the same."""
    model = built(replace(SMALL, **fields))
    large = sincos_positions((9, 11), SMALL.embed_dim).double()
    grid = large[1:].reshape(9, 11, -1)[:6, :6].reshape(36, -1)
    torch.testing.assert_close(grid, model.positions[1:])
    image = torch.randn(2, 3, 36, 44, dtype=torch.float64)
    tokens = model.encode_tokens({"s2": image})["s2"]
    assert tokens.shape == (2, 99, SMALL.embed_dim)
    assert model.encode({"s2": image}, stretch=True)["s2"].shape == (2, SMALL.embed_dim)
    images = {s: torch.randn(2, len(b), 36, 44, dtype=torch.float64) for s, b in SMALL.sensors.items()}
    output = model(images, draw_masks("disjoint", list(images), 2, 99, 0.5))
    assert output.losses["total"].isfinite()


def test_stretched_positions_span_what_training_saw():
    table = sincos_positions(8, 16, trained_on=4)[1:].reshape(8, 8, 16)
    coarse = sincos_positions(4, 16)[1:].reshape(4, 4, 16)
    places = torch.asin(table[0, 2:4, 0].double()).mean()  # the first channel is sin(column)
    assert float(places) == pytest.approx(1.0, abs=1e-6)  # two fine tokens straddle the coarse one
    torch.testing.assert_close(sincos_positions(4, 16, trained_on=4)[1:].reshape(4, 4, 16), coarse)


def test_sensors_on_different_grids_are_refused():
    model = built(SMALL)
    images, masks = drawn(SMALL)
    images["s1"] = images["s1"][..., :20]
    with pytest.raises(ValueError, match="one grid"):
        model({**images}, {**masks, "s1": draw_masks("random", ["s1"], 4, 30, 0.5)["s1"]})


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"image_size": 25}, "does not divide"),
        ({"patch_size": 0}, "patch_size"),
        ({"embed_dim": 26, "num_heads": 2}, "multiple of 4"),
        ({"num_heads": 5}, "5 heads"),
        ({"specific_depth": 0, "shared_depth": 0}, "at least one block"),
        ({"reconstruction": "mirrored"}, "disjoint, identical, target"),
        ({"pool": "max"}, "avg, token"),
        ({"pairs": (("s2", "s3"),)}, "s3"),
        ({"pairs": (("s2", "s2"),)}, "two different sensors"),
        ({"pairs": (("s2", "s1"), ("s1", "s2"))}, "each pair once"),
        ({"moe_blocks": (0, 99)}, "moe_blocks"),
        ({"slots": 0}, "slots"),
        ({"experts": -1}, "experts"),
        ({"decoder_depth": -1}, "decoder_depth"),
        ({"tau": 0.0}, "tau"),
        ({"mim_weight": float("nan")}, "mim_weight"),
        ({"band_weights": {"s2": (1.0,)}}, "Band weights of s2"),
        ({"band_weights": {"s2": (0.0, 0.0, 0.0)}}, "Band weights of s2"),
    ],
)
def test_configurations_that_contradict_themselves_are_refused(fields, what):
    with pytest.raises(ValueError, match=what):
        replace(SMALL, **fields)


def test_every_choice_survives_json():
    import json

    config = replace(
        THREE, moe_blocks=(0,), pairs=(("s2", "dem"),), band_weights={"s2": (1.0, 0.5, 2.0)}, shared_experts=4
    )
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_a_configuration_of_an_earlier_version_is_read():
    old = {k: v for k, v in SMALL.to_json().items() if k not in ("pairs", "gather", "common_decoder", "pool")}
    assert ModelConfig.from_json(old) == SMALL
