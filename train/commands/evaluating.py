"""`train embed`, `retrieve`, `probe` and `compare`: what was learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()

Weights = Annotated[Path, typer.Argument(help="Run folder, or weights.safetensors.")]
CatalogFile = Annotated[Path | None, typer.Option(help="Catalog with pixels.", dir_okay=False)]
Split = Annotated[str, typer.Option(help="train, val, test, or several: val+test.")]
SensorNames = Annotated[
    str | None, typer.Option(help="Prefixes with commas, s2,s1; by default all of the model's.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; CUDA where there is one.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images at once.")]
ImageFolders = Annotated[
    list[str] | None,
    typer.Option("--images", metavar="PREFIX=FOLDER", help="Folder of TIFF or .npy images. Repeatable."),
]
Bands = Annotated[str | None, typer.Option(help="Band names in the files' order, where the files name none.")]
Scale = Annotated[float, typer.Option(help="Physical value = stored × scale + offset.")]
Offset = Annotated[float, typer.Option(help="See --scale.")]
Nodata = Annotated[float | None, typer.Option(help="Stored number that means no data.")]


@app.command()
def embed(
    weights: Weights,
    catalog: CatalogFile = None,
    images: ImageFolders = None,
    out: Annotated[Path | None, typer.Option(help="Folder.  [default: embeddings/RUN]")] = None,
    split: Split = "train+val+test",
    sensors: SensorNames = None,
    joined: Annotated[
        bool, typer.Option("--joined", help="all.parquet too: all sensors side by side.")
    ] = False,
    bands: Bands = None,
    scale: Scale = 1.0,
    offset: Offset = 0.0,
    nodata: Nodata = None,
    batch_size: BatchSize = 128,
    device: Device = None,
) -> None:
    """Write features of a catalog or of folders of images as Parquet, a file a sensor; goes on after a kill."""
    from train.evaluate.running import embed_images

    embed_images(
        weights, catalog, images or (), out, split, listed(sensors), joined, bands, scale, offset, nodata,
        batch_size, device, printer(),
    )  # fmt: skip


def listed(text: str | None) -> tuple[str, ...] | None:
    """Parts of a text with commas between; None of None."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def printer() -> Callable[[object], None]:
    """Print for tables of many columns, also into a pipe."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=True)
    return console.print if console.is_terminal else Console(highlight=False, markup=False, width=150).print
