"""`train report`: the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.", file_okay=False)],
    out: Annotated[Path | None, typer.Option(help="The page.  [default: report.html in the folder]")] = None,
    catalog: Annotated[
        str | None, typer.Option(help="Whose held-out chips are shown.  [default: the run's]")
    ] = None,
) -> None:
    """Write a run's page: losses, reconstructions, experts, probes, retrieval, model card; it opens offline."""
    from train.reporting import write_run

    typer.echo(str(write_run(run, out, catalog)))
