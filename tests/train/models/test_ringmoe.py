"""RingMoE as a whole."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from curate.catalog import InputError
from train.execution import Execution
from train.layers.hierarchical import COLLABORATIVE
from train.layers.routing import Routing
from train.models.ringmoe import RingMoE
from train.models.ringmoe_config import RingMoEConfig
from train.models.ringmoe_presets import SIZES, VARIANTS, patch_for, ring_preset
from train.objectives.cells import CellMask, draw_cells
from train.objectives.targets import SensorSpec

PAIR = {"s2": ("B02", "B03", "B04", "B08"), "s1": ("VV", "VH")}
PAPER = {  # sensor -> (bands, kind)
    "optical": (3, "optical"),
    "sar_l1": (8, "sar_complex"),
    "sar_l2": (3, "sar"),
    "ms": (4, "multispectral"),
}


def small(name="tiny", seed=0, **changes):
    torch.manual_seed(seed)
    preset = replace(ring_preset(name), embed_dim=16, heads=(2, 2)[: len(SIZES[name.split("+")[0]].depths)])
    return RingMoE(replace(preset.model(PAIR, 40, 5), **changes))


def batch(sizes=None, px=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = sizes or dict.fromkeys(PAIR, 3)
    return {s: torch.randn(n, len(PAIR[s]), px, px, generator=generator) for s, n in sizes.items()}


def masks_for(model, images, incomplete=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        s: draw_cells((s,), len(x), x.shape[2], model.config.cell, 0.6, incomplete, generator)[s]
        for s, x in images.items()
    }


def paper(sensors, **changes):
    specs = {}
    for sensor in sensors:
        n, kind = PAPER[sensor]
        specs[sensor] = SensorSpec(tuple(f"b{i}" for i in range(n)), kind, (0.0,) * n, (1.0,) * n)
    giant = SIZES["giant"]
    config = RingMoEConfig(specs, 192, 4, giant.embed_dim, giant.depths, giant.heads, giant.window, **changes)
    with torch.device("meta"):
        return RingMoE(config)


@pytest.mark.parametrize(
    ("sensors", "changes", "billions"),
    [
        (tuple(PAPER), {}, 14.746),
        (("optical", "ms"), {}, 9.272),
        (("optical",), {}, 6.535),
        (("optical",), {"collaborative": 1}, 4.482),
        (("optical",), {"specialised": 0, "collaborative": 0}, 1.061),
        (("optical",), {"specialised": 1, "collaborative": 1}, 2.429),  # what a token meets
    ],
)
def test_the_papers_sizes(sensors, changes, billions):
    assert paper(sensors, **changes).encoder_parameters() / 1e9 == pytest.approx(billions, abs=5e-4)


def test_the_papers_sizes_by_formula():
    width, depths = 448, (2, 2, 18, 2)
    ffn = sum(n * (8 * (width * 2**i) ** 2 + 5 * width * 2**i) for i, n in enumerate(depths))
    difference = paper(tuple(PAPER)).encoder_parameters() - paper(("optical",)).encoder_parameters()
    routers = sum(3 * n * 4 * width * 2**i for i, n in enumerate(depths))
    embeddings = (8 + 3 + 4) * 16 * width + 3 * width
    assert difference == 12 * ffn + routers + embeddings


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("small", 104),
        ("base", 758),
        ("vit-tiny", 0.65),
        ("vit-small", 107),
        ("vit-base", 425),
        ("vit-large", 1511),
    ],
)
def test_sizes_of_presets(name, millions):
    bands = {"s2": tuple(f"B{i}" for i in range(12)), "s1": ("VV", "VH")}
    with torch.device("meta"):
        model = RingMoE(ring_preset(name).model(bands, 128))
    assert model.encoder_parameters() / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize(
    "name",
    ["tiny", "vit-tiny", "tiny+top2", "tiny+capacity", "tiny+cosine", "tiny+gamma+indices", "tiny+power"],
)
def test_every_router_learns_from_the_task(name):
    model = small(name, balance_weight=0.0, z_weight=0.0)
    images = batch()
    model(images, masks_for(model, images)).losses["total"].backward()
    routers = {n: p.grad for n, p in model.named_parameters() if ".routers." in n}
    assert routers
    assert all(grad.abs().max() > 1e-8 for grad in routers.values())


def test_every_size_routes_as_the_sizes_tested():
    configs = [ring_preset(name).model(PAIR, 128) for name in SIZES]
    assert {c.specialised_routing for c in configs} == {c.common_routing for c in configs} == {Routing()}


def test_as_published_the_task_teaches_no_router():
    model = small("tiny+compat", balance_weight=0.0)
    images = batch()
    output = model(images, masks_for(model, images))
    output.losses["total"].backward()
    grads = [p.grad for n, p in model.named_parameters() if ".routers." in n]
    assert max(0.0 if grad is None else grad.abs().max().item() for grad in grads) < 1e-6
    assert output.stats[0]["s2"].dropped > 0


@pytest.mark.parametrize("sizes", [{"s2": 3}, {"s1": 2}, {"s2": 4, "s1": 1}, {"s1": 2, "s2": 2}])
@pytest.mark.parametrize("name", ["tiny", "vit-tiny"])
def test_any_subset_of_sensors_runs(name, sizes):
    model = small(name)
    images = batch(sizes)
    output = model(images, masks_for(model, images))
    output.losses["total"].backward()
    assert output.losses["total"].isfinite()
    assert set(output.terms) == set(sizes)
    model.eval()
    assert {s: f.shape for s, f in model.encode(images).items()} == {
        s: (n, model.config.width) for s, n in sizes.items()
    }
    side = 40 // model.config.cell
    assert model.encode_tokens(images)[next(iter(sizes))].shape[1] == side**2


def test_sensors_touch_nothing_of_each_other():
    model = small()
    images = batch({"s2": 3})
    model(images, masks_for(model, images)).losses["total"].backward()
    for name, p in model.named_parameters():
        if ".s1." in name or name.endswith(".s1"):
            assert p.grad is None or p.grad.abs().max() == 0, name
    images = batch()
    together = model.encode(images)
    for sensor, x in images.items():
        torch.testing.assert_close(model.encode({sensor: x})[sensor], together[sensor])
    turned = model.encode(dict(reversed(images.items())))
    for sensor in images:
        torch.testing.assert_close(turned[sensor], together[sensor])


def test_missing_images_are_never_read():
    model = small()
    images = batch({"s2": 4, "s1": 4})
    masks = masks_for(model, images)
    present = {"s1": torch.tensor([True, False, True, False])}
    images["s1"][1::2] = torch.nan
    output = model(images, masks, present)
    kept = {"s2": images["s2"], "s1": images["s1"][::2]}
    alone = {"s2": masks["s2"], "s1": CellMask(masks["s1"].cells[::2], masks["s1"].pixels[::2], True)}
    torch.testing.assert_close(output.losses["total"], model(kept, alone).losses["total"])
    nowhere = model(images, masks, {"s1": torch.zeros(4, dtype=torch.bool)})
    assert set(nowhere.terms) == {"s2"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 3.0])
@pytest.mark.parametrize("name", ["tiny", "tiny+power", "tiny+gamma"])
def test_tiles_without_data_or_of_one_value_spoil_nothing(name, value):
    model = small(name)
    images = batch()
    images["s1"][0] = value
    output = model(images, masks_for(model, images))
    output.losses["total"].backward()
    assert output.losses["total"].isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_unknown_pixels_are_not_asked_for():
    model = small("tiny+pixels")
    images = batch()
    masks = masks_for(model, images)
    blank = {s: x.masked_fill(masks[s].pixels, torch.nan) for s, x in images.items()}
    assert model(blank, masks).losses["reconstruction"] == 0


def test_only_hidden_pixels_are_judged():
    model = small("tiny+pixels")
    images = batch()
    masks = masks_for(model, images)
    found = {}
    handle = model.heads["s2"].register_forward_hook(lambda *call: found.update(out=call[2]))
    loss = model(images, masks).losses["reconstruction"]
    handle.remove()
    (grad,) = torch.autograd.grad(loss, found["out"])  # [B, h, w, cell²·c]
    assert torch.equal(grad.abs().amax(3) > 0, masks["s2"].cells)


def test_a_batch_without_hidden_cells_has_a_finite_loss():
    model = small()
    images = batch()
    masks = {
        s: CellMask(m.cells & False, m.pixels & False, True) for s, m in masks_for(model, images).items()
    }
    losses = model(images, masks).losses
    losses["total"].backward()
    assert losses["reconstruction"] == 0
    assert losses["total"].isfinite()


def test_hidden_pixels_do_not_reach_the_encoder():
    model = small()
    images = batch()
    masks = masks_for(model, images)
    changed = {s: torch.where(masks[s].pixels, torch.randn_like(x), x) for s, x in images.items()}
    for sensor, prediction in model.reconstruct(images, masks).items():
        torch.testing.assert_close(prediction, model.reconstruct(changed, masks)[sensor])
    partial = masks_for(model, images, incomplete=0.6)
    changed = {s: torch.where(partial[s].pixels, torch.randn_like(x), x) for s, x in images.items()}
    for sensor, prediction in model.reconstruct(images, partial).items():
        torch.testing.assert_close(prediction, model.reconstruct(changed, partial)[sensor])


def test_predictions_lie_where_their_cells_are():
    model = small("tiny+pixels")
    cell = model.config.cell
    z = torch.zeros(1, 4, 4, model.config.width)
    z[0, 1, 2] = 1.0
    model.heads["s2"].bias.data.zero_()
    image = model._predict("s2", z)
    assert image.shape == (1, 4, 40, 40)
    lit = image.abs().amax(1)[0] > 0
    assert lit[cell : 2 * cell, 2 * cell : 3 * cell].float().mean() > 0.9
    assert lit.sum() == lit[cell : 2 * cell, 2 * cell : 3 * cell].sum()


@pytest.mark.parametrize("name", ["tiny", "vit-tiny"])
def test_images_of_other_sizes_are_encoded(name):
    model = small(name).eval()
    cell = model.config.cell
    images = {"s2": torch.randn(2, 4, 60, 40), "s1": torch.randn(1, 2, 40, 40)}
    tokens = model.encode_tokens(images)
    assert tokens["s2"].shape[1] == 60 * 40 // cell**2
    levels = model.pyramid(images)
    assert levels["s2"][0].shape[2:] == (12, 8)
    assert len(levels["s1"]) == len(model.config.depths)


def test_a_configuration_survives_json():
    for name in ("tiny", "vit-tiny", "tiny+compat", "tiny+top2+indices"):
        config = ring_preset(name).model(PAIR, 40, 5)
        assert RingMoEConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_compat_is_what_was_published():
    config = ring_preset("tiny+compat").model({**PAIR, "slc": ("VV_I", "VV_Q")}, 120)
    own = config.specialised_routing
    assert (own.k, own.gate, own.capacity, own.images_per_group) == (1, "renormalised", 1.2, 1)
    assert config.common_routing.images_per_group == 4
    assert config.balance_weight == 0.001
    assert {s: spec.target for s, spec in config.specs.items()} == {
        "s2": "pixels",
        "s1": "pixels",
        "slc": "power",
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains(variant):
    model = small(f"tiny+{variant}")
    images = batch()
    losses = model(images, masks_for(model, images)).losses
    losses["total"].backward()
    assert losses["total"].isfinite()


def test_dense_variants_are_as_large_as_they_say():
    whole = small("tiny").encoder_parameters()
    assert small("tiny+dense-total").encoder_parameters() == pytest.approx(whole, rel=0.02)
    active = small("tiny", specialised=1, collaborative=1)
    routers = sum(p.numel() for n, p in active.named_parameters() if ".routers." in n)
    one_sensor = sum(p.numel() for n, p in active.named_parameters() if ".experts.s1." in n)
    dense = small("tiny+dense-active").encoder_parameters()
    assert dense == pytest.approx(active.encoder_parameters() - one_sensor - routers, rel=0.01)


@pytest.mark.parametrize("name", ["huge", "tiny+colour", ""])
def test_unknown_presets_are_refused(name):
    with pytest.raises(InputError, match="There is no"):
        ring_preset(name)


def test_patches_fit_chips():
    assert patch_for(120, 10, 2) == 10
    assert patch_for(120, 4, 4) == 3
    assert patch_for(128, 4, 4) == 4
    with pytest.raises(InputError, match="No patch"):
        patch_for(97, 4, 4)
    with pytest.raises(InputError, match="--patch-size 7"):
        ring_preset("tiny").model(PAIR, 120, 7)


def test_shapes_that_contradict_themselves_are_refused():
    config = ring_preset("tiny").model(PAIR, 40, 5)
    for wrong in (
        {"backbone": "cnn"},
        {"heads": (2,)},
        {"specs": {}},
        {"image_size": 45},
        {"layout": ({},)},
        {"backbone": "vit"},
    ):
        with pytest.raises(ValueError, match=r"backbone|heads|divide|layout|ViT"):
            replace(config, **wrong)


def test_statistics_name_every_pool():
    model = small()
    images = batch()
    stats = model(images, masks_for(model, images)).stats
    assert len(stats) == 4
    assert set(stats[0]) == {"s2", "s1", COLLABORATIVE}
    for each in stats:
        for pool in each.values():
            assert pool.load.sum().item() == pytest.approx(1)


def test_bfloat16_training_keeps_losses_close():
    model = small()
    images = batch()
    masks = masks_for(model, images)
    exact = model(images, masks).losses["total"]
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(images, masks).losses["total"]
    assert rough.dtype == torch.float32
    assert abs(rough - exact) < 0.03 * exact
    rough.backward()


def test_checkpointing_gives_the_same_gradients():
    model = small()
    images = batch()
    masks = masks_for(model, images)
    grads = []
    for model.backbone.checkpointing in (False, True):
        model.zero_grad()
        model(images, masks).losses["total"].backward()
        grads.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.slow
def test_compilation_gives_the_same_gradients():
    model = small()
    images = batch()
    masks = masks_for(model, images)
    grads = []
    for compiled in (False, True):
        Execution(compiled=compiled).prepare(model)
        model.zero_grad()
        model(images, masks).losses["total"].backward()
        grads.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    largest = max(float(grad.norm()) for grad in grads[0].values())
    assert all(float((grads[1][n] - grad).norm()) < 1e-5 * largest for n, grad in grads[0].items())


def test_routing_is_a_choice():
    assert small("tiny+top2").config.common_routing == Routing(2, "renormalised")
