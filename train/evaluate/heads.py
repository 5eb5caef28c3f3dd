"""Heads on maps of features: each pixel's classes or value from patch tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS = ("linear", "fpn", "upernet")
POOLED = (1, 2, 3, 6)  # bins of the pyramid pooling of PSPNet (arXiv 1612.01105)


def build_head(name: str, width: int, outputs: int, size: int, channels: int = 64) -> nn.Module:
    """A head from maps [B, *width*, g, g] to [B, *outputs*, *size*, *size*]."""
    if name == "linear":
        return LinearHead(width, outputs, size)
    return PyramidHead(width, outputs, size, channels, pooling=name == "upernet")


class LinearHead(nn.Module):
    """One linear map of each token, normalised, and bilinear interpolation."""

    def __init__(self, width: int, outputs: int, size: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, affine=False)  # standardises each feature, as the linear probe does
        self.map = nn.Conv2d(width, outputs, 1)
        self.size = size

    def forward(self, maps: Tensor) -> Tensor:
        return F.interpolate(
            self.map(self.norm(maps)), (self.size, self.size), mode="bilinear", align_corners=False
        )


class PyramidHead(nn.Module):
    """A feature pyramid made of one map, as in ViTDet (arXiv 2203.16527), and a top-down path (FPN, arXiv 1612.03144).

    With *pooling* the coarsest level sees pooled context first, which is UPerNet (arXiv 1807.10221).
    """

    def __init__(self, width: int, outputs: int, size: int, channels: int, pooling: bool = False) -> None:
        super().__init__()
        self.levels = Pyramid(width, channels)
        self.context = PooledContext(channels) if pooling else nn.Identity()
        self.fuse = block(4 * channels, channels)
        self.map = nn.Conv2d(channels, outputs, 1)
        self.size = size

    def forward(self, maps: Tensor) -> Tensor:
        levels = self.levels(maps)
        levels[-1] = self.context(levels[-1])
        for i in range(len(levels) - 2, -1, -1):
            levels[i] = levels[i] + as_large(levels[i + 1], levels[i])
        fused = self.fuse(torch.cat([as_large(level, levels[0]) for level in levels], 1))
        return F.interpolate(self.map(fused), (self.size, self.size), mode="bilinear", align_corners=False)


class Pyramid(nn.Module):
    """Maps at 4, 2, 1 and 1/2 times the resolution of one map: transposed convolutions, identity, pooling."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()

        def up(inputs: int) -> nn.Module:
            return nn.ConvTranspose2d(inputs, channels, 2, stride=2)

        self.norm = nn.BatchNorm2d(width, affine=False)
        self.finest = nn.Sequential(up(width), nn.GELU(), up(channels), block(channels, channels))
        self.fine = nn.Sequential(up(width), block(channels, channels))
        self.same = block(width, channels)
        self.coarse = nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), block(width, channels))

    def forward(self, maps: Tensor) -> list[Tensor]:
        """[B, width, g, g] to four maps [B, channels, h, w], finest first."""
        maps = self.norm(maps)
        return [self.finest(maps), self.fine(maps), self.same(maps), self.coarse(maps)]


class PooledContext(nn.Module):
    """A map joined with its averages over coarse grids."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(nn.Conv2d(channels, channels // 4, 1) for _ in POOLED)
        self.fuse = block(channels + len(POOLED) * (channels // 4), channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled = [
            as_large(reduce(F.adaptive_avg_pool2d(x, bins)), x)
            for bins, reduce in zip(POOLED, self.reduce, strict=True)
        ]
        out: Tensor = self.fuse(torch.cat([x, *pooled], 1))
        return out


def block(inputs: int, outputs: int) -> nn.Module:
    """A convolution of 3 × 3 with group norm and GELU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.GELU())


def as_large(x: Tensor, like: Tensor) -> Tensor:
    """*x* at the resolution of *like*."""
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)
