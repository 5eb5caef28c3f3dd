"""What a run leaves behind: checkpoints to go on from, and weights that explain themselves.

A checkpoint holds everything that the next step depends on, whole, so that it fits any number of ranks. A weights
file holds the model and, in its metadata, the model's kind and configuration and the data's: bands and their order,
units, scale, statistics, the catalog's recipe hash, and whether its values were simulated. `load_model` needs that
file alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from curate.catalog import InputError
from curate.catalog.files import atomic
from train.average import Average
from train.data import DataConfig
from train.distributed import Ranks, load_whole, whole_optimiser, whole_state
from train.kinds import kind_of
from train.models import Model
from train.optimise import TrainConfig

CHECKPOINTS, WEIGHTS, BEST = "checkpoints", "weights.safetensors", "best.safetensors"
FORMAT = 2
KEY = "train"  # of the JSON in the metadata of the weights


def save_checkpoint(
    folder: Path,
    step: int,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: Average | None,
    extra: Mapping[str, Any],
    among: Ranks,
) -> None:
    """Write a checkpoint atomically: weights, optimiser, average, random states, the next step, and *extra*.

    The loader's position, the masks and the rate are functions of the step and the configuration in *extra*. All
    ranks call this and rank 0 writes; ranks draw no random numbers of their own.
    """
    state = {
        "format": FORMAT,
        "step": step,
        "model": whole_state(model.state_dict()),
        "optimiser": whole_optimiser(optimiser),
        "average": average.state() if average else None,
        "rng": torch.get_rng_state(),
        "rng_cuda": torch.cuda.get_rng_state(among.device) if among.device.type == "cuda" else None,
        **extra,
    }
    if among.writes:
        with atomic(folder / CHECKPOINTS / f"{step:08d}.pt") as part:
            torch.save(state, part)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted((folder / CHECKPOINTS).glob("*.pt"))


def prune(folder: Path, keep_last: int, best: int | None) -> None:
    """Remove all checkpoints but the *keep_last* newest and that of step *best*."""
    for path in checkpoints(folder)[:-keep_last]:
        if best is None or path.stem != f"{best:08d}":
            path.unlink()


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """The newest checkpoint of a run, on the CPU.

    Raises:
        InputError: there is none, it cannot be read, or another version of this program wrote it.
    """
    found = checkpoints(folder)
    if not found:
        raise InputError(
            f"There is nothing to resume in {folder}",
            f"it has no {CHECKPOINTS}/*.pt",
            "Leave out --resume to start anew; ranks on several machines need a folder that all of them see",
        )
    path = found[-1]
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the broken part happens to raise
        before = (
            f"Remove it to go on from {found[-2].name}" if len(found) > 1 else "Start anew with --overwrite"
        )
        raise InputError(
            f"Checkpoint {path} cannot be read", f"{type(error).__name__} while unpickling", before
        ) from error
    if state.get("format") != FORMAT:
        raise InputError(
            f"Checkpoint {path} has format {state.get('format')}",
            f"this program reads format {FORMAT}",
            "Start anew with --overwrite",
        )
    return state


def restore(
    state: Mapping[str, Any], model: nn.Module, optimiser: torch.optim.Optimizer, average: Average | None
) -> int:
    """Put model, optimiser, average and random states back where they were; the next step."""
    load_whole(model, optimiser, state["model"], state["optimiser"])
    if average:
        average.load(state["average"])
    torch.set_rng_state(state["rng"])
    if torch.cuda.is_available() and state["rng_cuda"] is not None:
        torch.cuda.set_rng_state(state["rng_cuda"])
    return int(state["step"])


def save_weights(
    path: Path, model: Model, data: DataConfig, train: TrainConfig, step: int, among: Ranks | None = None
) -> Path:
    """Write a weights file, or that of a run's folder, atomically; all ranks call this and rank 0 writes."""
    path = path if path.suffix else path / WEIGHTS
    about = {
        "format": FORMAT,
        "kind": model.kind,
        "model": model.config.to_json(),
        "data": data.to_json(),
        "train": train.to_json(),
        "step": step,
    }
    tensors: dict[str, Tensor] = {n: t.contiguous() for n, t in whole_state(model.state_dict()).items()}
    if among is None or among.writes:
        with atomic(path) as part:
            save_file(tensors, part, metadata={"format": "pt", KEY: json.dumps(about)})
    return path


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
