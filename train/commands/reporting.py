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
) -> None:
    """Write a run's page: one HTML file that opens offline."""
    from train.reporting import write_run

    typer.echo(str(write_run(run, out)))
