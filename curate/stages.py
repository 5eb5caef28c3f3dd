"""The stages: search, pair, describe, sample and cut, each from one table to the next, and all of them in a row.

Every stage takes a recipe, a workspace and an engine, writes its table under its final name when it is whole, and
returns a summary. A table that was made from the same input is kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from curate import pool as pools
from curate.archives import SIMULATED, Archive, open_archive
from curate.archives.found import OUTSIDE, Found, write_scenes
from curate.archives.kept import Kept
from curate.building import VERSION, bands_of, sensors_of, settle, write_catalog
from curate.catalog import Catalog
from curate.catalog.errors import InputError
from curate.catalog.files import atomic, sweep
from curate.catalog.geoparquet import read_metadata, write_geoparquet
from curate.console import progress, say
from curate.descriptors import further, terrain
from curate.descriptors.thematic import LandcoverMap
from curate.descriptors.thematic import open_map as open_landcover
from curate.descriptors.thematic.naming import files_of
from curate.engine import Engine
from curate.grid import Grid, Ints
from curate.outcome import announce, beside_chance, not_drawn
from curate.pairing import SCENE_COLUMNS, Cells, Scenes, candidate_cells, groups, pairs_schema
from curate.pairing import pair as pair_cells
from curate.pixels.plan import chips_key
from curate.recipe import Period, Recipe, stable_hash
from curate.regions import region
from curate.sampling.keeping import chip_ids
from curate.sampling.keys import legend
from curate.sampling.source import Pool
from curate.sampling.target import read_shares
from curate.sensors import sensor
from curate.signing import hide, unsigned
from curate.summary import Summary, add, count, load, store
from curate.workspace import Workspace, identity, is_fresh, key_of, read_near, read_table

LANDCOVER_COLLECTION = "esa-worldcover"
_MISSING_LINES = 20  # of what an archive kept back, on the terminal
Stage = Callable[[Recipe, Workspace, Engine], Summary]


def _timed(stage: Stage) -> Stage:
    """Note how long a stage took, and keep its summary and recipe in the workspace.

    Only the stages that ask are told the signatures and passwords of archives and maps: nothing may write them down.
    """

    @wraps(stage)
    def run(recipe: Recipe, workspace: Workspace, engine: Engine) -> Summary:
        started = time.monotonic()
        shown = _without_secrets(recipe)
        summary = stage(recipe if stage.__name__ in ("search", "describe") else shown, workspace, engine)
        shown.save(
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


def _without_secrets(recipe: Recipe) -> Recipe:
    """*recipe* as it may be kept: its archive and maps without signature, user and password."""
    maps = recipe.descriptors
    bare = {name: unsigned(getattr(maps, name)) for name in ("landcover", "climate", "terrain")}
    return recipe.model_copy(
        update={"archive": unsigned(recipe.archive), "descriptors": maps.model_copy(update=bare)}
    )


def _is_simulated(workspace: Workspace) -> bool:
    """Whether the scenes are not measurements."""
    return bool((read_metadata(workspace.scenes) or {}).get("simulated", False))


def start(recipe: Recipe, root: Path) -> Workspace:
    """The workspace of the recipe's region, once the recipe is found to make sense."""
    check(recipe)
    return Workspace(root.resolve(), region(recipe.region).slug)


def self_contained(recipe: Recipe, workspace: Workspace) -> Recipe:
    """*recipe* with what it names for the draw taken over: shares of a target, and the chips to keep.

    So a recipe means the same from any folder, and after the catalog whose chips are kept has been written anew.

    Raises:
        InputError: a file it names cannot be read.
    """
    sampling = recipe.sampling
    options: dict[str, Any] = {}
    if isinstance(sampling.target, str):
        options["sampling.target"] = read_shares(sampling.target)
    if sampling.keep is not None and not (workspace.root / sampling.keep).is_relative_to(workspace.folder):
        ids = chip_ids(Path(sampling.keep))
        path = workspace.folder / f"kept-{stable_hash(ids.to_pylist())}.parquet"
        with atomic(path) as part:
            pq.write_table(pa.table({"chip_id": ids}), part)
        options["sampling.keep"] = path.relative_to(workspace.root).as_posix()
    return recipe.with_options(options)


