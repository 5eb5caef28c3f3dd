import pytest

from curate.catalog import InputError
from train.presets import PRESETS, check_patch, patch_for, preset

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
