"""The command `train`. Nothing is decided here, and torch is imported only where it is used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from train.commands import compressing, dense, evaluating, exporting, pretraining, reporting, ringmoe
from train.commands.options import catalog_option

app = typer.Typer(
    help="Train and judge foundation models on the catalogs that `curate` writes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for topic in (compressing, dense, evaluating, exporting, pretraining, reporting, ringmoe):
    app.add_typer(topic.app)


def _version(asked: bool) -> None:
    if asked:
        from train import __version__

        typer.echo(f"train {__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but tables of results and errors.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print results as JSON on stdout, the rest on stderr.")
    ] = False,
) -> None:
    """Train and judge foundation models on the catalogs that `curate` writes."""
    if quiet or as_json:
        from train.terminal import speak

        speak(quiet=quiet, as_json=as_json)


PRESETS_HELP = (
    "tiny, small, base, large; with -dense; csmae-sesd-base, vit-base, ringmoe-small and their like."
)
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
    from train.terminal import printer

    compare_costs(presets or (), _numbers(patch_size), image_size, mask_ratio, parts, out, printer(120))


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
    catalog: Annotated[Path | None, catalog_option("Time the loader on this catalog, too.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the table as JSON, too.")] = None,
) -> None:
    """Time presets beside each other: encoding, the model's training step, the whole step, the loader."""
    from train.compare import compare_speed
    from train.terminal import printer

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
        printer(120),
    )


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
