"""Fixed sine-cosine positions of the tokens of a square grid."""

from __future__ import annotations

import torch
from torch import Tensor


def sincos_positions(grid: int, dim: int) -> Tensor:
    """Positions of a class token (zeros) and of *grid* × *grid* row-major tokens: [1 + grid², dim] float32.

    The first half of the channels encodes the column, the second half the row; each half is
    [sin(pos·w) | cos(pos·w)] with w_i = 10000^(-i / (dim/4)). Built in float64, as the published code does
    (CSMAE, arXiv 2401.07782; the form is MoCo v3's and MAE's).

    Raises:
        ValueError: *dim* is not a multiple of four.
    """
    if dim % 4:
        raise ValueError(f"Sine-cosine positions need a width that is a multiple of 4, not {dim}")
    quarter = dim // 4
    frequency = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)  # [dim/4]
    angle = torch.arange(grid, dtype=torch.float64)[:, None] * frequency  # [grid, dim/4]
    axis = torch.cat([angle.sin(), angle.cos()], 1)  # [grid, dim/2]
    column = axis[None, :, :].expand(grid, grid, -1)  # [row, column, dim/2]
    row = axis[:, None, :].expand(grid, grid, -1)
    patches = torch.cat([column, row], 2).reshape(grid * grid, dim)
    return torch.cat([torch.zeros(1, dim, dtype=torch.float64), patches]).float()
