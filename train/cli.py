"""The command `train`. Nothing is decided here, and torch is imported only where it is used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Train and judge foundation models on the catalogs that `curate` writes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from train import __version__

        typer.echo(f"train {__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Train and judge foundation models on the catalogs that `curate` writes."""


@app.command()
def csmoe(
    catalog: Annotated[Path, typer.Option(help="Catalog with pixels, as `make catalog` writes it.")],
    preset: Annotated[
        str | None, typer.Option(help="tiny, small, base or large; tiny on a CPU, base on CUDA.")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Steps; by default the preset's.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the train split, instead of steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pairs a step; by default the preset's.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate; by default the preset's.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of weights, order, flips and masks.  [default: 0]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder.  [default: runs/csmoe-CATALOG-PRESET-sSEED]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in that folder.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; CUDA where there is one.")] = None,
    mask_ratio: Annotated[float | None, typer.Option(help="Share of hidden patches.  [default: 0.5]")] = None,
    masking: Annotated[
        str | None, typer.Option(help="random, identical or disjoint over sensors.  [default: random]")
    ] = None,
    patch_size: Annotated[int | None, typer.Option(help="Pixels; by default what fits the chips.")] = None,
    sensors: Annotated[
        str | None, typer.Option(help="Prefixes with commas, s2,s1; by default all of the catalog's.")
    ] = None,
    no_probe: Annotated[bool, typer.Option("--no-probe", help="Leave out the kNN probe at the end.")] = False,
) -> None:
    """Train CSMoE on a catalog, save its weights under runs/, and probe its features."""
    from rich.console import Console

    from train.pretrain import Options, pretrain

    chosen = None if sensors is None else tuple(part.strip() for part in sensors.split(","))
    options = Options(
        catalog=catalog,
        preset=preset,
        max_steps=max_steps,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        out=out,
        device=device,
        masking=masking,
        mask_ratio=mask_ratio,
        patch_size=patch_size,
        sensors=chosen,
        resume=resume,
        overwrite=overwrite,
        probe=not no_probe,
    )
    console = Console(highlight=False, markup=False, soft_wrap=True)
    pretrain(options, console.print)


def main() -> None:
    """Run the command line: bad input is one line and exit code 2, a failed run one line and exit code 1."""
    try:
        app()
    except Exception as error:
        from curate.catalog.errors import InputError, RunError

        if not isinstance(error, InputError | RunError):
            raise
        line = " ".join(str(error).split())
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)


if __name__ == "__main__":
    main()
