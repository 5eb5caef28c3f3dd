"""The command line of `curate`: one command a stage. Nothing is decided here."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from curate import __version__
from curate.commands import chips, handing_on, judging, making

app = typer.Typer(
    name="curate",
    help="Find, pair, describe, sample and cut satellite scenes into a training catalog.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for topic in (making, judging, handing_on):
    app.add_typer(topic.app)
app.add_typer(chips.app, name="chips")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results and errors.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print summaries of stages, and tables, as JSON on stdout.")
    ] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit
    if quiet or as_json:
        from curate.console import speak

        speak(quiet=quiet, as_json=as_json)


def main() -> None:
    """Entry point: errors of the input end with one line and exit code 2, failed runs with 1."""
    # milliseconds: what pyarrow frees it soon asks for again, and the system would clear every page anew. Only
    # where its memory comes from mimalloc, which is its default on most systems
    os.environ.setdefault("MIMALLOC_PURGE_DELAY", "100")
    try:
        app()
    except Exception as error:
        from curate.catalog.errors import InputError, RunError  # here: --help does without pyarrow

        if not isinstance(error, InputError | RunError):
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, InputError) else 1)


if __name__ == "__main__":
    main()
