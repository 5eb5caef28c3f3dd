"""What a masked autoencoder makes of chips it was not trained on: input, what it saw, and what it rebuilt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from curate.catalog.page import figure, picture
from train.evaluate.evidence import Evidence, estimate
from train.evaluate.pictures import channels
from train.inputs import Sensor
from train.layers import patch_grid, patch_targets
from train.models import CSMoE
from train.objectives import Mask, draw_masks, rebuilt
from train.reporting.subject import Subject

SHOWN = 4  # chips
BATCH = 32
GREY = 0.55  # of hidden patches
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rebuilt:
    """What the page shows of a model's reconstructions."""

    about: str  # masking, ratio, how many chips
    errors: list[tuple[str, str, str, str]]  # source, target, error, error of the training set's mean
    chips: list[dict[str, Any]]  # what it is, and a row of pictures for each sensor


def reconstructions(subject: Subject) -> Rebuilt | str:
    """Errors over the subject's chips and pictures of a few; or why there are none."""
    model = subject.model
    if not isinstance(model, CSMoE):
        return f"{type(model).__name__} rebuilds targets of its own, not the pixels of the chips"
    masking = str(subject.training.get("masking", "random"))
    ratio = float(subject.training.get("mask_ratio", 0.5))
    chips = subject.chips
    generator = torch.Generator().manual_seed(0)
    masks = draw_masks(masking, model.sensors, len(chips), model.config.tokens, ratio, generator)
    errors, blank = _errors(model, subject, masks)
    places = chips.columns["place"].astype(str)
    rows = [
        (source, target, _interval(values, places), figure(float(blank[source, target].mean())))
        for (source, target), values in errors.items()
    ]
    shown = _varied(chips.columns["lc_dominant_name"], SHOWN)
    about = f"{masking} masking of {ratio:.0%}, {len(chips):,} chips of {subject.split}"
    return Rebuilt(about, rows, _pictures(model, subject, masks, shown))


@torch.inference_mode()
def _errors(
    model: CSMoE, subject: Subject, masks: Mapping[str, Mask]
) -> tuple[dict[tuple[str, str], Floats], dict[tuple[str, str], Floats]]:
    """Mean squared error of each chip by (source, target) where it is trained, and that of a blank answer."""
    found: dict[tuple[str, str], list[Floats]] = {}
    blank: dict[tuple[str, str], list[Floats]] = {}
    for start in range(0, len(subject.chips), BATCH):
        index = np.arange(start, min(start + BATCH, len(subject.chips)))
        images, part = (
            _images(subject, index),
            {s: mask.rows(start, start + BATCH) for s, mask in masks.items()},
        )
        truth = {
            s: patch_targets(patch_grid(x, model.config.patch_size).flatten(1, 2)) for s, x in images.items()
        }
        for route, prediction in _predicted(model, images, part).items():
            source, target = route
            asked = (
                part[source].masked
                if source == target
                else rebuilt(model.config.reconstruction, part[source], part[target])
            )
            pick = asked[:, :, None].expand(-1, -1, prediction.shape[2])
            wanted = truth[target].gather(1, pick)
            error = (prediction.gather(1, pick) - wanted).square().mean((1, 2))
            found.setdefault(route, []).append(error.double().numpy())
            blank.setdefault(route, []).append(wanted.square().mean((1, 2)).double().numpy())
    return tuple({r: np.concatenate(v) for r, v in each.items()} for each in (found, blank))  # type: ignore[return-value]


