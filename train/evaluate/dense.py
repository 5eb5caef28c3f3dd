"""Dense tasks: a head that is trained on maps of features, frozen or tuned, and judged pixel by pixel.

Maps come from patch tokens of all sensors, side by side in channels. Beside them stands the per-pixel linear
classifier: the same training on the normalised bands of the pixel alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curate.catalog import InputError
from train.evaluate.embed import in_order
from train.evaluate.evidence import Evidence
from train.evaluate.finetune import LINEAR_RATE, RATE, Tuning
from train.evaluate.heads import HEADS, LinearHead, build_head
from train.evaluate.images import Images
from train.evaluate.targets import IGNORED, Targets
from train.terminal import progress

Rows = npt.NDArray[np.int64]
Maps = Callable[[Rows], Tensor]  # of images at rows: [B, C, g, g]
HELD_MB = 2048  # of tokens in memory, above which frozen maps are computed anew for each batch


class EncodedMaps:
    """Maps of patch tokens of *images*, all sensors side by side: [B, sensors × D, g, g].

    Args:
        blocks: of the encoder, after which tokens are read; by default all.
    """

    def __init__(
        self, model: nn.Module, images: Images, tuned: bool = False, blocks: int | None = None
    ) -> None:
        self.model, self.images, self.tuned = model, images, tuned
        self.depth = {} if blocks is None else {"blocks": blocks}
        self.held: Tensor | None = None
        one = self._encoded(np.arange(1))
        if not tuned and one.numel() * 4e-6 * len(images) <= HELD_MB:
            batches = (self._encoded(batch.chips) for batch in in_order(images, 64))
            self.held = torch.cat([*batches])
        self.width = one.shape[1]

    def __call__(self, rows: Rows) -> Tensor:
        return self._encoded(rows) if self.held is None else self.held[torch.as_tensor(rows)]

    def _encoded(self, rows: Rows) -> Tensor:
        device = next(self.model.parameters()).device
        stored = {s: torch.from_numpy(v).to(device) for s, v in self.images.gather(rows).items()}
        with torch.set_grad_enabled(self.tuned and torch.is_grad_enabled()):
            tokens = cast(Any, self.model).encode_tokens(self.images.config.images(stored), **self.depth)
        joined = torch.cat([*tokens.values()], 2)  # [B, N, C]
        side = math.isqrt(joined.shape[1])
        return joined.transpose(1, 2).reshape(len(rows), -1, side, side)


class PixelMaps:
    """The normalised bands of all sensors, pixel by pixel: [B, bands, H, W]."""

    def __init__(self, images: Images, device: torch.device) -> None:
        self.images, self.device = images, device
        self.width = sum(len(sensor.bands) for sensor in images.config.sensors)

    def __call__(self, rows: Rows) -> Tensor:
        stored = {s: torch.from_numpy(v).to(self.device) for s, v in self.images.gather(rows).items()}
        return torch.cat([*self.images.config.images(stored).values()], 1)


class PatchMeans(PixelMaps):
    """The mean of each normalised band over patches of *patch* pixels: [B, bands, g, g]."""

    def __init__(self, images: Images, device: torch.device, patch: int) -> None:
        super().__init__(images, device)
        self.patch = patch

    def __call__(self, rows: Rows) -> Tensor:
        return F.avg_pool2d(super().__call__(rows), self.patch)


class ChangeMaps:
    """Maps of two dates as one: the size of their difference, and the later."""

    def __init__(self, before: Any, after: Any) -> None:
        self.before, self.after, self.width = before, after, 2 * after.width

    def __call__(self, rows: Rows) -> Tensor:
        first, second = self.before(rows), self.after(rows)
        return torch.cat([(second - first).abs(), second], 1)


def fit_head(
    name: str,
    maps: Any,
    targets: Targets,
    bank: Rows,
    tuning: Tuning,
    encoder: nn.Module | None = None,
) -> nn.Module:
    """Train the head *name*, or `pixel` for one linear map of each pixel, on the images *bank*.

    Args:
        encoder: is tuned with it where it is given.

    Raises:
        InputError: there is no such head.
    """
    if name not in (*HEADS, "pixel"):
        raise InputError(f"There is no head {name!r}", do=f"Choose among {', '.join(HEADS)}")
    size = targets.values.shape[1]
    outputs = len(targets.classes) or 1

    def make() -> nn.Module:
        return (
            LinearHead(maps.width, outputs, size)
            if name == "pixel"
            else build_head(name, maps.width, outputs, size)
        )

    def loss(found: Tensor, rows: Rows) -> Tensor:
        return dense_loss(found, torch.from_numpy(targets.values[rows]).to(found.device))

    return train_head(make, maps, bank, loss, tuning, encoder)


def train_head(
    make: Callable[[], nn.Module],
    maps: Any,
    bank: Rows,
    loss: Callable[[Tensor, Rows], Tensor],
    tuning: Tuning,
    encoder: nn.Module | None = None,
) -> nn.Module:
    """A head from *make*, trained on the *maps* of the images *bank*, whose *loss* is of its outputs at some rows.

    Args:
        encoder: is tuned with it where it is given.
    """
    with _seeded(tuning.seed):
        head = make().to(maps(bank[:1]).device)
        convex = encoder is None and isinstance(head, LinearHead)
        lr = tuning.lr or (LINEAR_RATE if convex else RATE)
        groups = [{"params": [*head.parameters()], "lr": lr}]
        if encoder is not None:
            groups.append({"params": [*encoder.parameters()], "lr": tuning.encoder_lr})
        optimiser = torch.optim.AdamW(groups, weight_decay=tuning.decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, [lr, tuning.encoder_lr][: len(groups)], total_steps=tuning.steps, pct_start=0.1
        )
        rng = np.random.default_rng(tuning.seed)
        head.train()
        with progress("head", tuning.steps) as advance:
            for _ in range(tuning.steps):
                rows = rng.permutation(bank)[: tuning.batch_size]
                optimiser.zero_grad(set_to_none=True)
                torch.autograd.backward(loss(head(maps(rows)), rows))
                optimiser.step()
                schedule.step()
                advance()
        return head.eval()


def dense_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy over known pixels, or their mean squared error where *truth* are values."""
    if truth.dtype == torch.int64:
        total = F.cross_entropy(predicted, truth, ignore_index=IGNORED, reduction="sum")
        return total / (truth != IGNORED).sum().clamp(min=1)
    known = torch.isfinite(truth)
    error = (predicted[:, 0] - truth.nan_to_num()).square() * known
    return error.sum() / known.sum().clamp(min=1)


