from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from train.buffers import Buffers
from train.data import Chips, DataConfig, open_catalog
from train.loader import Loader, in_order, prefetched, turned


@pytest.fixture(scope="module")
def chips(toy):
    catalog = open_catalog(toy)
    return Chips(catalog, DataConfig.of(catalog), "train")


def same(first, second) -> bool:
    return (
        first.step == second.step
        and np.array_equal(first.chips, second.chips)
        and all(torch.equal(first.stored[s], second.stored[s]) for s in first.stored)
    )


def test_an_epoch_shows_each_chip_once_and_the_next_in_another_order(chips):
    loader = Loader(chips, 10, seed=3)
    steps = loader.steps_per_epoch
    assert steps == len(chips) // 10
    epochs = [np.concatenate([b.chips for b in loader.batches(e * steps, (e + 1) * steps)]) for e in range(6)]
    for shown in epochs:
        assert len(shown) == len(set(shown)) == steps * 10
    assert not np.array_equal(epochs[0], epochs[1])
    assert set(np.concatenate(epochs)) == set(range(len(chips)))  # what one epoch leaves out another shows


def test_any_step_can_be_resumed_at(chips):
    loader = Loader(chips, 10, seed=3)
    whole = list(loader.batches(0, 14))
    for start in (1, loader.steps_per_epoch, loader.steps_per_epoch + 2):
        assert all(map(same, whole[start:], Loader(chips, 10, seed=3).batches(start, 14)))


def test_another_seed_is_another_order(chips):
    first, second = (next(Loader(chips, 10, seed).batches(0, 1)) for seed in (0, 1))
    assert not np.array_equal(first.chips, second.chips)


def test_a_split_smaller_than_a_batch_is_one_batch(chips):
    loader = Loader(chips, 1000, seed=0)
    assert loader.steps_per_epoch == 1
    assert [len(b.chips) for b in loader.batches(0, 2)] == [len(chips)] * 2


def test_the_eight_symmetries_differ_and_keep_the_values():
    image = torch.arange(9).reshape(1, 1, 3, 3)
    seen = {tuple(turned(image, s).flatten().tolist()) for s in range(8)}
    assert len(seen) == 8
    assert torch.equal(turned(image, 0), image)


def test_sensors_of_a_batch_are_turned_alike(chips):
    plain, turning = Loader(chips, 8, 0, flips=False), Loader(chips, 8, 0)
    used, cpu = set(), torch.device("cpu")
    for before, after in zip(plain.batches(0, 12), turning.batches(0, 12), strict=True):
        plainly, as_shown = (batch.on(cpu, chips.config)[0] for batch in (before, after))
        fits = [
            {s for s in range(8) if torch.equal(turned(plainly[k], s), as_shown[k])} for k in before.stored
        ]
        assert len(fits[0] & fits[1]) == 1
        used |= fits[0]
    assert len(used) > 3


def test_the_thread_changes_nothing(chips):
    loader = Loader(chips, 10, seed=3)
    assert all(map(same, loader.batches(0, 9), prefetched(loader.batches(0, 9))))


def test_what_fails_in_the_thread_is_raised_here(chips):
    def broken():
        yield from Loader(chips, 4, 0).batches(0, 2)
        raise OSError("disk")

    taken = []
    with pytest.raises(OSError, match="disk"):
        taken.extend(prefetched(broken()))
    assert len(taken) == 0 or len(taken) == 2


def test_the_thread_ends_when_nobody_reads(chips):
    import threading

    list(islice(prefetched(Loader(chips, 4, 0).batches(0, 1000)), 3))
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())


def test_in_order_shows_all_chips_in_the_catalogs_order(chips):
    assert np.array_equal(np.concatenate([b.chips for b in in_order(chips, 7)]), np.arange(len(chips)))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_threads_change_nothing(chips, workers):
    loader = Loader(chips, 10, seed=3)
    assert all(map(same, loader.batches(3, 20), loader.batches(3, 20, workers)))


@given(world=st.integers(1, 6), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_ranks_share_each_batch_evenly(chips, world, seed):
    size = world * (24 // world)
    whole = [order.chips for order in Loader(chips, size, seed).orders(0, 7)]
    ranks = [
        [order.chips for order in Loader(chips, size, seed, rank=rank, world=world).orders(0, 7)]
        for rank in range(world)
    ]
    for step, expected in enumerate(whole):
        shares = [orders[step] for orders in ranks]
        assert {len(share) for share in shares} == {size // world}
        assert np.array_equal(np.concatenate(shares), expected)


def test_memory_is_used_again_only_when_nobody_looks():
    buffers = Buffers()
    first = buffers.take((4, 3), np.dtype(np.uint16))
    address, part = first.data_ptr(), first[1:2]
    del first
    second = buffers.take((4, 3), np.dtype(np.uint16))
    assert second.data_ptr() != address  # a view of the first is still about
    del part
    assert buffers.take((4, 3), np.dtype(np.uint16)).data_ptr() == address
    assert buffers.take((4, 3), np.dtype(np.int16)).dtype == torch.int16
