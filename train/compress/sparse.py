"""RingMoE made smaller: one sensor's part, fewer experts, one dense layer; or larger by experts for a new task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from train.compress.merging import Expert, merge
from train.compress.usage import PoolUse, Use, kept, over_sensors
from train.layers.experts import ExpertPool
from train.layers.hierarchical import COLLABORATIVE, SHARED, HierarchicalMoE
from train.models.ringmoe import RingMoE
from train.models.ringmoe_config import RingMoEConfig

State = dict[str, Tensor]


def extract(model: RingMoE, sensor: str) -> RingMoE:
    """The part of *model* that *sensor* passes through: the same numbers, to the last bit.

    Raises:
        KeyError: the model has no such sensor.
    """
    c = model.config
    own = {sensor, f"{sensor} closed", COLLABORATIVE, f"{COLLABORATIVE} closed", SHARED}
    layout = None
    if c.layout is not None:
        layout = tuple({pool: n for pool, n in block.items() if pool in own} for block in c.layout)
    config = replace(c, specs={sensor: c.specs[sensor]}, layout=layout, sensor_weights=None, ratios=None)
    return rebuilt(config, model.state_dict(), model)


def prune(
    model: RingMoE,
    use: Use,
    keep: int | None = None,
    share: float | None = None,
    pools: Sequence[str] = (COLLABORATIVE,),
) -> RingMoE:
    """*model* with the *keep* most used experts of each layer's *pools*, or the fewest that hold *share* of their use.

    Router rows of the others stay and are never chosen: see `layers.routing.Router`.
    """
    state, layout = model.state_dict(), []
    for block, (name, layer) in enumerate(mixtures(model)):
        counts = model.config.block_layout(block)
        for pool in [p for p in layer.experts if p in pools]:
            if pool not in use.get(name, {}):
                continue  # nothing passed it
            chosen = kept(over_sensors(use[name][pool]), keep, share)
            rows = len(state[f"{name}.routers.{pool}.weight"])
            others = [i for i in range(rows) if i not in chosen]
            _take(state, f"{name}.experts.{pool}.", chosen)
            state[f"{name}.routers.{pool}.weight"] = state[f"{name}.routers.{pool}.weight"][chosen + others]
            counts[pool], counts[f"{pool} closed"] = len(chosen), len(others)
        layout.append(counts)
    return rebuilt(replace(model.config, layout=tuple(layout)), state, model)


def merged(model: RingMoE, use: Use, how: str) -> RingMoE:
    """*model* of one sensor with one MLP of the usual width in the place of each layer's pools.

    Raises:
        ValueError: the model has several sensors, or there is no such way.
    """
    if len(model.sensors) != 1:
        raise ValueError(f"Pools of {len(model.sensors)} sensors do not make one MLP: extract one first")
    c, state = model.config, model.state_dict()
    for name, layer in mixtures(model):
        width = layer_width(layer)
        one = merge(experts_of(layer, use.get(name, {})), c.mlp_ratio * width, how)
        for key in [key for key in state if key.startswith(f"{name}.")]:
            del state[key]
        for part, value in (
            ("fc1.weight", one.w1),
            ("fc1.bias", one.b1),
            ("fc2.weight", one.w2),
            ("fc2.bias", one.b2),
        ):
            state[f"{name}.shared.{part}"] = value
    dense = replace(c, specialised=0, collaborative=0, shared=1, moe_blocks=None, layout=None)
    return rebuilt(dense, state, model)


def grow(
    model: RingMoE, use: Use, experts: int, pool: str = COLLABORATIVE, noise: float = 0.01, seed: int = 0
) -> RingMoE:
    """*model* with *experts* more in every layer's *pool*: copies of its most used one, moved by a little noise."""
    generator = torch.Generator().manual_seed(seed)
    state, layout = model.state_dict(), []
    for block, (name, layer) in enumerate(mixtures(model)):
        counts = model.config.block_layout(block)
        if pool in layer.experts and pool in use.get(name, {}):
            best = int(over_sensors(use[name][pool]).share.argmax())
            size = counts[pool]
            order = [*range(size), *[best] * experts]
            _take(state, f"{name}.experts.{pool}.", order)
            for key in [key for key in state if key.startswith(f"{name}.experts.{pool}.")]:
                state[key] = moved(state[key], size, noise, generator)
            key = f"{name}.routers.{pool}.weight"
            closed = state[key][size:]
            rows = moved(state[key][order], size, noise, generator)
            state[key] = torch.cat([rows, closed])
            counts[pool] = size + experts
        layout.append(counts)
    return rebuilt(replace(model.config, layout=tuple(layout)), state, model)


def moved(stacked: Tensor, first: int, noise: float, generator: torch.Generator) -> Tensor:
    """Slices *first* and later of [E, …] moved by *noise* of their own spread."""
    new = stacked[first:]
    step = torch.randn(new.shape, generator=generator).to(new) * noise * new.std(correction=0)
    return torch.cat([stacked[:first], new + step])


def mixtures(model: RingMoE) -> list[tuple[str, HierarchicalMoE]]:
    """The layers of experts by name, in the order of the blocks."""
    return [(name, m) for name, m in model.named_modules() if isinstance(m, HierarchicalMoE)]


def layer_width(layer: HierarchicalMoE) -> int:
    """Width of the tokens that *layer* sees."""
    last = [p for name, p in layer.named_parameters() if name.endswith("fc2.bias")]
    return last[0].shape[-1]


def experts_of(layer: HierarchicalMoE, use: dict[str, dict[str, PoolUse]]) -> list[Expert]:
    """All experts of *layer* with their use; the shared one last."""
    found = []
    for pool, experts in layer.experts.items():
        assert isinstance(experts, ExpertPool)
        seen = over_sensors(use[pool]) if pool in use else None
        stacked = zip(experts.fc1.weight, experts.fc1.bias, experts.fc2.weight, experts.fc2.bias, strict=True)
        for i, (w1, b1, w2, b2) in enumerate(stacked):
            weight = 0.0 if seen is None else float(seen.weight[i])
            units = None if seen is None else seen.units[i]
            found.append(
                Expert(w1.detach(), b1.detach()[0], w2.detach(), b2.detach()[0], pool, weight, units)
            )
    if layer.shared is not None:
        fc1, fc2 = layer.shared.fc1, layer.shared.fc2
        units = over_sensors(use[SHARED]).units[0] if SHARED in use else None
        w1, b1, w2, b2 = (p.detach() for p in (fc1.weight, fc1.bias, fc2.weight, fc2.bias))
        found.append(Expert(w1, b1, w2, b2, SHARED, 1.0, units))
    return found


def rebuilt(config: RingMoEConfig, state: State, like: RingMoE) -> RingMoE:
    """A model of *config* with those of the tensors in *state* that it has a place for."""
    p = next(like.parameters())
    with torch.random.fork_rng(devices=[]):
        model = RingMoE(config).to(p.device, p.dtype)
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    return model.train(like.training)


def _take(state: State, prefix: str, chosen: Sequence[int]) -> None:
    """Keep the *chosen* slices of every tensor under *prefix*."""
    for key in [key for key in state if key.startswith(prefix)]:
        state[key] = state[key][list(chosen)]