@torch.inference_mode()
def predict(head: nn.Module, maps: Maps, rows: Rows, batch_size: int = 32) -> npt.NDArray[np.float32]:
    """Outputs of the head [n, outputs, H, W]."""
    parts = [head(maps(rows[i : i + batch_size])).float().cpu() for i in range(0, len(rows), batch_size)]
    found: npt.NDArray[np.float32] = torch.cat(parts).numpy()
    return found


def class_evidence(
    predicted: npt.NDArray[Any], truth: npt.NDArray[np.int64], classes: int, places: npt.NDArray[np.str_]
) -> dict[str, Evidence]:
    """Metrics of numbers of classes [n, H, W], from each image's confusion; unknown pixels do not count."""
    n = len(truth)
    known = truth != IGNORED
    cells = (np.arange(n)[:, None, None] * classes + truth.clip(0)) * classes + predicted
    confusion = np.bincount(cells[known], minlength=n * classes**2).reshape(n, classes, classes).astype(float)
    rules = {"mean IoU": "mean IoU", "pixel accuracy": "accuracy", "macro F1": "macro F1"}
    return {metric: Evidence(rule, places, (confusion,)) for metric, rule in rules.items()}


def value_evidence(
    predicted: npt.NDArray[np.floating], truth: npt.NDArray[np.floating], places: npt.NDArray[np.str_]
) -> dict[str, Evidence]:
    """Metrics of values [n, H, W], NaN in *truth* where unknown: root mean squared and mean absolute error, R²."""
    known = np.isfinite(truth)
    y, e = (np.where(known, v, 0).astype(float) for v in (truth, predicted - np.nan_to_num(truth)))
    axes = (1, 2)
    count, squared = known.sum(axes), (e**2).sum(axes)
    sums = np.stack([squared, y.sum(axes), (y**2).sum(axes), count], 1)
    return {
        "RMSE": Evidence("root mean", places, (np.stack([squared, count], 1),)),
        "MAE": Evidence("mean", places, (np.stack([np.abs(e).sum(axes), count], 1),)),
        "R²": Evidence("explained", places, (sums,)),
    }


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
