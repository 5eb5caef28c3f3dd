"""Smaller models: what stays exactly the same, and what only nearly."""

import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from train.compress import soft as soft_moe
from train.compress import sparse
from train.compress.distil import adapt, distance, distil
from train.compress.merging import METHODS, Expert, basis, merge
from train.compress.scoring import encode_flops, step
from train.compress.usage import PoolUse, collect, kept
from train.data import Chips
from train.layers.hierarchical import COLLABORATIVE
from train.models.ringmoe_config import RingMoEConfig
from train.models.ringmoe_presets import ring_preset


def run(expert, x):
    return F.gelu(x @ expert.w1.T + expert.b1) @ expert.w2.T + expert.b2


def random_expert(width=24, dim=6, seed=0, **fields):
    generator = torch.Generator().manual_seed(seed)
    parts = (
        torch.randn(*size, generator=generator) for size in ((width, dim), (width,), (dim, width), (dim,))
    )
    return Expert(*parts, **fields)


def same(first, second):
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ["tiny", "tiny+top2", "tiny+no-shared", "tiny+cosine", "tiny+capacity"])
@pytest.mark.parametrize("sensor", ["s1", "s2"])
def test_one_sensors_part_is_exact_to_the_last_bit(make_ring, images, name, sensor):
    whole = make_ring(name)
    part = sparse.extract(whole, sensor)
    assert part.sensors == (sensor,)
    assert sum(p.numel() for p in part.parameters()) < sum(p.numel() for p in whole.parameters())
    own = {sensor: images[sensor]}
    assert torch.equal(part.encode(own)[sensor], whole.encode(own)[sensor])
    assert torch.equal(part.encode_tokens(own)[sensor], whole.encode_tokens(own)[sensor])


def test_a_vits_part_is_exact(chips, images):
    preset = replace(ring_preset("vit-tiny"), embed_dim=16, heads=(2,))
    torch.manual_seed(0)
    from train.models.ringmoe import RingMoE

    whole = RingMoE(preset.model(chips.config.bands, 32, 4)).eval()
    part = sparse.extract(whole, "s1")
    assert torch.equal(part.encode({"s1": images["s1"]})["s1"], whole.encode({"s1": images["s1"]})["s1"])


def test_use_counts_every_token(ring, ring_use, chips):
    tokens = len(chips) * ring.config.tokens
    for block, (name, _) in enumerate(sparse.mixtures(ring)):
        for pool, by_sensor in ring_use[name].items():
            expected = {"s2", "s1"} if pool in (COLLABORATIVE, "shared") else {pool}
            assert set(by_sensor) == expected
            for use in by_sensor.values():
                assert use.tokens == use.load.sum() == tokens // (1 if block < 2 else 4)
                assert use.share.sum().item() == pytest.approx(1)
                assert (use.weight <= use.share + 1e-6).all()  # gates are at most 1


def test_use_of_a_soft_mixture_is_what_answers_its_tokens(soft_use):
    assert {name.split(".")[0] for name in soft_use} == {"specific", "shared"}
    for pools in soft_use.values():
        for use in pools["experts"].values():
            assert (use.mass.sum() / use.tokens).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("keep", "share", "expected"),
    [
        (1, None, [2]),
        (2, None, [0, 2]),
        (9, None, [0, 1, 2, 3]),
        (None, 0.5, [2]),
        (None, 0.75, [0, 2]),
        (None, 1.0, [0, 1, 2]),
    ],
)
def test_the_most_used_are_kept(keep, share, expected):
    load = torch.tensor([3.0, 2.0, 5.0, 0.0])
    use = PoolUse(load, load, torch.zeros(4, 2), load, 10.0)
    assert kept(use, keep, share) == expected


def test_keeping_all_changes_nothing(ring, ring_use, images):
    pruned = sparse.prune(ring, ring_use, keep=4, pools=(COLLABORATIVE, "s1", "s2"))
    assert same(pruned, ring)
    for sensor, features in ring.encode(images).items():
        assert torch.equal(pruned.encode(images)[sensor], features)


@pytest.mark.parametrize("name", ["tiny", "tiny+top2"])
def test_pruning_an_expert_that_is_never_chosen_changes_nothing(make_ring, chips, images, name):
    model = make_ring(name, collaborative=5)
    with torch.no_grad():  # of v, -v, u and -u two always are above 0, which the second expert's logit is
        for _, layer in sparse.mixtures(model):
            rows = layer.routers[COLLABORATIVE].weight
            rows[1], rows[2], rows[4] = 0, -rows[0], -rows[3]
    use = collect(model, chips)
    assert all(each.load[1] == 0 for pools in use.values() for each in pools[COLLABORATIVE].values())
    pruned = sparse.prune(model, use, keep=4)
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in model.parameters())
    for sensor, features in model.encode(images).items():
        torch.testing.assert_close(pruned.encode(images)[sensor], features, atol=1e-6, rtol=1e-6)