def check(recipe: Recipe) -> None:
    """Check what needs knowledge of sensors.

    Raises:
        InputError: an unknown sensor or band, or two sensors of one kind whose columns would have one name.
    """
    prefixes: dict[str, str] = {}
    for name in recipe.sensor_names:
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
    further.names(recipe)
    if sensor(recipe.sensors.anchor).static:
        raise InputError(f"Sensor {recipe.sensors.anchor} cannot be the anchor", "it has no acquisition time")


@_timed
def search(recipe: Recipe, workspace: Workspace, engine: Engine) -> Summary:
    """Find the scenes of the recipe's sensors and, where the archive has one, its land-cover map."""
    shown = _without_secrets(recipe)  # a new signature is no new search
    settings = shown.model_dump(mode="json", include={"region", "archive", "sites", "archive_seed", "period"})
    wanted, layers = _searches(recipe), _layers(recipe)
    key = stable_hash(["search", settings, wanted, layers, identity(recipe.region)])
    if is_fresh(workspace.scenes, key):
        rows = read_table(workspace.scenes, ["id"]).num_rows
        return Summary("search", "scenes", rows, rows, reused=True)
    area = region(recipe.region).area
    kept = workspace.folder / "search"  # answers so far: a search that was killed, or lacks some, continues
    archive = _archive(recipe, workspace, engine, area, kept)
    parts: list[Found] = []
    rejected: dict[str, int] = {}
    seen = 0
    for name, (bands, max_cloud) in wanted.items():
        found = archive.search(area, recipe.period, sensor(name), bands, max_cloud)
        parts.append(found)
        reasons = count(f"{name}: {item.reason}" for item in found.rejected)
        rejected = add(rejected, reasons)
        rejected = add(rejected, {f"{name}: {OUTSIDE}": found.other} if found.other else {})
        seen += len(found) + len(found.rejected) + found.other
        if not len(found):
            why = "; ".join([*(f"{n} {reason}" for reason, n in reasons.items()), *found.missing[:1]])
            raise InputError(
                f"Archive {shown.archive} has no usable {name} scene in region {recipe.region}",
                hide(why) or "its collection is absent or empty",
                "Change --region, --archive, the period or the sensors",
            )
    number = sum(map(len, parts))
    by_sensor = {name: len(found) for name, found in zip(wanted, parts, strict=True)}
    parts += [archive.search(area, Period(), sensor(name), (band,)) for name, band in layers.items()]
    missing = [hide(line) for found in parts for line in found.missing]
    _say_missing(missing)
    metadata = {
        "key": "" if missing else key,  # without a key the next run searches again
        "simulated": archive.simulated or any(found.simulated for found in parts),
        "archive": shown.archive,
    }
    write_scenes(parts, workspace.scenes, f"{workspace.root.resolve().as_posix()}/", metadata)
    if not missing:
        Kept(kept).clear()
    return Summary("search", "scenes", seen, number, rejected, {"by_sensor": by_sensor, "missing": missing})


def _searches(recipe: Recipe) -> dict[str, tuple[tuple[str, ...], float]]:
    """Sensor -> its bands and the scene cloud allowed, percent; two views of one sensor are one search."""
    searches: dict[str, tuple[tuple[str, ...], float]] = {}
    for name in recipe.sensor_names:
        what = sensor(name)
        wanted = {*bands_of(recipe, name), *searches.get(what.name, ((), 0.0))[0]}
        bands = tuple(band.name for band in what.bands if band.name in wanted)
        searches[what.name] = (
            bands,
            recipe.pairing.max_cloud_percent if what.kind == "optical" else 100.0,
        )
    return searches


