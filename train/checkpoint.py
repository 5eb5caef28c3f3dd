"""What a run leaves behind: a checkpoint to go on from, and weights that explain themselves.

`checkpoint.pt` holds everything that the next step depends on. `weights.safetensors` holds the model and, in its
metadata, the model's kind and configuration and the data's: bands and their order, units, scale, statistics, the
catalog's recipe hash, and whether its values were simulated. `load_model` needs that file alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from curate.catalog import InputError
from curate.catalog.files import atomic
from train.data import DataConfig
from train.kinds import kind_of
from train.models import Model
from train.optimise import TrainConfig

CHECKPOINT, WEIGHTS = "checkpoint.pt", "weights.safetensors"
FORMAT = 2
KEY = "train"  # of the JSON in the metadata of the weights


def save_checkpoint(
    folder: Path, step: int, model: nn.Module, optimiser: torch.optim.Optimizer, extra: dict[str, Any]
) -> None:
    """Write `checkpoint.pt` atomically: weights, optimiser, random states, the next step, and *extra*.

    The loader's position, the masks and the rate are functions of the step and the configuration in *extra*.
    """
    state = {
        "format": FORMAT,
        "step": step,
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "rng": torch.get_rng_state(),
        "rng_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        **extra,
    }
    with atomic(folder / CHECKPOINT) as part:
        torch.save(state, part)


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """The checkpoint of a run, on the CPU.

    Raises:
        InputError: there is none, it cannot be read, or another version of this program wrote it.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        raise InputError(
            f"There is nothing to resume in {folder}",
            f"it has no {CHECKPOINT}",
            "Leave out --resume to start anew",
        )
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the broken part happens to raise
        raise InputError(
            f"Checkpoint {path} cannot be read",
            f"{type(error).__name__} while unpickling",
            "Start anew with --overwrite",
        ) from error
    if state.get("format") != FORMAT:
        raise InputError(
            f"Checkpoint {path} has format {state.get('format')}",
            f"this program reads format {FORMAT}",
            "Start anew with --overwrite",
        )
    return state


def restore(state: dict[str, Any], model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Put model, optimiser and random states back where they were; the next step."""
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    torch.set_rng_state(state["rng"])
    if torch.cuda.is_available() and state["rng_cuda"]:
        torch.cuda.set_rng_state_all(state["rng_cuda"])
    return int(state["step"])


def save_weights(folder: Path, model: Model, data: DataConfig, train: TrainConfig, step: int) -> Path:
    """Write `weights.safetensors` atomically."""
    about = {
        "format": FORMAT,
        "kind": model.kind,
        "model": model.config.to_json(),
        "data": data.to_json(),
        "train": train.to_json(),
        "step": step,
    }
    tensors = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    with atomic(folder / WEIGHTS) as part:
        save_file(tensors, part, metadata={"format": "pt", KEY: json.dumps(about)})
    return folder / WEIGHTS


def load_model(path: Path | str, device: torch.device | str = "cpu") -> tuple[Model, DataConfig]:
    """The model in evaluation mode and its data configuration, from a weights file or a run's folder.

    Raises:
        InputError: no such file, or not one that this program wrote.
    """
    path = Path(path)
    path = path / WEIGHTS if path.is_dir() else path
    if not path.is_file():
        raise InputError(
            f"There are no weights {path}", do="Train a model with: train csmoe --catalog CATALOG"
        )
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        kind = kind_of(about["kind"])
        model = kind.model(kind.config(about["model"]))
        data = DataConfig.from_json(about["data"])
        model.load_state_dict(tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path} holds no model of this program", f"{type(error).__name__}: {error}".splitlines()[0]
        ) from error
    return model.to(device).eval(), data
