"""What the trainer needs to know of a kind of model, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from train.data import Chips
from train.models.base import Config, Model
from train.optimise import TrainConfig


@dataclass(frozen=True)
class Rows:
    """Which rows of which step's batch a forward pass sees.

    Whatever is random is drawn for the batch's rows by step and seed, so that it is the same however the batch is
    divided over ranks and passes, and after every resume.
    """

    step: int
    start: int
    stop: int
    batch: int  # rows of the whole batch, of all ranks


class Pretraining(nn.Module):
    """A model with the objective it learns by; calling it gives the losses.

    A subclass sets `names` and `followed`, and defines `forward` and `describe`. It holds what is trained in `model`:
    parameters of its own would be in no weights file.
    """

    names: tuple[str, ...] = ("total",)  # of the losses; the first is what is minimised
    followed: str = "total"  # the loss whose fall a run reports
    sparse: bool = False  # whether a pass may leave parameters unused

    def __init__(self, model: Model, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.train_config = model, config

    def forward(
        self, images: Mapping[str, Tensor], present: Mapping[str, Tensor], rows: Rows
    ) -> dict[str, Tensor]:
        """Scalar losses by name, the mean over the rows.

        Args:
            images: by sensor, [B, c, H, W], normalised.
            present: by sensor, True for images [B] that have it; a sensor left out is there in all.
        """
        raise NotImplementedError

    def divide(self, group: Any) -> None:
        """Take note that the ranks of *group* each see a part of a batch, where losses are no mean over its images."""

    def masks(self, rows: Rows) -> Mapping[str, Any]:
        """What is hidden of the whole batch, by sensor, on the CPU; each has `to`."""
        raise NotImplementedError

    def describe(self) -> str:
        """The model in a few words: size, experts, patches."""
        raise NotImplementedError

    def observe(self) -> dict[str, dict[str, float]]:
        """What else to log at every checkpoint: numbers by layer, by what they are; waits for the device."""
        return {}

    def generator(self, step: int) -> torch.Generator:
        """Random numbers of *step*, on the CPU, the same on every device, rank and after every resume."""
        return self.train_config.mask_generator(step)


class Sized(Protocol):
    """A preset: a shape of model, and how long and how fast to train it."""

    @property
    def batch_size(self) -> int: ...
    @property
    def max_steps(self) -> int: ...
    @property
    def lr(self) -> float: ...
    def model(
        self, sensors: dict[str, tuple[str, ...]], chip_px: int, patch_size: int | None = None
    ) -> Config: ...


@dataclass(frozen=True)
class Kind:
    """A kind of model that can be trained, stored and loaded."""

    name: str
    config: Callable[[dict[str, Any]], Any]  # from what `Config.to_json` gave
    model: Callable[[Any], Model]  # from a configuration
    pretraining: Callable[[Any, TrainConfig], Pretraining]  # from a model
    preset: Callable[[str], Sized]  # by name; InputError where there is none
    default_preset: Callable[[bool], str]  # by whether there is a GPU
    maskings: tuple[str, ...]
    parallel: tuple[str, ...] = ("ddp", "fsdp")  # how ranks may share it: see `distributed.spread`
    least_sensors: int = 1
    defaults: Mapping[str, Any] = field(
        default_factory=dict
    )  # of the training, where they are not `TrainConfig`'s
    fit: Callable[[Any, Chips], Any] = lambda config, chips: (
        config
    )  # what a configuration takes from the data

    def untrained(self, config: Config, seed: int) -> Model:
        """A model with the weights that a run under *seed* starts from; the global generator is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.model(config)
