"""Our model with experts = 0 beside the published computation of CSMAE (jakhac/CSMAE@1fe15e9)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from train.models import CSMoE, ModelConfig
from train.objectives import Mask

pytestmark = pytest.mark.real

LIMIT = 1e-6  # relative L2; the file stores float32. Cosine similarity would hide real errors.
S1_BANDS = ("VH", "VV")
S2_BANDS = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B11", "B12", "B8A")
CONFIG = ModelConfig({"s1": S1_BANDS, "s2": S2_BANDS}, 120, 15, 192, 3, 2, 1, 64, 2, 4)
PREDICTIONS = {"s1->s2": "pred/0_s2", "s2->s1": "pred/1_s1", "s1->s1": "pred/2_s1", "s2->s2": "pred/3_s2"}

RENAMED = (  # the reference's parameter names, and ours; its un-suffixed embedding and class token are S1's
    (r"^backbone\.cls_token$", "cls_token.s1"),
    (r"^backbone\.cls_token_s2$", "cls_token.s2"),
    (r"^backbone\.patch_embed\.", "embed.s1."),
    (r"^backbone\.patch_embed_s2\.", "embed.s2."),
    (r"^backbone\.blocks_(s[12])\.", r"specific.\1."),
    (r"^backbone\.norm_(s[12])\.", r"specific_norm.\1."),
    (r"^backbone\.blocks\.", "shared."),
    (r"^backbone\.", ""),
    (r"^decoder_s[12]_to_(s[12])\.(?:decoder_)?", r"decoders.\1."),  # a decoder is named by its target
    (r"^(decoders\.s[12])\.pred\.", r"\1.head."),
)


def renamed(name: str) -> str:
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def distance(found: Tensor, expected: np.ndarray) -> float:
    truth = torch.from_numpy(expected.astype(np.float64)).reshape(found.shape)
    return float((found.detach() - truth).norm() / truth.norm())


@pytest.fixture(scope="module")
def published(real_data: Path) -> dict[str, np.ndarray]:
    path = real_data / "parity" / "csmae_sesd_small.npz"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    with np.load(path) as file:
        return dict(file)


@pytest.fixture(scope="module")
def ours(published):
    model = CSMoE(CONFIG).double()
    weights = {
        renamed(name.removeprefix("param/")): torch.from_numpy(value).double()
        for name, value in published.items()
        if name.startswith("param/") and "pos_embed" not in name
    }
    weights |= {name: w.flatten(1) for name, w in weights.items() if w.ndim == 4}  # convolution -> linear
    model.load_state_dict(weights)
    x = torch.from_numpy(published["x"]).double()
    images = {"s2": x[:, :10], "s1": x[:, 10:]}
    masks = {s: Mask.of(torch.from_numpy(published[f"ids_shuffle_{s}"]), CONFIG.tokens // 2) for s in images}
    return model, images, masks


def test_positions_are_exact(published, ours):
    model = ours[0]
    assert np.array_equal(model.positions.float(), published["param/backbone.pos_embed"][0])
    table = published["param/decoder_s2_to_s1.decoder_pos_embed"][0]
    assert np.array_equal(model.decoders["s1"].positions.float(), table)


def test_predictions(published, ours):
    model, images, masks = ours
    found = model.reconstruct(images, masks)
    assert {
        name: distance(found[name], published[key]) < LIMIT for name, key in PREDICTIONS.items()
    } == dict.fromkeys(PREDICTIONS, True)


def test_losses(published, ours):
    model, images, masks = ours
    output = model(images, masks)
    for name, term in output.terms.items():
        source, target = name.split("->")
        truth = published[f"loss/train_reconstruction_loss_{target}_from_{source}"]
        assert term.item() == pytest.approx(float(truth), rel=LIMIT)
    assert output.losses["mim"].item() == pytest.approx(float(published["loss/train_mim_loss"]), rel=LIMIT)
    assert output.losses["total"].item() == pytest.approx(float(published["loss/total"]), rel=LIMIT)


def test_gradients(published, ours):
    model, images, masks = ours
    model.zero_grad()
    model(images, masks).losses["total"].backward()
    parameters = dict(model.named_parameters())
    names = [name for name in published if name.startswith("grad/")]
    assert names
    for name in names:
        gradient = parameters[renamed(name.removeprefix("grad/"))].grad
        assert distance(gradient, published[name]) < LIMIT, name


def test_features_of_whole_images(published, ours):
    model, images, _ = ours
    for sensor, feature in model.encode(images).items():
        assert distance(feature, published[f"feat/{sensor}"]) < LIMIT


def swapped_halves(model: CSMoE) -> None:
    model.positions = torch.cat([model.positions[:, 96:], model.positions[:, :96]], 1)


def wrong_eps(model: CSMoE) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-5


def wrong_heads(model: CSMoE) -> None:
    for block in (*model.specific["s2"], *model.shared):
        block.attn.num_heads = 4


def no_second_norm(model: CSMoE) -> None:
    model.fc_norm = torch.nn.Identity()


@pytest.mark.parametrize("mistake", [swapped_halves, wrong_eps, wrong_heads, no_second_norm])
def test_the_limit_would_catch(mistake, published, ours):
    model, images, _ = ours
    wrong = CSMoE(CONFIG).double()
    wrong.load_state_dict(model.state_dict())
    mistake(wrong)
    assert distance(wrong.encode(images)["s2"], published["feat/s2"]) > 10 * LIMIT