def _layers(recipe: Recipe) -> dict[str, str]:
    """Collections of the archive that describe chips, and the band of each; not those that are searched anyway."""
    layers = {LANDCOVER_COLLECTION: "map"} if recipe.descriptors.landcover == "archive" else {}
    if "terrain" in further.names(recipe) and recipe.descriptors.terrain == terrain.ARCHIVE:
        layers[terrain.COLLECTION] = terrain.BAND
    return {name: band for name, band in layers.items() if name not in recipe.sensor_names}


def _say_missing(missing: list[str]) -> None:
    for line in missing[:_MISSING_LINES]:
        say(f"Not had: {line}")
    if len(missing) > _MISSING_LINES:
        say(f"Not had: {len(missing) - _MISSING_LINES:,} more; all of them are in summary.json.")
    if missing:
        say("What could be had is kept; run the same command again to ask for the rest.")


def _archive(
    recipe: Recipe, workspace: Workspace, engine: Engine, area: shapely.Geometry, kept: Path
) -> Archive:
    if recipe.archive != SIMULATED:
        return open_archive(recipe.archive, kept)
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
    footprints = read_table(workspace.scenes, ["sensor", "geometry"])
    anchors = footprints.filter(pc.equal(footprints["sensor"], recipe.sensors.anchor))
    cells = candidate_cells(grid, area, anchors)
    pairs, came_in, rejected = pairs_of(grid, cells.row, cells.col, workspace.scenes, recipe, engine)
    if not pairs.num_rows:
        raise InputError(
            f"No pair was found in region {recipe.region}",
            "; ".join(f"{number:,} × {reason}" for reason, number in rejected.items())
            or "no cell has a scene",
            "Allow a longer time difference (--max-dt), more cloud, or another region",
        )
    write_geoparquet(pairs, workspace.pairs, {"key": key, "simulated": _is_simulated(workspace)})
    return Summary("pair", "pairs", came_in, pairs.num_rows, rejected)


def pairs_of(
    grid: Grid, row: Ints, col: Ints, scenes: Path, recipe: Recipe, engine: Engine
) -> tuple[pa.Table, int, dict[str, int]]:
    """Pairs of the cells (row, col) with the table *scenes*, how many cells × anchors came in, and the rejected."""
    tasks = [(*group, scenes, recipe) for group in groups(grid, row, col)]
    parts: dict[int, pa.Table] = {}
    came_in = 0
    rejected: dict[str, int] = {}
    for i, (table, anchors, reasons) in engine.map(_pair_cells, tasks, "pair"):
        parts[i], came_in, rejected = table, came_in + anchors, add(rejected, reasons)
    schema = pairs_schema([sensor(name).prefix for name in recipe.sensor_names])
    return pa.concat_tables([schema.empty_table(), *(parts[i] for i in sorted(parts))]), came_in, rejected


def _pair_cells(task: tuple[Ints, Ints, Path, Recipe]) -> tuple[pa.Table, int, dict[str, int]]:
    """Pairs of some cells of one UTM/UPS zone."""
    row, col, path, recipe = task
    cells = Cells.of(Grid(recipe.chips.cell_km), row, col)
    table = read_near(path, shapely.total_bounds(cells.polygons), ["sensor", "geometry", *SCENE_COLUMNS])
    scenes = {name: Scenes.of(table, sensor(name)) for name in recipe.sensor_names}
    return pair_cells(cells, scenes, recipe)


