"""Features of a catalog's chips."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from train.data import Chips
from train.loader import in_order, prefetched
from train.models import Model

ALL = "all"  # key of the concatenation of all sensors' features


@torch.inference_mode()
def embed(model: Model, chips: Chips, batch_size: int = 128) -> dict[str, npt.NDArray[np.float32]]:
    """Pooled features [n, D] of whole chips by sensor, in the catalog's order; `all` is them side by side."""
    device = next(model.parameters()).device
    parts: dict[str, list[torch.Tensor]] = {sensor: [] for sensor in model.sensors}
    training = model.training
    model.eval()
    for batch in prefetched(in_order(chips, batch_size)):
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            features = model.encode(chips.config.images(batch.to(device)))
        for sensor, values in features.items():
            parts[sensor].append(values.float().cpu())
    model.train(training)
    by_sensor = {sensor: torch.cat(values).numpy() for sensor, values in parts.items()}
    return {**by_sensor, ALL: np.concatenate(list(by_sensor.values()), axis=1)}
