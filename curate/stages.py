"""The stages: search, pair, describe, sample and cut, each from one table to the next, and all of them in a row.

Every stage takes a recipe, a workspace and an engine, writes its table under its final name when it is whole, and
returns a summary. A table that was made from the same input is kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from curate import pool as pools
from curate.archives import SIMULATED, Archive, open_archive
from curate.building import Drawn, bands_of, settle, write_catalog
from curate.catalog import Catalog
from curate.catalog.errors import InputError
from curate.catalog.files import sweep
from curate.catalog.geoparquet import read_metadata, write_geoparquet
from curate.console import progress, say, show_comparison
from curate.descriptors.thematic import LandcoverMap
from curate.descriptors.thematic import open_map as open_landcover
from curate.engine import Engine
from curate.grid import Grid
from curate.pairing import Cells, Scenes, candidate_cells, pairs_schema
from curate.pairing import pair as pair_cells
from curate.recipe import Budget, Period, Recipe, stable_hash
from curate.regions import region
from curate.sampling import against_chance
from curate.scenes import table as scenes_table
from curate.sensors import sensor
from curate.summary import Summary, add, count, load, store
from curate.workspace import Workspace, identity, is_fresh, key_of, read_table

LANDCOVER_COLLECTION = "esa-worldcover"
Stage = Callable[[Recipe, Workspace, Engine], Summary]


def _timed(stage: Stage) -> Stage:
    """Note how long a stage took, and keep its summary in the workspace."""

    @wraps(stage)
    def run(recipe: Recipe, workspace: Workspace, engine: Engine) -> Summary:
        started = time.monotonic()
        summary = stage(recipe, workspace, engine)
        recipe.save(
            workspace.recipe
        )  # only now: a run that fails leaves the recipe of the tables that are there
        if summary.reused:
            before = load(workspace.summary).get(summary.stage, summary.__dict__)
            return Summary(**{**before, "reused": True})
        unit = f"simulated {summary.unit}" if _is_simulated(workspace) else summary.unit
        seconds = round(time.monotonic() - started, 2)
        summary = Summary(**{**summary.__dict__, "unit": unit, "seconds": seconds})
        store(workspace.summary, summary)
        return summary

    return run


def _is_simulated(workspace: Workspace) -> bool:
    """Whether the scenes are not measurements."""
    return bool((read_metadata(workspace.scenes) or {}).get("simulated", False))


def start(recipe: Recipe, root: Path) -> Workspace:
    """The workspace of the recipe's region, once the recipe is found to make sense."""
    check(recipe)
    return Workspace(root.resolve(), region(recipe.region).slug)


def check(recipe: Recipe) -> None:
    """Check what needs knowledge of sensors.

    Raises:
        InputError: an unknown sensor or band, or two sensors of one kind whose columns would have one name.
    """
    prefixes: dict[str, str] = {}
    for name in recipe.sensors.all:
        what = sensor(name)
        if what.prefix in prefixes:
            raise InputError(
                f"Sensors {prefixes[what.prefix]} and {name} cannot be in one recipe", "they are of one kind"
            )
        prefixes[what.prefix] = name
    for name, bands in recipe.sensors.bands.items():
        known = [band.name for band in sensor(name).bands]
        unknown = sorted(set(bands) - set(known))
        if unknown or not bands:
            raise InputError(
                f"Sensor {name} has no band {', '.join(unknown)}"
                if unknown
                else f"No band of {name} is asked for",
                do=f"Its bands are: {', '.join(known)}",
            )
    if sensor(recipe.sensors.anchor).static:
        raise InputError(f"Sensor {recipe.sensors.anchor} cannot be the anchor", "it has no acquisition time")


