from dataclasses import replace

import pytest
import torch

from curate.catalog import InputError
from train.models import CSMoE
from train.presets import PRESETS, VITS, check_patch, patch_for, preset, shape

BANDS = {"s2": tuple("abcdefghij"), "s1": ("VV", "VH")}


@pytest.mark.parametrize(
    ("chip", "patch"),
    [(120, 15), (32, 4), (64, 8), (96, 12), (224, 14), (240, 15), (256, 8), (264, 12), (6, 1)],
)
def test_the_patch_is_the_largest_that_leaves_enough_tokens(chip, patch):
    assert patch_for(chip, 15) == patch


@pytest.mark.parametrize("chip", [5, 127, 1])
def test_a_chip_that_no_patch_fits_is_refused(chip):
    with pytest.raises(InputError, match="No patch of at most 15 px fits"):
        patch_for(chip, 15)


@pytest.mark.parametrize("patch", [0, -3, 7, 120])
def test_a_patch_that_does_not_divide_the_chip_is_refused(patch):
    with pytest.raises(InputError, match="--patch-size"):
        check_patch(120, patch)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit_the_default_chip(name):
    config = preset(name).model(BANDS, 120)
    assert (config.patch_size, config.tokens) == (15, 64)
    assert preset(name).model(BANDS, 120, 20).patch_size == 20


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="tiny, small, base, large"):
        preset("huge")


@pytest.mark.parametrize(
    ("name", "variant", "backbone_m", "total_m"),
    [
        ("csmae-sesd-base", "SESD", 158.02, 210.63),
        ("csmae-secd-base", "SECD", 158.02, 185.02),
        ("csmae-cesd-base", "CESD", 87.13, 139.75),
        ("csmae-cecd-base", "CECD", 87.13, 114.13),
    ],
)
def test_published_variants_have_the_published_sizes(name, variant, backbone_m, total_m):
    config = preset(name).model(BANDS, 120)
    assert config.variant == variant
    with torch.device("meta"):
        model = CSMoE(config)
    assert model.backbone_parameters() / 1e6 == pytest.approx(backbone_m, abs=0.006)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(total_m, abs=0.006)


def test_the_released_common_encoders_are_private_ones():
    """Section 1.8 of the reference: 12 blocks for each sensor and none in common, 172.19 M."""
    config = replace(preset("csmae-cesd-base").model(BANDS, 120), specific_depth=12, shared_depth=0)
    with torch.device("meta"):
        assert CSMoE(config).backbone_parameters() / 1e6 == pytest.approx(172.19, abs=0.006)


def test_a_dense_twin_differs_in_its_experts_alone():
    mixed, dense = (preset(name).model(BANDS, 120) for name in ("base", "base-dense"))
    assert dense == replace(mixed, experts=0, slots=1)


def test_a_plain_vit_cannot_be_trained():
    assert not set(VITS) & set(PRESETS)
    with pytest.raises(InputError, match="vit-base"):
        preset("vit-base")
    assert len(shape("vit-base").model(BANDS, 120).sensors) == 1
