"""The decoder of a masked autoencoder (MAE, arXiv 2111.06377, section 3; CSMAE's variants of it)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from train.layers import Block, Blocks, Mlp, linear, sincos_positions, take_tokens
from train.models.config import ModelConfig
from train.objectives import Mask


class Decoder(nn.Module):
    """Rebuilds target sensors from the visible tokens of any source sensor.

        y = LN( Blocks( place(W z, mask tokens) + positions ) );   x̂_t = head_t(y)

    A specific decoder has one target; a common one has all of them, with a head each.
    """

    positions: Tensor

    def __init__(self, config: ModelConfig, channels: Mapping[str, int]) -> None:
        super().__init__()
        dim, heads = config.decoder_dim, config.decoder_heads
        hidden = config.mlp_ratio * dim
        self.embed = linear(config.embed_dim, dim)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.register_buffer("positions", sincos_positions(config.grid, dim), persistent=False)  # [1+N, d]
        self.blocks = Blocks(
            *(Block(dim, heads, Mlp(dim, hidden), eps=1e-5) for _ in range(config.decoder_depth))
        )
        self.norm = nn.LayerNorm(dim, 1e-5)
        area = config.patch_size**2
        if config.common_decoder:
            self.heads = nn.ModuleDict({target: linear(dim, area * c) for target, c in channels.items()})
        else:
            (bands,) = channels.values()
            self.head = linear(dim, area * bands)

    def fill(self, z: Tensor, mask: Mask, positions: Tensor) -> Tensor:
        """Encoded [cls ; visible] [B, 1+K, D] as a whole raster with mask tokens: [B, 1+N, d]."""
        x = self.embed(z)
        batch, hidden = mask.masked.shape
        blanks = self.mask_token.to(x.dtype).expand(batch, hidden, -1)
        patches = take_tokens(torch.cat([x[:, 1:], blanks], 1), mask.restore)  # [B, N, d]
        return torch.cat([x[:, :1], patches], 1) + positions

    def forward(self, x: Tensor, asked: Tensor | None = None) -> Tensor:
        """Filled rasters [B, 1+N, d] to states of the patches [B, N, d], or of the *asked* [B, R] alone."""
        if asked is None:
            states: Tensor = self.norm(self.blocks(x)[:, 1:])
        else:
            states = self.norm(self.blocks(x, asked + 1))  # the class token is row 0
        return states

    def pixels(self, states: Tensor, target: str) -> Tensor:
        """States [B, R, d] as patches of *target* [B, R, p·p·c], pixel order (py, px, c)."""
        out: Tensor = (self.heads[target] if hasattr(self, "heads") else self.head)(states)
        return out