@_timed
def search(recipe: Recipe, workspace: Workspace, engine: Engine) -> Summary:
    """Find the scenes of the recipe's sensors and, where the archive has one, its land-cover map."""
    settings = recipe.model_dump(
        mode="json", include={"region", "archive", "sites", "archive_seed", "period"}
    )
    bands = {name: bands_of(recipe, name) for name in recipe.sensors.all}
    key = stable_hash(["search", settings, bands, recipe.descriptors.landcover])
    if is_fresh(workspace.scenes, key):
        rows = read_table(workspace.scenes, ["id"]).num_rows
        return Summary("search", "scenes", rows, rows, reused=True)
    area = region(recipe.region).area
    archive = _archive(recipe, workspace, engine, area)
    scenes: list[dict[str, Any]] = []
    rejected: dict[str, int] = {}
    seen = 0
    missing: list[str] = []
    for name in recipe.sensors.all:
        found = archive.search(area, recipe.period, sensor(name), bands[name])
        scenes += found.scenes
        missing += found.missing
        rejected = add(rejected, count(f"{name}: {item.reason}" for item in found.rejected))
        rejected = add(rejected, {f"{name}: outside area or period": found.other} if found.other else {})
        seen += len(found.scenes) + len(found.rejected) + found.other
    found_sensors = {scene["sensor"] for scene in scenes}
    for name in recipe.sensors.all:
        if name not in found_sensors:
            why = "; ".join(f"{n} {reason}" for reason, n in rejected.items() if reason.startswith(name))
            raise InputError(
                f"Archive {recipe.archive} has no usable {name} scene in region {recipe.region}",
                why or "its collection is absent or empty",
                "Change --region, --archive, the period or the sensors",
            )
    number = len(scenes)
    if recipe.descriptors.landcover == "archive":
        landcover = archive.search(area, Period(), sensor(LANDCOVER_COLLECTION), ("map",))
        scenes += landcover.scenes
    for scene in scenes:
        for asset in scene["assets"]:
            asset["href"] = workspace.relative(asset["href"])
    for line in missing:
        say(f"Not had: {line}")
    if missing:
        say("What could be had is kept; run the same command again to ask for the rest.")
        key = ""  # so that the next run searches again
    metadata = {"key": key, "simulated": archive.simulated, "archive": recipe.archive}
    write_geoparquet(scenes_table(scenes), workspace.scenes, metadata)
    by_sensor = count(scene["sensor"] for scene in scenes)
    return Summary("search", "scenes", seen, number, rejected, {"by_sensor": by_sensor, "missing": missing})


def _archive(recipe: Recipe, workspace: Workspace, engine: Engine, area: shapely.Geometry) -> Archive:
    if recipe.archive != SIMULATED:
        return open_archive(recipe.archive)
    from curate.archives.simulated import simulate

    with progress("simulate", recipe.sites) as advance:
        path = simulate(
            area,
            workspace.archive,
            sites=recipe.sites,
            seed=recipe.archive_seed,
            workers=engine.workers,
            progress=lambda done, total: advance(),
        )
    return open_archive(str(path))


@_timed
def pair(recipe: Recipe, workspace: Workspace, engine: Engine) -> Summary:
    """Pair the anchor's scenes with their partners in every grid cell of the region."""
    workspace.require(workspace.scenes, "search")
    key = _pair_key(recipe, workspace)
    if is_fresh(workspace.pairs, key):
        rows = read_table(workspace.pairs, ["cell"]).num_rows
        return Summary("pair", "pairs", rows, rows, reused=True)
    grid, area = Grid(recipe.chips.cell_km), region(recipe.region).area
    anchors = Scenes.of(read_table(workspace.scenes), recipe.sensors.anchor)
    cells = candidate_cells(grid, area, anchors)
    epsg = grid.epsg(cells.row, cells.col)
    tasks = [(cells.take(epsg == zone), workspace.scenes, recipe) for zone in np.unique(epsg)]
    parts: dict[int, pa.Table] = {}
    came_in = 0
    rejected: dict[str, int] = {}
    for i, (table, matches, reasons) in engine.map(_pair_zone, tasks, "pair"):
        parts[i], came_in, rejected = table, came_in + matches, add(rejected, reasons)
    schema = pairs_schema([sensor(name).prefix for name in recipe.sensors.all])
    pairs = pa.concat_tables([schema.empty_table(), *(parts[i] for i in sorted(parts))])
    if not pairs.num_rows:
        raise InputError(
            f"No pair was found in region {recipe.region}",
            "; ".join(f"{number:,} × {reason}" for reason, number in rejected.items())
            or "no cell has a scene",
            "Allow a longer time difference (--max-dt), more cloud, or another region",
        )
    write_geoparquet(pairs, workspace.pairs, {"key": key, "simulated": _is_simulated(workspace)})
    return Summary("pair", "pairs", came_in, pairs.num_rows, rejected)


def _pair_zone(task: tuple[Cells, Path, Recipe]) -> tuple[pa.Table, int, dict[str, int]]:
    """Pairs of the cells of one UTM/UPS zone."""
    cells, path, recipe = task
    table = read_table(path)
    west, south, east, north = shapely.total_bounds(cells.polygons)
    box = table["bbox"].combine_chunks()
    sides = {side: box.field(side).to_numpy() for side in ("xmin", "ymin", "xmax", "ymax")}
    near = (
        (sides["xmax"] >= west)
        & (sides["xmin"] <= east)
        & (sides["ymax"] >= south)
        & (sides["ymin"] <= north)
    )
    table = table.filter(pa.array(near))
    return pair_cells(cells, {name: Scenes.of(table, name) for name in recipe.sensors.all}, recipe)


