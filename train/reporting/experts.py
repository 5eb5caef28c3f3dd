"""Which experts a model's mixtures use, by sensor, by land cover and by climate.

Of every mixture, chip and sensor: the weight that each expert gets, the mean over the chip's tokens. In a Soft MoE it
is the combine weight summed over the expert's slots; in a sparse mixture the share of choices. How much a label tells
of the expert is their mutual information

    I(E; Y) = Σ_y p(y) Σ_e p(e|y) log2( p(e|y) / p(e) )

in bits, 0 where all labels use the experts alike. Few chips alone make it positive: chance says how much, the mean over
shuffled labels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from curate.catalog.page import figure, percent
from curate.catalog.page.charts import WIDTH, Svg, box, svg, text
from train.evaluate.expert_report import EXPERTS
from train.evaluate.expert_use import ExpertUse, gradient_line
from train.layers import SoftMoE
from train.layers.routing import Router
from train.loader import in_order
from train.reporting.subject import Subject

SHUFFLES = 20
LEAST, MOST = 3, 12  # chips of a class that is drawn; classes
Floats = npt.NDArray[np.float64]
Weights = dict[str, dict[str, Floats]]  # by mixture and sensor, [chips, experts]
LABELS = {"lc_dominant_name": "land cover", "koppen_symbol": "climate"}


@dataclass(frozen=True)
class Use:
    """What the page shows of a model's experts."""

    about: str
    rows: list[tuple[str, ...]]  # mixture, experts, effective number, bits by sensor, land cover, climate
    charts: list[tuple[str, Svg]]


def experts(subject: Subject) -> Use | str:
    """Use of the experts on the subject's chips; or that there are none."""
    weights = expert_weights(subject)
    if not weights:
        return "The model has no mixture of experts"
    columns = subject.chips.columns
    labels = {said: _codes(columns[name]) for name, said in LABELS.items()}
    rows, told = [], {}
    for layer, by_sensor in weights.items():
        joined = np.concatenate(list(by_sensor.values()))
        whose = np.repeat(np.arange(len(by_sensor)), len(subject.chips))
        told[layer] = {"sensor": _beside_chance([(joined, whose)])}
        told[layer] |= {
            said: _beside_chance([(each[codes >= 0], codes[codes >= 0]) for each in by_sensor.values()])
            for said, (codes, _) in labels.items()
        }
        mean = joined.mean(0)
        effective = np.exp(-(mean * np.log(np.maximum(mean, 1e-12))).sum())
        found = (_bits(*told[layer][said]) for said in ("sensor", *labels))
        rows.append((layer, str(joined.shape[1]), figure(float(effective)), *found))
    most = max(map(len, weights.values()))
    common = {layer: told[layer] for layer, by_sensor in weights.items() if len(by_sensor) == most}
    charts = [_by_sensor(weights, _most(common, "sensor"))]
    for said, (codes, names) in labels.items():
        layer = _most(common, said)
        charts += [
            (f"{said} in {sensor}, {layer}", deviations(said, names, *_of_classes(each, codes, len(names))))
            for sensor, each in weights[layer].items()
        ]
    about = f"{len(subject.chips):,} chips of {subject.split}"
    return Use(about, rows, [chart for chart in charts if chart])


@torch.inference_mode()
def expert_weights(subject: Subject, batch_size: int = 32) -> Weights:
    """Weights of the experts of every mixture that a sensor's tokens meet, whole images, one sensor at a time."""
    model, found = subject.model, dict[str, dict[str, list[Floats]]]()
    sensor, images = "", 0

    def keep(name: str, weights: Tensor) -> None:
        by_chip = weights.reshape(images, -1, weights.shape[-1]).mean(1)
        found.setdefault(name, {}).setdefault(sensor, []).append(by_chip.double().numpy())

    def soft(name: str) -> Any:
        def hook(layer: SoftMoE, inputs: tuple[Tensor, ...]) -> None:
            combine = layer.route(inputs[0])[1]  # [B, m, n·p]
            keep(name, combine.reshape(*combine.shape[:2], *layer.phi.shape[1:]).sum(3))

        return hook

    def sparse(name: str) -> Any:
        def hook(router: Router, _: Any, routes: Any) -> None:
            keep(name, F.one_hot(routes.chosen, router.experts).double().mean(1))  # [T, E]

        return hook

    handles = []
    for name, layer in model.named_modules():
        if isinstance(layer, SoftMoE):
            handles.append(layer.register_forward_pre_hook(soft(short(name))))
        elif isinstance(layer, Router):
            handles.append(layer.register_forward_hook(sparse(short(name))))
    try:
        for batch in in_order(subject.chips, batch_size) if handles else ():
            normalised, images = subject.chips.config.images(batch.stored), len(batch.chips)
            for sensor in model.sensors:
                model.encode({sensor: normalised[sensor]})
    finally:
        for handle in handles:
            handle.remove()
    return {name: {s: np.concatenate(parts) for s, parts in each.items()} for name, each in found.items()}


def information(weights: Floats, codes: npt.NDArray[np.int64]) -> float:
    """Mutual information of experts and labels in bits, of weights [n, experts] and labels [n] from 0."""
    of_class, share = _means(weights, codes)
    every = share @ of_class
    ratio = np.log2(np.maximum(of_class, 1e-12) / np.maximum(every, 1e-12))
    return float((share[:, None] * of_class * ratio).sum())


