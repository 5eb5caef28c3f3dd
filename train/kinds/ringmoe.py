"""RingMoE: every sensor rebuilt where cells of it were hidden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.data import Chips, Sensor
from train.kinds.base import Kind, Pretraining, Rows
from train.layers.hierarchical import Stats
from train.layers.routing import Router
from train.models.ringmoe import RingMoE
from train.models.ringmoe_config import RingMoEConfig
from train.models.ringmoe_presets import ring_preset
from train.objectives.cells import CellMask, draw_cells
from train.objectives.targets import (
    OF_ALL,
    OF_SAR,
    SensorSpec,
    decibels,
    decorrelation,
    default_target,
    kind_of,
)
from train.optimise import TrainConfig

MASKINGS = ("cells", "incomplete")
FITTED_ON = 256  # chips, for the statistics of the targets


class MaskedCells(Pretraining):
    """Masked reconstruction of each sensor by itself, and the routers' losses."""

    model: RingMoE
    followed = "reconstruction"
    sparse = True  # a batch may leave a sensor or an expert out

    def __init__(self, model: RingMoE, config: TrainConfig) -> None:
        super().__init__(model, config)
        self.names = ("total", "reconstruction", *(f"error_{s}" for s in model.sensors), "balance", "z")
        self.stats: list[Stats] = []  # of the last pass

    def forward(
        self, images: Mapping[str, Tensor], present: Mapping[str, Tensor], rows: Rows
    ) -> dict[str, Tensor]:
        device = next(iter(images.values())).device
        mine = slice(rows.start, rows.stop)
        masks = {s: mask[mine].to(device) for s, mask in self.masks(rows).items()}
        shown = {s: where[mine].to(device) for s, where in self.shared_out(rows).items()}
        there = {s: shown[s] & present[s] if s in present else shown[s] for s in shown} or dict(present)
        self.reseed(rows.step)
        output = self.model(images, masks, there)
        self.stats = output.stats
        zero = output.losses["total"].new_zeros(())
        return {**output.losses, **{f"error_{s}": output.terms.get(s, zero) for s in self.model.sensors}}

    def reseed(self, step: int) -> None:
        """Give every router that jitters noise of its own for *step*."""
        routers = [m for m in self.model.modules() if isinstance(m, Router) and m.routing.jitter]
        seeds = torch.randint(2**62, (len(routers),), generator=self.generator(step)).tolist()
        for router, seed in zip(routers, seeds, strict=True):
            router.draw = seed

    def divide(self, group: Any) -> None:
        self.model.ranks = group

    def masks(self, rows: Rows) -> dict[str, CellMask]:
        """Masks of the whole batch by sensor, on the CPU."""
        c, train = self.model.config, self.train_config
        partly = c.incomplete_ratio if train.masking == "incomplete" else None
        return draw_cells(
            self.model.sensors,
            rows.batch,
            c.image_size,
            c.cell,
            train.mask_ratio,
            partly,
            self.generator(rows.step),
        )

    def shared_out(self, rows: Rows) -> dict[str, Tensor]:
        """Which sensor each of the batch's chips shows, True or False [batch]; nothing where each shows all.

        Sensors then are unpaired: no place is seen by two of them in one step, and each gets its share.
        """
        ratios = self.model.config.ratios
        if ratios is None:
            return {}
        shares = np.array([ratios[s] for s in self.model.sensors])
        ends = np.rint(rows.batch * shares.cumsum() / shares.sum()).astype(int)
        order = torch.rand(rows.batch, generator=self.generator(rows.step)).argsort().argsort()
        starts = [0, *ends[:-1].tolist()]
        return {
            s: (order >= start) & (order < end)
            for s, start, end in zip(self.model.sensors, starts, ends.tolist(), strict=True)
        }

    def describe(self) -> str:
        c = self.model.config
        experts = f"{c.specialised} specialised, {c.collaborative} collaborative, {c.shared} shared experts"
        targets = ", ".join(f"{s} {spec.target}" for s, spec in c.specs.items())
        taught = (
            ""
            if c.specialised_routing.gate == "raw" or c.specialised_routing.k > 1
            else (", routers that the task does not reach (as published)")
        )
        return f"{experts}{taught}, cells of {c.cell} px, {c.tokens} tokens, targets: {targets}"

    def observe(self) -> dict[str, dict[str, float]]:
        """Share of the choices that each expert got in the last pass, by block, pool and expert."""
        found = {}
        for block, stats in enumerate(self.stats):
            for pool, each in stats.items():
                for expert, share in enumerate(each.load.tolist()):
                    found[f"{block}.{pool}.{expert}"] = share
        return {"expert_load": found} if found else {}


def fitted(config: RingMoEConfig, chips: Chips) -> RingMoEConfig:
    """*config* with the sensors as the data have them, and statistics of the targets from some of the *chips*."""
    some = chips.some(FITTED_ON, 0)
    stored = some.gather(np.arange(len(some)))
    specs = {}
    for sensor in chips.config.sensors:
        wanted = config.specs[sensor.prefix]
        kind = kind_of(sensor.bands, sensor.unit)
        target = wanted.target
        unfit = (target in OF_SAR) != kind.startswith("sar") and target not in OF_ALL
        if unfit or (kind != wanted.kind and target == default_target(wanted.kind, sensor.bands)):
            target = default_target(kind, sensor.bands)
        std = tuple(value if value > 0 else 1.0 for value in sensor.std)
        spec = SensorSpec(sensor.bands, kind, sensor.mean, std, target, wanted.looks)
        if kind.startswith("sar") or target == "decorrelated":
            spec = measured(spec, sensor, torch.from_numpy(stored[sensor.prefix]))
        specs[sensor.prefix] = spec
    return replace(config, specs=specs)


def measured(spec: SensorSpec, sensor: Sensor, stored: Tensor) -> SensorSpec:
    """*spec* with the statistics of its targets over *stored* pixels [B, c, H, W]."""
    known = (stored != sensor.nodata).all(1)  # [B, H, W]
    images = sensor.normalise(stored)
    if spec.kind.startswith("sar"):
        level, spread = centre_and_spread(decibels(spec.power(images))[known[:, None]])
        spec = replace(spec, level_db=level, spread_db=spread)
    if spec.target == "polarimetric":
        level, spread = centre_and_spread(spec.ratio(images)[known[:, None]])
        spec = replace(spec, ratio_db=level, ratio_spread_db=spread)
    if spec.target == "decorrelated":
        turn = decorrelation(images.movedim(1, -1)[known])
        spec = replace(spec, turn=tuple(map(tuple, turn.tolist())))
    return spec


def centre_and_spread(values: Tensor) -> tuple[float, float]:
    """Mean and standard deviation, which is held above 0; 0 and 1 where there are too few values to tell."""
    return (values.mean().item(), max(values.std().item(), 1e-3)) if len(values) > 1 else (0.0, 1.0)


RINGMOE = Kind(
    name="ringmoe",
    config=RingMoEConfig.from_json,
    model=RingMoE,
    pretraining=MaskedCells,
    preset=ring_preset,
    default_preset=lambda cuda: "small" if cuda else "tiny",
    maskings=MASKINGS,
    parallel=("ddp", "fsdp", "experts"),
    defaults={"masking": "cells", "mask_ratio": 0.6},
    fit=fitted,
)
