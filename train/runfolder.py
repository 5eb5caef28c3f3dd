"""A run's folder: whose it is, and what is needed to repeat the run."""

from __future__ import annotations

import json
import platform
import shlex
import shutil
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from curate.catalog import InputError
from curate.catalog.files import write_text
from train import __version__
from train.checkpoint import BEST, CHECKPOINTS, WEIGHTS, checkpoints
from train.distributed import Ranks
from train.journal import LOG
from train.loggers import TENSORBOARD

CONFIG, ORIGIN, PROBE, SUMMARY = "config.yaml", "origin.json", "probe.json", "summary.json"
PACKAGES = ("torch", "numpy", "pyarrow", "safetensors")


def claim(folder: Path, resume: bool, overwrite: bool) -> None:
    """Make sure that nobody's run is written over by accident.

    Raises:
        InputError: the folder holds a run and neither --resume nor --overwrite was given.
    """
    if resume and overwrite:
        raise InputError("--resume and --overwrite contradict each other", do="Give one of them")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file", "a run needs a folder", "Choose another with --out")
    if resume:
        return
    if checkpoints(folder) and not overwrite:
        finished = (folder / SUMMARY).exists()
        raise InputError(
            f"{folder} already holds a run"
            + (", which is finished" if finished else ", which is not finished"),
            do="Go on with --resume, replace it with --overwrite, or choose another folder with --out",
        )


def clear(folder: Path) -> None:
    """Remove what an earlier run left in *folder*, and nothing else."""
    for name in (CHECKPOINTS, TENSORBOARD):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (WEIGHTS, BEST, CONFIG, ORIGIN, PROBE, SUMMARY, LOG):
        (folder / name).unlink(missing_ok=True)


def origin(among: Ranks, catalog: dict[str, Any]) -> dict[str, Any]:
    """Where and by what a run is started now: command, versions, machine, catalog."""
    cuda = among.device.type == "cuda"
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "catalog": catalog,
        "versions": {"train": __version__, "python": platform.python_version(), **_versions()},
        "cuda": torch.version.cuda if cuda else None,
        "device": torch.cuda.get_device_name(among.device) if cuda else platform.machine(),
        "host": platform.node(),
        "ranks": among.world,
    }


def write_origin(folder: Path, entry: dict[str, Any]) -> None:
    """Append *entry* to the folder's list of starts."""
    path = folder / ORIGIN
    starts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    write_text(path, json.dumps([*starts, entry], indent=1) + "\n")


def run_name(folder: Path) -> str:
    """What trackers call the run: its folder's name, and when it was first started, in UTC.

    So a run that goes on is found again, and neither one in another folder of that name nor one replaced is.
    """
    first = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))[0]
    return f"{folder.resolve().name}-{datetime.fromisoformat(first['time']):%Y%m%dT%H%M%S}"


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # from source, or vendored
            continue
    return found
