"""Masks of whole cells of pixels (SimMIM, arXiv 2111.09886), and of parts of them (RingMo's PIMask).

A cell is what one token of the last stage stands for: 32 px in the paper's shape. The encoder sees every position;
tokens of a hidden cell are replaced by a mask token before the first block, or, where the mask is `incomplete`,
hidden pixels are set to 0, the mean, and a cell's other pixels still tell of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CellMask:
    """What of each image is hidden."""

    cells: Tensor  # [B, gy, gx], True where hidden
    pixels: Tensor  # [B, 1, H, W], True where a pixel is hidden, and asked for
    replace: bool  # whether tokens of hidden cells become the mask token

    def tokens(self, per_cell: int) -> Tensor:
        """True where a token is replaced, [B, N] in raster order, *per_cell* tokens along a cell's side."""
        return enlarged(self.cells, per_cell).flatten(1)

    def to(self, device: torch.device | str) -> CellMask:
        """The same on *device*."""
        return CellMask(self.cells.to(device), self.pixels.to(device), self.replace)

    def __getitem__(self, images: Tensor | slice) -> CellMask:
        """The masks of some *images* alone."""
        return CellMask(self.cells[images], self.pixels[images], self.replace)


def hidden_cells(cells: int, ratio: float) -> int:
    """ceil(ratio · cells), as published: 22 of 36 at 0.6."""
    return math.ceil(ratio * cells)


def draw_cells(
    sensors: Sequence[str],
    batch: int,
    image_size: int,
    cell: int,
    ratio: float,
    incomplete: float | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, CellMask]:
    """Masks by sensor, drawn for each sensor and image alone.

    Args:
        cell: pixels along a side of a cell.
        incomplete: share of the pixels of a hidden cell that are hidden; None hides all and replaces tokens.
        generator: a CPU generator, so that the draw is the same on every device.

    Raises:
        ValueError: cells do not divide the image, or none or all would be hidden.
    """
    side = image_size // cell
    hidden = hidden_cells(side**2, ratio)
    if image_size % cell or not 0 < hidden < side**2:
        raise ValueError(
            f"A ratio of {ratio} hides {hidden} of {side}² cells of {cell} px in {image_size} px"
        )
    masks = {}
    for sensor in sensors:
        rank = torch.rand(batch, side**2, generator=generator).argsort(1).argsort(1)
        cells = (rank < hidden).reshape(batch, side, side)
        pixels = enlarged(cells, cell)
        if incomplete is not None:
            noise = torch.rand(batch, side, side, cell * cell, generator=generator)
            within = noise.argsort(3).argsort(3) < math.ceil(incomplete * cell * cell)
            raster = within.reshape(batch, side, side, cell, cell).transpose(2, 3).reshape(pixels.shape)
            pixels = pixels & raster
        masks[sensor] = CellMask(cells.to(device), pixels[:, None].to(device), incomplete is None)
    return masks


def enlarged(cells: Tensor, times: int) -> Tensor:
    """A raster [B, y, x] with every element *times* × *times* as large."""
    return cells.repeat_interleave(times, 1).repeat_interleave(times, 2)
