"""The command that trains RingMoE."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer()


@app.command()
def ringmoe(
    catalog: Annotated[Path, typer.Option(help="Catalog with pixels, as `make catalog` writes it.")],
    preset: Annotated[
        str, typer.Option(help="tiny, small, base, giant or vit-…; by default tiny, small on CUDA.")
    ] = "",
    compat: Annotated[
        bool, typer.Option("--compat", help="As published, where ours differs: docs/ringmoe.md says in what.")
    ] = False,
    target: Annotated[
        list[str] | None,
        typer.Option(help="pixels, indices, log-power, gamma or power, for the sensors that it fits."),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Leave out a pool: specialised, collaborative or shared.")
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="cosine, top2, capacity, dense, dense-active, dense-total.")
    ] = None,
    ratios: Annotated[
        str | None, typer.Option(help="Show each chip to one sensor alone, in shares such as s2=2,s1=1.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML of settings, such as a run's config.yaml; flags go over it.")
    ] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as train.ema=0.999 or parallel=fsdp.")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Steps; by default the preset's.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the train split, instead of steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Chips a step; by default the preset's.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate; by default the preset's.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of weights, order, flips and masks.  [default: 0]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder.  [default: runs/ringmoe-CATALOG-PRESET-sSEED]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in that folder.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; CUDA where there is one.")] = None,
    mask_ratio: Annotated[float | None, typer.Option(help="Share of hidden cells.  [default: 0.6]")] = None,
    masking: Annotated[
        str | None, typer.Option(help="cells, or incomplete: a share of their pixels.  [default: cells]")
    ] = None,
    patch_size: Annotated[int | None, typer.Option(help="Pixels; by default what fits the chips.")] = None,
    sensors: Annotated[
        str | None, typer.Option(help="Prefixes with commas, s2,s1; by default all of the catalog's.")
    ] = None,
    no_probe: Annotated[bool, typer.Option("--no-probe", help="Leave out the kNN probe at the end.")] = False,
) -> None:
    """Train RingMoE on a catalog, probe its features, and show how its experts are used."""
    from rich.console import Console

    from train.evaluate.expert_report import experts_of_run
    from train.models.ringmoe_presets import named
    from train.pretrain import pretrain
    from train.settings import assignments, merged, read_yaml, without_none

    wide = Console(highlight=False, markup=False, soft_wrap=True)
    variants = [*(f"no-{pool}" for pool in without or ()), *(target or ()), *(variant or ())]
    flags: dict[str, Any] = {
        "kind": "ringmoe",
        "catalog": str(catalog),
        "preset": named(preset, variants, ratios, compat),
        "epochs": epochs,
        "out": str(out) if out else None,
        "device": device,
        "sensors": None if sensors is None else [part.strip() for part in sensors.split(",")],
        "probe": False if no_probe else None,
        "train": {
            "steps": max_steps,
            "batch_size": batch_size,
            "lr": lr,
            "seed": seed,
            "mask_ratio": mask_ratio,
            "masking": masking,
        },
        "model": {"patch_size": patch_size},
    }
    given = merged(merged(read_yaml(config), without_none(flags)), assignments(assign or ()))
    folder = pretrain(given, resume, overwrite, wide.print)
    experts_of_run(folder, catalog, wide.print)
