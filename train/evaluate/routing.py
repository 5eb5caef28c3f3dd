"""How sharply each Soft MoE routes the chips of a catalog."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from train.data import Chips
from train.distributed import whole
from train.layers import SoftMoE
from train.loader import in_order
from train.models import Model

COLLAPSED = 1.5  # effective slots a token: below this a token is answered by one slot


def routing_scales(model: nn.Module) -> dict[str, float]:
    """The scale g of each Soft MoE, by name; waits for the device."""
    layers = {name: layer.scale for name, layer in model.named_modules() if isinstance(layer, SoftMoE)}
    return {name: float(whole(scale)) for name, scale in layers.items()}


@torch.inference_mode()
def routing(model: Model, chips: Chips, batch_size: int = 64) -> dict[str, dict[str, float]]:
    """Of each Soft MoE, by name: scale g, effective tokens per slot and slots per token, on whole chips."""
    device = next(model.parameters()).device
    seen: defaultdict[str, list[Any]] = defaultdict(list)

    def listen(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            assert isinstance(layer, SoftMoE)
            seen[name].append(layer.routing(inputs[0]))

        return hook

    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, SoftMoE)}
    handles = [layer.register_forward_pre_hook(listen(name)) for name, layer in layers.items()]
    try:
        for batch in in_order(chips, batch_size):
            model.encode(chips.config.images(batch.to(device)))
            break
    finally:
        for handle in handles:
            handle.remove()
    return {
        name: dict(zip(rows[0]._fields, np.mean(rows, axis=0).tolist(), strict=True))
        for name, rows in seen.items()
    }
