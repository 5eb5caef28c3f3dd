"""Soft mixture of experts (Puigcerver et al., "From Sparse to Soft Mixtures of Experts", arXiv 2308.00951).

Per image, with tokens X [m, d], n experts of p slots each and slot parameters Phi [d, n, p]:

    logits = L2(X) · (g · L2(Phi))            [m, n, p]     L2 along d
    D      = softmax over the m tokens        every slot is a convex combination of tokens
    C      = softmax over the n·p slots       every token is a convex combination of slot outputs
    Y      = C · f_i(Dᵀ X)                    [m, d]        the experts see the raw X, not L2(X)

L2(x) is x / (|x| + 1e-6), the paper's convention, which is safe for all-zero tokens in half precision. Logits
and both softmaxes are computed in float32 at least. No token is dropped and there is no auxiliary loss.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6


def unit(x: Tensor, dim: int) -> Tensor:
    """x / (|x| + 1e-6) along *dim*."""
    # The norm's gradient at exactly zero is 0/0 in some kernels: linalg's is defined as zero.
    length: Tensor = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    return x / (length + EPS)


class Routing(NamedTuple):
    """How sharply a layer routes: exp(entropy), averaged, so 1 is one-hot and the total is uniform."""

    tokens_per_slot: float  # effective number of tokens that fill a slot, of m
    slots_per_token: float  # effective number of slots that answer a token, of n·p
    scale: float  # g


class Experts(nn.Module):
    """n linear maps in one batched product: [n, rows, inputs] to [n, rows, outputs]."""

    def __init__(self, experts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(experts, 1, outputs))
        bound = math.sqrt(6 / (inputs + outputs))  # Xavier-uniform for each expert alone
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight.transpose(1, 2))


class SoftMoE(nn.Module):
    """A Soft MoE in the place of a block's MLP.

    Args:
        dim: width d of the tokens.
        hidden: width of each expert's hidden layer.
        experts, slots: n, and p slots for each of them. Cost follows n·p, size follows n.
        scale_init: g at the start. The logits lie within ±g, so g = 1 (the paper's) is uniform routing, and
            g moves by little more than the learning rate a step: this value decides how sharp routing is.
    """

    def __init__(self, dim: int, hidden: int, experts: int, slots: int, scale_init: float = 1.0) -> None:
        super().__init__()
        self.phi = nn.Parameter(torch.randn(dim, experts, slots) / math.sqrt(dim))  # LeCun-normal
        self.scale = nn.Parameter(torch.full((1,), float(scale_init)))  # [1]: FSDP shards no scalars
        self.fc1 = Experts(experts, dim, hidden)
        self.fc2 = Experts(experts, hidden, dim)

    def route(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Dispatch and combine weights of tokens [B, m, d], both [B, m, n·p], float32 or better."""
        with torch.autocast(x.device.type, enabled=False):
            precise = torch.promote_types(x.dtype, torch.float32)
            phi = self.scale.to(precise) * unit(self.phi.to(precise), dim=0).flatten(1)  # [d, n·p]
            logits = unit(x.to(precise), dim=-1) @ phi  # [B, m, n·p]
            return logits.softmax(dim=1), logits.softmax(dim=2)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [B, m, d] to tokens [B, m, d]."""
        batch, _, dim = x.shape
        _, experts, slots = self.phi.shape
        dispatch, combine = self.route(x)
        filled = dispatch.to(x.dtype).transpose(1, 2) @ x  # [B, n·p, d]
        filled = filled.reshape(batch, experts, slots, dim).transpose(0, 1)  # [n, B, p, d]
        hidden = F.gelu(self.fc1(filled.reshape(experts, batch * slots, dim)))  # [n, B·p, hidden]
        answers = self.fc2(hidden).reshape(experts, batch, slots, dim).transpose(0, 1)  # [B, n, p, d]
        out: Tensor = combine.to(x.dtype) @ answers.reshape(batch, experts * slots, dim)
        return out

    @torch.no_grad()
    def routing(self, x: Tensor) -> Routing:
        """How sharply tokens [B, m, d] are routed."""
        dispatch, combine = self.route(x)
        tokens = torch.special.entr(dispatch).sum(1).exp().mean()
        slots = torch.special.entr(combine).sum(2).exp().mean()
        return Routing(float(tokens), float(slots), float(self.scale))
