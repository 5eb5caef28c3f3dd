"""Masked reconstruction."""

from __future__ import annotations

import torch
from torch import Tensor


def hidden_error(
    prediction: Tensor,
    target: Tensor,
    bands: Tensor | None = None,
    present: Tensor | None = None,
) -> Tensor:
    """Mean squared error over hidden patches [B, H, p·p·c], in float32 or better.

    MAE's loss is sum(mask · error) / sum(mask) over all patches. Every image of a sensor hides the same
    number of patches, so the plain mean over the hidden ones alone is the same number.

    Args:
        bands: weights [c]; a patch's error is then the weighted mean over its pixels and bands.
        present: True for images [B] that count; 0 where none does.
    """
    precise = torch.promote_types(prediction.dtype, torch.float32)
    prediction, target = prediction.to(precise), target.to(precise)
    if bands is None and present is None:
        return torch.nn.functional.mse_loss(prediction, target)
    error = (prediction - target).square()  # [B, H, p·p·c], pixel order (py, px, c)
    if bands is not None:
        error = error.reshape(*error.shape[:2], -1, len(bands)) * (bands / bands.mean())  # [B, H, p·p, c]
    each = error.flatten(1).mean(1)  # [B]
    return each.mean() if present is None else mean_where(each, present)


def mean_where(values: Tensor, present: Tensor) -> Tensor:
    """Mean of *values* [B] where *present* [B] is True, 0 where it is nowhere; waits for no device."""
    weight = present.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp(min=1)


def unit_patches(patches: Tensor) -> Tensor:
    """Targets [B, H, p·p·c] of zero mean and unit (unbiased) variance each, all bands together.

    MAE's normalised pixels (arXiv 2111.06377, section 4.1) as CSMAE's code computes them; off in its
    configurations.
    """
    precise = patches.to(torch.promote_types(patches.dtype, torch.float32))
    variance, mean = torch.var_mean(precise, dim=2, keepdim=True)
    return (precise - mean) / (variance + 1e-6).sqrt()
