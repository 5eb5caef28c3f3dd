import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.objectives import Mask, draw_masks, rebuilt


def visible(mask: Mask, image: int) -> set[int]:
    return set(mask.visible[image].tolist())


@given(
    st.sampled_from(["random", "identical", "disjoint"]),
    st.integers(4, 225),
    st.floats(0.1, 0.9),
    st.integers(2, 3),
    st.integers(0, 2**32),
)
def test_every_mask_splits_the_raster(masking, tokens, ratio, count, seed):
    keep, sensors = int(tokens * (1 - ratio)), [f"s{i}" for i in range(count)]
    if not 0 < keep < tokens or tokens - keep < count:
        return
    masks = draw_masks(masking, sensors, 3, tokens, ratio, torch.Generator().manual_seed(seed))
    for mask in masks.values():
        for image in range(3):
            hidden = set(mask.masked[image].tolist())
            assert visible(mask, image) | hidden == set(range(tokens))
            assert not visible(mask, image) & hidden
            assert set(torch.nonzero(mask.hidden[image]).flatten().tolist()) == hidden
        joined = torch.cat([mask.visible, mask.masked], 1)
        assert torch.equal(joined.gather(1, mask.restore), torch.arange(tokens).expand(3, -1))
    assert masks["s0"].visible.shape[1] == keep


@given(st.integers(2, 225), st.floats(0.05, 0.95), st.integers(0, 2**32))
def test_disjoint_is_the_exact_complement(tokens, ratio, seed):
    if not 0 < int(tokens * (1 - ratio)) < tokens:
        return
    first, second = draw_masks(
        "disjoint", ["a", "b"], 4, tokens, ratio, torch.Generator().manual_seed(seed)
    ).values()
    for image in range(4):
        assert visible(first, image) == set(second.masked[image].tolist())
        assert visible(second, image) == set(first.masked[image].tolist())


def test_disjoint_over_three_sensors_leaves_no_position_out():
    masks = list(draw_masks("disjoint", ["a", "b", "c"], 2, 64, 0.5).values())
    seen = [visible(mask, 0) for mask in masks]
    assert [len(s) for s in seen] == [32, 16, 16]
    assert set.union(*seen) == set(range(64))


def test_identical_is_the_same_and_random_is_not():
    same = draw_masks("identical", ["a", "b"], 4, 64, 0.5)
    free = draw_masks("random", ["a", "b"], 4, 64, 0.5)
    assert torch.equal(same["a"].visible, same["b"].visible)
    assert not torch.equal(free["a"].visible, free["b"].visible)


def test_a_seed_decides_the_draw():
    first, again = (draw_masks("random", ["a"], 4, 64, 0.5, torch.Generator().manual_seed(3)) for _ in "ab")
    assert torch.equal(first["a"].visible, again["a"].visible)


@pytest.mark.parametrize(("masking", "ratio"), [("chequered", 0.5), ("random", 0.999), ("random", 0.0)])
def test_masks_that_make_no_sense_are_refused(masking, ratio):
    with pytest.raises(ValueError, match=r"masking|mask ratio"):
        draw_masks(masking, ["a"], 1, 64, ratio)


def test_what_is_rebuilt_lies_where_the_mode_says():
    masks = draw_masks("random", ["a", "b"], 3, 16, 0.5)
    a, b = masks["a"], masks["b"]
    for image in range(3):
        asked = {
            mode: set(rebuilt(mode, a, b)[image].tolist()) for mode in ("disjoint", "identical", "target")
        }
        assert asked["disjoint"] == set(range(16)) - visible(a, image)
        assert asked["identical"] == visible(a, image)
        assert asked["target"] == set(range(16)) - visible(b, image)


def test_with_disjoint_masks_the_target_is_hidden_where_the_source_was_visible():
    masks = draw_masks("disjoint", ["a", "b"], 3, 16, 0.7)
    for s, t in (("a", "b"), ("b", "a")):
        seen, hidden = (rebuilt(mode, masks[s], masks[t]).sort(1)[0] for mode in ("identical", "target"))
        assert torch.equal(seen, hidden)
