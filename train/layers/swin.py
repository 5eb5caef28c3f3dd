"""A Swin transformer with residual post-norm (Swin, arXiv 2103.14030; Swin V2, arXiv 2111.09883, section 3.2).

    x = x + LN( attention within windows(x) )       every second block: windows moved by half their side
    x = x + LN( ffn(x) )
    between stages: 2 × 2 neighbours side by side, a linear map 4C -> 2C, LN

Attention is Swin's, scaled products with a learned bias for every relative position, or Swin V2's: cosines over a
learned temperature, with a small network for the bias. Maps that windows do not divide are padded, and no token
attends to the padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from train.layers.hierarchical import Rows, Stats
from train.layers.linear import Linear, linear

Ffn = Callable[[int, int], nn.Module]  # index of the block and width to what stands in its MLP's place


class WindowAttention(nn.Module):
    """Multi-head attention among the w × w tokens of a window."""

    relative: Tensor

    def __init__(self, dim: int, num_heads: int, window: int, cosine: bool = False) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide a width of {dim}")
        self.num_heads, self.window, self.cosine = num_heads, window, cosine
        self.qkv, self.proj = linear(dim, 3 * dim), linear(dim, dim)
        side = 2 * window - 1
        if cosine:
            self.temperature = nn.Parameter(torch.full((num_heads, 1, 1), math.log(10.0)))
            self.bias_mlp = nn.Sequential(Linear(2, 512), nn.ReLU(), nn.Linear(512, num_heads, bias=False))
        else:
            self.bias_table = nn.Parameter(0.02 * torch.randn(side * side, num_heads))
        self.register_buffer("relative", relative_positions(window), persistent=False)  # [w², w²]

    def forward(self, x: Tensor, apart: Tensor | None) -> Tensor:
        """Windows [B, n, w², D] to the same; *apart* [n, w², w²] is True where a token must not look."""
        batch, windows, length, dim = x.shape
        heads, width = self.num_heads, dim // self.num_heads
        qkv = self.qkv(x).reshape(batch, windows, length, 3, heads, width)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).flatten(2, 3).unbind(0)  # each [B, n·heads, w², D/heads]
        bias = self._bias()  # [heads, w², w²]
        mask = bias.expand(windows, -1, -1, -1)
        if apart is not None:
            mask = mask.masked_fill(apart[:, None], -torch.inf)
        scale = None
        if self.cosine:  # cos(q, k) / τ with 1/τ ≤ 100
            turns = self.temperature.clamp(max=math.log(100.0)).exp().repeat(windows, 1, 1)
            q, k, scale = F.normalize(q, dim=-1) * turns.to(q.dtype), F.normalize(k, dim=-1), 1.0
        y = F.scaled_dot_product_attention(
            q, k, v.to(q.dtype), mask.flatten(0, 1)[None].to(q.dtype), scale=scale
        )
        y = y.reshape(batch, windows, heads, length, width).transpose(2, 3).flatten(3)  # [B, n, w², D]
        out: Tensor = self.proj(y)
        return out

    def _bias(self) -> Tensor:
        """Bias of each pair of positions, [heads, w², w²]."""
        if not self.cosine:
            return self.bias_table[self.relative].permute(2, 0, 1)
        table = self.bias_mlp(log_offsets(self.window).to(self.relative.device))  # [(2w-1)², heads]
        bias: Tensor = 16 * table[self.relative].permute(2, 0, 1).sigmoid()
        return bias


class SwinBlock(nn.Module):
    """Attention in windows, then *ffn*, a mixture (x, rows) -> (y, stats)."""

    def __init__(
        self, dim: int, num_heads: int, window: int, shift: int, ffn: nn.Module, cosine: bool = False
    ) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.attn = WindowAttention(dim, num_heads, window, cosine)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.ffn = ffn

    def forward(self, x: Tensor, rows: Rows) -> tuple[Tensor, Stats]:
        """Maps [B, h, w, D] to the same, and what the mixture's routers did."""
        x = x + self.norm1(self._attend(x))
        y, stats = self.ffn(x.flatten(1, 2), rows)
        return x + self.norm2(y).reshape(x.shape), stats

    def _attend(self, x: Tensor) -> Tensor:
        _, high, wide, dim = x.shape
        w = self.window
        shift = self.shift if max(high, wide) > w else 0
        down, right = -high % w, -wide % w
        if down or right:
            x = F.pad(x, (0, 0, 0, right, 0, down))
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
        gy, gx = (high + down) // w, (wide + right) // w
        windows = x.reshape(-1, gy, w, gx, w, dim).transpose(2, 3).reshape(-1, gy * gx, w * w, dim)
        apart = regions_apart(high, wide, w, shift)
        y = self.attn(windows, None if apart is None else apart.to(x.device))
        y = y.reshape(-1, gy, gx, w, w, dim).transpose(2, 3).reshape(-1, gy * w, gx * w, dim)
        if shift:
            y = y.roll((shift, shift), (1, 2))
        inside: Tensor = y[:, :high, :wide]
        return inside


