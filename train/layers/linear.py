"""Linear layers, initialised as MAE's."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # None where PyTorch was built without it
MIN_ROWS = 64  # below this a product is too small for its kernel to matter


class Linear(nn.Linear):
    """`nn.Linear` by way of `affine`."""

    def forward(self, input: Tensor) -> Tensor:
        return affine(input, self.weight, self.bias)


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x Wᵀ + b: [..., inputs] to [..., outputs]; in float32 on a CPU its three products run on oneDNN.

    PyTorch sends float32 products to MKL, which on AMD processors stays further below what the cores can do
    (benchmarks/train_step.py measures by how much). The result differs by rounding only.
    """
    plain = (
        _ONEDNN is not None
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() >= MIN_ROWS * x.shape[-1]
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
    if not plain:
        return F.linear(x, weight, bias)
    out: Tensor = _OneDnnLinear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return out


class _OneDnnLinear(torch.autograd.Function):
    """y = x Wᵀ + b with oneDNN's products in both directions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        rows = grad.reshape(-1, grad.shape[-1])  # [rows, outputs]
        grad_x = _product(rows, weight.t(), None).view_as(x) if to_x else None
        # oneDNN would copy the transposed rows first, in one thread, so MKL takes this product where they are wide
        columns = x.reshape(-1, x.shape[-1])
        wide = rows.shape[1] >= columns.shape[1]
        grad_weight = None
        if to_weight:
            grad_weight = rows.t() @ columns if wide else _product(rows.t(), columns.t(), None)
        return grad_x, grad_weight, rows.sum(0) if to_bias else None


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x Wᵀ + b: [..., inputs] with [outputs, inputs] to [..., outputs]."""
    assert _ONEDNN is not None
    out: Tensor = _ONEDNN(x, weight, bias, "none", [], "")
    return out


def linear(inputs: int, outputs: int) -> Linear:
    """A linear layer with Xavier-uniform weight and zero bias (MAE, section A.1)."""
    layer = Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
