"""Images as patches: what the encoder reads and what the decoder rebuilds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from train.layers.linear import Linear


def patch_grid(images: Tensor, patch: int) -> Tensor:
    """A view of images [B, c, H, W] as a raster of patches: [B, H/p, W/p, c, p, p].

    Raises:
        ValueError: *patch* does not divide the height and the width.
    """
    batch, channels, height, width = images.shape
    if height % patch or width % patch:
        raise ValueError(f"A patch of {patch} px does not divide an image of {height} × {width} px")
    grid = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 1, 3, 5)


def take_patches(grid: Tensor, tokens: Tensor) -> Tensor:
    """The patches of [B, gy, gx, c, p, p] at raster positions *tokens* [B, K]: [B, K, c, p, p].

    Only these are copied, so that an encoder which sees half of an image reads half of it.
    """
    columns = grid.shape[2]
    image = torch.arange(grid.shape[0], device=tokens.device)[:, None]
    return grid[image, tokens // columns, tokens % columns]


def patch_targets(patches: Tensor) -> Tensor:
    """Patches [B, K, c, p, p] as targets of reconstruction [B, K, p·p·c], in pixel order (py, px, c)."""
    return patches.permute(0, 1, 3, 4, 2).flatten(2)


class PatchEmbed(nn.Module):
    """A linear map of a patch in order (c, py, px), as a convolution with stride = kernel would see it.

    The weight is Xavier-uniform over the flattened patch; the bias keeps PyTorch's default (CSMAE's code).
    """

    def __init__(self, channels: int, patch: int, dim: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = Linear(channels * patch * patch, dim)
        nn.init.xavier_uniform_(self.proj.weight)

    def forward(self, patches: Tensor) -> Tensor:
        """Patches [B, K, c, p, p] to tokens [B, K, D]."""
        tokens: Tensor = self.proj(patches.flatten(2))
        return tokens
