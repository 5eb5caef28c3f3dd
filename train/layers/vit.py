"""A ViT whose feed-forward layers may be mixtures: pre-norm blocks, as CSMoE's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from train.layers.attention import Attention
from train.layers.hierarchical import Rows, Stats


class MixtureBlock(nn.Module):
    """x += Attention(LN(x)); x += ffn(LN(x)), *ffn* a mixture (x, rows) -> (y, stats)."""

    def __init__(self, dim: int, num_heads: int, ffn: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, 1e-6), nn.LayerNorm(dim, 1e-6)
        self.attn = Attention(dim, num_heads)
        self.ffn = ffn

    def forward(self, x: Tensor, rows: Rows) -> tuple[Tensor, Stats]:
        """Tokens [B, L, D] to the same, and what the mixture's routers did."""
        x = x + self.attn(self.norm1(x))
        y, stats = self.ffn(self.norm2(x), rows)
        return x + y, stats


class MixtureVit(nn.Module):
    """One stage of blocks; sensors never meet in one sequence.

    Args:
        ffn: makes what stands in the place of each block's MLP, by the block's index and the width.
    """

    checkpointing = False

    def __init__(self, dim: int, depth: int, num_heads: int, ffn: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(MixtureBlock(dim, num_heads, ffn(i, dim)) for i in range(depth))

    def forward(self, x: Tensor, rows: Rows) -> tuple[list[Tensor], list[Stats]]:
        """Maps [B, h, w, D] to the map at the end, and what each block's routers did."""
        shape, stats = x.shape, []
        x = x.flatten(1, 2)
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x, found = checkpoint(block, x, rows, use_reentrant=False, preserve_rng_state=False)
            else:
                x, found = block(x, rows)
            stats.append(found)
        return [x.reshape(shape)], stats
