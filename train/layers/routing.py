"""Routers of sparse mixtures: which experts a token goes to, and with which weight.

p = softmax(W x)                 in float32; E experts. With jitter ε in training W (u · x), u in [1 - ε, 1 + ε]
chosen = the k largest of p
gate = p at the chosen           "raw": Switch Transformer, arXiv 2101.03961, section 2.1
gate = p / Σ p over the chosen   "renormalised": needs k ≥ 2, or the gate is 1 and the task teaches W nothing

balance = E Σ_e f_e p_e          f: share of choices, p: mean probability; 1 where even, E where one takes all
z = mean (log Σ exp W x)²        ST-MoE, arXiv 2202.08906, equation 5
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GATES = ("raw", "renormalised")
RELEASED_EXPERTS = 8  # what the released code takes for E in its balance loss, whatever the pool holds


@dataclass(frozen=True)
class Routing:
    """How a pool's router chooses.

    Raises:
        ValueError: an unknown gate, k = 1 with a renormalised one outside of `released`, or a jitter that could turn
            an input around.
    """

    k: int = 1
    gate: str = "raw"
    capacity: float | None = (
        None  # an expert takes at most ceil(k·T·capacity / E) of T tokens; None: any number
    )
    prioritised: bool = True  # surest tokens first where capacity is short; False: raster order, as released
    images_per_group: int | None = None  # whose tokens share one capacity and one balance; None: the batch
    released: bool = False  # the released balance loss, and k = 1 with a gate of 1
    jitter: float = 0.0  # ε of the noise on a router's input while training; Switch Transformer has 0.01

    def __post_init__(self) -> None:
        if self.k < 1 or (self.capacity is not None and self.capacity <= 0):
            raise ValueError(f"k is {self.k} and capacity {self.capacity}: both must be positive")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"A jitter of {self.jitter} is not between 0 and 1")
        if self.gate not in GATES:
            raise ValueError(f"There is no gate {self.gate!r}: choose {' or '.join(GATES)}")
        if self.k == 1 and self.gate == "renormalised" and not self.released:
            raise ValueError(
                "k = 1 with a renormalised gate is always 1, and the task loss cannot reach the router: "
                "choose gate 'raw', or k of 2"
            )


class RouterStats(NamedTuple):
    """What one router did with one batch."""

    balance: Tensor  # loss, 1 where even (as released: 4 for a pool of 4)
    z: Tensor  # loss
    load: Tensor  # [E], share of all choices, before capacity
    mass: Tensor  # [E], mean weight that a token gives, after capacity
    entropy: Tensor  # exp of the mean entropy of p: effective number of experts a token weighs
    dropped: Tensor  # share of choices that capacity refused
    tokens: Tensor  # how many there were
    mean: Tensor  # [E], mean of p
    scale: float  # balance = scale Σ f p
    grouped: bool  # within groups of images alone, balance being their mean


class Routes(NamedTuple):
    """Where T tokens go."""

    chosen: Tensor  # [T, k], expert
    gates: Tensor  # [T, k], weight in the tokens' precision or float32; 0 where dropped
    place: Tensor | None  # [T, k], row within the expert's capacity; None where there is none
    rows: int  # capacity of an expert over all groups; 0 where there is none
    stats: RouterStats


class Router(nn.Module):
    """The router of one pool.

    Args:
        closed: experts that were pruned. Their probabilities still count in the softmax, so that pruning one that
            was never chosen changes nothing and the others' raw gates keep their scale.
    """

    def __init__(self, dim: int, experts: int, routing: Routing, closed: int = 0) -> None:
        super().__init__()
        self.experts, self.routing = experts, routing
        self.draw: int | None = (
            None  # seeds the jitter; set anew for every step of pretraining, else there is none
        )
        self.weight = nn.Parameter(0.02 * torch.randn(experts + closed, dim))

    def forward(self, x: Tensor, images: int = 1) -> Routes:
        """Routes of tokens [T, D] of *images* images, those of an image together, in raster order."""
        r, experts, tokens = self.routing, self.experts, len(x)
        k, groups = min(r.k, experts), self._groups(images)
        with torch.autocast(x.device.type, enabled=False):
            precise = torch.promote_types(x.dtype, torch.float32)
            seen = x.to(precise)
            if self.training and r.jitter and self.draw is not None and tokens:
                seen = jittered(seen, r.jitter, images, self.draw)
            logits = seen @ self.weight.to(precise).T  # [T, E + closed]
            p = logits.softmax(1)
            gates, chosen = p[:, :experts].topk(k)  # [T, k]
            hot = F.one_hot(chosen, experts)  # [T, k, E]
            if r.gate == "renormalised":
                gates = gates / gates.sum(1, keepdim=True)
            place, rows = None, 0
            if r.capacity is not None:
                limit = math.ceil(k * tokens // groups * r.capacity / experts)
                place = places(hot, gates[:, 0] if r.prioritised else None, groups)  # [T, k]
                gates = gates.masked_fill(place >= limit, 0.0)
                place = self._rows(place, limit, groups)
                rows = limit * groups
            stats = self._stats(logits, p, hot, chosen, gates, groups)
        return Routes(chosen, gates, place, rows, stats)

    def _groups(self, images: int) -> int:
        """Groups of equally many images, of at most as many as asked for."""
        size = self.routing.images_per_group
        return 1 if size is None or not images else images // math.gcd(images, size)

    def _rows(self, place: Tensor, limit: int, groups: int) -> Tensor:
        """Places within a group as rows of the expert over all groups; those that are dropped point past it."""
        group = torch.arange(groups, device=place.device).repeat_interleave(len(place) // groups)[:, None]
        return torch.where(place < limit, place + group * limit, limit * groups)

    def _stats(
        self, logits: Tensor, p: Tensor, hot: Tensor, chosen: Tensor, gates: Tensor, groups: int
    ) -> RouterStats:
        experts, k = self.experts, hot.shape[1]
        counts = hot.sum(1).to(p.dtype)  # [T, E]
        tokens = max(len(p), 1)
        share = counts.reshape(groups, -1, experts).sum(1) * (groups / (k * tokens))  # f [groups, E]
        mean = p[:, :experts].reshape(groups, -1, experts).sum(1) * (groups / tokens)  # p [groups, E]
        scale = RELEASED_EXPERTS**2 / experts if self.routing.released else experts
        weight = torch.zeros_like(p[:, :experts]).scatter(1, chosen, gates)  # [T, E]
        return RouterStats(
            balance=scale * (share * mean).sum(1).mean(),
            z=logits.logsumexp(1).square().sum() / tokens,
            load=share.mean(0).detach(),
            mass=weight.sum(0).detach() / tokens,
            entropy=(torch.special.entr(p.detach()).sum() / tokens).exp(),
            dropped=(gates.detach() == 0).to(p.dtype).sum() / (k * tokens),
            tokens=p.new_tensor(float(len(p))),
            mean=mean.mean(0),
            scale=scale,
            grouped=self.routing.images_per_group is not None,
        )


def jittered(x: Tensor, jitter: float, images: int, draw: int) -> Tensor:
    """Tokens [T, D] of *images* images, each number times its own u in [1 - jitter, 1 + jitter].

    Arxiv 2101.03961, section 2.2. Drawn on the CPU for the L tokens of an image and shared by all images, so that it
    is the same on every rank and device, however a batch is divided, and when a checkpointed block runs again.
    """
    length, dim = len(x) // images, x.shape[1]
    generator = torch.Generator().manual_seed(draw)
    noise = 1 + jitter * (2 * torch.rand(length, dim, generator=generator) - 1)  # [L, D]
    return (x.reshape(images, length, dim) * noise.to(x, non_blocking=True)).reshape(x.shape)


def places(hot: Tensor, priority: Tensor | None, groups: int) -> Tensor:
    """How many of a group's choices of the same expert come before each choice, [T, k].

    First choices come before second ones; among these *priority* [T] decides (V-MoE's batch-prioritised routing,
    arXiv 2106.05974, section 4.1), or where it is None raster order.

    Args:
        hot: [T, k, E], one-hot choices.
    """
    tokens, k, experts = hot.shape
    each = hot.reshape(groups, -1, k, experts)
    order = None
    if priority is not None:
        order = priority.detach().reshape(groups, -1).argsort(dim=1, descending=True, stable=True)  # [G, T/G]
        each = each.gather(1, order[:, :, None, None].expand_as(each))
    line = each.transpose(1, 2).flatten(1, 2)  # [G, k·T/G, E]
    before = ((line.cumsum(1) - line) * line).sum(2)  # [G, k·T/G]
    found = before.reshape(groups, k, -1).transpose(1, 2)  # [G, T/G, k]
    if order is not None:
        found = torch.empty_like(found).scatter(1, order[:, :, None].expand_as(found), found)
    return found.reshape(tokens, k)
