"""What a catalog is worth: measure, compare, report, validate, and what its pool is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curate.commands.options import AsJson, Budget, Region, Root, Setting, print_result, settings, topic

app = typer.Typer()
Full = Annotated[
    bool, typer.Option("--full", help="Take the slow measures too: Vendi score, head and tail coverage.")
]


@app.command()
def measure(
    file: Annotated[Path | None, typer.Argument(help="A catalog; default: the region's.")] = None,
    region: Region = None,
    full: Full = False,
    as_json: AsJson = False,
    root: Root = Path("catalogs"),
) -> None:
    """How diverse a catalog is, per split: a table, and ROOT/<region>/measures.json."""
    from curate.console import show_measures
    from curate.measuring import measure_catalog
    from curate.runs import found

    path = file or found(region, root).catalog
    print_result(measure_catalog(path, full=full), as_json, show_measures)


@app.command()
def compare(
    budget: Budget = None,
    region: Region = None,
    ways: Annotated[
        str, typer.Option(help="Ways by name, with commas between; an unknown one lists all.")
    ] = "diverse,balanced,representative,equal,random,area,kmeans",
    seeds: Annotated[int, typer.Option(min=1, help="Draws of each way, for intervals.")] = 3,
    full: Full = False,
    embedding: Annotated[
        str | None, typer.Option(help="Column of vectors to cluster by, instead of land cover and climate.")
    ] = None,
    as_json: AsJson = False,
    setting: Setting = None,
    root: Root = Path("catalogs"),
) -> None:
    """What other ways would draw from the same candidates: a table, and ROOT/<region>/comparison.parquet."""
    from curate.console import show_ways
    from curate.measuring import compare_ways
    from curate.runs import found

    workspace = found(region, root)
    recipe = workspace.load_recipe().with_options({"sampling.budget": budget} | settings(setting))
    names = [name.strip() for name in ways.split(",") if name.strip()]
    print_result(compare_ways(recipe, workspace, names, seeds, embedding, full=full), as_json, show_ways)


@app.command()
def report(
    file: Annotated[Path | None, typer.Argument(help="A catalog; default: the region's.")] = None,
    other: Annotated[
        Path | None, typer.Argument(help="Another catalog, to be shown side by side with it.")
    ] = None,
    region: Region = None,
    out: Annotated[
        Path | None, typer.Option(help="The page.  [default: beside the catalog, as .html]", dir_okay=False)
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for its figures as SVG and PNG files, too.", file_okay=False)
    ] = None,
    root: Root = Path("catalogs"),
) -> None:
    """Write a catalog's page, or that of two catalogs side by side: one HTML file that opens offline."""
    from curate.runs import found

    write_page(file or found(region, root).catalog, out, figures, other=other)


@app.command()
def validate(file: Annotated[Path, typer.Argument(help="A catalog.")]) -> None:
    """Check a catalog against the contract and name every violation."""
    from curate.catalog.validation import violations

    found = violations(file)
    for violation in found:
        typer.echo(f"{file}: {violation}")
    if found:
        raise typer.Exit(2)
    typer.echo(f"{file}: a valid catalog")


pool = topic("The candidate chips of a region.")
app.add_typer(pool, name="pool")


@pool.command("show")
def show_pool(
    region: Region = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    root: Root = Path("catalogs"),
) -> None:
    """Print the pool's make-up: land covers × climates, seasons, and the ranges of its descriptors."""
    import json

    from curate.console import show_make_up, speaks_json
    from curate.makeup import make_up
    from curate.runs import found
    from curate.stages import open_pool

    workspace = found(region, root)
    pool = make_up(*open_pool(workspace.load_recipe(), workspace), workspace.slug)
    if as_json or speaks_json():
        typer.echo(json.dumps(pool.to_json(), ensure_ascii=False))
    else:
        show_make_up(pool)


def write_page(
    file: Path, out: Path | None, figures: Path | None, *, again: bool = True, other: Path | None = None
) -> None:
    import os

    from curate.console import say
    from curate.report import write_comparison, write_report

    if other is None:
        page = write_report(file, out, figures, again=again)
    else:
        page = write_comparison(file, other, out, figures)
    kept = ", as before" if page.reused else ""
    say(f"{os.path.relpath(page.path)}: a page of {page.bytes / 1e6:.1f} MB{kept}.")
