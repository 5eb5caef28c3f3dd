"""What a run tells a person."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from curate.catalog import Catalog
from train.data import Chips
from train.distributed import Ranks
from train.evaluate.knn import Estimate
from train.evaluate.probe import K, Probe
from train.evaluate.routing import COLLAPSED
from train.kinds import Pretraining
from train.plan import Plan


def heading(
    catalog: Catalog, plan: Plan, chips: Chips, validation: Chips, pretraining: Pretraining, among: Ranks
) -> str:
    """What is trained, on what, for how long."""
    data, config = plan.data, plan.train
    sensors = ", ".join(f"{s.prefix} ({len(s.bands)} bands, {s.unit})" for s in data.sensors)
    millions = sum(p.numel() for p in pretraining.model.parameters()) / 1e6
    epochs = config.steps * config.batch_size / len(chips)
    passes = f" in {config.accumulate} passes" if config.accumulate > 1 else ""
    shared = f" × {among.world} ({plan.settings.parallel})" if among.world > 1 else ""
    average = f", weights averaged over {1 / (1 - config.ema):,.0f} steps" if config.ema else ""
    return (
        f"catalog  {catalog.path}{' (simulated)' if data.simulated else ''}: {len(chips):,} chips to train, "
        f"{len(validation):,} to validate, {data.chip_px} px, {sensors}\n"
        f"model    {plan.kind.name} {plan.preset}: {millions:.1f} M parameters, {pretraining.describe()}\n"
        f"training {config.steps:,} steps of {config.batch_size} pairs{passes} ({epochs:.1f} epochs), "
        f"{config.masking} masking {config.mask_ratio:.0%}, seed {config.seed}{average}, "
        f"{among.device.type if among.world > 1 else among.device}{shared}, {plan.execution.precision}"
    )


def stopped(folder: Path, step: int, steps: int) -> str:
    return (
        f"stopped after step {step:,} of {steps:,}; go on with the same command and --resume --out {folder}"
    )


def fall(loss: str, ends: Mapping[str, float]) -> str:
    """How far the loss fell."""
    n = int(ends["steps"])
    return (
        f"{loss} loss: first {n} steps {ends['first']:.4f} -> last {n} steps {ends['last']:.4f} "
        f"({-ends['fall']:+.1%})"
    )


def ending(weights: Path) -> str:
    return f"weights  {weights}"


def table(probe: Probe, simulated: bool) -> Table | str:
    """One label's results, or why there are none."""
    label = f"{probe.label}{' (simulated)' if simulated else ''}"
    if probe.skipped:
        return f"probe of {label}: not made, {probe.skipped}"
    view = Table(
        title=f"kNN (k = {K}) on {label}",
        caption=(
            f"{probe.bank:,} chips of train vote on {probe.queries:,} of {probe.queried_split} "
            f"({probe.places:,} places, {len(probe.classes)} classes); always the commonest class: "
            f"{probe.majority:.3f} accuracy. Brackets: 95 % by places"
        ),
        title_justify="left",
        caption_justify="left",
    )
    for name in ("features", "sensors"):
        view.add_column(name)
    for name in ("accuracy", "macro F1"):
        view.add_column(name, justify="right", no_wrap=True)
    for result in probe.results:
        row = (_interval(result.score.accuracy), _interval(result.score.macro_f1))
        view.add_row(result.features, result.sensors, *row, end_section=result is probe.results[-1])
    return view


def routing_line(layers: Mapping[str, Mapping[str, float]], tokens: int, slots: int) -> str:
    """How sharply the Soft MoEs route, and whether that is a worry."""
    lowest = min(layers.values(), key=lambda layer: layer["slots_per_token"])["slots_per_token"]
    mean = {
        name: sum(layer[name] for layer in layers.values()) / len(layers)
        for name in ("tokens_per_slot", "slots_per_token", "scale")
    }
    warning = "; a layer has collapsed to one slot a token" if slots > 1 and lowest < COLLAPSED else ""
    return (
        f"routing  {len(layers)} layers: {mean['tokens_per_slot']:.1f} of {tokens} tokens fill a slot, "
        f"{mean['slots_per_token']:.1f} of {slots} slots answer a token, scale {mean['scale']:.1f}{warning}"
    )


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
