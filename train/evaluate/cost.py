"""What a model costs to run: parameters, FLOPs by torch's counter, images a second on this machine."""

from __future__ import annotations

import copy
import platform
import time
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from train.evaluate.images import Encoder, Images

SECONDS = 1.0  # at least, for the rate


@torch.inference_mode()
def cost_of(model: nn.Module, images: Images, batch_size: int = 32) -> dict[str, Any]:
    """Cost of encoding one image of each of the sensors of *images*.

    FLOPs are 2 × multiply-add of all products of matrices (torch's counter, on a float64 copy: it knows nothing of the
    fused kernels that float32 runs on); the rate is that of `encode` alone, on normalised images in memory.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    device = next(model.parameters()).device
    rows = np.arange(min(len(images), batch_size))
    stored = {s: torch.from_numpy(v).to(device) for s, v in images.gather(rows).items()}
    ready = images.config.images(stored)
    one = {s: x[:1].double().cpu() for s, x in ready.items()}
    twin = cast(Encoder, copy.deepcopy(model).cpu().double())
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        twin.encode(one)
    seconds, runs = 0.0, -1  # the first run warms up
    while seconds < SECONDS:
        start = time.perf_counter()
        cast(Encoder, model).encode(ready)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        runs += 1
        seconds += (time.perf_counter() - start) * (runs > 0)
    count = getattr(model, "backbone_parameters", None)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    return {
        "parameters": int(count()) if count else sum(p.numel() for p in model.parameters()),
        "gflop_per_image": counter.get_total_flops() / 1e9,
        "images_per_s": runs * len(rows) / seconds,
        "batch": len(rows),
        "threads": torch.get_num_threads(),
        "device": name,
    }
