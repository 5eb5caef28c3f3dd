import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from train.objectives import Mask, discrepancy, hidden_error, nt_xent, unit_patches


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


def test_nt_xent_is_as_precise_under_autocast():
    first, second = (torch.randn(8, 16) for _ in "ab")
    with torch.autocast("cpu", torch.bfloat16):
        under = nt_xent(first, second, 0.05)
    assert torch.equal(under, nt_xent(first, second, 0.05))


def test_the_mean_over_hidden_patches_is_maes_masked_mean():
    prediction, target = torch.randn(2, 3, 8, 5, dtype=torch.float64)
    mask = Mask.of(torch.rand(3, 8).argsort(1), 3)
    error = (prediction - target).square().mean(-1)
    expected = (error * mask.hidden).sum() / mask.hidden.sum()
    index = mask.masked[:, :, None].expand(-1, -1, 5)
    torch.testing.assert_close(hidden_error(prediction.gather(1, index), target.gather(1, index)), expected)


def test_bands_weigh_as_they_are_told():
    prediction, target = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    weights = torch.tensor([1.0, 0.0, 3.0], dtype=torch.float64)
    error = (prediction - target).square().reshape(3, 8, 4, 3)  # pixel order (py, px, c)
    expected = (error[..., 0] + 3 * error[..., 2]).mean() / 4
    torch.testing.assert_close(hidden_error(prediction, target, weights), expected)
    same = hidden_error(prediction, target, torch.full((3,), 0.2, dtype=torch.float64))
    torch.testing.assert_close(same, hidden_error(prediction, target))


def test_images_without_the_sensor_do_not_count():
    prediction, target = torch.randn(2, 3, 8, 5, dtype=torch.float64)
    present = torch.tensor([True, False, True])
    expected = hidden_error(prediction[present], target[present])
    torch.testing.assert_close(hidden_error(prediction, target, present=present), expected)
    assert float(hidden_error(prediction, target, present=torch.zeros(3, dtype=torch.bool))) == 0.0


def test_nt_xent_of_some_pairs_is_that_of_these_pairs_alone():
    first, second = torch.randn(2, 6, 5, dtype=torch.float64)
    present = torch.tensor([True, True, False, True, False, True])
    expected = nt_xent(first[present], second[present])
    torch.testing.assert_close(nt_xent(first, second, present=present), expected)
    assert float(nt_xent(first, second, present=torch.zeros(6, dtype=torch.bool))) == 0.0


def test_discrepancy_falls_as_features_agree():
    first, second = torch.randn(2, 6, 5, dtype=torch.float64)
    cosines = [float(a @ b / a.norm() / b.norm()) for a, b in zip(first, second, strict=True)]
    expected = -sum(math.log(1 + math.exp(c)) for c in cosines) / 6
    assert float(discrepancy(first, second)) == pytest.approx(expected, rel=1e-12)
    assert discrepancy(first, first) < discrepancy(first, second)


def test_unit_patches_have_no_mean_and_unit_variance():
    patches = unit_patches(torch.randn(2, 3, 50, dtype=torch.float64) * 7 + 3)
    torch.testing.assert_close(patches.mean(2), torch.zeros(2, 3, dtype=torch.float64))
    torch.testing.assert_close(patches.var(2), torch.ones(2, 3, dtype=torch.float64), rtol=1e-6, atol=0)
    assert unit_patches(torch.ones(1, 1, 4)).isfinite().all()


FEATURES = torch.Generator().manual_seed(5)
PAIRS = torch.randn(2, 8, 5, dtype=torch.float64, generator=FEATURES)
THERE = torch.tensor([True, True, False, True, True, True, False, False])


def rank_of_two(rank: int, meeting: str, some: bool, results) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    mine = slice(rank * 4, rank * 4 + 4)
    first, second = (x[mine].clone().requires_grad_() for x in PAIRS)
    loss = nt_xent(first, second, 0.5, THERE[mine] if some else None, gather=True)
    loss.backward()
    results.put((rank, float(loss.detach()), first.grad.numpy(), second.grad.numpy()))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("some", [False, True])
def test_gathered_over_two_ranks_it_is_that_of_the_joined_batch(tmp_path, some):
    results = mp.get_context("spawn").SimpleQueue()
    mp.spawn(rank_of_two, (str(tmp_path / "meeting"), some, results), nprocs=2)
    found = sorted((results.get() for _ in range(2)), key=lambda entry: entry[0])
    first, second = (x.clone().requires_grad_() for x in PAIRS)
    loss = nt_xent(first, second, 0.5, THERE if some else None)
    loss.backward()
    assert sum(entry[1] for entry in found) / 2 == pytest.approx(float(loss.detach()), rel=1e-12)
    for index, expected in ((2, first.grad), (3, second.grad)):
        joined = torch.cat([torch.from_numpy(entry[index]) for entry in found])
        torch.testing.assert_close(joined / 2, expected)  # data-parallel training takes the ranks' mean