@torch.inference_mode()
def _pictures(
    model: CSMoE, subject: Subject, masks: Mapping[str, Mask], index: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    images = _images(subject, index)
    part = {s: _at(mask, torch.from_numpy(index)) for s, mask in masks.items()}
    px, patch = model.config.image_size, model.config.patch_size
    predictions = {
        route: unpatched(x, images[route[1]].shape, patch)
        for route, x in _predicted(model, images, part).items()
    }
    hidden = {s: _enlarged(mask.hidden, px // patch, patch) for s, mask in part.items()}  # [B, H, W]
    shown: list[dict[str, Any]] = [{"title": title, "rows": []} for title in _titles(subject, index)]
    for sensor in subject.data.sensors:
        name = sensor.prefix
        inputs = images[name]
        own = torch.where(hidden[name][:, None], predictions[name, name], inputs)
        across = {s: x for (s, t), x in predictions.items() if t == name and s != name}
        columns = [("input", inputs), ("seen", inputs), (f"from {name} itself", own)]
        columns += [(f"from {s} alone", x) for s, x in across.items()]
        drawn = _drawn([x for _, x in columns], sensor)  # [columns, B, H, W, 3]
        drawn[1][hidden[name].numpy()] = int(255 * GREY)
        for i, chip in enumerate(shown):
            cells = [(said, picture(drawn[j][i])) for j, (said, _) in enumerate(columns)]
            chip["rows"].append({"sensor": name, "cells": cells})
    return shown


def _predicted(
    model: CSMoE, images: Mapping[str, Tensor], masks: Mapping[str, Mask]
) -> dict[tuple[str, str], Tensor]:
    """Predictions of all patches [B, N, p·p·c] by (source, target), in the images' normalised units."""
    found = {}
    for route, prediction in model.reconstruct(images, masks).items():
        source, target = route.split("->")
        if model.config.norm_pixels:  # a patch's contrast was predicted: its mean and spread are the truth's
            truth = patch_targets(patch_grid(images[target], model.config.patch_size).flatten(1, 2))
            variance, mean = torch.var_mean(truth, 2, keepdim=True)
            prediction = prediction * (variance + 1e-6).sqrt() + mean
        found[source, target] = prediction
    return found


def _images(subject: Subject, index: npt.NDArray[np.int64]) -> dict[str, Tensor]:
    stored = subject.chips.gather(index)
    return subject.chips.config.images({s: torch.from_numpy(x) for s, x in stored.items()})


def _at(mask: Mask, rows: Tensor) -> Mask:
    return Mask(mask.visible[rows], mask.masked[rows], mask.restore[rows])


def unpatched(patches: Tensor, shape: Sequence[int], patch: int) -> Tensor:
    """Patches [B, N, p·p·c], pixel order (py, px, c), as images of *shape* [B, c, H, W]."""
    batch, bands, height, width = shape
    grid = patches.reshape(batch, height // patch, width // patch, patch, patch, bands)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(batch, bands, height, width)


def _enlarged(tokens: Tensor, grid: int, patch: int) -> Tensor:
    """Values of patches [B, N] as those of their pixels [B, H, W]."""
    raster = tokens.reshape(len(tokens), grid, grid)
    return raster.repeat_interleave(patch, 1).repeat_interleave(patch, 2)


def _drawn(images: Sequence[Tensor], sensor: Sensor) -> list[npt.NDArray[np.uint8]]:
    """Colours [B, H, W, 3] of each of *images* [B, c, H, W], all stretched as the first ones are."""
    mean, std = (np.array(values)[:, None, None] for values in (sensor.mean, sensor.std))
    shown = [channels(x.double().numpy() * std + mean, sensor) for x in images]
    low, high = np.percentile(shown[0], [2, 98], axis=(2, 3), keepdims=True)
    scaled = [((x - low) / np.maximum(high - low, 1e-9)).clip(0, 1) for x in shown]
    return [np.moveaxis((255 * x).astype(np.uint8), 1, -1) for x in scaled]


def _varied(kinds: npt.NDArray[Any], most: int) -> npt.NDArray[np.int64]:
    """Rows of different kinds, the commonest first, the first chip of each; further ones where kinds are few."""
    _, first, number, count = np.unique(
        np.where(kinds == None, "", kinds).astype(str),  # noqa: E711
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    order = first[np.argsort(-count, kind="stable")]
    rest = np.setdiff1d(np.arange(len(number)), order)
    return np.concatenate([order, rest])[:most]


def _titles(subject: Subject, index: npt.NDArray[np.int64]) -> list[str]:
    columns = subject.chips.columns
    return [
        ", ".join(str(columns[name][i]) for name in ("lc_dominant_name", "koppen_symbol") if columns[name][i])
        for i in index
    ]


def _interval(values: Floats, places: npt.NDArray[np.str_]) -> str:
    found = estimate([Evidence.mean(values, places).by_place()])
    return f"{figure(found.value)} [{figure(found.low)}, {figure(found.high)}]"
