"""Targets of reconstruction, and masks of cells."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.objectives.cells import draw_cells
from train.objectives.targets import (
    INDICES,
    SensorSpec,
    decibels,
    decorrelation,
    default_target,
    gamma_nll,
    kind_of,
    normalised_difference,
)

COMPLEX = tuple(f"{p}_{part}" for p in ("HH", "HV", "VH", "VV") for part in "IQ")
SLC = SensorSpec(COMPLEX, "sar_complex", (0.0,) * 8, (1.0,) * 8, "log-power")
GRD = SensorSpec(("VV", "VH"), "sar", (-10.0, -17.0), (4.0, 5.0), "log-power", level_db=-9.0, spread_db=4.0)
S2 = SensorSpec(("B03", "B04", "B08", "B11"), "multispectral", (0.1,) * 4, (0.2,) * 4, "indices")


def bands_of(scattering):
    """Scattering matrices [B, 2, 2, H, W] as complex bands HH, HV, VH, VV, (I, Q) each."""
    return torch.view_as_real(scattering.flatten(1, 2)).permute(0, 1, 4, 2, 3).flatten(1, 2)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 6.28), st.floats(0, 6.28), st.floats(0, 6.28), st.integers(0, 9))
def test_power_knows_no_phase_and_no_polarisation_basis(phase, turn, ellipticity, seed):
    torch.manual_seed(seed)
    s = torch.randn(2, 2, 2, 4, 4, dtype=torch.complex128)
    c, d = math.cos(turn), math.sin(turn)
    e = complex(math.cos(ellipticity), math.sin(ellipticity))
    unitary = torch.tensor([[c, -d * e], [d * e.conjugate(), c]], dtype=torch.complex128)
    turned = torch.einsum("ij,bjkhw,lk->bilhw", unitary, s, unitary)  # U S Uᵀ
    before = SLC.power(bands_of(s))
    assert (before >= 0).all()
    torch.testing.assert_close(SLC.power(bands_of(s * complex(math.cos(phase), math.sin(phase)))), before)
    torch.testing.assert_close(SLC.power(bands_of(turned)), before)


def test_decibels_and_complex_values_give_one_power():
    torch.manual_seed(0)
    bands = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    dual = SensorSpec(("VV_I", "VV_Q", "VH_I", "VH_Q"), "sar_complex", (0.0,) * 4, (1.0,) * 4, "log-power")
    intensity = bands.unflatten(1, (2, 2)).square().sum(2)
    stored = (10 * intensity.log10() - torch.tensor(GRD.mean).view(2, 1, 1)) / torch.tensor(GRD.std).view(
        2, 1, 1
    )
    torch.testing.assert_close(GRD.power(stored), dual.power(bands))


def test_log_power_has_global_statistics():
    images = torch.zeros(1, 2, 2, 2)  # -10 and -17 dB everywhere
    power_db = 10 * math.log10(10**-1 + 10**-1.7)
    torch.testing.assert_close(GRD.truth(images), torch.full((1, 1, 2, 2), (power_db + 9) / 4))
    assert decibels(torch.zeros(1)).item() == pytest.approx(-50)


def test_polarimetric_targets_are_power_and_depolarisation():
    dual = replace(GRD, target="polarimetric", ratio_db=-8.0, ratio_spread_db=2.0)
    images = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    truth = dual.truth(images)
    vv, vh = dual.physical(images).unbind(1)
    torch.testing.assert_close(truth[:, :1], GRD.truth(images))
    torch.testing.assert_close(truth[:, 1], (vh - vv + 8) / 2)
    brighter = dual.truth(images + torch.tensor([3 / 4, 3 / 5]).view(2, 1, 1))  # 3 dB more of both
    torch.testing.assert_close(brighter[:, 1], truth[:, 1])
    torch.testing.assert_close(brighter[:, 0], truth[:, 0] + 3 / 4)


def test_the_polarimetric_ratio_of_complex_bands_is_of_their_powers():
    s = torch.randn(2, 2, 2, 4, 4, dtype=torch.complex128)
    ratio = replace(SLC, target="polarimetric").ratio(bands_of(s))
    power = s.abs().square()
    expected = 10 * ((power[:, 0, 1] + power[:, 1, 0]) / (power[:, 0, 0] + power[:, 1, 1])).log10()
    torch.testing.assert_close(ratio[:, 0], expected)
    torch.testing.assert_close(replace(SLC, target="polarimetric").ratio(bands_of(s * 1j)), ratio)


def test_every_kind_of_sensor_has_a_target_of_its_own():
    assert default_target("sar", ("VV", "VH")) == default_target("sar_complex", COMPLEX) == "polarimetric"
    assert default_target("sar", ("VV",)) == default_target("sar", ("HH", "VV")) == "log-power"
    assert default_target("multispectral", ("B02", "B03", "B04", "B08")) == "decorrelated"
    assert default_target("optical", ("R", "G", "B")) == default_target("other", ("height",)) == "pixels"


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 10), st.floats(1, 8))
def test_the_gamma_likelihood_is_greatest_at_the_true_mean(mean, looks):
    intensity = torch.from_numpy(np.random.default_rng(0).gamma(looks, mean / looks, 200_000))
    nll = [gamma_nll(intensity, torch.tensor(mean * f), looks).mean() for f in (0.9, 1.0, 1.1)]
    assert nll[1] < nll[0]
    assert nll[1] < nll[2]


def test_the_gamma_error_is_the_likelihood_less_its_least():
    spec = SensorSpec(("VV",), "sar", (-10.0,), (4.0,), "gamma", looks=3.0)
    truth, prediction = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 4, 4)
    intensity, mean = (10 ** (spec.physical(x) / 10) for x in (truth, prediction))
    expected = gamma_nll(intensity, mean, 3.0) - gamma_nll(intensity, intensity, 3.0)
    torch.testing.assert_close(spec.error(prediction, truth), expected, atol=1e-4, rtol=1e-4)
    assert spec.error(truth, truth).abs().max() == 0


def test_released_power_is_stretched_over_each_image():
    spec = SLC.released()
    images = torch.randn(3, 8, 4, 4) * 0.2
    truth = spec.truth(images)
    power = spec.power(images).clamp(max=1)
    assert spec.target == "power"
    assert truth.amin((1, 2, 3)).tolist() == [0, 0, 0]
    assert truth.amax((1, 2, 3)).tolist() == [1, 1, 1]
    assert torch.equal(truth.flatten(1).argsort(1), power.flatten(1).argsort(1))
    assert spec.truth(torch.zeros(1, 8, 4, 4)).isfinite().all()
    assert GRD.released().target == "pixels"


def test_decorrelated_bands_have_unit_variance_and_keep_their_meaning():
    values = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) @ torch.tensor(
        [[1.0, 0.9, 0.5], [0.0, 0.3, 0.2], [0.0, 0.0, 0.1]]
    )
    turn = decorrelation(values)
    spec = SensorSpec(
        ("a", "b", "c"),
        "optical",
        (0.0,) * 3,
        (1.0,) * 3,
        "decorrelated",
        turn=tuple(map(tuple, turn.tolist())),
    )
    images = values.T.reshape(1, 3, 40, 100)
    with torch.autocast("cpu", torch.bfloat16):
        turned = spec.truth(images)[0].flatten(1)
    torch.testing.assert_close(torch.cov(turned), torch.eye(3), atol=1e-3, rtol=0)
    assert all(torch.corrcoef(torch.stack([turned[i], values[:, i]]))[0, 1] > 0.5 for i in range(3))
    assert decorrelation(torch.randn(50, 1)).shape == (1, 1)
    even = torch.full((100_000, 3), 0.1) * torch.tensor([1, 0.7, -1.1])  # whose mean is rounded
    for blank in (torch.zeros(9, 3), torch.full((9, 3), torch.nan), torch.zeros(0, 3), even):
        assert torch.equal(decorrelation(blank), torch.eye(3))


def test_indices_are_those_of_their_bands():
    images = torch.randn(2, 4, 4, 4)
    truth = S2.truth(images)
    b03, b04, b08, _ = S2.physical(images).unbind(1)
    assert list(S2.indices) == ["NDVI", "NDWI", "NDBI"]
    assert set(S2.indices) <= set(INDICES)
    assert S2.channels == truth.shape[1] == 7
    torch.testing.assert_close(truth[:, :4], images)
    torch.testing.assert_close(truth[:, 4], normalised_difference(b08, b04))
    torch.testing.assert_close(truth[:, 5], normalised_difference(b03, b08))
    assert truth[:, 4:].abs().max() <= 1


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "radio"},
        {"target": "colour"},
        {"mean": (0.0,)},
        {"kind": "optical"},
        {"kind": "optical", "target": "indices"},
        {"kind": "sar_complex", "target": "gamma"},
        {"turn": ((1.0,),)},
        {"bands": ("VV", "HH"), "target": "polarimetric"},
    ],
)
def test_targets_that_a_sensor_cannot_give_are_refused(fields):
    base = {
        "bands": ("VV", "VH"),
        "kind": "sar",
        "mean": (0.0, 0.0),
        "std": (1.0, 1.0),
        "target": "log-power",
    }
    with pytest.raises(ValueError, match=r"kind|target|means|Target|None of|turned"):
        SensorSpec(**{**base, **fields})


def test_kinds_follow_from_bands_and_units():
    assert kind_of(("VV", "VH"), "dB") == "sar"
    assert kind_of(COMPLEX, "amplitude") == "sar_complex"
    assert kind_of(("B02", "B03", "B04", "B08"), "reflectance") == "multispectral"
    assert kind_of(("B02", "B03", "B04"), "reflectance") == "optical"
    assert kind_of(("height",), "m") == "other"


def test_masks_hide_exactly_their_share_of_whole_cells():
    masks = draw_cells(("a", "b"), 5, 192, 32, 0.6, generator=torch.Generator().manual_seed(3))
    assert masks["a"].cells.flatten(1).sum(1).tolist() == [22] * 5
    again = draw_cells(("a", "b"), 5, 192, 32, 0.6, generator=torch.Generator().manual_seed(3))
    assert torch.equal(masks["b"].pixels, again["b"].pixels)
    assert not torch.equal(masks["a"].cells, masks["b"].cells)
    tokens = masks["a"].tokens(8).reshape(5, 6, 8, 6, 8)
    assert torch.equal(tokens.all(4).all(2), tokens.any(4).any(2))  # tokens lie in one cell each
    pixels = masks["a"].pixels.reshape(5, 6, 32, 6, 32)
    assert torch.equal(pixels.all(4).all(2), masks["a"].cells)


def test_incomplete_masks_hide_a_share_of_each_hidden_cell():
    mask = draw_cells(("a",), 3, 96, 16, 0.6, incomplete=0.6)["a"]
    assert not mask.replace
    share = mask.pixels.reshape(3, 6, 16, 6, 16).sum((2, 4))
    assert share[mask.cells].unique().tolist() == [math.ceil(0.6 * 256)]
    assert share[~mask.cells].unique().tolist() == [0]


@pytest.mark.parametrize(("size", "ratio"), [(100, 0.6), (96, 0.0), (96, 0.99)])
def test_masks_that_hide_nothing_or_all_are_refused(size, ratio):
    with pytest.raises(ValueError, match="hides"):
        draw_cells(("a",), 2, size, 16, ratio)
