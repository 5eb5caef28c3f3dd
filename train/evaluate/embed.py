"""Features of images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from train.evaluate.images import Encoder, Images
from train.loader import Batch, prefetched
from train.terminal import progress

ALL = "all"  # key of the concatenation of all sensors' features

Features = dict[str, npt.NDArray[np.float32]]


def embed(model: Encoder, images: Images, batch_size: int = 128) -> Features:
    """Pooled features [n, D] of whole images by sensor, in the images' order; `all` is them side by side."""
    parts = [values for _, values in embedded(model, images, batch_size)]
    by_sensor = {sensor: np.concatenate([part[sensor] for part in parts]) for sensor in parts[0]}
    return {**by_sensor, ALL: np.concatenate([*by_sensor.values()], axis=1)}


@torch.inference_mode()
def embedded(
    model: Encoder, images: Images, batch_size: int = 128, start: int = 0, stop: int | None = None
) -> Iterator[tuple[npt.NDArray[np.int64], Features]]:
    """Batches of pooled features by sensor, with the positions of their images, from *start* to *stop*."""
    assert isinstance(model, torch.nn.Module)
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    rows = (len(images) if stop is None else stop) - start
    with progress("features", -(-rows // batch_size)) as advance:
        for batch in prefetched(in_order(images, batch_size, start, stop)):
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                found = model.encode(images.config.images(batch.to(device)))
            advance()
            yield batch.chips, {sensor: values.float().cpu().numpy() for sensor, values in found.items()}
    model.train(training)


def in_order(images: Images, batch_size: int, start: int = 0, stop: int | None = None) -> Iterator[Batch]:
    """The images from *start* to *stop* once, in their order."""
    last = len(images) if stop is None else stop
    for step, first in enumerate(range(start, last, batch_size)):
        index = np.arange(first, min(first + batch_size, last))
        stored = {sensor: torch.from_numpy(values) for sensor, values in images.gather(index).items()}
        yield Batch(step, index, stored)
