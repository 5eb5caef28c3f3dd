"""Masked reconstruction."""

from __future__ import annotations

import torch
from torch import Tensor


def hidden_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over hidden patches, in float32 or better.

    MAE's loss is sum(mask · error) / sum(mask) over all patches. Every image of a sensor hides the same
    number of patches, so the plain mean over the hidden ones alone, [B, N-K, p·p·c], is the same number.
    """
    precise = torch.promote_types(prediction.dtype, torch.float32)
    return torch.nn.functional.mse_loss(prediction.to(precise), target.to(precise))