@_timed
def describe(recipe: Recipe, workspace: Workspace, engine: Engine) -> Summary:
    """Lay chips over the pairs' cells and describe what land and climate each shows."""
    workspace.require(workspace.pairs, "pair")
    if not is_fresh(workspace.pairs, _pair_key(recipe, workspace)):
        raise InputError(
            f"The pairs of {workspace.slug} were made with other settings or other scenes",
            do=f"Run: curate pair --region {workspace.slug}",
        )
    key = _describe_key(recipe, workspace)
    landcover = _landcover(recipe, workspace)
    area = region(recipe.region).area
    tasks = pools.tasks(read_table(workspace.pairs), area, landcover, recipe)
    paths = [workspace.pool / f"part-{i:05d}.parquet" for i in range(len(tasks))]
    sweep(workspace.pool)
    for path in set(workspace.pool.glob("part-*.parquet")) - set(paths):
        path.unlink()
    missing = [i for i, path in enumerate(paths) if not is_fresh(path, key)]
    metadata: dict[str, Any] = {"key": key, "parts": len(tasks), "landcover": landcover.legend}
    metadata["landcover_map"] = landcover.name
    metadata |= {"climate_map": recipe.descriptors.climate, "simulated": _is_simulated(workspace)}
    for i, described in engine.map(pools.describe, [tasks[i] for i in missing], "describe"):
        account: dict[str, Any] = {"came_in": described.came_in, "rejected": described.rejected}
        write_geoparquet(described.pool, paths[missing[i]], {**metadata, **account})
    accounts = [read_metadata(path) or {} for path in paths]
    came_in = sum(account["came_in"] for account in accounts)
    rejected: dict[str, int] = {}
    for account in accounts:
        rejected = add(rejected, account["rejected"])
    rows = sum(read_table(path, ["lon"]).num_rows for path in paths)
    if not rows:
        raise InputError(
            f"No chip of {recipe.chips.size_m:g} m fits into the pairs of region {recipe.region}",
            "; ".join(f"{number:,} × {reason}" for reason, number in rejected.items()) or "the area is empty",
            "Make chips smaller: --chip-px",
        )
    return Summary("describe", "chips", came_in, rows, rejected, reused=not missing)


def _landcover(recipe: Recipe, workspace: Workspace) -> LandcoverMap:
    tiles: list[str] = []
    if recipe.descriptors.landcover == "archive":
        table = read_table(workspace.scenes)
        rows = table.filter(pc.equal(table["sensor"], LANDCOVER_COLLECTION)).to_pylist()
        tiles = [workspace.absolute(row["assets"][0]["href"]) for row in rows]
        tiles.sort(reverse=True)  # of two versions of one tile the newer one, 2021_v200, fills first
        if not tiles:
            raise InputError(
                f"Archive {recipe.archive} has no land-cover map",
                f"it has no usable item in a collection {LANDCOVER_COLLECTION!r}",
                "Give one: --landcover PATH (and --landcover-legend CSV where it is not ESA WorldCover)",
            )
    return open_landcover(recipe.descriptors.landcover, tiles, recipe.descriptors.landcover_legend)


def _pair_key(recipe: Recipe, workspace: Workspace) -> str:
    settings = recipe.model_dump(mode="json", include={"region", "chips", "sensors", "pairing"})
    return key_of([workspace.scenes], ["pair", settings, identity(recipe.region)])


def _describe_key(recipe: Recipe, workspace: Workspace) -> str:
    maps = recipe.descriptors
    settings = recipe.model_dump(mode="json", include={"region", "chips", "sensors", "descriptors"})
    files = [maps.landcover, maps.landcover_legend, maps.climate, maps.climate_legend, recipe.region]
    return key_of(
        [workspace.pairs, workspace.scenes], ["describe", settings, [identity(name) for name in files]]
    )


def read_pool(recipe: Recipe, workspace: Workspace) -> tuple[pa.Table, dict[str, Any]]:
    """The whole pool, and the metadata of its files.

    Raises:
        InputError: there is none, a part is missing or broken (it is named), or it was made by another recipe.
    """
    paths = sorted(workspace.pool.glob("part-*.parquet"))
    if not paths:
        workspace.require(workspace.pool, "describe")
    tables = [read_table(path) for path in paths]
    metadata = read_metadata(paths[0]) or {}
    key = _describe_key(recipe, workspace) if workspace.pairs.exists() else ""
    whole = len(paths) == metadata.get("parts") and all(is_fresh(path, key) for path in paths)
    if not whole or not is_fresh(workspace.pairs, _pair_key(recipe, workspace)):
        raise InputError(
            f"The pool of {workspace.slug} is not complete, or was made with other settings",
            do=f"Run: curate pair --region {workspace.slug} && curate describe --region {workspace.slug}",
        )
    return pa.concat_tables(tables).replace_schema_metadata(None), metadata


