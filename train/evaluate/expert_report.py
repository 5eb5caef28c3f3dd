"""What a finished run of RingMoE says of its experts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from curate.catalog.files import write_text
from train.checkpoint import load_model
from train.data import Chips, open_catalog
from train.evaluate.expert_use import expert_use, gradient_line, task_gradients, use_table
from train.journal import LOG
from train.models.ringmoe import RingMoE
from train.runfolder import CONFIG
from train.settings import read_yaml, settings_of

EXPERTS = "experts.json"


def experts_of_run(folder: Path, say: Callable[[object], None]) -> None:
    """Print and store how a run's model uses its experts on the training chips; one rank does."""
    if os.environ.get("RANK", "0") != "0":
        return
    settings = settings_of(read_yaml(folder / CONFIG))
    catalog = open_catalog(settings.catalog, settings.cache, settings.cache_gb)
    model, data = load_model(folder)
    assert isinstance(model, RingMoE)
    chips = Chips(catalog, data, "train")
    uses = expert_use(model, chips)
    few = chips.gather(np.arange(min(len(chips), 16)))
    gradients = task_gradients(model, data.images({s: torch.from_numpy(x) for s, x in few.items()}))
    fields = {"use": [asdict(use) for use in uses], "task_gradient": gradients}
    write_text(folder / EXPERTS, json.dumps(fields, indent=1) + "\n")
    say(sensors_line(folder, model.sensors))
    if uses:
        say(use_table(uses))
    say(gradient_line(gradients))


def sensors_line(folder: Path, sensors: Sequence[str]) -> str:
    """How far each sensor's own error fell: whether one learns at another's cost."""
    lines = [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if line["event"] == "train"]
    few = max(len(steps) // 10, 1)
    falls = []
    for sensor in sensors:
        first, last = (
            float(np.mean([line[f"error_{sensor}"] for line in part])) for part in (steps[:few], steps[-few:])
        )
        falls.append(f"{sensor} {first:.3f} -> {last:.3f} ({last / first - 1:+.0%})")
    return f"sensors  error of the first tenth of the log and the last: {', '.join(falls)}"