@_timed
def describe(recipe: Recipe, workspace: Workspace, engine: Engine) -> Summary:
    """Lay chips over the pairs' cells and describe what land and climate each shows."""
    workspace.require(workspace.pairs, "pair")
    if not is_fresh(workspace.pairs, _pair_key(recipe, workspace)):
        raise InputError(
            f"The pairs of {workspace.slug} were made with other settings or other scenes",
            do=f"Run: curate pair --region {workspace.slug}",
        )
    shown = _without_secrets(recipe)  # a new signature is no other map
    key = _describe_key(shown, workspace)
    area = region(recipe.region).area
    landcover = landcover_map(recipe, workspace, area)
    descriptors = further.chosen(recipe, workspace)
    tasks = pools.tasks(read_table(workspace.pairs), area, landcover, recipe, descriptors)
    paths = [workspace.pool / f"part-{i:05d}.parquet" for i in range(len(tasks))]
    sweep(workspace.pool)
    for path in set(workspace.pool.glob("part-*.parquet")) - set(paths):
        path.unlink()
    missing = [i for i, path in enumerate(paths) if not is_fresh(path, key)]
    metadata: dict[str, Any] = {"key": key, "parts": len(tasks), "landcover": landcover.legend.names}
    metadata["landcover_map"] = landcover.name
    metadata["presence"] = recipe.descriptors.landcover_presence  # from which a class is in the column kind
    metadata["further"] = [asdict(column) for column in further.columns(descriptors)]
    names = [column.name for column in further.columns(descriptors)]
    metadata |= {"climate_map": shown.descriptors.climate, "simulated": _is_simulated(workspace)}
    for i, described in engine.map(pools.describe, [tasks[i] for i in missing], "describe"):
        nulls = {name: described.pool[name].null_count for name in names}
        account: dict[str, Any] = {
            "came_in": described.came_in,
            "rejected": described.rejected,
            "unknown": nulls,
            "climates": legend(described.pool),
        }
        write_geoparquet(described.pool, paths[missing[i]], {**metadata, **account}, quick=True)
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
    unknown = {name: sum(account["unknown"][name] for account in accounts) for name in names}
    for number in sorted({*unknown.values()} - {0}) if missing else []:
        lacking = ", ".join(name for name in names if unknown[name] == number)
        say(f"Unknown for {number:,} of {rows:,} chips: {lacking}")
    return Summary("describe", "chips", came_in, rows, rejected, {"unknown": unknown}, reused=not missing)


def landcover_map(recipe: Recipe, workspace: Workspace, area: shapely.Geometry) -> LandcoverMap:
    tiles: list[str] = []
    if recipe.descriptors.landcover == "archive":
        table = read_table(workspace.scenes, ["sensor", "assets"])
        rows = table.filter(pc.equal(table["sensor"], LANDCOVER_COLLECTION)).to_pylist()
        tiles = [workspace.absolute(row["assets"][0]["href"]) for row in rows]
        tiles.sort(reverse=True)  # where tiles of one year overlap, the newer version says it first
        if not tiles:
            raise InputError(
                f"Archive {recipe.archive} has no land-cover map",
                f"it has no usable item in a collection {LANDCOVER_COLLECTION!r}",
                "Give one: --landcover PATH (and --landcover-legend where it is not ESA WorldCover)",
            )
    maps = recipe.descriptors
    return open_landcover(
        maps.landcover, tiles, maps.landcover_legend, area, maps.landcover_resolution, maps.landcover_classes
    )


def _pair_key(recipe: Recipe, workspace: Workspace) -> str:
    settings = recipe.model_dump(mode="json", include={"region", "chips", "sensors", "pairing"})
    return key_of([workspace.scenes], ["pair", settings, identity(recipe.region)])


def _describe_key(recipe: Recipe, workspace: Workspace) -> str:
    maps = recipe.descriptors
    settings = recipe.model_dump(mode="json", include={"region", "chips", "sensors", "descriptors"})
    files = [
        *files_of(maps.landcover),
        maps.landcover_legend,
        maps.climate,
        maps.climate_legend,
        maps.terrain,
        maps.embedding,
        recipe.region,
    ]
    return key_of(
        [workspace.pairs, workspace.scenes],
        ["describe", pools.VERSION, settings, [identity(name) for name in files]],
    )


