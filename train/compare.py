"""Presets beside each other: what `train flops` and `train bench` do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType

from curate.catalog import InputError
from curate.catalog.files import write_text
from train import tables
from train.bench import Setting, bench, bench_loader, machine, matmul_peak
from train.execution import PRECISIONS, Execution, choose_device, keep_freed_memory
from train.flops import cost
from train.kinds import of_any_kind
from train.presets import CSMOE, PAIR, shape
from train.terminal import Say, Shown

COUNTED = (*CSMOE, "csmae-sesd-base", "vit-base")
TIMED = ("base", "csmae-sesd-base", "vit-base")


def compare_costs(
    presets: Sequence[str] = (),
    patches: Sequence[int] = (),
    image_px: int = 120,
    mask_ratio: float = 0.5,
    parts: bool = False,
    out: Path | None = None,
    say: Say = print,
) -> None:
    """Say, and write as JSON to *out*, parameters and FLOPs of *presets* at *patches*; nothing is run.

    Args:
        parts: a table for each preset, by part of the model, too.

    Raises:
        InputError: no such preset, a patch that does not divide the image, or a ratio that hides all or nothing.
    """
    if not 0 < mask_ratio < 1:
        raise InputError(f"--mask-ratio is {mask_ratio}", "it must lie between 0 and 1")
    chosen, yardstick = [*dict.fromkeys(presets or COUNTED)], shape(tables.YARDSTICK)
    views: list[RenderableType] = []
    found: list[dict[str, Any]] = []
    for patch in patches or (None,):
        configs = {name: of_any_kind(name)[1].model(PAIR, image_px, patch) for name in chosen}
        costs = {
            name: tables.Counted(
                config.patch_size,
                cost(config, mask_ratio, published=True),
                cost(config, mask_ratio),
                cost(yardstick.model(PAIR, image_px, config.patch_size), mask_ratio, published=True),
            )
            for name, config in configs.items()
        }
        views.append(tables.cost_table(costs, f"{image_px} px, {mask_ratio:.0%} hidden"))
        for name, (px, published, run, _) in costs.items():
            if parts:
                views.append(tables.parts_table(name, published, run))
            fields = {"preset": name, "image_px": image_px, "patch_px": px}
            counts = {"backbone_parameters": run.backbone, "decoder_parameters": run.decoders}
            flops = {
                "encode": run.encode,
                "forward_published": published.forward,
                "forward": run.forward,
                "step_published": published.step,
                "step": run.step,
            }
            found.append({**fields, "mask_ratio": mask_ratio, **counts, "flop_per_pair": flops})
    say(Shown(Group(*views), found))
    if out is not None:
        write_text(out, json.dumps(found, indent=1) + "\n")


def compare_speed(
    presets: Sequence[str] = (),
    patches: Sequence[int] = (),
    image_px: int = 120,
    batch: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    compiled: bool = False,
    checkpointing: bool = False,
    seconds: float = 3.0,
    whole_step: bool = True,
    catalog: Path | None = None,
    out: Path | None = None,
    say: Say = print,
) -> None:
    """Time *presets*, and the loader where a *catalog* is given; say a table and write it as JSON to *out*.

    Raises:
        InputError: no such preset, device or precision, or a number that means nothing.
    """
    place = choose_device(device)
    cuda = place.type == "cuda"
    if not cuda:
        keep_freed_memory()
    precision = precision or ("bf16" if cuda else "fp32")
    if precision not in PRECISIONS:
        raise InputError(f"There is no precision {precision!r}", do=f"Choose one of: {', '.join(PRECISIONS)}")
    for name, value in (("--batch-size", batch), ("--seconds", seconds)):
        if value is not None and not value > 0:
            raise InputError(f"{name} is {value}", "it must be greater than 0")
    execution = Execution(precision, compiled, checkpointing)
    setting = Setting(place, execution, batch or (256 if cuda else 8), seconds, image_px, whole_step)
    about = {**machine(place), "batch_pairs": setting.batch, "precision": precision, "compiled": compiled}
    peak = matmul_peak(place, precision)
    about["matmul_peak_gflops"] = peak / 1e9
    if catalog is not None:
        about["loader_pairs_per_s"] = bench_loader(catalog, setting)
        say(f"loader   {about['loader_pairs_per_s']:,.0f} pairs/s from {catalog}")
    rows = list(bench([*dict.fromkeys(presets or TIMED)], patches or (None,), setting, peak))
    found = {**about, "rows": [row.to_json() for row in rows]}
    say(Shown(tables.bench_table(rows, setting, about["device"], peak), found))
    if out is not None:
        write_text(out, json.dumps(found, indent=1) + "\n")
