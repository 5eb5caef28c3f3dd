"""The command `train`. Nothing is decided here, and torch is imported only where it is used."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from train.commands import dense, evaluating, exporting, ringmoe

app = typer.Typer(
    help="Train and judge foundation models on the catalogs that `curate` writes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for topic in (dense, evaluating, exporting, ringmoe):
    app.add_typer(topic.app)


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


PRESETS_HELP = "tiny, small, base, large; those with -dense; csmae-sesd-base, vit-base, and their like."
PATCHES_HELP = "Pixels; several with commas, 8,15,20.  [default: the preset's]"


@app.command()
def flops(
    presets: Annotated[list[str] | None, typer.Argument(help=PRESETS_HELP)] = None,
    patch_size: Annotated[str | None, typer.Option(help=PATCHES_HELP)] = None,
    image_size: Annotated[int, typer.Option(help="Pixels along a side.")] = 120,
    mask_ratio: Annotated[float, typer.Option(help="Share of hidden patches.")] = 0.5,
    parts: Annotated[bool, typer.Option("--parts", help="By part of the model, too.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write them as JSON, too.")] = None,
) -> None:
    """Say what presets cost, parameters and FLOPs, without running them."""
    from train.compare import compare_costs

    compare_costs(presets or (), _numbers(patch_size), image_size, mask_ratio, parts, out, _wide_print())


@app.command()
def bench(
    presets: Annotated[list[str] | None, typer.Argument(help=PRESETS_HELP)] = None,
    patch_size: Annotated[str | None, typer.Option(help=PATCHES_HELP)] = None,
    image_size: Annotated[int, typer.Option(help="Pixels along a side.")] = 120,
    batch_size: Annotated[int | None, typer.Option(help="Pairs; 8 on a CPU, 256 on CUDA.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; CUDA where there is one.")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16; fp32 on a CPU, bf16 on CUDA.")] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="With torch.compile.")] = False,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Compute activations again instead of keeping them.")
    ] = False,
    seconds: Annotated[float, typer.Option(help="At least, for each number.")] = 3.0,
    model_only: Annotated[
        bool, typer.Option("--model-only", help="Leave out the whole step and the optimiser's memory.")
    ] = False,
    catalog: Annotated[Path | None, typer.Option(help="Time the loader on this catalog, too.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the table as JSON, too.")] = None,
) -> None:
    """Time presets beside each other: encoding, the model's training step, the whole step, the loader."""
    from train.compare import compare_speed

    compare_speed(
        presets or (),
        _numbers(patch_size),
        image_size,
        batch_size,
        device,
        precision,
        compiled,
        checkpointing,
        seconds,
        not model_only,
        catalog,
        out,
        _wide_print(),
    )


def _wide_print() -> Callable[[object], None]:
    """Print for tables of many columns: a pipe has no width, and the default would cut them."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    return console.print if console.is_terminal else Console(highlight=False, markup=False, width=120).print


def _numbers(text: str | None) -> list[int]:
    try:
        return [int(part) for part in (text or "").split(",") if part.strip()]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no list of whole numbers, such as 8,15,20") from error


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
