"""Closed formulas beside torch's counter, and beside the counts of the published shape."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from train.cli import app
from train.flops import attention, cost, measured
from train.kinds import of_any_kind
from train.layers.hierarchical import COLLABORATIVE
from train.layers.routing import Routing
from train.models import ModelConfig
from train.models.ringmoe_presets import RingPreset, ring_preset
from train.presets import PAIR, shape

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


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"experts": 3, "slots": 2},
        {"experts": 2, "shared_experts": 4, "shared_slots": 3, "moe_blocks": (1, 2)},
        {"common_decoder": True},
        {"common_decoder": True, "reconstruction": "identical"},
        {"common_decoder": True, "reconstruction": "target"},
        {"reconstruction": "identical"},
        {"specific_depth": 0, "shared_depth": 3, "common_decoder": True},
        {"decoder_depth": 1},
        {"sensors": {**SMALL.sensors, "dem": ("elevation",)}, "pairs": (("s1", "s2"), ("s2", "dem"))},
        {"sensors": {"all": tuple("abcdefg")}},
    ],
    ids=str,
)
@pytest.mark.parametrize("ratio", [0.5, 0.75])
def test_formulas_are_what_torch_counts(fields, ratio):
    config = replace(SMALL, **fields)
    counted = cost(config, ratio, batch=3)
    assert measured(config, ratio, batch=3) == [3 * counted.encode_total, 3 * counted.step]


RING = RingPreset(8, (2, 2), (2, 4), 4, 2, 1, 1e-3, window=4)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "+top2",
        "+no-specialised",
        "+no-collaborative",
        "+no-shared",
        "+dense-active",
        "+dense-total",
        "+pixels",
        "+indices",
        "+gamma",
    ],
)
@pytest.mark.parametrize("image", [32, 40], ids=lambda px: f"{px}px")
def test_ringmoe_costs_what_torch_counts(name, image):
    """At 40 px windows of 4 × 4 do not divide the second stage, which is padded."""
    changed = replace(RING, changes=ring_preset(f"tiny{name}").changes)
    config = changed.model(PAIR, image, 4)
    counted = cost(config)
    assert measured(config, batch=3) == [3 * counted.encode_total, 3 * counted.step]


def test_a_ringmoe_of_one_stage_and_a_pruned_one_cost_what_torch_counts():
    vit = replace(RING, depths=(3,), heads=(2,), backbone="vit", moe_blocks=(1,)).model(PAIR, 24, 4)
    plain = RING.model(PAIR, 32, 4)
    layout = [{**plain.block_layout(i), COLLABORATIVE: 1, f"{COLLABORATIVE} closed": 3} for i in range(4)]
    for config in (vit, replace(plain, layout=tuple(layout), specialised_routing=Routing(k=2))):
        counted = cost(config)
        assert measured(config, batch=2) == [2 * counted.encode_total, 2 * counted.step]


def test_the_published_shape_costs_what_the_reference_counts():
    """../shared/reference/csmoe_model.md, section 4.2, 120 px and patches of 15 px."""
    found = cost(shape("csmae-sesd-base").model(PAIR, 120, 15), published=True)
    assert found.backbone == 158_016_000
    assert found.decoders == 25_845_186 + 26_768_586
    assert found.encode_total / 1e9 == pytest.approx(22.66, abs=0.005)
    assert sum(found.forward.values()) / 1e9 == pytest.approx(25.38, abs=0.005)
    assert found.step / 1e9 == pytest.approx(76.2, abs=0.051)


@pytest.mark.parametrize(
    ("image", "patch", "encode", "step"),
    [(120, 8, 80.81, 267.5), (120, 20, 12.94, 44.1), (112, 28, 6.03, 21.3), (224, 16, 70.71, 237.1)],
)
def test_other_patches_cost_what_the_reference_counts(image, patch, encode, step):
    found = cost(shape("csmae-sesd-base").model(PAIR, image, patch), published=True)
    assert found.encode_total / 1e9 == pytest.approx(encode, abs=0.006)
    assert found.step / 1e9 == pytest.approx(step, abs=0.06)


@pytest.mark.parametrize(
    ("experts", "slots", "encode", "step"), [(4, 4, 11.68, 64.8), (8, 1, 9.81, 59.3), (16, 4, 22.89, 97.9)]
)
def test_experts_cost_what_the_reference_counts(experts, slots, encode, step):
    config = replace(shape("csmae-sesd-base").model(PAIR, 120, 15), experts=experts, slots=slots)
    found = cost(config, published=True)
    assert found.encode_total / 1e9 == pytest.approx(encode, abs=0.006)
    assert found.step / 1e9 == pytest.approx(step, abs=0.06)


def test_base_is_cheap():
    """Our choice of experts, slots and decoder: less than half of CSMAE, counted in the same way."""
    ours, csmae = (
        cost(shape(name).model(PAIR, 120, 15), published=True) for name in ("base", "csmae-sesd-base")
    )
    assert ours.encode_total <= 0.45 * csmae.encode_total
    assert ours.step <= 0.50 * csmae.step


def test_running_never_costs_more_than_published():
    for name in ("base", "csmae-secd-base", "csmae-cesd-base", "vit-base"):
        config = shape(name).model(PAIR, 120, 15)
        assert cost(config).step < cost(config, published=True).step


def test_attention_follows_its_formula():
    assert attention(65, 65, 768) == 8 * 65 * 768**2 + 4 * 65**2 * 768


def test_the_command_says_what_presets_cost(tmp_path):
    out = tmp_path / "costs.json"
    arguments = ["flops", "base", "csmae-sesd-base", "--patch-size", "15,20", "--parts", "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "22.66" in done.output
    assert "routing" in done.output
    rows = json.loads(out.read_text())
    assert [(r["preset"], r["patch_px"]) for r in rows] == [
        ("base", 15),
        ("csmae-sesd-base", 15),
        ("base", 20),
        ("csmae-sesd-base", 20),
    ]
    assert rows[1]["backbone_parameters"] == 158_016_000


def test_the_table_names_each_presets_patch():
    """Presets of different patches stand in one table, each beside the yardstick of its own."""
    names = ("csmae-sesd-base", "ringmoe-small")
    patches = [of_any_kind(name)[1].model(PAIR, 128).patch_size for name in names]
    assert len(set(patches)) == 2
    done = CliRunner().invoke(app, ["flops", *names, "--image-size", "128"])
    rows = {words[0]: words for words in map(str.split, done.output.splitlines()) if words}
    assert [int(rows[name][1]) for name in names] == patches
    assert rows["csmae-sesd-base"][5] == "100%"
