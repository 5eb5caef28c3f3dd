from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.catalog import InputError
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


@given(
    count=st.integers(1, 60),
    world=st.integers(1, 5),
    passes=st.integers(1, 3),
    share=st.integers(1, 9),
    seed=st.integers(0, 99),
    data=st.data(),
)
@settings(max_examples=50, deadline=None)
def test_ranks_share_every_batch_evenly_whatever_the_sizes(chips, count, world, passes, share, seed, data):
    few = chips.take(np.sort(np.random.default_rng(seed).permutation(len(chips))[:count]))
    parts = world * passes
    options = {"batch_size": share * parts, "seed": seed, "world": world, "passes": passes}
    if len(few) < parts:
        with pytest.raises(InputError, match="cannot share"):
            Loader(few, **options)
        return
    loaders = [Loader(few, rank=rank, **options) for rank in range(world)]
    steps = loaders[0].steps_per_epoch
    start = data.draw(st.integers(0, 3 * steps))
    ranks = [list(loader.orders(0, 3 * steps)) for loader in loaders]
    for loader, orders in zip(loaders, ranks, strict=True):  # resumed anywhere, each goes on as it would have
        rest = list(loader.orders(start, 3 * steps))
        assert [order.step for order in rest] == list(range(start, 3 * steps))
        for one, other in zip(rest, orders[start:], strict=True):
            assert np.array_equal(one.chips, other.chips)
            assert one.symmetry == other.symmetry
    alone = list(Loader(few, **{**options, "world": 1, "passes": parts}).orders(0, 3 * steps))
    for step, shares in enumerate(zip(*ranks, strict=True)):
        assert len({len(order.chips) for order in shares}) == 1
        assert len(shares[0].chips) % passes == 0
        assert len({order.symmetry for order in shares}) == 1
        whole = np.concatenate([order.chips for order in shares])
        assert np.array_equal(whole, alone[step].chips)  # on any number of ranks a step shows the same chips
        assert len(whole) == min(share * parts, len(few) // parts * parts)
    for epoch in range(3):
        shown = np.concatenate([order.chips for order in alone[epoch * steps : (epoch + 1) * steps]])
        assert len(set(shown)) == len(shown) > len(few) - share * parts


def test_what_cannot_be_shared_evenly_is_left_out_by_turns(chips):
    few = chips.take(np.arange(7))
    loaders = [Loader(few, 64, seed=0, rank=rank, world=2) for rank in range(2)]
    shown = [np.concatenate([order.chips for order in loader.orders(0, 40)]) for loader in loaders]
    assert set(np.concatenate(shown)) == set(range(7))


@given(
    count=st.integers(6, 60),
    batch=st.integers(1, 20),
    workers=st.integers(0, 4),
    start=st.integers(0, 9),
    rank=st.integers(0, 1),
)
@settings(max_examples=15, deadline=None)
def test_pixels_are_the_same_from_any_step_with_any_number_of_threads(
    chips, count, batch, workers, start, rank
):
    few = chips.take(np.arange(min(count, len(chips))))
    options = {"batch_size": 2 * batch, "seed": 1, "rank": rank, "world": 2}
    whole = list(Loader(few, **options).batches(0, 12))
    again = list(Loader(few, **options).batches(start, 12, workers))
    assert len(again) == 12 - start
    assert all(map(same, whole[start:], again))
    for made in again[:2]:
        stored = few.gather(made.chips)
        assert all(np.array_equal(made.stored[sensor].numpy(), stored[sensor]) for sensor in stored)


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
