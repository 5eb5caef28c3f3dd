"""RingMoE's hierarchical mixture in the place of a block's MLP (arXiv 2504.03166).

y_m = y_m^S + y_m^C + E_sh(x_m)
y_m^S = Σ_{i in top-k} g_i(x_m; R_m) E^S_{m,i}(x_m)      specialised: router and experts of sensor m alone
y_m^C = Σ_{j in top-k} g_j(x_m; R_C) E^C_j(x_m)          collaborative: one router for all sensors
E_sh                                                     shared: a plain MLP, always on, not gated
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from train.layers.attention import Mlp
from train.layers.experts import ExpertPool
from train.layers.routing import Router, RouterStats, Routing

COLLABORATIVE, SHARED = "collaborative", "shared"
Rows = Sequence[tuple[str, int]]  # sensors of a batch's images and how many of each, in the batch's order
Stats = dict[str, RouterStats]  # by pool: a sensor's prefix, or `collaborative`


@dataclass(frozen=True)
class Pools:
    """How many experts a layer has; 0 leaves a pool out.

    Raises:
        ValueError: no expert at all, or none that answers a sensor.
    """

    specialised: Mapping[str, int]  # by sensor
    collaborative: int
    shared: int  # as one MLP of so many times the width
    closed: Mapping[str, int] | None = None  # pruned experts whose router rows stay, by pool

    def __post_init__(self) -> None:
        if min(*self.specialised.values(), self.collaborative, self.shared) < 0:
            raise ValueError(f"A pool cannot have fewer than 0 experts: {self}")
        if not (self.collaborative or self.shared or all(self.specialised.values())):
            raise ValueError(f"Some sensor has no expert that answers it: {self}")


class HierarchicalMoE(nn.Module):
    """The three pools of one layer."""

    def __init__(self, dim: int, hidden: int, pools: Pools, specialised: Routing, common: Routing) -> None:
        super().__init__()
        sizes = {sensor: n for sensor, n in pools.specialised.items() if n}
        closed = pools.closed or {}
        self.routers = nn.ModuleDict(
            {sensor: Router(dim, n, specialised, closed.get(sensor, 0)) for sensor, n in sizes.items()}
        )
        self.experts = nn.ModuleDict({sensor: ExpertPool(dim, hidden, n) for sensor, n in sizes.items()})
        if pools.collaborative:
            self.routers[COLLABORATIVE] = Router(
                dim, pools.collaborative, common, closed.get(COLLABORATIVE, 0)
            )
            self.experts[COLLABORATIVE] = ExpertPool(dim, hidden, pools.collaborative)
        self.shared = Mlp(dim, pools.shared * hidden) if pools.shared else None

    def forward(self, x: Tensor, rows: Rows) -> tuple[Tensor, Stats]:
        """Tokens [B, L, D] of the sensors in *rows* to the same, and what the routers did."""
        batch, length, dim = x.shape
        total = self.shared(x) if self.shared is not None else torch.zeros_like(x)
        stats: Stats = {}
        if COLLABORATIVE in self.experts:
            y, stats[COLLABORATIVE] = self.mixed(COLLABORATIVE, x)
            total = total + y
        if any(sensor in self.experts for sensor, _ in rows):
            parts = []
            for (sensor, _), part in zip(rows, torch.split(x, [n for _, n in rows]), strict=True):
                y = torch.zeros_like(part)
                if sensor in self.experts:
                    y, stats[sensor] = self.mixed(sensor, part)
                parts.append(y.to(total.dtype))
            total = total + torch.cat(parts)
        return total.reshape(batch, length, dim), stats

    def mixed(self, pool: str, x: Tensor) -> tuple[Tensor, RouterStats]:
        """What *pool* answers to tokens [B, L, D], and what its router did."""
        tokens = x.flatten(0, 1)
        routes = self.routers[pool](tokens, images=len(x))
        return self.experts[pool](tokens, routes).reshape(x.shape), routes.stats


def router_losses(layers: Sequence[Stats], group: Any = None) -> tuple[Tensor | float, Tensor | float]:
    """Balance and z losses, Σ over layers of L_C + mean over sensors of L_S.

    Args:
        group: ranks among which the batch is divided, each with the same pools in *layers*; the mean of what they get
            is the loss of the whole batch.
    """
    balance: Tensor | float = 0.0
    z: Tensor | float = 0.0
    for stats in layers if group is None else over_ranks(layers, group):
        own = [each for pool, each in stats.items() if pool != COLLABORATIVE]
        for each in own:
            balance, z = balance + each.balance / len(own), z + each.z / len(own)
        if COLLABORATIVE in stats:
            balance, z = balance + stats[COLLABORATIVE].balance, z + stats[COLLABORATIVE].z
    return balance, z


def over_ranks(layers: Sequence[Stats], group: Any) -> list[Stats]:
    """What a rank adds to the statistics of all: f counts the tokens of all ranks, and each rank's weigh as its tokens.

    E Σ f p is no mean over tokens, so ranks cannot each have their own. One exchange for all layers; a pool that no
    rank's tokens pass adds nothing.
    """
    flat = [each for stats in layers for each in stats.values()]
    if not flat:
        return list(layers)
    summed = torch.cat([torch.cat([each.load * each.tokens, each.tokens[None]]) for each in flat])
    dist.all_reduce(summed, group=group)
    parts = iter(torch.split(summed, [len(each.load) + 1 for each in flat]))

    def of_all(each: RouterStats) -> RouterStats:
        seen = next(parts)
        total = seen[-1].clamp(min=1.0)
        even = each.scale * (seen[:-1] / total * each.mean).sum()
        weight = each.tokens * dist.get_world_size(group) / total
        return each._replace(balance=weight * (each.balance if each.grouped else even), z=weight * each.z)

    return [{pool: of_all(each) for pool, each in stats.items()} for stats in layers]
