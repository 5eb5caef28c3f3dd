"""Fixed sine-cosine positions of the tokens of a grid."""

from __future__ import annotations

import torch
from torch import Tensor


def sincos_positions(
    grid: int | tuple[int, int],
    dim: int,
    trained_on: int | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Positions of a class token (zeros) and of row-major grid tokens: [1 + rows·columns, dim] float32.

    The first half of the channels encodes the column, the second half the row; each half is
    [sin(pos·w) | cos(pos·w)] with w_i = 10000^(-i / (dim/4)). Built in float64, as the published code does
    (CSMAE, arXiv 2401.07782; the form is MoCo v3's and MAE's).

    Args:
        grid: tokens along a side, or (rows, columns).
        trained_on: stretch the grid over as many tokens a side, for images of the extent that a model was
            trained on in another number of pixels; None counts tokens 0, 1, 2, …, for images of the same pixel
            size and another extent.

    Raises:
        ValueError: *dim* is not a multiple of four.
    """
    if dim % 4:
        raise ValueError(f"Sine-cosine positions need a width that is a multiple of 4, not {dim}")
    rows, columns = (grid, grid) if isinstance(grid, int) else grid
    quarter = dim // 4
    frequency = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64, device=device) / quarter)  # [dim/4]

    def axis(tokens: int) -> Tensor:
        place = torch.arange(tokens, dtype=torch.float64, device=device)
        if trained_on is not None:  # centres of tokens, in tokens of the training grid
            place = (place + 0.5) * trained_on / tokens - 0.5
        angle = place[:, None] * frequency  # [tokens, dim/4]
        return torch.cat([angle.sin(), angle.cos()], 1)  # [tokens, dim/2]

    column = axis(columns)[None, :, :].expand(rows, columns, -1)
    row = axis(rows)[:, None, :].expand(rows, columns, -1)
    patches = torch.cat([column, row], 2).reshape(rows * columns, dim)
    cls = torch.zeros(1, dim, dtype=torch.float64, device=device)
    return torch.cat([cls, patches]).float()