def open_pool(recipe: Recipe, workspace: Workspace) -> tuple[Pool, dict[str, Any]]:
    """The pool, not yet read, and the metadata of its files.

    Raises:
        InputError: there is none, a part is missing or broken (it is named), or it was made by another recipe.
    """
    paths = sorted(workspace.pool.glob("part-*.parquet"))
    if not paths:
        workspace.require(workspace.pool, "describe")
    pool = Pool.of_files(paths)
    metadata = read_metadata(paths[0]) or {}
    key = _describe_key(recipe, workspace) if workspace.pairs.exists() else ""
    whole = len(paths) == metadata.get("parts") and all(is_fresh(path, key) for path in paths)
    if not whole or not is_fresh(workspace.pairs, _pair_key(recipe, workspace)):
        raise InputError(
            f"The pool of {workspace.slug} is not complete, or was made with other settings",
            do=f"Run: curate pair --region {workspace.slug} && curate describe --region {workspace.slug}",
        )
    return pool, metadata


def read_pool(recipe: Recipe, workspace: Workspace) -> tuple[pa.Table, dict[str, Any]]:
    """The whole pool in memory, and the metadata of its files; raises what `open_pool` does."""
    pool, metadata = open_pool(recipe, workspace)
    return pool.read(), metadata


@_timed
def sample(recipe: Recipe, workspace: Workspace, engine: Engine) -> Summary:
    """Draw the sample and write the catalog; chips that have no pixels yet wait for `cut`."""
    return _build(recipe, workspace, engine, cut=False)


@_timed
def cut(recipe: Recipe, workspace: Workspace, engine: Engine) -> Summary:
    """Draw the sample, cut the pixels that are missing, and write the catalog with them."""
    return _build(recipe, workspace, engine, cut=True)


def _build(recipe: Recipe, workspace: Workspace, engine: Engine, *, cut: bool) -> Summary:
    pool, metadata = open_pool(recipe, workspace)
    sampling = recipe.sampling
    files = [sampling.keep, sampling.target if isinstance(sampling.target, str) else None]
    given = [identity(name) for name in files]
    pixels = chips_key(recipe, sensors_of(recipe))
    key = key_of([workspace.scenes], ["build", VERSION, recipe.hash, cut, pool.identity, given, pixels])
    if cut and _is_built(workspace, key):
        rows = Catalog.open(workspace.catalog, ["chip_id"]).table.num_rows
        say(f"{os.path.relpath(workspace.catalog)}: {rows:,} chips, as before.")
        return Summary("cut", "chips", pool.rows, rows, reused=True)
    drawn = settle(pool, recipe, workspace, engine, cut=cut)
    source = _source(recipe, workspace, metadata)
    notes = {"key": key, "draw": drawn.draw.summary, "refused": drawn.refused, "rounds": drawn.rounds}
    with_pixels = write_catalog(drawn, pool.rows, recipe, source, workspace, notes)
    chance = beside_chance(pool, drawn, recipe)
    announce(drawn, pool.rows, recipe, source["simulated"], workspace, with_pixels, chance)
    if cut:
        _align(workspace)
    notes |= {"with_pixels": with_pixels, "against_chance": chance}
    rejected = add(drawn.refused, not_drawn(drawn))
    return Summary("cut" if cut else "sample", "chips", pool.rows, drawn.chips.num_rows, rejected, notes)


def _align(workspace: Workspace) -> None:
    """Look whether the sensors lie on each other; written beside the catalog, and said."""
    from curate.pixels.alignment import align, write_alignment

    catalog = Catalog.open(workspace.catalog, ["shard", "shard_row"])
    found = align(catalog)
    write_alignment(catalog, found)
    for one in found:
        say(one.said(catalog.meta.resolution_m))


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


def _source(recipe: Recipe, workspace: Workspace, pool_metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        "archive": recipe.archive,
        "simulated": _is_simulated(workspace),
        "landcover": pool_metadata["landcover_map"],
        "climate": pool_metadata["climate_map"],
        "legend": pool_metadata["landcover"],
        "further": pool_metadata.get("further", []),
    }


ALL = (search, pair, describe, cut)


def build(recipe: Recipe, workspace: Workspace, engine: Engine) -> list[Summary]:
    """All stages in a row: from an archive to a catalog with pixels."""
    return [stage(recipe, workspace, engine) for stage in ALL]