def test_pruned_models_are_smaller_survive_json_and_can_be_pruned_again(ring, ring_use, chips, images):
    part = sparse.extract(ring, "s2")
    use = collect(part, Chips.some(chips, 16, 0))
    once = sparse.prune(part, use, keep=2, pools=(COLLABORATIVE, "s2"))
    twice = sparse.prune(once, collect(once, chips.some(16, 0)), keep=1)
    assert RingMoEConfig.from_json(twice.config.to_json()) == twice.config
    for _, layer in sparse.mixtures(twice):
        assert len(layer.experts[COLLABORATIVE].fc1.weight) == 1
        assert layer.routers[COLLABORATIVE].weight.shape[0] == 4
        assert len(layer.experts["s2"].fc1.weight) == 2
    again = sparse.rebuilt(twice.config, twice.state_dict(), twice)
    assert torch.equal(again.encode({"s2": images["s2"]})["s2"], twice.encode({"s2": images["s2"]})["s2"])
    counts = [sum(p.numel() for p in m.parameters()) for m in (part, once, twice)]
    assert counts == sorted(counts, reverse=True)


def test_share_may_keep_other_numbers_in_every_layer(ring, ring_use):
    pruned = sparse.prune(ring, ring_use, share=0.7)
    sizes = [len(layer.experts[COLLABORATIVE].fc1.weight) for _, layer in sparse.mixtures(pruned)]
    assert all(1 <= n <= 4 for n in sizes)
    for (name, _), n in zip(sparse.mixtures(ring), sizes, strict=True):
        by_sensor = ring_use[name][COLLABORATIVE]
        share = (by_sensor["s1"] + by_sensor["s2"]).share.sort(descending=True).values
        assert share[:n].sum() >= 0.7 - 1e-5
        assert n == 1 or share[: n - 1].sum() < 0.7


@pytest.mark.parametrize("how", METHODS)
def test_merging_one_expert_is_that_expert(how):
    expert = random_expert()
    x = torch.randn(20, 6)
    one = merge([expert], 24, how)
    torch.testing.assert_close(run(one, x), run(expert, x), atol=1e-4, rtol=1e-4)


def test_the_average_of_equal_experts_is_exact():
    same_everywhere = random_expert()
    x = torch.randn(20, 6)
    pool = [replace(same_everywhere, pool=p, weight=w) for p, w in (("a", 0.3), ("a", 0.5), ("b", 1.0))]
    torch.testing.assert_close(run(merge(pool, 24, "average"), x), 1.8 * run(same_everywhere, x))


