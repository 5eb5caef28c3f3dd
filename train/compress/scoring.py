"""What a compressed model costs and what it still knows, side by side with the model it came from."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from rich.table import Table
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from train.data import Chips
from train.evaluate.embed import embed
from train.evaluate.knn import Floats, Ints, knn
from train.evaluate.linear import choose_strength, fit
from train.evaluate.probe import labels_of, standardised
from train.models import Model


@dataclass(frozen=True)
class Step:
    """One step from the full model to a dense one."""

    name: str
    parameters: int
    gflop: float  # to encode an image of the sensor
    images_per_s: float
    knn: dict[str, float]  # accuracy by label
    linear: dict[str, float]
    distance: float | None = None  # of the tokens to the full model's


def step(
    name: str,
    model: Model,
    sensor: str,
    bank: Chips,
    queries: Chips,
    distance: float | None = None,
    seconds: float = 2.0,
) -> Step:
    """Cost and scores of *model* as an encoder of *sensor*, which all chips have."""
    inside, outside = embed(model, bank)[sensor], embed(model, queries)[sensor]
    near, linear = {}, {}
    asked = labels_of(queries)
    for label, values in labels_of(bank).items():
        known = np.array([v is not None for v in values])
        wanted = np.array([v is not None for v in asked[label]])
        classes = np.unique(np.concatenate([values[known], asked[label][wanted]]).astype(str))
        votes = np.searchsorted(classes, values[known].astype(str))
        truth = np.searchsorted(classes, asked[label][wanted].astype(str))
        if len(np.unique(votes)) < 2 or not len(truth):
            continue
        a, b = standardised(inside[known], outside[wanted])
        places = bank.columns["place"][known].astype(str)
        near[label] = float((knn(a, votes, b) == truth).mean())
        linear[label] = float((linear_probe(a, votes, b, places) == truth).mean())
    return Step(
        name,
        sum(p.numel() for n, p in model.named_parameters() if not n.startswith(("heads.", "decoder"))),
        encode_flops(model, sensor, bank.config.chip_px) / 1e9,
        images_per_s(model, sensor, bank.config.chip_px, seconds),
        near,
        linear,
        distance,
    )


def linear_probe(bank: Floats, votes: Ints, queries: Floats, places: npt.NDArray[np.str_]) -> Ints:
    """Classes of *queries* by the logistic regression of `train probe`, its penalty chosen on places of the bank."""
    hot = np.eye(int(votes.max()) + 1, dtype=np.int8)[votes]
    strength = choose_strength(bank, hot, False, places)
    return np.asarray(fit(bank, hot, False, strength).scores(queries).argmax(1), np.int64)


def random_images(model: Model, sensor: str, count: int, px: int) -> dict[str, torch.Tensor]:
    """Images of noise, the same every time."""
    generator = torch.Generator().manual_seed(0)
    p = next(model.parameters())
    noise = torch.randn(count, len(model.config.sensors[sensor]), px, px, generator=generator)
    return {sensor: noise.to(p.device, p.dtype)}


def encode_flops(model: Model, sensor: str, px: int) -> float:
    """FLOPs of encoding an image of *sensor*, by torch's counter: 2 × multiply-add, matrix products only."""
    twin = copy.deepcopy(model).to(
        "cpu", torch.float64
    )  # the counter knows nothing of oneDNN's float32 products
    images = random_images(twin, sensor, 1, px)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        twin.encode(images)
    return float(counter.get_total_flops())


@torch.inference_mode()
def images_per_s(model: Model, sensor: str, px: int, seconds: float = 2.0, batch: int = 32) -> float:
    """Images of *sensor* encoded a second, the best of several batches."""
    images, taken = random_images(model, sensor, batch, px), list[float]()
    cuda = next(model.parameters()).is_cuda
    model.encode(images)
    while not taken or sum(taken) < seconds:
        started = time.perf_counter()
        model.encode(images)
        if cuda:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return batch / min(taken)


def steps_table(steps: Sequence[Step], title: str, caption: str) -> Table:
    """Size, cost and scores of every step."""
    view = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    view.add_column("step", no_wrap=True)
    labels = list(dict.fromkeys(label for each in steps for label in each.knn))
    heads = ("M params", "GFLOP", "images/s", "distance")
    for name in (*heads, *(f"{probe} {label}" for label in labels for probe in ("kNN", "linear"))):
        view.add_column(name, justify="right")
    for each in steps:
        scores = [
            f"{kind.get(label, float('nan')):.3f}" for label in labels for kind in (each.knn, each.linear)
        ]
        view.add_row(
            each.name,
            f"{each.parameters / 1e6:.2f}",
            f"{each.gflop:.3f}",
            f"{each.images_per_s:.1f}",
            "" if each.distance is None else f"{each.distance:.3f}",
            *scores,
        )
    return view