class PatchMerging(nn.Module):
    """2 × 2 tokens become one of twice the width; a map of an odd side is padded with zeros."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, D] to [B, ⌈h/2⌉, ⌈w/2⌉, 2D]."""
        _, high, wide, _ = x.shape
        if high % 2 or wide % 2:
            x = F.pad(x, (0, 0, 0, wide % 2, 0, high % 2))
        parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        out: Tensor = self.norm(self.reduction(torch.cat(parts, -1)))
        return out


class Swin(nn.Module):
    """Stages of Swin blocks.

    Args:
        grid: tokens along a side of the maps it is trained on: no window is larger than its stage's map.
        ffn: makes what stands in the place of each block's MLP.
    """

    checkpointing = False

    def __init__(
        self,
        dim: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window: int,
        grid: int,
        ffn: Ffn,
        cosine: bool = False,
    ) -> None:
        super().__init__()
        self.stages, self.merges = nn.ModuleList(), nn.ModuleList()
        for stage, (depth, num_heads) in enumerate(zip(depths, heads, strict=True)):
            width, first = dim * 2**stage, sum(depths[:stage])
            side = min(window, math.ceil(grid / 2**stage))
            shifts = [side // 2 if i % 2 and grid / 2**stage > side else 0 for i in range(depth)]
            self.stages.append(
                nn.ModuleList(
                    SwinBlock(width, num_heads, side, shift, ffn(first + i, width), cosine)
                    for i, shift in enumerate(shifts)
                )
            )
            if stage < len(depths) - 1:
                self.merges.append(PatchMerging(width))

    def forward(self, x: Tensor, rows: Rows) -> tuple[list[Tensor], list[Stats]]:
        """Maps [B, h, w, D] to the map that each stage ends with, and what each block's routers did."""
        maps: list[Tensor] = []
        stats: list[Stats] = []
        for i, stage in enumerate(self.stages):
            for block in cast(nn.ModuleList, stage):
                if self.checkpointing and torch.is_grad_enabled():
                    x, found = checkpoint(block, x, rows, use_reentrant=False, preserve_rng_state=False)
                else:
                    x, found = block(x, rows)
                stats.append(found)
            maps.append(x)
            x = self.merges[i](x) if i < len(self.merges) else x
        return maps, stats


@cache
@torch.inference_mode(False)  # what is kept must do for training, too
def regions_apart(high: int, wide: int, window: int, shift: int) -> Tensor | None:
    """Which tokens of each window come from parts of the map that are no neighbours: [n, w², w²]; None if none.

    After a shift the map's far edges meet in one window, and padding is nobody's neighbour but its own.
    """
    rows, columns = high + -high % window, wide + -wide % window
    if not shift and (rows, columns) == (high, wide):
        return None

    def label(side: int, real: int) -> Tensor:
        place = (torch.arange(side) + shift) % side
        wrapped = torch.arange(side) >= side - shift if shift else torch.zeros(side, dtype=torch.bool)
        return wrapped.long() + 2 * (place >= real).long()

    labels = 4 * label(rows, high)[:, None] + label(columns, wide)[None]  # [rows, columns]
    cut = labels.reshape(rows // window, window, columns // window, window).transpose(1, 2)
    flat = cut.reshape(-1, window * window)
    return flat[:, :, None] != flat[:, None, :]


def relative_positions(window: int) -> Tensor:
    """Index of the offset between each two positions of a window among all (2w-1)² offsets, [w², w²]."""
    place = torch.arange(window)
    y, x = (axis.flatten() for axis in torch.meshgrid(place, place, indexing="ij"))
    down, right = y[:, None] - y[None] + window - 1, x[:, None] - x[None] + window - 1
    return down * (2 * window - 1) + right


@cache
@torch.inference_mode(False)
def log_offsets(window: int) -> Tensor:
    """All offsets in a window, log-spaced: sign(o) log2(1 + 8 |o| / (w - 1)) / 3, [(2w-1)², 2] (Swin V2, eq. 4)."""
    offsets = torch.arange(1 - window, window, dtype=torch.float32) / max(window - 1, 1)
    spaced = offsets.sign() * torch.log2(1 + 8 * offsets.abs()) / 3
    return torch.cartesian_prod(spaced, spaced)
