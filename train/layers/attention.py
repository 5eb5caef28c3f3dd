"""The pre-norm transformer block, and a stack of it."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from train.layers.linear import affine, linear


def take_tokens(x: Tensor, index: Tensor) -> Tensor:
    """Tokens [B, L, d] at *index* [B, K]: [B, K, d]."""
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))


class Attention(nn.Module):
    """Multi-head self-attention with biases; the rows of `qkv` are ordered q, k, v, each by head."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide a width of {dim}")
        self.num_heads = num_heads
        self.qkv = linear(dim, 3 * dim)
        self.proj = linear(dim, dim)

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """[B, L, D] to the same, or to the tokens *rows* [B, R] alone: [B, R, D]."""
        batch, length, dim = x.shape
        heads, width = self.num_heads, dim // self.num_heads
        if rows is None:
            qkv = self.qkv(x).reshape(batch, length, 3, heads, width)
            q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))  # each [B, heads, L, D/heads]
        else:
            w, b = self.qkv.weight, self.qkv.bias
            asked = affine(take_tokens(x, rows), w[:dim], b[:dim])  # [B, R, D]
            q = asked.reshape(batch, -1, heads, width).transpose(1, 2)  # [B, heads, R, D/heads]
            kv = affine(x, w[dim:], b[dim:]).reshape(batch, length, 2, heads, width)
            k, v = (part.transpose(1, 2) for part in kv.unbind(2))  # each [B, heads, L, D/heads]
        y = F.scaled_dot_product_attention(q, k, v)  # [B, heads, L or R, D/heads]
        out: Tensor = self.proj(y.transpose(1, 2).reshape(batch, -1, dim))
        return out


class Mlp(nn.Module):
    """Two linear layers with an exact (erf) GELU between."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = linear(dim, hidden)
        self.fc2 = linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """x += Attention(LN(x)); x += mlp(LN(x)). *mlp* is a dense `Mlp` or a `SoftMoE`.

    Args:
        eps: of both layer norms; 1e-6 in CSMAE's encoder, 1e-5 in its decoders.
    """

    def __init__(self, dim: int, num_heads: int, mlp: nn.Module, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps)
        self.mlp = mlp

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """[B, L, D] to the same, or to the tokens *rows* [B, R] alone, which all L still inform.

        A `SoftMoE` mixes tokens, so *rows* is for a block with a dense `Mlp`.
        """
        mixed = self.attn(self.norm1(x), rows)
        x = (x if rows is None else take_tokens(x, rows)) + mixed
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Blocks(nn.Sequential):
    """Blocks one after the other.

    With `checkpointing` a training step keeps only what lies between blocks and computes the rest again in the
    backward pass: less memory for a third more forward FLOPs, and the same gradients.
    """

    checkpointing = False

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """[B, L, D] to the same; with *rows* [B, R] the last block yields these tokens alone, [B, R, D]."""
        for i, block in enumerate(self):
            asked = rows if i == len(self) - 1 else None
            if self.checkpointing and torch.is_grad_enabled():
                x = cast(Tensor, checkpoint(block, x, asked, use_reentrant=False, preserve_rng_state=False))
            else:
                x = block(x, asked)
        return x if len(self) or rows is None else take_tokens(x, rows)


def first(blocks: Blocks, count: int | None) -> Blocks:
    """The first *count* of *blocks*; all, as they are, where it is None."""
    return blocks if count is None else cast(Blocks, blocks[:count])
