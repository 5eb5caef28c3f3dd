"""The stages one by one and in a row: catalog, search, pair, describe, sample, cut; and the recipe of all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from curate.commands.judging import write_page
from curate.commands.options import (
    Allocation,
    Archive,
    Budget,
    ChipPx,
    Climate,
    ClimateLegend,
    Keep,
    Landcover,
    LandcoverClasses,
    LandcoverLegend,
    LandcoverResolution,
    Levels,
    MaxDt,
    MinDistance,
    Policy,
    RecipeFile,
    Region,
    Root,
    Scheduler,
    Seed,
    Setting,
    Sites,
    Target,
    WayOption,
    Workers,
    keys,
    settings,
)

app = typer.Typer()


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
    options = keys(locals())
    from curate import runs, stages
    from curate.console import show

    chosen = runs.chosen(recipe, options | settings(setting))
    workspace = stages.start(chosen, root)
    runs.run(["search", "pair", "describe", "cut"], chosen, workspace, workers, scheduler, show)
    if report:
        write_page(workspace.catalog, None, None, again=False)


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
    options = keys(locals())
    from curate import runs, stages
    from curate.console import show

    chosen = runs.chosen(recipe, options | settings(setting))
    workspace = stages.start(chosen, root)
    workspace.scenes.unlink(missing_ok=True)
    runs.run(["search"], chosen, workspace, workers, scheduler, show)


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
    _again("pair", keys(locals()), region, setting, root, workers, scheduler)


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
    _again("describe", keys(locals()), region, setting, root, workers, scheduler)


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
    _again("cut" if cut else "sample", keys(locals()), region, setting, root, workers, scheduler)


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
    _again("cut", keys(locals()), region, setting, root, workers, scheduler)


@app.command("recipe")
def show_recipe(region: Region = None, root: Root = Path("catalogs")) -> None:
    """Print a region's recipe, or the default one, as YAML with every key."""
    import yaml

    from curate import runs
    from curate.recipe import Recipe

    chosen = Recipe() if region is None else runs.found(region, root).load_recipe()
    typer.echo(yaml.safe_dump(chosen.model_dump(mode="json"), sort_keys=False), nl=False)


def _again(
    stage: str,
    options: dict[str, Any],
    region: str | None,
    setting: list[str] | None,
    root: Path,
    workers: int | None,
    scheduler: str | None,
) -> None:
    from curate import runs
    from curate.console import show

    options = {key: value for key, value in options.items() if key != "region"}  # it names the tables
    runs.run_again(stage, region, options | settings(setting), root, workers, scheduler, show)
