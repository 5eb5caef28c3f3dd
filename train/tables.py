"""Tables of what models cost and how fast they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table

from train.bench import Row, Setting
from train.flops import Cost

LOOK: dict[str, Any] = {
    "box": SIMPLE_HEAD,
    "pad_edge": False,
    "title_justify": "left",
    "caption_justify": "left",
}
YARDSTICK = "csmae-sesd-base"


class Counted(NamedTuple):
    """What a preset costs, and what it is compared with."""

    patch_px: int
    published: Cost
    run: Cost
    yardstick: Cost  # as published, at the same image and patch


def cost_table(costs: Mapping[str, Counted], title: str) -> Table:
    """Parameters and FLOPs of presets, as published and as run, and their shares of the yardsticks'."""
    view = Table(
        title=title,
        caption=f"of a pair; 2 × multiply-add, matrix products only; shares of {YARDSTICK} of that patch as published",
        **LOOK,
    )
    view.add_column("preset", no_wrap=True)
    for name in (
        "patch\npx",
        "backbone\nM",
        "decoders\nM",
        "encode\nGFLOP",
        "training\nGFLOP",
        "as run\nGFLOP",
    ):
        view.add_column(name, justify="right", no_wrap=True)
    for name, (px, published, run, yardstick) in costs.items():
        encode, step, as_run = published.encode_total, published.step, run.step
        view.add_row(
            name,
            f"{px}",
            f"{published.backbone / 1e6:.1f}",
            f"{published.decoders / 1e6:.1f}",
            f"{encode / 1e9:.2f} {encode / yardstick.encode_total:4.0%}",
            f"{step / 1e9:.2f} {step / yardstick.step:4.0%}",
            f"{as_run / 1e9:.2f} {as_run / yardstick.step:4.0%}",
        )
    return view


def parts_table(name: str, published: Cost, run: Cost) -> Table:
    """FLOPs of one preset by part."""
    view = Table(title=f"{name}, GFLOP of a pair by part", **LOOK)
    view.add_column("part", no_wrap=True)
    columns = (("encode", published.encode), ("training forward", published.forward), ("as run", run.forward))
    for title, _ in columns:
        view.add_column(title, justify="right", no_wrap=True)
    for part in dict.fromkeys(part for _, counts in columns for part in counts):
        view.add_row(part, *(f"{c[part] / 1e9:.3f}" if part in c else "" for _, c in columns))
    view.add_row("sum", *(f"{sum(c.values()) / 1e9:.3f}" for _, c in columns))
    return view


def bench_table(rows: Sequence[Row], setting: Setting, place: str, peak: float) -> Table:
    """Speed of presets."""
    how = setting.execution
    options = [
        how.precision,
        *(["compiled"] if how.compiled else []),
        *(["checkpointing"] if how.checkpointing else []),
    ]
    view = Table(
        title=f"{place}, {', '.join(options)}, batches of {setting.batch} pairs, {setting.image_px} px",
        caption=(
            f"encode, model, step: pairs a second, middle repeat; images of one sensor, tokens, MFU of "
            f"{peak / 1e9:,.0f} GFLOP/s (the device's measured peak) and memory: of the whole step, "
            "or of the model where that was left out"
        ),
        **LOOK,
    )
    for name in ("preset", "patch"):
        view.add_column(name, no_wrap=True)
    for name in (
        "M\nparams",
        "encode\nGF",
        "step\nGF",
        "encode\n/s",
        "model\n/s",
        "step\n/s",
        "images\n/s",
        "ktok\n/s",
        "MFU",
        "GB",
    ):
        view.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        encode, model, step = (row.timings.get(part) for part in ("encode", "model", "step"))
        last = step or model
        assert encode and model and last
        view.add_row(
            row.preset,
            f"{row.patch_px}",
            f"{(row.backbone_parameters + row.decoder_parameters) / 1e6:.1f}",
            f"{row.encode_gflop:.2f}",
            f"{row.step_gflop:.2f}",
            f"{encode.pairs_per_s:.2f}",
            f"{model.pairs_per_s:.2f}",
            f"{step.pairs_per_s:.2f}" if step else "",
            f"{last.images_per_s:.2f}",
            f"{last.tokens_per_s / 1e3:.2f}",
            f"{last.mfu:.0%}",
            f"{last.peak_memory_gb:.2f}",
        )
    return view
