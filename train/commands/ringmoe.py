"""The command that trains RingMoE."""

from __future__ import annotations

from typing import Annotated

import typer

from train.commands import options as o

app = typer.Typer()


@app.command()
def ringmoe(
    catalog: o.Catalog = None,
    config: o.Config = None,
    preset: Annotated[
        o.Text, typer.Option(help="tiny, small, base, giant or vit-…; by default tiny, small on CUDA.")
    ] = None,
    compat: Annotated[
        bool, typer.Option("--compat", help="As published, where ours differs: docs/ringmoe.md says in what.")
    ] = False,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="pixels, decorrelated, indices, log-power, polarimetric, gamma or power, for what it fits."
        ),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Leave out a pool: specialised, collaborative or shared.")
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="cosine, top2, capacity, jitter, dense, dense-active, dense-total."),
    ] = None,
    ratios: Annotated[
        str | None, typer.Option(help="Show each chip to one sensor alone, in shares such as s2=2,s1=1.")
    ] = None,
    max_steps: o.Steps = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    accumulate: o.Accumulate = None,
    lr: o.Rate = None,
    ema: o.Ema = None,
    seed: o.Seed = None,
    out: o.Out = None,
    resume: o.Resume = False,
    overwrite: o.Overwrite = False,
    device: o.Device = None,
    parallel: Annotated[
        o.Text,
        typer.Option(help="ddp, fsdp or experts, each rank with its own, under torchrun.  [default: ddp]"),
    ] = None,
    workers: o.Workers = None,
    cache_gb: o.CacheSize = None,
    precision: o.Precision = None,
    compiled: o.Compiled = False,
    checkpointing: o.Checkpointing = False,
    mask_ratio: Annotated[float | None, typer.Option(help="Share of hidden cells.  [default: 0.6]")] = None,
    masking: Annotated[
        str | None, typer.Option(help="cells, or incomplete: a share of their pixels.  [default: cells]")
    ] = None,
    patch_size: o.PatchSize = None,
    sensors: o.Sensors = None,
    probe_every: o.ProbeEvery = None,
    logger: o.Logger = None,
    no_probe: o.NoProbe = False,
    assign: o.Assign = None,
) -> None:
    """Train RingMoE on a catalog, probe its features, and show how its experts are used."""
    asked = o.settings("ringmoe", locals())
    from train.evaluate.expert_report import experts_of_run
    from train.models.ringmoe_presets import named
    from train.pretrain import pretrain
    from train.terminal import printer

    variants = [*(f"no-{pool}" for pool in without or ()), *(target or ()), *(variant or ())]
    if name := named(asked.get("preset") or "", variants, ratios, compat):
        asked["preset"] = name
    experts_of_run(pretrain(asked, resume, overwrite, printer()), printer())
