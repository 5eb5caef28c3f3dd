"""Experts divided over ranks: each rank holds some experts of every pool and all else, and tokens travel to them.

Rows that are sorted by expert are sorted by rank, too: one all-to-all takes them to the ranks that hold their experts,
one brings the answers back. Every rank must name the same sensors in a step, with or without images: each pool is one
exchange.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from train.layers.experts import ExpertPool
from train.layers.soft_moe import Experts


class Shards:
    """How rows reach the ranks of *group* and come back."""

    def __init__(self, group: Any) -> None:
        self.group, self.ranks = group, dist.get_world_size(group)

    def __call__(self, answer: Callable[[Tensor, Tensor], Tensor], rows: Tensor, counts: Tensor) -> Tensor:
        """What the experts of all ranks make of *rows* [M, D], *counts* [E] of which go to each expert."""
        leaving = counts.reshape(self.ranks, -1)  # [ranks, experts of a rank]
        coming = torch.empty_like(leaving)
        dist.all_to_all_single(coming, leaving.contiguous(), group=self.group)
        out, back = leaving.sum(1).tolist(), coming.sum(1).tolist()
        inbox: Tensor = _Exchange.apply(rows, back, out, self.group)  # type: ignore[no-untyped-call]
        expert = torch.arange(leaving.shape[1], device=rows.device).repeat(self.ranks)
        order = expert.repeat_interleave(coming.flatten()).argsort(stable=True)
        answers = answer(inbox[order], coming.sum(0))[order.argsort()]
        home: Tensor = _Exchange.apply(answers, out, back, self.group)  # type: ignore[no-untyped-call]
        return home


class _Exchange(torch.autograd.Function):
    """All-to-all of rows; a row's gradient travels back the way it came."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, arriving: list[int], leaving: list[int], group: Any) -> Tensor:
        ctx.arriving, ctx.leaving, ctx.group = arriving, leaving, group
        out = rows.new_empty(sum(arriving), rows.shape[1])
        dist.all_to_all_single(out, rows.contiguous(), arriving, leaving, group=group)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        out = grad.new_empty(sum(ctx.leaving), grad.shape[1])
        dist.all_to_all_single(out, grad.contiguous(), ctx.leaving, ctx.arriving, group=ctx.group)
        return out, None, None, None


def shard_experts(model: nn.Module, group: Any = None) -> None:
    """Leave this rank its share of every pool's experts, in place; the ranks' models must be equal before.

    Pools whose experts the ranks do not divide stay whole on every rank.
    """
    group = dist.group.WORLD if group is None else group
    ranks, rank = dist.get_world_size(group), dist.get_rank(group)
    for module in model.modules():
        if isinstance(module, ExpertPool) and len(module.fc1.weight) % ranks == 0:
            module.sharded = Shards(group)
            for layer in (module.fc1, module.fc2):
                _keep(layer, rank, ranks)


def _keep(layer: Experts, rank: int, ranks: int) -> None:
    share = len(layer.weight) // ranks
    mine = slice(rank * share, (rank + 1) * share)
    layer.weight = nn.Parameter(layer.weight.detach()[mine].clone())
    layer.bias = nn.Parameter(layer.bias.detach()[mine].clone())


def average_gradients(model: nn.Module, group: Any = None) -> None:
    """Turn each rank's gradients of its own mean loss into those of the mean over all ranks, in place.

    An expert that one rank holds has gathered the gradients of all ranks' tokens already; what every rank holds is
    averaged over them.
    """
    group = dist.group.WORLD if group is None else group
    ranks = dist.get_world_size(group)
    own = {
        id(p)
        for module in model.modules()
        if isinstance(module, ExpertPool) and module.sharded is not None
        for p in module.parameters()
    }
    for p in model.parameters():
        grad = torch.zeros_like(p) if p.grad is None else p.grad
        if id(p) not in own:
            dist.all_reduce(grad, group=group)
        p.grad = grad / ranks
