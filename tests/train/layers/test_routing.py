"""Which experts tokens go to."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.layers.routing import Router, Routing, jittered, places


def router(experts=4, closed=0, seed=0, **routing):
    torch.manual_seed(seed)
    made = Router(16, experts, Routing(**routing), closed)
    torch.nn.init.normal_(made.weight)
    return made


def test_a_gate_that_would_always_be_one_is_refused():
    with pytest.raises(ValueError, match="cannot reach the router"):
        Routing(k=1, gate="renormalised")
    Routing(k=1, gate="renormalised", released=True)  # who asks for the published behaviour gets it
    for wrong in ({"gate": "soft"}, {"k": 0}, {"capacity": 0.0}, {"jitter": 1.0}):
        with pytest.raises(ValueError, match=r"gate|positive|jitter"):
            Routing(**wrong)


@pytest.mark.parametrize("routing", [{}, {"k": 2, "gate": "renormalised"}, {"k": 2}])
def test_the_task_reaches_the_router(routing):
    layer = router(**routing)
    x, value = torch.randn(64, 16), torch.randn(4)
    routes = layer(x)
    (routes.gates * value[routes.chosen]).sum().backward()
    assert layer.weight.grad.abs().max() > 1e-3


def test_the_task_does_not_reach_the_released_router():
    layer = router(gate="renormalised", released=True)
    routes = layer(torch.randn(64, 16))
    assert torch.equal(routes.gates, torch.ones(64, 1))
    (routes.gates * torch.randn(4)[routes.chosen]).sum().backward()
    assert layer.weight.grad.abs().max() < 1e-6


@pytest.mark.parametrize("experts", [1, 2, 4, 7])
def test_balance_is_one_where_even_and_the_number_of_experts_at_collapse(experts):
    layer = router(experts)
    x = torch.eye(experts, 16).repeat(6, 1)
    layer.weight.data = 1e-3 * torch.eye(experts, 16)  # nearly even probabilities, each expert its own tokens
    assert layer(x).stats.balance.item() == pytest.approx(1, abs=1e-3)
    layer.weight.data = torch.zeros(experts, 16)
    layer.weight.data[0] = 100.0  # the first takes all
    stats = layer(x).stats
    assert stats.balance.item() == pytest.approx(experts, rel=1e-5)
    assert stats.load.tolist() == [1.0] + [0.0] * (experts - 1)


def test_the_released_balance_is_four_where_a_pool_of_four_is_even():
    layer = router(gate="renormalised", released=True)
    layer.weight.data = 1e-3 * torch.eye(4, 16)
    assert layer(torch.eye(4, 16)).stats.balance.item() == pytest.approx(4, abs=1e-2)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.floats(0.3, 2.0), st.booleans(), st.integers(0, 9))
def test_capacity_keeps_what_it_can_and_counts_the_rest(images, k, capacity, prioritised, seed):
    gate = "raw" if k == 1 else "renormalised"
    layer = router(
        4, seed=seed, k=k, gate=gate, capacity=capacity, prioritised=prioritised, images_per_group=1
    )
    routes = layer(torch.randn(images * 12, 16), images)
    kept = routes.gates > 0
    limit = math.ceil(k * 12 * capacity / 4)
    assert routes.rows == images * limit
    chosen = torch.nn.functional.one_hot(routes.chosen, 4) * kept[:, :, None]
    assert chosen.reshape(images, -1, 4).sum(1).max() <= limit
    asked = torch.nn.functional.one_hot(routes.chosen, 4).reshape(images, -1, 4).sum(1)
    assert torch.equal(chosen.reshape(images, -1, 4).sum(1), asked.clamp(max=limit))  # no place stays empty
    assert routes.stats.dropped.item() == pytest.approx(1 - kept.double().mean().item(), abs=1e-6)


def test_raster_order_drops_the_last_and_priority_the_least_sure():
    layer = router(1, capacity=0.5, prioritised=False)
    assert (layer(torch.randn(8, 16)).gates[:, 0] > 0).tolist() == [True] * 4 + [False] * 4
    layer = router(2, capacity=0.5)
    layer.weight.data = torch.eye(2, 16)
    x = torch.zeros(8, 16)
    x[:, 0] = torch.tensor([1.0, 8, 2, 7, 3, 6, 4, 5])
    routes = layer(x)
    assert (routes.gates[:, 0] > 0).tolist() == [False, True, False, True, False, False, False, False]


def test_first_choices_come_before_second_ones():
    hot = torch.nn.functional.one_hot(torch.tensor([[0, 1], [1, 0]]), 2)
    assert places(hot, None, 1).tolist() == [[0, 1], [0, 1]]


def test_a_router_is_float32_under_autocast():
    layer = router()
    x = torch.randn(64, 16)
    with torch.autocast("cpu", torch.bfloat16):
        routes = layer(x)
    assert routes.gates.dtype == torch.float32
    assert torch.equal(routes.gates, layer(x).gates)


def test_pruned_experts_are_never_chosen_and_still_weigh():
    whole = router(4)
    x = torch.randn(200, 16)
    fewer = Router(16, 3, Routing(), closed=1)
    fewer.weight.data = whole.weight.data
    before, after = whole(x), fewer(x)
    stayed = before.chosen[:, 0] != 3
    assert after.chosen.max() == 2
    assert torch.equal(before.gates[stayed], after.gates[stayed])


def test_renormalised_gates_are_over_the_survivors():
    whole = router(4, k=2, gate="renormalised")
    fewer = Router(16, 2, Routing(2, "renormalised"), closed=2)
    fewer.weight.data = whole.weight.data
    assert fewer(torch.randn(50, 16)).gates.sum(1).tolist() == pytest.approx([1.0] * 50)


def test_the_z_loss_is_the_squared_log_partition():
    layer = router()
    x = torch.randn(64, 16)
    expected = (x @ layer.weight.T).exp().sum(1).log().square().mean()
    torch.testing.assert_close(layer(x).stats.z, expected)


def test_jitter_is_small_fresh_and_of_training_alone():
    layer, still = router(jitter=0.01), router()
    x = torch.randn(3 * 8, 16)
    plain = still(x, 3).stats.mean
    assert torch.equal(layer(x, 3).stats.mean, plain)  # nobody draws: fine-tuning, distillation
    layer.draw = 0
    before = layer(x, 3).stats.mean
    assert not torch.equal(before, plain)
    torch.testing.assert_close(before, plain, atol=0.02, rtol=0)
    assert torch.equal(layer(x, 3).stats.mean, before)  # as when a checkpointed block runs again
    layer.draw = 1
    assert not torch.equal(layer(x, 3).stats.mean, before)
    assert torch.equal(layer.eval()(x, 3).stats.mean, plain)


def test_jitter_does_not_depend_on_how_a_batch_is_divided():
    x = torch.randn(4 * 6, 16, dtype=torch.float64)
    whole = jittered(x, 0.1, 4, draw=5)
    ratio = (whole / x).reshape(4, 6, 16)
    assert ratio.min() >= 0.9
    assert ratio.max() <= 1.1
    assert ratio.std() > 0.04  # of a uniform draw 0.058
    assert torch.equal(whole[6:18], jittered(x[6:18], 0.1, 2, draw=5))
