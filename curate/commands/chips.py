"""`curate chips`: check the pixels of a catalog, look at them, hand them on; heavy imports inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from curate.catalog import Catalog

from curate.commands.options import topic

app = topic("The pixels of a catalog: verify, show, export.")

File = Annotated[
    Path | None, typer.Option("--catalog", help="A catalog; default: the region's.", dir_okay=False)
]
Region = Annotated[str | None, typer.Option(help="The region whose catalog is meant, by its slug.")]
Root = Annotated[Path, typer.Option(help="Folder of catalogs.", file_okay=False)]


@app.command()
def verify(
    file: Annotated[Path | None, typer.Argument(help="A catalog; default: the region's.")] = None,
    region: Region = None,
    root: Root = Path("catalogs"),
) -> None:
    """Check shards by their checksums, rows, masks and statistics; name every violation."""
    from curate.console import progress
    from curate.pixels.alignment import alignment_file, read_alignment
    from curate.pixels.verify import verify as check

    catalog = _catalog(file, region, root)
    with progress("verify", len(catalog.table["shard"].unique())) as advance:
        found = check(catalog, advance)
    for violation in found.violations:
        typer.echo(f"{catalog.path}: {violation}")
    for one in read_alignment(alignment_file(catalog.path, catalog.meta.statistics)):
        typer.echo(one.said(catalog.meta.resolution_m))
    if found.violations:
        raise typer.Exit(2)
    typer.echo(
        f"{catalog.path}: {found.chips:,} chips in {found.shards:,} shards, {found.size / 1e6:,.1f} MB, all as written"
    )


@app.command()
def show(
    chip_id: Annotated[str, typer.Argument(help="As in the column chip_id of the catalog.")],
    file: File = None,
    region: Region = None,
    root: Root = Path("catalogs"),
    out: Annotated[Path | None, typer.Option(help="Picture to write; default: CHIP_ID.png.")] = None,
    times: Annotated[int, typer.Option(min=1, help="Pixels of the picture per pixel of the chip.")] = 3,
) -> None:
    """Print what is known of a chip, and draw its sensors side by side."""
    from curate.console import show_chip
    from curate.pixels.show import about, draw

    catalog = _catalog(file, region, root)
    row = about(catalog, chip_id)
    show_chip(row)
    typer.echo(str(draw(catalog, row, out or Path(f"{chip_id}.png"), times)))


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Folder to write to.", file_okay=False)],
    format: Annotated[str, typer.Option(help="geotiff or webdataset.")] = "geotiff",
    file: File = None,
    region: Region = None,
    root: Root = Path("catalogs"),
    split: Annotated[str | None, typer.Option(help="train, val or test; default: all.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many chips, in seat order.")] = None,
) -> None:
    """Write chips for other programs: GeoTIFFs, or tars in the layout of WebDataset."""
    from curate.console import progress
    from curate.pixels.export import export as write

    catalog = _catalog(file, region, root)
    total = min(limit or catalog.table.num_rows, catalog.table.num_rows)
    with progress("export", total) as advance:
        written = write(catalog, format, out, split, limit, advance)
    typer.echo(f"{out}: {written:,} chips")


def _catalog(file: Path | None, region: str | None, root: Path) -> Catalog:
    from curate.catalog import Catalog
    from curate.workspace import find

    return Catalog.open(file or find(root, region).catalog)
