"""How a sparse mixture uses its experts on the chips of a catalog, and whether the task reaches its routers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from train.data import Chips
from train.layers.hierarchical import COLLABORATIVE, HierarchicalMoE
from train.loader import in_order
from train.models.ringmoe import RingMoE
from train.objectives.cells import draw_cells

DEAD = 0.01  # of an even share: an expert that gets less is not used


@dataclass(frozen=True)
class ExpertUse:
    """What is asked of the experts of one pool by one sensor's tokens, by block."""

    pool: str
    sensor: str
    load: list[list[float]]  # [block][expert], share of choices; empty where the block has no such pool

    @property
    def dead(self) -> int:
        """Experts, over all blocks, that get less than a hundredth of an even share."""
        return sum(share < DEAD / len(row) for row in self.load for share in row)

    @property
    def balance(self) -> float:
        """Largest load of an expert relative to an even share, the mean over blocks: 1 is even."""
        rows = [row for row in self.load if row]
        return sum(max(row) * len(row) for row in rows) / max(len(rows), 1)


@torch.inference_mode()
def expert_use(model: RingMoE, chips: Chips, batch_size: int = 32, batches: int = 8) -> list[ExpertUse]:
    """Loads by pool and sensor over the first batches of *chips*, without masks."""
    device = next(model.parameters()).device
    layers = [m for m in model.modules() if isinstance(m, HierarchicalMoE)]
    seen: dict[tuple[str, str], list[Any]] = {}
    for sensor in model.sensors:
        for pool in (sensor, COLLABORATIVE):
            seen[pool, sensor] = [0.0] * len(layers)
    for batch in in_order(chips, batch_size):
        if batch.step == batches:
            break
        images = chips.config.images(batch.to(device))
        for sensor in model.sensors:
            for block, stats in enumerate(model.routed({sensor: images[sensor]})):
                for pool, each in stats.items():
                    seen[pool, sensor][block] += each.load * each.tokens
    return [
        ExpertUse(pool, sensor, [_shares(load) for load in loads])
        for (pool, sensor), loads in seen.items()
        if any(isinstance(load, Tensor) for load in loads)
    ]


def _shares(load: Any) -> list[float]:
    return (load / load.sum()).tolist() if isinstance(load, Tensor) else []


def task_gradients(model: RingMoE, images: Mapping[str, Tensor], seed: int = 0) -> dict[str, float]:
    """Norm of the reconstruction loss's gradient of each router, by name."""
    c, generator = model.config, torch.Generator().manual_seed(seed)
    size, count = c.image_size, len(next(iter(images.values())))
    masks = draw_cells(model.sensors, count, size, c.cell, 0.6, None, generator)
    masks = {s: mask.to(next(iter(images.values())).device) for s, mask in masks.items()}
    loss = model(images, masks).losses["reconstruction"]
    routers = {name: p for name, p in model.named_parameters() if ".routers." in name}
    if not routers:
        return {}
    grads = torch.autograd.grad(loss, list(routers.values()), allow_unused=True)
    return {
        name: 0.0 if grad is None else grad.norm().item() for name, grad in zip(routers, grads, strict=True)
    }


def use_table(uses: list[ExpertUse]) -> Table:
    """Loads of the experts of every pool."""
    view = Table(
        title="experts: share of choices, mean over blocks",
        caption=f"busiest: largest share relative to an even one; dead: below {DEAD:.0%} of an even share",
        title_justify="left",
        caption_justify="left",
    )
    for name in ("pool", "sensor"):
        view.add_column(name)
    for name in ("mean load by expert", "busiest", "dead"):
        view.add_column(name, justify="right", no_wrap=True)
    for use in uses:
        rows = [row for row in use.load if row]
        mean = [sum(column) / len(rows) for column in zip(*rows, strict=False)]
        experts = sum(map(len, rows))
        view.add_row(
            use.pool if use.pool == COLLABORATIVE else "specialised",
            use.sensor,
            " ".join(f"{share:.2f}" for share in mean),
            f"{use.balance:.2f}",
            f"{use.dead} of {experts}",
        )
    return view


def gradient_line(gradients: Mapping[str, float]) -> str:
    """Whether the task reaches the routers."""
    if not gradients:
        return "routers  none"
    reached = sum(norm > 0 for norm in gradients.values())
    return (
        f"routers  the task's gradient reaches {reached} of {len(gradients)}, norms "
        f"{min(gradients.values()):.1e} to {max(gradients.values()):.1e}"
    )
