import pytest
import torch
from torch import nn

from train.average import Average


def test_the_average_is_the_sum_it_should_be():
    """ā_n = dⁿ w_0 + (1 - d) Σ_i d^(n-i) w_i."""
    model, decay, generator = nn.Linear(3, 2).double(), 0.8, torch.Generator().manual_seed(0)
    average = Average(model, decay)
    seen = [model.weight.detach().clone()]
    for _ in range(7):
        with torch.no_grad():
            model.weight += torch.randn(2, 3, generator=generator).double()
        seen.append(model.weight.detach().clone())
        average.update()
    n = len(seen) - 1
    expected = decay**n * seen[0] + (1 - decay) * sum(decay ** (n - i) * seen[i] for i in range(1, n + 1))
    torch.testing.assert_close(average.state()["weight"], expected, rtol=1e-12, atol=0)
    with average.in_place():
        torch.testing.assert_close(model.weight.detach(), expected, rtol=1e-12, atol=0)
    assert torch.equal(model.weight, seen[-1])
    average.hand_over()
    torch.testing.assert_close(model.weight.detach(), expected, rtol=1e-12, atol=0)


def test_the_models_own_weights_come_back_when_the_block_fails():
    model = nn.Linear(3, 2)
    average = Average(model, 0.5)
    with torch.no_grad():
        model.weight.zero_()

    def fail():
        with average.in_place():
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not model.weight.any()
