"""Catalogs for other programs: export, and labels for dense tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.options import LandcoverLegend, Scheduler, Workers

app = typer.Typer()


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="A catalog.")],
    stac: Annotated[Path, typer.Option(help="File of stac-geoparquet to write.", dir_okay=False)],
) -> None:
    """Write a catalog's chips as STAC items, with links to the shards of their pixels."""
    from curate.stac_export import export_stac

    typer.echo(export_stac(file, stac))


@app.command()
def labels(
    file: Annotated[Path, typer.Argument(help="A catalog.")],
    source: Annotated[
        str,
        typer.Option("--map", help="landcover or elevation of the archive; or a file or folder of rasters."),
    ] = "landcover",
    kind: Annotated[str | None, typer.Option(help="classes or values, of a file's numbers.")] = None,
    legend: LandcoverLegend = None,
    unit: Annotated[str, typer.Option(help="Of values, such as m.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Arrow file.  [default: beside the catalog's tables]")
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Cut a map on the grid of every chip: the targets of dense tasks (`train segment`, `train height`)."""
    from curate.console import show
    from curate.engine import engine
    from curate.pixels.labels import cut_labels

    with engine(workers, scheduler) as running:
        path, summary = cut_labels(file, running, source, kind, legend, unit, out)
    show(summary)
    typer.echo(path)
