"""What each expert is used for: collected from what the layers are given, sensor by sensor, on a catalog's chips."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.data import Chips
from train.layers import SoftMoE
from train.layers.experts import ExpertPool, by_expert
from train.layers.hierarchical import SHARED, HierarchicalMoE
from train.layers.routing import Routes
from train.loader import in_order
from train.models import Model

SOFT = "experts"  # the pool of a Soft MoE


@dataclass
class PoolUse:
    """The use of one pool's experts, summed over tokens; add two to have both."""

    load: Tensor  # [E], choices; of a Soft MoE weights
    mass: Tensor  # [E], weight given to the expert
    activity: Tensor  # [E, H], |activation| of the hidden units, summed over the rows that the expert saw
    seen: Tensor  # [E], rows that it saw
    tokens: float

    def __add__(self, other: PoolUse) -> PoolUse:
        return PoolUse(
            self.load + other.load,
            self.mass + other.mass,
            self.activity + other.activity,
            self.seen + other.seen,
            self.tokens + other.tokens,
        )

    @property
    def share(self) -> Tensor:
        """Share of all use by expert, [E]."""
        return self.load / self.load.sum().clamp(min=1e-12)

    @property
    def weight(self) -> Tensor:
        """Mean weight that a token gives each expert, [E]."""
        return self.mass / self.tokens

    @property
    def units(self) -> Tensor:
        """Mean |activation| of each hidden unit where its expert is asked, [E, H]."""
        return self.activity / self.seen.clamp(min=1.0)[:, None]


Use = dict[str, dict[str, dict[str, PoolUse]]]  # layer -> pool -> sensor


@torch.inference_mode()
def collect(model: Model, chips: Chips, batch_size: int = 32, batches: int | None = None) -> Use:
    """The use of every expert by every sensor of the model, over the first *batches* of *chips*, or all."""
    device, training = next(model.parameters()).device, model.training
    found: Use = {}
    model.eval()
    with listening(model) as heard:
        for batch in in_order(chips, batch_size):
            if batch.step == batches:
                break
            images = chips.config.images(batch.to(device))
            for sensor in model.sensors:
                heard.clear()
                model.encode({sensor: images[sensor]})
                for layer, pools in heard.items():
                    for pool, use in pools.items():
                        by_sensor = found.setdefault(layer, {}).setdefault(pool, {})
                        by_sensor[sensor] = by_sensor[sensor] + use if sensor in by_sensor else use
    model.train(training)
    return found


@contextmanager
def listening(model: nn.Module) -> Iterator[dict[str, dict[str, PoolUse]]]:
    """A mapping that each forward pass fills with the use of every layer's pools."""
    heard: dict[str, dict[str, PoolUse]] = {}

    def listen(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
            heard[name] = (
                soft_use(layer, *inputs) if isinstance(layer, SoftMoE) else sparse_use(layer, *inputs)
            )

        return hook

    handles = [
        layer.register_forward_pre_hook(listen(name))
        for name, layer in model.named_modules()
        if isinstance(layer, SoftMoE | HierarchicalMoE)
    ]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def sparse_use(layer: nn.Module, x: Tensor, rows: Any) -> dict[str, PoolUse]:
    """The use of a hierarchical layer's pools by tokens [B, L, D] of one sensor."""
    assert isinstance(layer, HierarchicalMoE)
    tokens = x.flatten(0, 1)
    (sensor,) = (name for name, _ in rows)
    found = {}
    for pool in layer.experts:
        if pool in (sensor, "collaborative"):
            routes = layer.routers[pool](tokens, images=len(x))
            found[pool] = _pool_use(cast(ExpertPool, layer.experts[pool]), tokens, routes)
    if layer.shared is not None:
        every = torch.full((1,), float(len(tokens)), device=x.device)
        active = F.gelu(layer.shared.fc1(tokens)).abs().sum(0, dtype=torch.float32)[None]
        found[SHARED] = PoolUse(every, every, active, every, len(tokens))
    return found


def _pool_use(pool: ExpertPool, tokens: Tensor, routes: Routes) -> PoolUse:
    experts = len(pool.fc1.weight)
    order, counts = by_expert(routes.chosen, experts)
    rows = tokens[order // routes.chosen.shape[1]]
    active = F.gelu(pool.hidden(rows, counts)).abs().float()
    expert = torch.repeat_interleave(counts, output_size=len(rows))
    activity = active.new_zeros(experts, active.shape[1]).index_add_(0, expert, active)
    mass = active.new_zeros(experts).index_add_(0, expert, routes.gates.flatten()[order].float())
    return PoolUse(counts.float(), mass, activity, counts.float(), len(tokens))


def soft_use(layer: nn.Module, x: Tensor) -> dict[str, PoolUse]:
    """The use of a Soft MoE's experts by tokens [B, m, d]: the weights with which slots answer tokens."""
    assert isinstance(layer, SoftMoE)
    dim, experts, slots = layer.phi.shape
    dispatch, combine = layer.route(x)
    mass = combine.reshape(*combine.shape[:2], experts, slots).sum((0, 1, 3))  # [n]
    filled = (dispatch.transpose(1, 2) @ x.float()).reshape(len(x), experts, slots, dim)  # [B, n, p, d]
    hidden = F.gelu(layer.fc1(filled.transpose(0, 1).reshape(experts, -1, dim).to(x.dtype)))
    activity = hidden.abs().sum(1, dtype=torch.float32)  # [n, H]
    seen = mass.new_full((experts,), float(len(x) * slots))
    return {SOFT: PoolUse(mass, mass, activity, seen, x.shape[0] * x.shape[1])}


def over_sensors(by_sensor: dict[str, PoolUse], sensors: tuple[str, ...] | None = None) -> PoolUse:
    """The use by all sensors, or by those named, together; by all, too, where no named one passes."""
    named = [use for sensor, use in by_sensor.items() if sensors is not None and sensor in sensors]
    chosen = named or list(by_sensor.values())
    total = chosen[0]
    for use in chosen[1:]:
        total = total + use
    return total


def kept(use: PoolUse, keep: int | None, share: float | None) -> list[int]:
    """Experts to keep, in their order: the *keep* most used, or the fewest that hold *share* of all use."""
    order = use.share.argsort(descending=True, stable=True)
    count = len(order)
    if keep is not None:
        count = min(keep, count)
    elif share is not None:
        held = use.share[order].cumsum(0)
        count = min(int((held < share - 1e-6).sum()) + 1, count)
    return sorted(order[:count].tolist())
