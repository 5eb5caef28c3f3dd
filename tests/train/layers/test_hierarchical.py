"""Experts, their dispatch, and the three pools together."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from train.layers.experts import DISPATCHES, ExpertPool
from train.layers.hierarchical import COLLABORATIVE, HierarchicalMoE, Pools, router_losses
from train.layers.routing import Router, Routing


def mixture(own=2, common=2, shared=1, seed=0, **routing):
    torch.manual_seed(seed)
    layer = HierarchicalMoE(
        16, 32, Pools({"a": own, "b": own}, common, shared), Routing(**routing), Routing(**routing)
    )
    for router in layer.routers.values():
        torch.nn.init.normal_(router.weight)
    return layer


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 40),
    st.integers(1, 5),
    st.integers(1, 3),
    st.sampled_from([None, 0.6, 3.0]),
    st.integers(0, 9),
)
def test_all_dispatches_agree(tokens, experts, k, capacity, seed):
    torch.manual_seed(seed)
    router = Router(16, experts, Routing(k, "raw", capacity))
    pool = ExpertPool(16, 24, experts)
    torch.nn.init.normal_(router.weight)
    torch.nn.init.normal_(pool.fc1.bias)
    torch.nn.init.normal_(pool.fc2.bias)
    found = {}
    weigh = torch.randn(tokens, 16)
    start = torch.randn(tokens, 16)
    for dispatch in DISPATCHES:
        pool.dispatch = dispatch
        x = start.clone().requires_grad_()
        y = pool(x, router(x))
        grads = torch.autograd.grad((y * weigh).sum(), [x, *pool.parameters(), router.weight])
        found[dispatch] = [y, *grads]
    for dispatch in DISPATCHES[:-1]:
        for one, other in zip(found["loop"], found[dispatch], strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_pools_of_one_are_a_sum_of_three_mlps():
    layer = mixture(1, 1, 1)
    x = torch.randn(2, 5, 16)
    y, _ = layer(x, [("a", 2)])

    def mlp(pool):
        return F.gelu(x @ pool.fc1.weight[0].T + pool.fc1.bias[0]) @ pool.fc2.weight[0].T + pool.fc2.bias[0]

    expected = mlp(layer.experts["a"]) + mlp(layer.experts[COLLABORATIVE]) + layer.shared(x)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)


def test_what_all_pools_drop_takes_the_shared_path():
    layer = mixture(capacity=0.25, prioritised=False)
    x = torch.randn(1, 64, 16)
    y, stats = layer(x, [("a", 1)])
    refused = torch.ones(64, dtype=torch.bool)
    for pool in ("a", COLLABORATIVE):
        refused &= layer.routers[pool](x[0]).gates[:, 0] == 0
    assert refused.sum() > 10
    assert stats["a"].dropped > 0.5
    torch.testing.assert_close(y[0, refused], layer.shared(x)[0, refused])


def test_a_sensor_touches_its_own_experts_alone():
    layer = mixture()
    y, stats = layer(torch.randn(3, 8, 16), [("a", 3)])
    balance, z = router_losses([stats])
    (y.square().sum() + balance + z).backward()
    for name, p in layer.named_parameters():
        if ".b." in name:
            assert p.grad is None
        else:
            assert p.grad is not None
            assert p.grad.abs().max() > 0, name


def test_the_order_of_sensors_changes_nothing():
    layer = mixture()
    a, b = torch.randn(3, 8, 16), torch.randn(2, 8, 16)
    one, _ = layer(torch.cat([a, b]), [("a", 3), ("b", 2)])
    other, _ = layer(torch.cat([b, a]), [("b", 2), ("a", 3)])
    alone, _ = layer(a, [("a", 3)])
    torch.testing.assert_close(one[:3], other[2:])
    torch.testing.assert_close(one[3:], other[:2])
    torch.testing.assert_close(one[:3], alone)


@pytest.mark.parametrize("left", [(0, 2, 1), (2, 0, 1), (2, 2, 0), (0, 0, 1), (0, 2, 0), (2, 0, 0)])
def test_pools_can_be_left_out(left):
    layer = mixture(*left)
    y, stats = layer(torch.randn(2, 8, 16), [("a", 1), ("b", 1)])
    assert y.isfinite().all()
    assert set(stats) == ({"a", "b"} if left[0] else set()) | ({COLLABORATIVE} if left[1] else set())


def test_a_layer_without_experts_is_refused():
    with pytest.raises(ValueError, match="no expert"):
        Pools({"a": 0}, 0, 0)
    with pytest.raises(ValueError, match="no expert"):
        Pools({"a": 2, "b": 0}, 0, 0)


def test_balance_brings_a_collapsed_pool_back():
    torch.manual_seed(0)
    layer = mixture(4, 4)
    router = layer.routers["a"]
    x = torch.randn(4, 64, 16) + 0.5
    router.weight.data = torch.randn(4, 16) * 0.1
    router.weight.data[0] += 0.5  # the first takes nearly all
    before = layer(x, [("a", 4)])[1]["a"].load
    assert before[0] > 0.8
    optimiser = torch.optim.Adam(layer.routers.parameters(), 0.02)
    for _ in range(100):
        optimiser.zero_grad()
        balance, _ = router_losses([layer(x, [("a", 4)])[1]])
        balance.backward()
        optimiser.step()
    after = layer(x, [("a", 4)])[1]["a"].load
    assert after.min() > 0.15


def test_autocast_runs_experts_in_bfloat16_and_stays_close():
    layer = mixture()
    x = torch.randn(2, 32, 16)
    exact, _ = layer(x, [("a", 2)])
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = layer(x, [("a", 2)])
    assert rough.dtype in (torch.bfloat16, torch.float32)
    torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0.05)
