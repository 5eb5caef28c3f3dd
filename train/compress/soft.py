"""CSMoE made smaller, or larger by experts for a new task: what its paper leaves for the future."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from train.compress.merging import Expert, merge
from train.compress.sparse import moved
from train.compress.usage import SOFT, Use, kept, over_sensors
from train.layers import SoftMoE
from train.models import CSMoE, ModelConfig

STACKED = ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")  # [n, …]; phi is [d, n, p]


def prune(
    model: CSMoE,
    use: Use,
    keep: int | None = None,
    share: float | None = None,
    sensors: tuple[str, ...] | None = None,
) -> CSMoE:
    """*model* with the experts that its use asks for most.

    Every layer of an encoder keeps equally many, with *share* as many as the layer that needs most; which ones is
    each layer's own affair. Combine weights are a softmax over what is left; dispatch weights do not change.
    """
    chosen = {name: kept(over_sensors(by_pool[SOFT], sensors), keep, share) for name, by_pool in use.items()}
    specific, common = (
        max((len(experts) for name, experts in chosen.items() if name.startswith(part)), default=0)
        for part in ("specific", "shared")
    )
    state = model.state_dict()
    for name, by_pool in use.items():
        count = specific if name.startswith("specific") else common
        experts = kept(over_sensors(by_pool[SOFT], sensors), count, None)
        _take(state, name, experts)
    return rebuilt(_sized(model.config, specific, common), state, model)


def grow(model: CSMoE, use: Use, experts: int, noise: float = 0.01, seed: int = 0) -> CSMoE:
    """*model* with *experts* more in every Soft MoE: copies of its most used one, moved by a little noise."""
    generator = torch.Generator().manual_seed(seed)
    state, sizes = model.state_dict(), {"specific": 0, "shared": 0}
    for name, by_pool in use.items():
        share = over_sensors(by_pool[SOFT]).share
        before, best = len(share), int(share.argmax())
        _take(state, name, [*range(before), *[best] * experts])
        for key in STACKED:
            state[f"{name}.{key}"] = moved(state[f"{name}.{key}"], before, noise, generator)
        phi = state[f"{name}.phi"].transpose(0, 1)  # [n, d, p]
        state[f"{name}.phi"] = moved(phi, before, noise, generator).transpose(0, 1).contiguous()
        sizes[name.split(".")[0]] = before + experts
    return rebuilt(_sized(model.config, sizes["specific"], sizes["shared"]), state, model)


def merged(model: CSMoE, use: Use, how: str) -> CSMoE:
    """*model* with one MLP of the usual width in the place of each Soft MoE: a CSMAE.

    Raises:
        ValueError: there is no such way.
    """
    state = model.state_dict()
    for name, layer in soft_layers(model):
        seen = over_sensors(use[name][SOFT])
        parts = [state[f"{name}.{key}"] for key in STACKED]
        experts = [
            Expert(w1, b1[0], w2, b2[0], SOFT, float(seen.weight[i]), seen.units[i])
            for i, (w1, b1, w2, b2) in enumerate(zip(*parts, strict=True))
        ]
        one = merge(experts, layer.fc1.weight.shape[1], how)
        for key in ("phi", "scale"):
            del state[f"{name}.{key}"]
        for key, value in zip(STACKED, (one.w1, one.b1, one.w2, one.b2), strict=True):
            state[f"{name}.{key}"] = value
    return rebuilt(
        replace(model.config, experts=0, slots=1, shared_experts=None, shared_slots=None), state, model
    )


def soft_layers(model: CSMoE) -> list[tuple[str, SoftMoE]]:
    """The Soft MoEs by name."""
    return [(name, m) for name, m in model.named_modules() if isinstance(m, SoftMoE)]


def rebuilt(config: ModelConfig, state: dict[str, Tensor], like: CSMoE) -> CSMoE:
    """A model of *config* with the tensors of *state*."""
    p = next(like.parameters())
    with torch.random.fork_rng(devices=[]):
        model = CSMoE(config).to(p.device, p.dtype)
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    return model.train(like.training)


def _sized(config: ModelConfig, specific: int, common: int) -> ModelConfig:
    """*config* with other numbers of experts in the sensors' own encoders and the cross-sensor one."""
    own = specific or common  # of a model without encoders of its own
    return replace(config, experts=own, shared_experts=common if common and common != own else None)


def _take(state: dict[str, Tensor], name: str, experts: Sequence[int]) -> None:
    """Keep the chosen *experts* of the Soft MoE called *name*."""
    for key in STACKED:
        state[f"{name}.{key}"] = state[f"{name}.{key}"][list(experts)]
    state[f"{name}.phi"] = state[f"{name}.phi"][:, list(experts)]
