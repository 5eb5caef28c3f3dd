"""`train embed`, `retrieve`, `probe` and `compare`: what was learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from train.commands.options import catalog_option

app = typer.Typer()

Weights = Annotated[Path, typer.Argument(help="Run folder, or weights.safetensors.")]
CatalogFile = Annotated[Path | None, catalog_option()]
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
    from train.terminal import printer

    embed_images(
        weights, catalog, images or (), out, split, listed(sensors), joined, bands, scale, offset, nodata,
        batch_size, device, printer(),
    )  # fmt: skip


def listed(text: str | None) -> tuple[str, ...] | None:
    """Parts of a text with commas between; None of None."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


Runs = Annotated[
    list[Path], typer.Argument(help="Run folders; several that differ by their seed alone are averaged.")
]
ResultFile = Annotated[
    Path | None, typer.Option("--out", help="JSON; what it rests on lies beside it as .npz.")
]
Seeds = Annotated[int, typer.Option(min=1, help="Of random weights, heads and folds.")]


@app.command()
def retrieve(
    runs: Runs,
    catalog: Annotated[Path, catalog_option()],
    labels: Annotated[
        str, typer.Option(help="landcovers (all that are present), landcover (the dominant), koppen.")
    ] = "landcovers,landcover",
    k: Annotated[int, typer.Option(min=1, help="Images retrieved.")] = 10,
    queries: Annotated[str, typer.Option(help="Splits that ask.")] = "val",
    archive: Annotated[str, typer.Option(help="Splits that are searched.")] = "test",
    sensors: SensorNames = None,
    engine: Annotated[str, typer.Option(help="exact or faiss.")] = "exact",
    seeds: Seeds = 2,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Best and worst queries as PNG beside --out.")
    ] = False,
    out: ResultFile = None,
    device: Device = None,
) -> None:
    """Retrieve chips by chips, within each sensor and across sensors: precision, recall, F1 and mAP at k."""
    from train.evaluate.judging import retrieve_by
    from train.terminal import printer

    retrieve_by(
        runs, catalog, listed(labels) or (), k, queries, archive, listed(sensors), engine, seeds, pictures, out,
        device, printer(),
    )  # fmt: skip


@app.command()
def probe(
    runs: Runs,
    catalog: CatalogFile = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="eurosat:FOLDER, bigearthnet:, so2sat:, geobench:, torchgeo:NAME:FOLDER, folder:FOLDER."
        ),
    ] = None,
    labels: Annotated[
        str, typer.Option(help="Of a catalog: landcover, koppen, landcovers (multi-label).")
    ] = "landcover,koppen,landcovers",
    methods: Annotated[str, typer.Option(help="knn, linear, finetune.")] = "knn,linear",
    sensors: SensorNames = None,
    queries: Annotated[str, typer.Option(help="Splits that are judged.")] = "val+test",
    folds: Annotated[int, typer.Option(min=2, help="Of cross-validation, without splits.")] = 5,
    seeds: Seeds = 2,
    k: Annotated[int, typer.Option(min=1, help="Neighbours that vote.")] = 20,
    steps: Annotated[int, typer.Option(min=1, help="Of fine-tuning.")] = 200,
    out: ResultFile = None,
    device: Device = None,
) -> None:
    """Classify by frozen or tuned features, beside random weights and mean bands."""
    from train.evaluate.finetune import Tuning
    from train.evaluate.judging import probe_models
    from train.evaluate.study import Setting
    from train.terminal import printer

    setting = Setting(listed(methods) or (), seeds, k, Tuning(steps))
    names = listed(labels) or ()
    probe_models(
        runs, catalog, dataset, names, setting, listed(sensors), queries, folds, out, device, printer()
    )  # fmt: skip


@app.command()
def compare(
    files: Annotated[list[Path], typer.Argument(help="Results that --out wrote.")],
    out: Annotated[Path | None, typer.Option(help="JSON of the same.")] = None,
) -> None:
    """Put results side by side, with the interval of each paired difference."""
    from train.evaluate.judging import compare_results
    from train.terminal import printer

    compare_results(files, out, printer())
