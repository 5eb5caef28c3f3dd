"""The commands that make a trained model smaller, or larger by experts for a new task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from train.commands.options import catalog_option

app = typer.Typer()


@app.command()
def prune(
    weights: Annotated[Path, typer.Argument(help="Weights, or a run's folder, of a RingMoE or CSMoE.")],
    catalog: Annotated[Path, catalog_option("Whose chips say which experts are used, and judge the result.")],
    out: Annotated[Path | None, typer.Option(help="Folder.  [default: WEIGHTS' folder/pruned]")] = None,
    sensor: Annotated[str | None, typer.Option(help="The sensor to keep; by default the first.")] = None,
    keep: Annotated[int | None, typer.Option(help="Experts of a layer's pool that stay.")] = None,
    share: Annotated[
        float | None, typer.Option(help="Share of a layer's use that the experts that stay hold together.")
    ] = None,
    pools: Annotated[
        str, typer.Option(help="Pools of a RingMoE to prune: collaborative, as published, or all.")
    ] = "collaborative",
    merge: Annotated[
        list[str] | None,
        typer.Option(help="To one dense layer by sum, average, svd or units; several will do."),
    ] = None,
    distil_steps: Annotated[int, typer.Option(help="Steps of distillation from the full model.")] = 0,
    lr: Annotated[float, typer.Option(help="Its learning rate.")] = 3e-4,
    seed: Annotated[int, typer.Option(help="Its order of chips.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; CUDA where there is one.")] = None,
) -> None:
    """Make a mixture smaller, step by step, and say what each step costs and still knows."""
    from train.compress.running import Compression, compress
    from train.terminal import printer

    home = weights if weights.is_dir() else weights.parent
    options = Compression(
        weights=weights,
        catalog=catalog,
        out=out or home / "pruned",
        sensor=sensor,
        keep=keep,
        share=share,
        pools=pools,
        merges=tuple(merge or ()),
        distil_steps=distil_steps,
        lr=lr,
        seed=seed,
        device=device,
    )
    compress(options, printer(160))


@app.command()
def grow(
    weights: Annotated[Path, typer.Argument(help="Weights, or a run's folder, of a RingMoE or CSMoE.")],
    catalog: Annotated[Path, catalog_option("Whose chips the new experts learn from.")],
    experts: Annotated[int, typer.Option(help="New experts of every layer.")] = 1,
    sensor: Annotated[str | None, typer.Option(help="The sensor to judge by; by default the first.")] = None,
    steps: Annotated[int, typer.Option(help="Steps that train the new experts alone.")] = 100,
    out: Annotated[Path | None, typer.Option(help="Folder.  [default: WEIGHTS' folder/grown]")] = None,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 3e-4,
    seed: Annotated[int, typer.Option(help="Of the new experts and the order of chips.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; CUDA where there is one.")] = None,
) -> None:
    """Add experts for a new task; all that the model knew stays as it is."""
    from train.compress.running import expand
    from train.terminal import printer

    home = weights if weights.is_dir() else weights.parent
    expand(weights, catalog, out or home / "grown", experts, steps, lr, seed, device, sensor, printer(160))
