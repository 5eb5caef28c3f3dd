"""Teaching: a small model the features of a large one, and new experts a new catalog."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.data import Chips
from train.kinds import Rows, kind_of
from train.layers import SoftMoE
from train.layers.hierarchical import COLLABORATIVE, HierarchicalMoE
from train.layers.routing import Router
from train.loader import Loader, in_order
from train.models import Model
from train.optimise import TrainConfig

Images = Mapping[str, Tensor]


def feature_error(student: Model, teacher: Model, images: Images) -> Tensor:
    """Mean squared error of the student's tokens, relative to the teacher's variance; mean over sensors."""
    shown = {s: x for s, x in images.items() if s in student.sensors}
    with torch.no_grad():
        wanted = teacher.encode_tokens(shown)
    found = student.encode_tokens(shown)
    errors = [F.mse_loss(found[s], z) / z.var().clamp(min=1e-6) for s, z in wanted.items()]
    return torch.stack(errors).mean()


def distil(
    student: Model,
    teacher: Model,
    chips: Chips,
    steps: int,
    batch_size: int = 32,
    lr: float = 3e-4,
    seed: int = 0,
) -> list[float]:
    """Train *student*, in place, to encode as *teacher* does, on the pixels of *chips*; the error at every step."""
    device = next(student.parameters()).device
    teacher.eval()
    return taught(
        student,
        lambda images, present, step: feature_error(student, teacher, images),
        list(student.parameters()),
        Loader(chips, min(batch_size, len(chips)), seed),
        steps,
        lr,
        device,
    )


def adapt(
    model: Model, added: int, chips: Chips, steps: int, batch_size: int = 32, lr: float = 3e-4, seed: int = 0
) -> list[float]:
    """Train the new experts of a grown *model*, in place, on *chips* by the model's own objective; the losses.

    All else stays as it is, to the last bit: what the model knew is not lost.

    Args:
        added: experts that each pool was grown by, its last.
    """
    kind, device = kind_of(model.kind), next(model.parameters()).device
    batch = min(batch_size, len(chips))
    config = TrainConfig(steps=steps, batch_size=batch, lr=lr, seed=seed, **dict(kind.defaults))
    pretraining = kind.pretraining(model, config)
    masks = new_slices(model, added)
    for p in model.parameters():
        p.requires_grad_(id(p) in masks)

    def loss(images: Images, present: Images, step: int) -> Tensor:
        rows = len(next(iter(images.values())))
        total: Tensor = pretraining(images, present, Rows(step, 0, rows, rows))["total"]
        return total

    parameters = [p for p in model.parameters() if id(p) in masks]
    hooks = [p.register_hook(masks[id(p)].mul) for p in parameters]  # type: ignore[no-untyped-call]
    losses = taught(model, loss, parameters, Loader(chips, batch, seed), steps, lr, device)
    for hook in hooks:
        hook.remove()
    for p in model.parameters():
        p.requires_grad_(True)
    return losses


def new_slices(model: nn.Module, added: int) -> dict[int, Tensor]:
    """1 where a parameter belongs to one of the last *added* experts of a pool, by the parameter's id."""
    masks: dict[int, Tensor] = {}

    def note(p: nn.Parameter, dim: int, stop: int | None = None) -> None:
        mask = torch.zeros_like(p)
        mask.narrow(dim, (p.shape[dim] if stop is None else stop) - added, added).fill_(1)
        masks[id(p)] = mask

    for module in model.modules():
        if isinstance(module, SoftMoE):
            note(module.phi, 1)
            experts: Iterator[nn.Parameter] = chain(module.fc1.parameters(), module.fc2.parameters())
        elif isinstance(module, HierarchicalMoE) and COLLABORATIVE in module.experts:
            router = cast(Router, module.routers[COLLABORATIVE])
            note(router.weight, 0, router.experts)
            experts = module.experts[COLLABORATIVE].parameters()
        else:
            continue
        for p in experts:
            note(p, 0)
    return masks


def taught(
    model: nn.Module,
    loss_of: Callable[[Images, Images, int], Tensor],
    parameters: list[nn.Parameter],
    loader: Loader,
    steps: int,
    lr: float,
    device: torch.device,
) -> list[float]:
    """Minimise *loss_of* by AdamW without decay and a cosine from *lr* to 0; the losses."""
    optimiser, losses = torch.optim.AdamW(parameters, lr, weight_decay=0.0), []
    training = model.training
    model.train()
    for batch in loader.batches(0, steps):
        for group in optimiser.param_groups:
            group["lr"] = lr * (1 + math.cos(math.pi * batch.step / steps)) / 2
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = loss_of(*batch.on(device, loader.chips.config), batch.step)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    model.train(training)
    return losses


@torch.no_grad()
def distance(student: Model, teacher: Model, chips: Chips, batch_size: int = 32, batches: int = 4) -> float:
    """`feature_error` on the first batches of *chips*."""
    device, errors = next(student.parameters()).device, []
    student.eval()
    teacher.eval()
    for batch in in_order(chips, batch_size):
        if batch.step == batches:
            break
        errors.append(feature_error(student, teacher, chips.config.images(batch.to(device))).item())
    return sum(errors) / max(len(errors), 1)
