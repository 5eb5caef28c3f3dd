"""What is decayed, how fast each parameter learns, and when."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import nn

MASKS = 2  # a stream of random numbers of its own, beside those of the loader


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run, given the model and the data."""

    steps: int
    batch_size: int  # pairs a step, of all ranks and passes together
    lr: float  # at its peak
    seed: int = 0
    masking: str = "random"
    mask_ratio: float = 0.5
    warmup: float = 0.1  # share of the steps over which the rate rises from 0
    final_lr: float = 0.01  # share of the peak at the end of the cosine
    scale_lr: float = 1.0  # multiplier of the rate for the routing scales
    scale_decay: float = 0.0  # weight decay of the routing scales
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0  # largest norm of the gradient
    accumulate: int = 1  # passes that a step's batch is divided into, to save memory
    ema: float = 0.0  # decay of the averaged weights that are judged and kept; 0 keeps the trained ones
    log_every: int = 10  # steps
    save_every: int = 500  # steps; the validation split is measured then too
    keep_last: int = 2  # checkpoints; the one with the best validation loss stays besides
    validation_batches: int = 8
    probe_every: int = 0  # steps between kNN probes of the validation split; 0 leaves it to the end

    def lr_at(self, step: int) -> float:
        """Rate of *step*, counted from 0: linear warm-up, then a cosine."""
        rise = max(round(self.warmup * self.steps), 1)
        if step < rise:
            return self.lr * (step + 1) / rise
        turn = (step - rise) / max(self.steps - rise, 1)
        return self.lr * (self.final_lr + (1 - self.final_lr) * (1 + math.cos(math.pi * turn)) / 2)

    def mask_generator(self, step: int) -> torch.Generator:
        """The random numbers of the masks of *step*, the same on every device and after every resume."""
        state = np.random.SeedSequence((self.seed, MASKS, step)).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state[0]))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainConfig:
        known = {field.name for field in fields(cls)}
        kept: dict[str, Any] = {name: value for name, value in values.items() if name in known}
        return cls(**{**kept, "betas": tuple(kept["betas"])})


def optimiser_for(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over three groups: matrices, which decay; routing scales; all else, which does not decay.

    Matrices are the weights of linear layers and experts. Norms, biases, class and mask tokens and the slots'
    Phi are not decayed: pulling them to zero means nothing. Routing scales have a decay of their own, by default
    none: it would make routing uniform. (The paper's authors decay them by 0.03.)
    """
    groups: dict[str, list[nn.Parameter]] = {"matrices": [], "scales": [], "rest": []}
    for name, parameter in model.named_parameters():
        last = name.rsplit(".", 1)[-1]
        matrix = last == "weight" and parameter.ndim >= 2
        groups["matrices" if matrix else "scales" if last == "scale" else "rest"].append(parameter)
    decays = {"matrices": config.weight_decay, "scales": config.scale_decay, "rest": 0.0}
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "weight_decay": decays[name],
                "lr_share": config.scale_lr if name == "scales" else 1.0,
            }
            for name, parameters in groups.items()
            if parameters
        ],
        lr=config.lr,
        betas=config.betas,
        fused=True,
    )


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set the rate of every group to its share of *lr*."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["lr_share"]
