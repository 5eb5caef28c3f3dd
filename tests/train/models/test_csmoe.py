from dataclasses import replace

import pytest
import torch

from train.kinds.csmoe import CrossSensor
from train.layers import Mlp, SoftMoE, patch_grid, patch_targets
from train.models import CSMoE, ModelConfig
from train.objectives import draw_masks
from train.optimise import TrainConfig

SMALL = ModelConfig(
    sensors={"s2": tuple("abcde"), "s1": ("VV", "VH")},
    image_size=32,
    patch_size=4,
    embed_dim=24,
    num_heads=3,
    specific_depth=2,
    shared_depth=1,
    decoder_dim=16,
    decoder_depth=1,
    decoder_heads=2,
    experts=3,
    slots=2,
    scale_init=5.0,
)
PUBLISHED = replace(
    SMALL,
    sensors={"s1": ("VH", "VV"), "s2": tuple("abcdefghij")},
    image_size=120,
    patch_size=15,
    embed_dim=768,
    num_heads=12,
    specific_depth=10,
    shared_depth=2,
    decoder_dim=512,
    decoder_depth=8,
    decoder_heads=16,
    experts=0,
)


def images(config: ModelConfig, batch: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    side = config.image_size
    return {
        s: torch.randn(batch, len(bands), side, side, generator=generator)
        for s, bands in config.sensors.items()
    }


def masks(config: ModelConfig, masking: str = "random", ratio: float = 0.5, batch: int = 3):
    return draw_masks(
        masking, list(config.sensors), batch, config.tokens, ratio, torch.Generator().manual_seed(2)
    )


@pytest.fixture
def model() -> CSMoE:
    torch.manual_seed(0)
    return CSMoE(SMALL)


@pytest.mark.parametrize(("experts", "slots", "parameters"), [(0, 1, 158_016_000), (8, 2, 885_540_886)])
def test_the_published_shape_has_the_published_size(experts, slots, parameters):
    with torch.device("meta"):
        assert CSMoE(replace(PUBLISHED, experts=experts, slots=slots)).backbone_parameters() == parameters


def test_the_published_decoders_have_the_published_size():
    with torch.device("meta"):
        decoders = CSMoE(PUBLISHED).decoders
    sizes = {target: sum(p.numel() for p in decoders[target].parameters()) for target in ("s1", "s2")}
    assert sizes == {"s1": 25_845_186, "s2": 26_768_586}


@pytest.mark.parametrize("masking", ["random", "identical", "disjoint"])
@pytest.mark.parametrize(
    "ratio", [0.5, 0.7]
)  # with disjoint 0.7 the two sensors see different numbers of tokens
def test_losses_are_where_the_source_was_hidden(model, masking, ratio):
    batch, hidden = images(SMALL), masks(SMALL, masking, ratio)
    output = model(batch, hidden)
    predictions = model.reconstruct(batch, hidden)
    for name, term in output.terms.items():
        source, target = name.split("->")
        truth = patch_targets(patch_grid(batch[target], SMALL.patch_size).flatten(1, 2))
        error = (predictions[name] - truth).square().mean(-1)
        where = hidden[source].hidden
        torch.testing.assert_close(term, (error * where).sum() / where.sum())
    parts, terms = output.losses, output.terms
    torch.testing.assert_close(parts["umr"], terms["s1->s1"] + terms["s2->s2"])
    torch.testing.assert_close(parts["cmr"], terms["s1->s2"] + terms["s2->s1"])
    torch.testing.assert_close(parts["total"], parts["umr"] + parts["cmr"] + parts["mim"])


def test_weights_weigh_the_losses():
    torch.manual_seed(0)
    weighted = CSMoE(replace(SMALL, umr_weight=2.0, cmr_weight=0.5, mim_weight=0.1))
    parts = weighted(images(SMALL), masks(SMALL)).losses
    torch.testing.assert_close(parts["total"], 2 * parts["umr"] + 0.5 * parts["cmr"] + 0.1 * parts["mim"])


def test_hidden_patches_reach_only_the_target(model):
    """What a source hides must not change its features or any prediction made from it."""
    batch, hidden = images(SMALL), masks(SMALL)
    before = model.reconstruct(batch, hidden), model(batch, hidden).features
    grid = patch_grid(batch["s2"], SMALL.patch_size)
    index = torch.arange(3)[:, None]
    rows, columns = hidden["s2"].masked // 8, hidden["s2"].masked % 8
    grid[index, rows, columns] = 99.0  # a view: writes into the image
    assert (batch["s2"] == 99).any()
    after = model.reconstruct(batch, hidden), model(batch, hidden).features
    for a, b in zip(before, after, strict=True):
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=0, atol=0)


def test_either_sensor_is_encoded_alone(model):
    batch = images(SMALL)
    both = model.encode(batch)
    for sensor in SMALL.sensors:
        alone = model.encode({sensor: batch[sensor]})
        assert list(alone) == [sensor]
        torch.testing.assert_close(alone[sensor], both[sensor])


def test_tokens_of_whole_images_lie_in_raster_order(model):
    """Seen through masks that hide one corner patch, every other token's place is known."""
    batch = images(SMALL)
    tokens = model.encode_tokens(batch)["s2"]
    assert tokens.shape == (3, SMALL.tokens, SMALL.embed_dim)
    turned = {"s2": batch["s2"].clone()}
    turned["s2"][..., 4:8, 8:12] += 5  # patch in row 1, column 2
    moved = (model.encode_tokens(turned)["s2"] - tokens).norm(dim=-1).argmax(1)
    assert moved.tolist() == [1 * 8 + 2] * 3


def test_the_feature_is_the_normed_mean_of_patches_without_the_class_token(model):
    batch = images(SMALL)
    tokens = model.encode_tokens(batch)["s1"]
    torch.testing.assert_close(model.encode(batch)["s1"], model.fc_norm(tokens.mean(1)))


def test_experts_sit_in_the_blocks_that_are_named():
    placed = CSMoE(replace(SMALL, moe_blocks=(1, 2)))
    kinds = [type(block.mlp) for block in (*placed.specific["s2"], *placed.shared)]
    assert kinds == [Mlp, SoftMoE, SoftMoE]
    assert not any(isinstance(m, SoftMoE) for m in CSMoE(replace(SMALL, experts=0)).modules())
    assert not any(isinstance(m, SoftMoE) for m in CSMoE(SMALL).decoders.modules())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"experts": 0}, "no experts"),
        ({"experts": 4, "slots": 2}, "4 experts × 2 slots"),
        ({"experts": 0, "shared_experts": 2, "slots": 3}, "2 experts × 3 slots"),
        ({"experts": 4, "slots": 1, "shared_experts": 8}, "4 experts × 1 slots and 8 experts × 1 slots"),
        ({"experts": 4, "moe_blocks": ()}, "no experts"),
    ],
)
def test_a_run_says_which_experts_there_are(fields, said):
    model = CSMoE(replace(SMALL, **fields))
    config = TrainConfig(steps=1, batch_size=2, lr=1e-3)
    assert CrossSensor(model, config).describe().startswith(f"{said}, patch")


def test_three_sensors_train_together():
    config = replace(SMALL, sensors={**SMALL.sensors, "dem": ("elevation",)})
    output = CSMoE(config)(images(config), masks(config, "disjoint"))
    assert len(output.terms) == 9
    output.losses["total"].backward()


def test_every_parameter_learns(model):
    model(images(SMALL), masks(SMALL)).losses["total"].backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_a_configuration_survives_json():
    import json

    config = replace(SMALL, moe_blocks=(0, 2))
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
