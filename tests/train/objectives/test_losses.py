import math

import pytest
import torch

from train.objectives import Mask, hidden_error, nt_xent


def naive_nt_xent(first, second, tau):
    rows = [r / r.norm() for r in torch.cat([first, second])]
    n, total = len(first), 0.0
    for i, row in enumerate(rows):
        partner = (i + n) % (2 * n)
        denominator = sum(math.exp(float(row @ other) / tau) for j, other in enumerate(rows) if j != i)
        total += -float(row @ rows[partner]) / tau + math.log(denominator)
    return total / (2 * n)


@pytest.mark.parametrize("tau", [0.5, 0.07])
def test_nt_xent_equals_its_definition(tau):
    first, second = torch.randn(2, 6, 5, dtype=torch.float64)
    assert float(nt_xent(first, second, tau)) == pytest.approx(naive_nt_xent(first, second, tau), rel=1e-12)


def test_nt_xent_is_stable_at_a_temperature_that_overflows_exp():
    first, second = torch.randn(2, 4, 5)
    assert nt_xent(first, second, 1e-4).isfinite()


def test_the_mean_over_hidden_patches_is_maes_masked_mean():
    prediction, target = torch.randn(2, 3, 8, 5, dtype=torch.float64)
    mask = Mask.of(torch.rand(3, 8).argsort(1), 3)
    error = (prediction - target).square().mean(-1)
    expected = (error * mask.hidden).sum() / mask.hidden.sum()
    index = mask.masked[:, :, None].expand(-1, -1, 5)
    torch.testing.assert_close(hidden_error(prediction.gather(1, index), target.gather(1, index)), expected)