def use_of_run(folder: Path) -> tuple[list[tuple[str, ...]], str]:
    """What a run with sparse mixtures wrote of its experts: rows by pool and sensor, and the routers' gradients."""
    try:
        fields = json.loads((folder / EXPERTS).read_text(encoding="utf-8"))
        uses = [ExpertUse(**use) for use in fields["use"]]
    except (OSError, ValueError, KeyError, TypeError):
        return [], ""
    rows: list[tuple[str, ...]] = [
        (use.pool, use.sensor, figure(use.balance), f"{use.dead} of {sum(map(len, use.load))}")
        for use in uses
    ]
    return rows, gradient_line(fields.get("task_gradient", {})).removeprefix("routers").strip()


def deviations(title: str, names: list[str], shares: Floats, even: Floats) -> Svg:
    """Shares [classes, experts] as a field: experts down, classes across, coloured by how far from *even* [experts]."""
    if not len(names):
        return svg(WIDTH, 20, title, [text(0, 12, "no class with enough chips")])
    said = [name if len(name) <= 20 else name[:19] + "…" for name in names]
    left, top = 26.0, 14 + 4.4 * max(map(len, said))
    side, tall = min(44.0, (WIDTH - left - 40) / len(names)), 19.0
    gap = shares / np.maximum(even, 1e-12) - 1
    most = max(float(np.abs(gap).max()), 0.05)
    parts = []
    for j, name in enumerate(said):
        at = f"translate({left + side * (j + 0.5) + 3:.1f} {top - 6:.1f}) rotate(-55)"
        parts.append(f'<g transform="{at}">{text(0, 0, name, size=10)}</g>')
    for i in range(shares.shape[1]):
        y = top + tall * i
        parts.append(text(left - 6, y + 13, str(i), "end", ink="--ink"))
        for j, name in enumerate(names):
            share, x = float(shares[j, i]), left + side * j
            colour = "--accent" if gap[j, i] > 0 else "--val"
            tip = f"expert {i}, {name}: {percent(share)}, on average {percent(float(even[i]))}"
            depth = max(min(1.0, abs(float(gap[j, i])) / most) * 0.85, 0.001)
            parts.append(box(x + 0.5, y + 0.5, side - 1, tall - 1, "--line", "", 0.5))
            parts.append(box(x + 0.5, y + 0.5, side - 1, tall - 1, colour, tip, depth))
            if side >= 22:
                ink = "--paper" if colour == "--accent" and depth > 0.6 else "--ink"
                parts.append(text(x + side / 2, y + 13, f"{share * 100:.0f}", "middle", 9, ink))
    return svg(WIDTH, top + tall * shares.shape[1] + 6, title, parts)


def short(name: str) -> str:
    """A mixture's name without what every one's has: "shared.3.mlp" is "shared 3"."""
    dropped = ("layers", "blocks", "mlp", "ffn", "moe", "routers", "backbone", "stages")
    return " ".join(part for part in name.split(".") if part not in dropped)


def _codes(values: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Labels as numbers, -1 where there is none or too few chips have it, and their names."""
    known = values != None  # noqa: E711
    names, counts = np.unique(values[known].astype(str), return_counts=True)
    kept = np.sort(names[np.argsort(-counts, kind="stable")][: (counts >= LEAST).sum()][:MOST])
    codes = np.full(len(values), -1, np.int64)
    if len(kept):
        at = np.searchsorted(kept, values[known].astype(str)).clip(max=len(kept) - 1)
        codes[known] = np.where(kept[at] == values[known].astype(str), at, -1)
    return codes, kept.tolist()


def _means(weights: Floats, codes: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Mean weights of each class [classes, experts], and its share of the rows."""
    hot = (codes[:, None] == np.unique(codes)).astype(np.float64)
    return (hot.T @ weights) / hot.sum(0)[:, None], hot.mean(0)


def _beside_chance(parts: list[tuple[Floats, npt.NDArray[np.int64]]]) -> tuple[float, float]:
    """Mean information of each part's labels, and of shuffled ones; 0 where there is one class."""
    rng = np.random.default_rng(0)
    usable = [(weights, codes) for weights, codes in parts if len(np.unique(codes)) > 1]
    if not usable:
        return float("nan"), float("nan")
    true = np.mean([information(*part) for part in usable])
    drawn = [
        information(weights, rng.permutation(codes)) for weights, codes in usable for _ in range(SHUFFLES)
    ]
    return float(true), float(np.mean(drawn))


def _bits(true: float, chance: float) -> str:
    return "–" if np.isnan(true) else f"{true:.4f} ({chance:.4f})"


def _most(told: Mapping[str, Mapping[str, tuple[float, float]]], said: str) -> str:
    """The mixture of whose experts a label tells most beyond chance; the last where it tells of none."""
    beyond = {layer: each[said][0] - each[said][1] for layer, each in told.items()}
    known = {layer: bits for layer, bits in beyond.items() if not np.isnan(bits)}
    return max(known, key=lambda layer: known[layer]) if known else list(told)[-1]


def _by_sensor(weights: Weights, layer: str) -> tuple[str, Svg]:
    means = np.stack([each.mean(0) for each in weights[layer].values()])
    return f"sensor, {layer}", deviations("sensor", list(weights[layer]), means, means.mean(0))


def _of_classes(weights: Floats, codes: npt.NDArray[np.int64], classes: int) -> tuple[Floats, Floats]:
    if not classes:
        return np.zeros((0, weights.shape[1])), weights.mean(0)
    return _means(weights[codes >= 0], codes[codes >= 0])[0], weights.mean(0)
