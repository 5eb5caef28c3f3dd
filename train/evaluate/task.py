"""What every task of pixels or objects has in common: models, baselines, chips and the rows of its results."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from curate.catalog import InputError
from train.evaluate.cost import cost_of
from train.evaluate.evidence import Evidence
from train.evaluate.finetune import Tuning
from train.evaluate.images import Images, open_images, random_like
from train.evaluate.judging import about
from train.evaluate.results import RANDOM, TRAINED, Results, said_and_saved
from train.evaluate.running import loaded
from train.terminal import Say

TUNED = {TRAINED: "trained, tuned", RANDOM: "random weights, tuned"}
Measured = Mapping[str, Evidence]  # evidence by metric


@dataclass(frozen=True)
class Asked:
    """What a person asks of a task: models that differ by their seed, chips, and how heads are trained."""

    weights: Sequence[Path]
    catalog: Path
    sensors: Sequence[str] | None = None
    queries: str = "val+test"  # splits that are judged; train is learned from
    tune: bool = False  # the encoder with the head, too
    tuning: Tuning = field(default_factory=Tuning)
    seeds: int = 2
    blocks: int | None = None  # of the encoder, after which tokens are read; by default all
    out: Path | None = None
    device: str | None = None
    say: Say = print

    def open(self, task: str) -> Task:
        """Models and chips.

        Raises:
            InputError: catalog and models do not fit each other, or a split is empty.
        """
        opened = loaded(self.weights, self.device)
        data = opened[0][1]
        images = open_images(self.catalog, data, f"train+{self.queries}", self.sensors)
        found = Task(task, self, [model for model, _, _ in opened], images, Results(about(task, opened)))
        if not len(found.bank) or not len(found.judged):
            raise InputError(
                f"Catalog {self.catalog} lacks chips to train on or to judge",
                f"splits train and {self.queries}",
            )
        self._check_depth(found.models[0])
        found.results.about |= {
            "blocks": self.blocks,
            "sizes": {"train": len(found.bank), "queries": len(found.judged)},
            "cost": cost_of(opened[0][0], images),
            "simulated": data.simulated,
        }
        return found

    def _check_depth(self, model: Any) -> None:
        if self.blocks is None:
            return
        config = model.config
        if not hasattr(config, "specific_depth"):
            raise InputError(
                f"--blocks {self.blocks}: its tokens are read after the last block", do="Leave it out"
            )
        most = config.specific_depth + config.shared_depth
        if not 1 <= self.blocks <= most:
            raise InputError(f"--blocks is {self.blocks}", f"the encoder has {most} blocks")


@dataclass
class Task:
    """A task whose models and chips are open."""

    name: str
    asked: Asked
    models: list[nn.Module]
    images: Images
    results: Results

    def __post_init__(self) -> None:
        split = self.images.columns["split"].astype(str)
        self.bank, self.judged = np.flatnonzero(split == "train"), np.flatnonzero(split != "train")
        self.places: npt.NDArray[np.str_] = self.images.columns["place"].astype(str)[self.judged]
        self.sensors = "+".join(sensor.prefix for sensor in self.images.config.sensors)
        self.device = next(self.models[0].parameters()).device

    def encoders(self, kind: str) -> list[nn.Module]:
        """Encoders of a *kind*, trained or with random weights, one a seed."""
        seeds = range(self.asked.seeds)
        if kind == TRAINED:
            return [self.models[seed % len(self.models)] for seed in seeds]
        return [random_like(self.models[0], seed) for seed in seeds]

    def study(
        self,
        target: str,
        heads: Sequence[str],
        maps_of: Callable[[nn.Module, bool], Any],
        measure: Callable[[str, Any, int, nn.Module | None], Measured],
    ) -> None:
        """Measure heads on features of trained and of random weights, frozen and, where asked for, tuned.

        Args:
            maps_of: features of an encoder, and whether that may change.
            measure: a head on such features with a seed; the encoder is tuned with it where it is given.
        """
        for kind in (TRAINED, RANDOM):
            encoders = self.encoders(kind)
            runs: dict[str, list[Measured]] = {head: [] for head in heads}
            for seed, model in enumerate(encoders):
                maps = maps_of(model, False)
                for head in heads:
                    runs[head].append(measure(head, maps, seed, None))
            for head in heads:
                self.add(target, head, kind, runs[head])
            for head in heads if self.asked.tune else ():
                tuned = []
                for seed, model in enumerate(encoders):
                    copied = copy.deepcopy(model)
                    tuned.append(measure(head, maps_of(copied, True), seed, copied))
                self.add(target, head, TUNED[kind], tuned)

    def add(self, target: str, head: str, kind: str, runs: Sequence[Measured], sensors: str = "") -> None:
        """A row for every metric."""
        for metric in runs[0]:
            evidence = [run[metric] for run in runs]
            self.results.add(self.name, target, head, sensors or self.sensors, kind, metric, evidence)

    def finish(self) -> Results:
        """The results, said and saved."""
        return said_and_saved(self.results, self.asked.out, self.asked.say)
