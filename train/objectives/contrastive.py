"""What draws the features of one place's sensors together."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from train.objectives.reconstruction import mean_where


def nt_xent(
    first: Tensor,
    second: Tensor,
    tau: float = 0.5,
    present: Tensor | None = None,
    gather: bool = False,
) -> Tensor:
    """NT-Xent of paired features [B, D] (SimCLR, arXiv 2002.05709, equation 1): CSMAE's L_MIM.

        mean_i [ -s_(i, pair(i)) + log sum_(j ≠ i) exp s_ij ],   s = z zᵀ / tau,   z = L2([first; second])

    The 2B - 1 other rows of both sensors are the candidates, so negatives include images of the same sensor.
    Cross-entropy subtracts the row's maximum, so small *tau* does not overflow. Products are float32 or
    better, also under autocast.

    Args:
        present: True for pairs [B] that exist; the others are neither rows nor candidates.
        gather: candidates from all ranks of the process group; each rank answers for its own rows, so that the
            mean of the ranks' gradients, which data-parallel training takes, is that of the joined batch.
    """
    precise = torch.promote_types(first.dtype, torch.float32)
    z = F.normalize(torch.cat([first, second]).to(precise), dim=1)  # [2B, D]
    exists = None if present is None else torch.cat([present, present])  # [2B]
    rows = torch.arange(len(z), device=z.device)
    candidates, among, offset = z, exists, 0
    ranks = dist.get_world_size() if gather and dist.is_initialized() else 1
    if ranks > 1:
        every: Tensor = _Gather.apply(z)  # type: ignore[no-untyped-call]  # [ranks, 2B, D]
        candidates, offset = every.flatten(0, 1), dist.get_rank() * len(z)
        among = None if exists is None else _gathered(exists).flatten()
    with torch.autocast(z.device.type, enabled=False):  # bfloat16 would round what exp then enlarges
        similarity = z @ candidates.T / tau  # [2B, ranks·2B]
    similarity = similarity.index_put((rows, rows + offset), similarity.new_full((), -torch.inf))
    partner = rows.roll(len(first)) + offset
    if exists is None or among is None:
        return F.cross_entropy(similarity, partner)
    similarity = similarity.masked_fill(~among, -torch.inf)
    similarity = similarity.masked_fill(~exists[:, None], 0.0)  # finite, and of weight 0 below
    each = F.cross_entropy(similarity, partner, reduction="none")  # [2B]
    if ranks == 1:
        return mean_where(each, exists)
    return (each * exists).sum() * ranks / among.sum().clamp(min=1)


def discrepancy(first: Tensor, second: Tensor, present: Tensor | None = None) -> Tensor:
    """-mean_i log(1 + exp(cos(first_i, second_i))) of paired features [B, D]: CSMAE's L_MDE.

    Less where the sensors' features of a place point the same way. Off in the published configurations, and
    their code cannot run it.
    """
    precise = torch.promote_types(first.dtype, torch.float32)
    each = -F.softplus(F.cosine_similarity(first.to(precise), second.to(precise), dim=1))  # [B]
    return each.mean() if present is None else mean_where(each, present)


class _Gather(torch.autograd.Function):
    """Rows [n, D] of all ranks, [ranks, n, D]; a row's gradient is the sum of what it is on every rank."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return _gathered(rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad[dist.get_rank()]


def _gathered(rows: Tensor) -> Tensor:
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.stack(parts)
