"""Experts of a sparse mixture as stacked weights, and ways to send each token to its own.

- `sorted`: tokens in the order of their experts, each expert over its own segment, of any length: nothing is padded or
  dropped. A CPU takes the segments one by one, each with the two products that suit its cache best.
- `grouped`: the same with one grouped product over all segments, which spares CUDA a launch for each of them and the
  wait for their lengths.
- `padded`: tokens in a block of equally many rows for each expert, and one batched product. For a capacity; its
  shapes do not depend on the data.
- `loop`: expert by expert, as a formula would be read. The oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from train.layers.linear import affine
from train.layers.routing import Routes
from train.layers.soft_moe import Experts

DISPATCHES = ("sorted", "grouped", "padded", "loop")
_GROUPED: Any = getattr(F, "grouped_mm", None)  # None before PyTorch 2.10
_GROUPED_TYPES = (torch.float32, torch.bfloat16, torch.float16)


class ExpertPool(nn.Module):
    """E experts E_i(x) = W2_i gelu(W1_i x + b1_i) + b2_i, of which each token has a few.

    Args:
        dispatch: one of `DISPATCHES`; by default `padded` where there is a capacity, else `sorted`, on CUDA `grouped`.
    """

    def __init__(self, dim: int, hidden: int, experts: int, dispatch: str | None = None) -> None:
        super().__init__()
        self.fc1 = Experts(experts, dim, hidden)
        self.fc2 = Experts(experts, hidden, dim)
        self.dispatch = dispatch
        self.shards: Any = None  # `expert_parallel.Shards` where other ranks hold some of the experts

    def forward(self, x: Tensor, routes: Routes) -> Tensor:
        """Σ_i gate_i E_i(x) over the chosen experts: tokens [T, D] to tokens [T, D]."""
        way = self.dispatch or ("grouped" if x.is_cuda else "sorted")
        if self.dispatch is None and routes.place is not None and self.shards is None:
            way = "padded"
        return getattr(self, f"_{way}")(x, routes)  # type: ignore[no-any-return]

    def _sorted(self, x: Tensor, routes: Routes) -> Tensor:
        return self._in_order(x, routes, self.one_by_one)

    def _grouped(self, x: Tensor, routes: Routes) -> Tensor:
        return self._in_order(x, routes, self.at_once)

    def _in_order(self, x: Tensor, routes: Routes, answer: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        order, counts = by_expert(routes.chosen, len(self.fc1.weight))  # [T·k], [E]
        token = order // routes.chosen.shape[1]  # [T·k]
        rows = x.index_select(0, token)  # [T·k, D]
        answers = self.shards(answer, rows, counts) if self.shards else answer(rows, counts)
        weighted = answers * routes.gates.flatten()[order, None].to(answers.dtype)
        return torch.zeros_like(x).index_add(0, token, weighted.to(x.dtype))

    def _padded(self, x: Tensor, routes: Routes) -> Tensor:
        experts, (tokens, k) = len(self.fc1.weight), routes.chosen.shape
        place, rows = routes.place, routes.rows
        if place is None:
            hot = F.one_hot(routes.chosen.flatten(), experts)
            place = ((hot.cumsum(0) - hot) * hot).sum(1).reshape(tokens, k)
            rows = int(place.max()) + 1 if tokens else 0
        slot = routes.chosen * (rows + 1) + place  # [T, k]; each expert's last row takes what is dropped
        block = x.new_zeros(experts * (rows + 1), x.shape[1])
        block = block.index_copy(0, slot.flatten(), x.repeat_interleave(k, 0)) if tokens else block
        answers = self.fc2(F.gelu(self.fc1(block.reshape(experts, rows + 1, -1))))  # [E, rows + 1, D]
        back = answers.flatten(0, 1)[slot]  # [T, k, D]
        total: Tensor = (back * routes.gates[:, :, None].to(back.dtype)).sum(1)
        return total

    def _loop(self, x: Tensor, routes: Routes) -> Tensor:
        total = torch.zeros_like(x)
        for expert, (w1, b1, w2, b2) in enumerate(
            zip(self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias, strict=True)
        ):
            token, choice = (routes.chosen == expert).nonzero(as_tuple=True)
            answer = F.gelu(x[token] @ w1.T + b1) @ w2.T + b2
            total = total.index_add(0, token, (answer * routes.gates[token, choice, None]).to(total.dtype))
        return total

    def one_by_one(self, rows: Tensor, counts: Tensor) -> Tensor:
        """What the experts make of *rows* [M, D], of which the first counts[0] go to expert 0, and so on."""
        segments = zip(torch.split(rows, counts.tolist()), *_each(self.fc1), *_each(self.fc2), strict=True)
        return torch.cat([affine(F.gelu(affine(x, w1, b1)), w2, b2) for x, w1, b1, w2, b2 in segments])

    def at_once(self, rows: Tensor, counts: Tensor) -> Tensor:
        """The same by grouped products."""
        return grouped(self.fc2, F.gelu(self.hidden(rows, counts)), counts)

    def hidden(self, rows: Tensor, counts: Tensor) -> Tensor:
        """The hidden layer of *rows* [M, D] before its activation, [M, H]."""
        return grouped(self.fc1, rows, counts)


def held(layer: Experts) -> tuple[Tensor, Tensor]:
    """Weights [E, outputs, inputs] and biases [E, outputs] of the experts that this rank holds."""
    weight, bias = (p.to_local() if isinstance(p, DTensor) else p for p in (layer.weight, layer.bias))
    return weight, bias[:, 0]


def _each(layer: Experts) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The same expert by expert."""
    weight, bias = held(layer)
    return weight.unbind(0), bias.unbind(0)


def by_expert(chosen: Tensor, experts: int) -> tuple[Tensor, Tensor]:
    """Choices [T, k] in the order of their experts, tokens in order within: positions [T·k] and counts [E]."""
    flat = chosen.flatten()
    return flat.argsort(stable=True), torch.zeros(experts, dtype=flat.dtype, device=flat.device).scatter_add(
        0, flat, torch.ones_like(flat)
    )


def grouped(layer: Experts, rows: Tensor, counts: Tensor) -> Tensor:
    """x W_eᵀ + b_e for *rows* [M, inputs] in segments of *counts* [E] rows: [M, outputs]."""
    kind = rows.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else rows.dtype
    rows, (weight, bias) = rows.to(dtype), (p.to(dtype) for p in held(layer))
    if _GROUPED is None or dtype not in _GROUPED_TYPES or not len(rows):
        segments = zip(torch.split(rows, counts.tolist()), *_each(layer), strict=True)
        return torch.cat([affine(x, w, b) for x, w, b in segments])
    expert = torch.repeat_interleave(counts, output_size=len(rows))  # [M]
    ends = counts.cumsum(0).to(torch.int32)
    product: Tensor = _GROUPED(rows, weight.transpose(1, 2), offs=ends)
    return product + bias[expert]
