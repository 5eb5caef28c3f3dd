"""Fine-tuning: a linear head on pooled features, trained together with the encoder."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.evaluate.embed import in_order
from train.evaluate.images import Encoder, Images
from train.loader import turned
from train.terminal import progress

RATE, LINEAR_RATE = 1e-3, 0.03
Loss = Callable[[npt.NDArray[np.int64], dict[str, Tensor], int], Tensor]


@dataclass(frozen=True)
class Tuning:
    """How heads are trained."""

    steps: int = 200
    batch_size: int = 32
    lr: float | None = None  # of the head; None is 0.03 for a linear map of frozen features, else 0.001
    encoder_lr: float = 1e-4  # 0 keeps the encoder frozen
    decay: float = 0.05
    seed: int = 0


class Classifier(nn.Module):
    """Features of all sensors side by side, normalised, and a linear layer."""

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: dict[str, Tensor]) -> Tensor:
        """Logits [B, classes]."""
        found = cast(Encoder, self.encoder).encode(images)
        logits: Tensor = self.head(self.norm(torch.cat([*found.values()], 1)))
        return logits


def finetune(
    model: nn.Module,
    bank: Images,
    hot: npt.NDArray[np.integer],
    queries: Images,
    several: bool,
    tuning: Tuning,
) -> npt.NDArray[np.floating]:
    """Probabilities [queries, classes] of a copy of *model* that was trained on *bank* with labels *hot*."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(tuning.seed)
        device = next(model.parameters()).device
        encoder = copy.deepcopy(model)
        probe = bank.config.images(_batch(bank, np.arange(1), device))
        with torch.no_grad():
            width = sum(f.shape[1] for f in cast(Encoder, encoder).encode(probe).values())
        net = Classifier(encoder, width, hot.shape[1]).to(device)
        y = torch.as_tensor(hot, dtype=torch.float32, device=device)

        def loss(rows: npt.NDArray[np.int64], images: dict[str, Tensor], symmetry: int) -> Tensor:
            logits, truth = net(images), y[torch.as_tensor(rows, device=device)]
            if several:
                return F.binary_cross_entropy_with_logits(logits, truth)
            return F.cross_entropy(logits, truth)

        fit_steps(net, encoder, bank, tuning, loss)
        return _predict(net, queries, several, tuning.batch_size)


def fit_steps(net: nn.Module, encoder: nn.Module, images: Images, tuning: Tuning, loss: Loss) -> None:
    """Train *net*, whose *encoder* has a rate of its own, for *tuning.steps* steps of random images.

    Args:
        loss: of rows of *images*, these normalised by sensor, and the symmetry of the square they are seen under.
    """
    device = next(net.parameters()).device
    inside = {id(p) for p in encoder.parameters()}
    for p in encoder.parameters():
        p.requires_grad_(tuning.encoder_lr > 0)
    heads = [p for p in net.parameters() if id(p) not in inside]
    groups = [{"params": heads, "lr": tuning.lr or RATE}]
    if tuning.encoder_lr > 0:
        groups.append({"params": [*encoder.parameters()], "lr": tuning.encoder_lr})
    optimiser = torch.optim.AdamW(groups, weight_decay=tuning.decay)
    warm = max(1, tuning.steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda t: min((t + 1) / warm, 0.5 * (1 + math.cos(math.pi * t / tuning.steps))),
    )
    rng = np.random.default_rng(tuning.seed)
    net.train()
    with progress("fine-tuning", tuning.steps) as advance:
        for _ in range(tuning.steps):
            rows = rng.permutation(len(images))[: tuning.batch_size]
            symmetry = int(rng.integers(8))
            shown = images.config.images(_batch(images, rows, device))
            optimiser.zero_grad(set_to_none=True)
            value = loss(rows, {s: turned(values, symmetry) for s, values in shown.items()}, symmetry)
            torch.autograd.backward(value)
            nn.utils.clip_grad_norm_([p for p in net.parameters() if p.grad is not None], 1.0)
            optimiser.step()
            schedule.step()
            advance()
    net.eval()


def _batch(images: Images, rows: npt.NDArray[np.int64], device: torch.device) -> dict[str, Tensor]:
    return {sensor: torch.from_numpy(values).to(device) for sensor, values in images.gather(rows).items()}


@torch.inference_mode()
def _predict(net: nn.Module, images: Images, several: bool, batch_size: int) -> npt.NDArray[np.floating]:
    device = next(net.parameters()).device
    found = []
    for batch in in_order(images, batch_size):
        logits = net(images.config.images(batch.to(device)))
        found.append((logits.sigmoid() if several else logits.softmax(1)).float().cpu().numpy())
    return np.concatenate(found)
