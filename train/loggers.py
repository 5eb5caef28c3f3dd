"""Where else a run's numbers go: TensorBoard always, other trackers by choice."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from curate.catalog import InputError

TENSORBOARD = "tensorboard"


class Logger(Protocol):
    """One tracker."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Take numbers by name, "train/total", at *step*."""

    def close(self) -> None:
        """Write what is pending."""


class TensorBoard:
    """Event files in the run's folder; what a killed run logged after *step* is hidden."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any], step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=step + 1 if step else None)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WandB:
    """Weights & Biases, and trackio, which has the same door."""

    module = "wandb"

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any], step: int) -> None:
        self._library = importlib.import_module(self.module)
        self._library.init(project="train", name=name, config=dict(config), **self._place(folder, name))

    def _place(self, folder: Path, name: str) -> dict[str, Any]:
        return {"dir": str(folder), "id": name, "resume": "allow"}

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._library.log(dict(values), step=step)

    def close(self) -> None:
        self._library.finish()


class Trackio(WandB):
    module = "trackio"

    def _place(self, folder: Path, name: str) -> dict[str, Any]:
        return {"resume": "allow"}


class MLflow:
    """MLflow, at the address in MLFLOW_TRACKING_URI."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any], step: int) -> None:
        self._library = importlib.import_module("mlflow")
        self._library.set_experiment("train")
        self._library.start_run(run_name=name)
        self._library.log_params({key: str(value) for key, value in flat(config).items()})

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._library.log_metrics(dict(values), step=step)

    def close(self) -> None:
        self._library.end_run()


LOGGERS: dict[str, Any] = {"wandb": WandB, "mlflow": MLflow, "trackio": Trackio}


def check_loggers(names: Sequence[str]) -> None:
    """Refuse trackers that there are not.

    Raises:
        InputError: an unknown one, or one that is not installed.
    """
    for name in names:
        if name not in LOGGERS:
            raise InputError(f"There is no logger {name!r}", do=f"Choose among: {', '.join(LOGGERS)}")
        if find_spec(name) is None:
            raise InputError(f"Logger {name} is not installed", do=f"Install it with: pip install {name}")


def open_loggers(
    names: Sequence[str], folder: Path, name: str, config: Mapping[str, Any], step: int
) -> list[Logger]:
    """TensorBoard and the trackers named, for a run that goes on from *step*."""
    return [kind(folder, name, config, step) for kind in (TensorBoard, *(LOGGERS[n] for n in names))]


def flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of nested mappings, by names joined with slashes."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        found |= flat(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def numbers(fields: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among nested fields, by names joined with slashes."""
    return {name: float(v) for name, v in flat(fields).items() if isinstance(v, int | float)}
