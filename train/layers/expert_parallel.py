"""Experts divided over ranks: each rank holds some experts of a pool, and tokens travel to them.

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
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Shard, distribute_tensor

from train.layers.experts import ExpertPool


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


def divide_experts(model: nn.Module, mesh: DeviceMesh) -> set[nn.Parameter]:
    """Leave each rank of *mesh* its share of every pool whose experts they divide; the parameters divided so.

    They become distributed tensors along the experts, so that their checkpoints are whole. A rank's experts see the
    rows of all ranks: their gradients add up, and are divided by the ranks to be those of the mean over all.
    """
    ranks, divided = mesh.size(), set[nn.Parameter]()
    for pool in model.modules():
        if isinstance(pool, ExpertPool) and len(pool.fc1.weight) % ranks == 0:
            pool.shards = Shards(mesh.get_group())
            for layer in (pool.fc1, pool.fc2):
                for name, whole in list(layer.named_parameters()):
                    part = nn.Parameter(distribute_tensor(whole.detach(), mesh, [Shard(0)]))
                    part.register_hook(lambda grad: grad / ranks)  # type: ignore[no-untyped-call]
                    layer.register_parameter(name, part)
                    divided.add(part)
    return divided