def test_directions_at_full_rank_hold_all_of_an_expert():
    expert = random_expert()
    turn = basis(expert.w1, 6)  # W1 is 24 × 6: six directions are all it has
    torch.testing.assert_close(turn.T @ turn, torch.eye(6), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(turn @ (turn.T @ expert.w1), expert.w1, atol=1e-4, rtol=1e-4)
    units = basis(
        torch.eye(24)[:, :6] * torch.arange(6.0, 0, -1), 3
    )  # three units hold most: they are taken as they are
    torch.testing.assert_close(units, torch.eye(24)[:, :3], atol=1e-6, rtol=0)


def test_units_are_taken_as_they_are():
    strong, weak = random_expert(seed=1, weight=1.0, pool="a"), random_expert(seed=2, weight=1e-6, pool="b")
    x = torch.randn(20, 6)
    torch.testing.assert_close(
        run(merge([weak, strong], 24, "units"), x), run(strong, x), atol=1e-4, rtol=1e-4
    )
    silent = replace(strong, units=torch.cat([torch.ones(12), torch.zeros(12)]))
    half = merge([silent.chunks(12)[0], silent.chunks(12)[1]], 12, "units")
    assert torch.equal(half.w1, strong.w1[:12])


def test_unknown_ways_and_widths_are_refused():
    with pytest.raises(ValueError, match="no way"):
        merge([random_expert()], 24, "magic")
    with pytest.raises(ValueError, match="hidden units"):
        merge([random_expert()], 48, "sum")


@pytest.mark.parametrize("how", METHODS)
def test_merged_models_are_as_large_as_the_dense_preset(make_ring, ring, ring_use, images, how):
    part = sparse.extract(ring, "s1")
    dense = sparse.merged(part, ring_use, how)
    like = sparse.extract(make_ring("tiny+dense"), "s1")
    assert {n: p.shape for n, p in dense.named_parameters()} == {
        n: p.shape for n, p in like.named_parameters()
    }
    assert dense.encode({"s1": images["s1"]})["s1"].isfinite().all()


def test_several_sensors_are_not_merged(ring, ring_use):
    with pytest.raises(ValueError, match="extract"):
        sparse.merged(ring, ring_use, "sum")


def test_distillation_brings_a_merged_model_closer(ring, ring_use, chips):
    dense = sparse.merged(sparse.extract(ring, "s1"), ring_use, "units")
    before = distance(dense, ring, chips)
    losses = distil(dense, ring, chips, 30, batch_size=16, lr=1e-3)
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert distance(dense, ring, chips) < 0.9 * before


def test_growing_adds_copies_and_adapting_changes_nothing_else(ring, ring_use, chips, images):
    grown = sparse.grow(ring, ring_use, 2)
    for (_, before), (_, after) in zip(sparse.mixtures(ring), sparse.mixtures(grown), strict=True):
        old, new = (layer.experts[COLLABORATIVE].fc1.weight for layer in (before, after))
        assert len(new) == len(old) + 2
        assert torch.equal(new[: len(old)], old)
        copied = [(new[len(old)] - each).norm() / each.norm() for each in old]
        assert min(copied) < 0.05
    state = copy.deepcopy(grown.state_dict())
    losses = adapt(grown, 2, chips, 3, batch_size=16, lr=1e-2)
    assert len(losses) == 3
    moved = {name for name, tensor in grown.state_dict().items() if not torch.equal(tensor, state[name])}
    assert moved
    assert all(f".{COLLABORATIVE}." in name for name in moved)
    for name in moved:
        assert torch.equal(grown.state_dict()[name][:4], state[name][:4])
    assert all(p.requires_grad for p in grown.parameters())


def test_a_soft_mixture_keeps_its_most_used_experts(soft, soft_use, images):
    assert same(soft_moe.prune(soft, soft_use, keep=3), soft)
    pruned = soft_moe.prune(soft, soft_use, keep=1, sensors=("s2",))
    assert pruned.config.experts == 1
    for name, layer in soft_moe.soft_layers(pruned):
        best = kept(soft_use[name]["experts"]["s2"], 1, None) if "s2" in soft_use[name]["experts"] else None
        if best is not None:
            assert torch.equal(layer.fc1.weight, soft.get_submodule(name).fc1.weight[best])
    assert pruned.encode(images)["s2"].isfinite().all()


def test_a_soft_mixture_grows_and_only_new_experts_learn(soft, soft_use, chips):
    grown = soft_moe.grow(soft, soft_use, 1)
    assert grown.config.experts == 4
    state = copy.deepcopy(grown.state_dict())
    adapt(grown, 1, chips, 3, batch_size=16, lr=1e-2)
    moved = {name for name, tensor in grown.state_dict().items() if not torch.equal(tensor, state[name])}
    assert moved
    for name in moved:
        axis = 1 if name.endswith("phi") else 0
        now, was = (s[name].narrow(axis, 0, 3) for s in (grown.state_dict(), state))
        assert torch.equal(now, was)


@pytest.mark.parametrize("how", METHODS)
def test_a_soft_mixture_merges_to_a_dense_model(soft, soft_use, images, how):
    dense = soft_moe.merged(soft, soft_use, how)
    assert dense.config.experts == 0
    assert dense.encode(images)["s1"].isfinite().all()


def test_steps_cost_less_and_are_scored(ring, ring_use, chips):
    part = sparse.extract(ring, "s1")
    dense = sparse.merged(part, ring_use, "average")
    costs = [encode_flops(m, "s1", 32) for m in (ring, part, dense)]
    assert costs[0] == costs[1] > costs[2]
    scored = step("dense", dense, "s1", one(chips), one(chips), seconds=0.05)
    assert set(scored.knn) == set(scored.linear) == {"dominant land cover", "Köppen main class"}
    assert all(0 <= value <= 1 for value in (*scored.knn.values(), *scored.linear.values()))
    assert scored.images_per_s > 0


def one(chips):
    """The same chips as a model of radar alone sees them."""
    fewer = copy.copy(chips)
    fewer.config = replace(chips.config, sensors=tuple(s for s in chips.config.sensors if s.prefix == "s1"))
    fewer._infos = {"s1": chips._infos["s1"]}
    fewer._opened = {}
    return fewer