@_timed
def sample(recipe: Recipe, workspace: Workspace, engine: Engine) -> Summary:
    """Draw the sample and write the catalog; chips that have no pixels yet wait for `cut`."""
    return _build(recipe, workspace, engine, cut=False)


@_timed
def cut(recipe: Recipe, workspace: Workspace, engine: Engine) -> Summary:
    """Draw the sample, cut the pixels that are missing, and write the catalog with them."""
    return _build(recipe, workspace, engine, cut=True)


def _build(recipe: Recipe, workspace: Workspace, engine: Engine, *, cut: bool) -> Summary:
    pool, metadata = read_pool(recipe, workspace)
    parts = sorted(workspace.pool.glob("part-*.parquet"))
    key = key_of([*parts, workspace.scenes], ["build", recipe.hash, cut])
    if cut and _is_built(workspace, key):
        rows = Catalog.open(workspace.catalog, ["chip_id"]).table.num_rows
        say(f"{os.path.relpath(workspace.catalog)}: {rows:,} chips, as before.")
        return Summary("cut", "chips", pool.num_rows, rows, reused=True)
    drawn = settle(pool, recipe, workspace, engine, cut=cut)
    source = _source(recipe, workspace, metadata)
    notes = {"key": key, "draw": drawn.draw.summary, "refused": drawn.refused, "rounds": drawn.rounds}
    with_pixels = write_catalog(drawn, pool.num_rows, recipe, source, workspace, notes)
    sampling = recipe.sampling
    chance = against_chance(pool, drawn.draw, sampling.allocation, sampling.seed, sampling.presence)
    _announce(drawn, pool.num_rows, recipe, source["simulated"], workspace, with_pixels, chance)
    notes |= {"with_pixels": with_pixels, "against_chance": chance}
    rejected = add(drawn.refused, _not_drawn(drawn))
    return Summary("cut" if cut else "sample", "chips", pool.num_rows, drawn.chips.num_rows, rejected, notes)


def _is_built(workspace: Workspace, key: str) -> bool:
    """Whether the catalog was built under *key* and its shards are all there."""
    try:
        catalog = Catalog.open(workspace.catalog, ["shard"])
        catalog.require_pixels()
        catalog.statistics()
    except InputError:
        return False
    shards = pc.unique(catalog.table["shard"]).to_pylist()
    return catalog.meta.notes.get("key") == key and all(
        (catalog.chips_folder / name).exists() for name in shards
    )


def _not_drawn(drawn: Drawn) -> dict[str, int]:
    """Candidates that were left out, by reason."""
    summary = drawn.draw.summary
    left = {
        "not drawn: over the budget": len(drawn.draw.available) - len(drawn.draw.rows),
        "without climate or land cover": summary["undescribed"],
        "in the buffer between splits": summary["buffer"],
    }
    return {reason: number for reason, number in left.items() if number}


def _source(recipe: Recipe, workspace: Workspace, pool_metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        "archive": recipe.archive,
        "simulated": _is_simulated(workspace),
        "landcover": pool_metadata["landcover_map"],
        "climate": pool_metadata["climate_map"],
        "legend": pool_metadata["landcover"],
    }


def _announce(
    drawn: Drawn,
    pool_rows: int,
    recipe: Recipe,
    simulated: bool,
    workspace: Workspace,
    with_pixels: int,
    chance: list[dict[str, Any]],
) -> None:
    rows, budget = drawn.chips.num_rows, recipe.sampling.budget
    if rows < Budget(budget).of(pool_rows):
        say(
            f"The budget of {budget} exceeds what can be drawn: all {rows:,} usable chips of {pool_rows:,} were taken."
        )
    kind = "simulated chips" if simulated else "chips"
    say(f"{os.path.relpath(workspace.catalog)}: {rows:,} {kind}, {with_pixels:,} with pixels.")
    show_comparison(chance)


ALL = (search, pair, describe, cut)


def build(recipe: Recipe, workspace: Workspace, engine: Engine) -> list[Summary]:
    """All stages in a row: from an archive to a catalog with pixels."""
    return [stage(recipe, workspace, engine) for stage in ALL]
