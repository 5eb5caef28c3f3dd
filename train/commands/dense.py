"""`train segment`, `change`, `height`, `detect` and `track`: tasks of pixels and objects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from train.commands.evaluating import Device, ResultFile, Runs, Seeds, SensorNames, listed
from train.commands.options import catalog_option

if TYPE_CHECKING:
    from train.evaluate.task import Asked

app = typer.Typer()

Chips = Annotated[Path, catalog_option()]
Labels = Annotated[Path, typer.Option(help="Arrow file that `curate labels` wrote.", dir_okay=False)]
Heads = Annotated[str, typer.Option(help="linear, fpn, upernet; several with commas.")]
Tune = Annotated[bool, typer.Option("--tune", help="Train the encoder with the head, too.")]
Blocks = Annotated[
    int | None, typer.Option(help="Read tokens after so many blocks of the encoder; by default after all.")
]
Steps = Annotated[int, typer.Option(min=1, help="Of training the head.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images a step.")]
Rate = Annotated[
    float | None, typer.Option(help="Peak learning rate of heads.  [default: 0.03 linear, 0.001 others]")
]
Queries = Annotated[str, typer.Option(help="Splits that are judged; train is learned from.")]


@app.command()
def segment(
    runs: Runs,
    catalog: Chips,
    labels: Labels,
    heads: Heads = "linear,fpn",
    tune: Tune = False,
    blocks: Blocks = None,
    steps: Steps = 200,
    batch_size: BatchSize = 16,
    lr: Rate = None,
    sensors: SensorNames = None,
    queries: Queries = "val+test",
    seeds: Seeds = 2,
    out: ResultFile = None,
    device: Device = None,
) -> None:
    """Classify every pixel, beside random weights and a linear classifier of each pixel's own bands."""
    from train.evaluate.mapping import segment as run

    asked = _asked(runs, catalog, sensors, queries, tune, blocks, steps, batch_size, lr, seeds, out, device)
    run(asked, labels, listed(heads) or ())


@app.command()
def height(
    runs: Runs,
    catalog: Chips,
    labels: Labels,
    heads: Heads = "linear,fpn",
    tune: Tune = False,
    blocks: Blocks = None,
    steps: Steps = 200,
    batch_size: BatchSize = 16,
    lr: Rate = None,
    sensors: SensorNames = None,
    queries: Queries = "val+test",
    seeds: Seeds = 2,
    out: ResultFile = None,
    device: Device = None,
) -> None:
    """Estimate a value of every pixel above its chip's mean, such as elevation."""
    from train.evaluate.mapping import height as run

    asked = _asked(runs, catalog, sensors, queries, tune, blocks, steps, batch_size, lr, seeds, out, device)
    run(asked, labels, listed(heads) or ())


@app.command()
def change(
    runs: Runs,
    catalog: Chips,
    heads: Heads = "linear,fpn",
    tune: Tune = False,
    blocks: Blocks = None,
    steps: Steps = 200,
    batch_size: BatchSize = 16,
    lr: Rate = None,
    sensors: SensorNames = None,
    queries: Queries = "val+test",
    seeds: Seeds = 2,
    out: ResultFile = None,
    device: Device = None,
) -> None:
    """Find change between two dates, planted into the catalog's chips."""
    from train.evaluate.mapping import change as run

    asked = _asked(runs, catalog, sensors, queries, tune, blocks, steps, batch_size, lr, seeds, out, device)
    run(asked, listed(heads) or ())


@app.command()
def detect(
    runs: Runs,
    catalog: Chips,
    tune: Tune = False,
    blocks: Blocks = None,
    steps: Steps = 300,
    batch_size: BatchSize = 16,
    lr: Rate = None,
    sensors: SensorNames = None,
    queries: Queries = "val+test",
    seeds: Seeds = 2,
    out: ResultFile = None,
    device: Device = None,
) -> None:
    """Find objects planted into the catalog's chips, with boxes: average precision at IoU 0.5 and 0.5 to 0.95."""
    from train.evaluate.finding import detect as run

    run(_asked(runs, catalog, sensors, queries, tune, blocks, steps, batch_size, lr, seeds, out, device))


@app.command()
def track(
    runs: Runs,
    catalog: Chips,
    tune: Tune = False,
    blocks: Blocks = None,
    steps: Steps = 300,
    batch_size: BatchSize = 16,
    lr: Rate = None,
    sensors: SensorNames = None,
    queries: Queries = "val+test",
    seeds: Seeds = 2,
    out: ResultFile = None,
    device: Device = None,
) -> None:
    """Follow objects that move through sequences made of the catalog's chips: MOTA, IDF1 and HOTA."""
    from train.evaluate.finding import track as run

    run(_asked(runs, catalog, sensors, queries, tune, blocks, steps, batch_size, lr, seeds, out, device))


def _asked(
    runs: Runs,
    catalog: Path,
    sensors: str | None,
    queries: str,
    tune: bool,
    blocks: int | None,
    steps: int,
    batch_size: int,
    lr: float | None,
    seeds: int,
    out: Path | None,
    device: str | None,
) -> Asked:
    from train.evaluate.finetune import Tuning
    from train.evaluate.task import Asked
    from train.terminal import printer

    tuning = Tuning(steps, batch_size, lr)
    return Asked(runs, catalog, listed(sensors), queries, tune, tuning, seeds, blocks, out, device, printer())
