"""From the pool to a catalog with pixels: draw, cut, and draw again in place of what was refused.

A chip's pixels decide whether it may stay, and they are read only for chips that were drawn. So a draw is cut,
the refused chips give up their seats, and the draw is made again, until nothing drawn is refused: the next candidates
of the same strata take the empty seats. The rounds always start from the whole pool and refuse only what an
earlier round has drawn, so that the result depends on the recipe alone, not on what had been cut before.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import __version__
from curate.catalog import shards
from curate.catalog.errors import InputError, RunError
from curate.catalog.files import sweep
from curate.catalog.geoparquet import ROW_GROUP_ROWS, write_row_groups
from curate.catalog.schema import (
    HREFS,
    PLAIN_COLUMNS,
    CatalogMeta,
    DescriptorInfo,
    SensorInfo,
    catalog_schema,
)
from curate.catalog.statistics import BandStatistics, write_statistics
from curate.console import progress, say
from curate.engine import Engine
from curate.pixels.plan import Known, Planned, chip_keys, chips_key, plan, read_known
from curate.pixels.plan import tasks as tasks_of
from curate.pixels.verify import of_rows
from curate.recipe import Budget, Recipe
from curate.sampling import Draw
from curate.sampling.sampler import Sampler
from curate.sampling.source import Pool, in_order, threads
from curate.sampling.splits import least_km
from curate.sampling.ways.chosen import draw_as_chosen, refuse_size
from curate.sensors import sensor as sensor_named
from curate.summary import add
from curate.workspace import Workspace, read_table

Assets = dict[tuple[str, str], dict[str, dict[str, Any]]]  # by sensor and scene id, then band
VERSION = 2  # of what is written: another one, another catalog
COUNTS_KEPT_FROM = 1_000_000  # rows of a pool; a smaller one is counted in about a second
SOFTWARE = ("numpy", "pyarrow", "rasterio", "shapely", "pyproj")


@dataclass(frozen=True)
class Drawn:
    """A settled draw: chips of the pool in seat order, and what is known of their pixels."""

    draw: Draw
    chips: pa.Table  # rows of the pool, in seat order
    keys: pa.Array
    refused: dict[str, int]  # reason -> chips refused after their pixels were read
    rounds: int


def sensors_of(recipe: Recipe) -> tuple[SensorInfo, ...]:
    """How the recipe's sensors are stored, the anchor first."""
    return tuple(
        sensor_named(name).stored_info(bands_of(recipe, name), recipe.pixels.resampling)
        for name in recipe.sensor_names
    )


def bands_of(recipe: Recipe, name: str) -> tuple[str, ...]:
    """Bands of sensor *name* that the recipe asks for."""
    what = sensor_named(name)
    every = tuple(band.name for band in what.bands)
    default = tuple(band.name for band in what.default)
    wanted = recipe.sensors.bands.get(name, recipe.sensors.bands.get(what.name, default))
    return tuple(band for band in every if band in wanted)  # in the sensor's order, whatever the recipe's


def settle(pool: Pool, recipe: Recipe, workspace: Workspace, engine: Engine, *, cut: bool) -> Drawn:
    """Draw from *pool*, cut what has no pixels yet if *cut*, and repeat until no drawn chip is refused.

    The pool is counted once; of its rows only those that were drawn are ever held whole. Without *cut* only chips
    that an earlier cut has refused are known to be unfit.

    Raises:
        InputError: every candidate was refused.
        RunError: chips were cut and their shards are not there.
    """
    sensors = sensors_of(recipe)
    prefixes = [info.prefix for info in sensors]
    folder = workspace.chips(chips_key(recipe, sensors))
    budget = Budget(recipe.sampling.budget).of(pool.rows)
    refuse_size(recipe.sampling, pool.rows, budget)
    assets = scene_assets(workspace)
    sampler = sampler_of(pool, recipe, workspace, engine)
    seen = _Seen(pool, sensors, assets)
    refused = np.empty(0, np.int64)
    known = read_known(folder, prefixes)
    tried: set[str] = set()
    reasons: dict[str, int] = {}
    rounds = 0
    while True:
        rounds += 1
        drawn = draw_as_chosen(sampler, budget, refused)
        rows = drawn.rows
        if not len(rows):
            raise InputError(
                f"All {pool.rows:,} candidate chips were refused",
                "; ".join(f"{number:,} × {reason}" for reason, number in reasons.items()),
                "Loosen pixels.min_valid or pixels.max_cloud, or check the archive's files",
            )
        chips, chosen = seen.take(rows)
        unknown = (known.locate(chosen) < 0) & ~known.refused(chosen, tried)
        if cut and unknown.any():
            missing = np.flatnonzero(unknown)
            again = known.unreadable(
                chosen.filter(pa.array(unknown))
            )  # kept apart: they shift no other shard
            for part in (missing[~again], missing[again]):
                if len(part):
                    index = pa.array(part)
                    _cut(chips.take(index), chosen.take(index), sensors, recipe, assets, folder, engine)
            tried |= set(chosen.filter(pa.array(unknown)).to_pylist())
            known = read_known(folder, prefixes)
            lost = (known.locate(chosen) < 0) & ~known.refused(chosen, tried)
            if lost.any():
                raise RunError(
                    f"{lost.sum():,} chips were cut and their shards are not in {folder}; "
                    "workers on other machines must share this folder under this path"
                )
        bad = known.refused(chosen, tried)
        if not bad.any():
            lon, lat = (chips[name].to_numpy() for name in ("lon", "lat"))
            drawn.summary["least_train_eval_km"] = least_km(lon, lat, drawn.split)
            return Drawn(drawn, chips, chosen, add(reasons, {}), rounds)
        for key in chosen.filter(pa.array(bad)).to_pylist():
            reasons[known.rejected[key]] = reasons.get(known.rejected[key], 0) + 1
        refused = np.concatenate([refused, rows[bad]])


def sampler_of(pool: Pool, recipe: Recipe, workspace: Workspace, engine: Engine) -> Sampler:
    """The pool, counted; by a cluster's workers where there is a scheduler, else by threads of this process.

    Counts of a large pool are kept beside it, so that the next draw need not count again what has not changed.
    """
    written = pool.rows > COUNTS_KEPT_FROM or engine.scheduler is not None
    keep = recipe.sampling.keep
    if keep is not None and (workspace.root / keep).exists():
        keep = str(workspace.root / keep)

    def run(function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
        if engine.scheduler is None and not written:
            return threads(engine.workers)(function, tasks)
        if engine.scheduler is None:
            with progress("sample", len(tasks)) as advance:

                def counted(task: Any) -> Any:
                    result = function(task)
                    advance()
                    return result

                return threads(engine.workers)(counted, tasks)
        return in_order(engine.map(function, tasks, "sample"))

    sampling = recipe.sampling.model_copy(update={"keep": keep})
    return Sampler(pool, sampling, run, workspace.folder / "counts" if written else None)


class _Seen:
    """Rows of the pool that have been drawn, and the keys of their pixels."""

    def __init__(self, pool: Pool, sensors: Sequence[SensorInfo], assets: Assets) -> None:
        self._pool, self._sensors, self._assets = pool, sensors, assets
        self._columns = [name for name in pool.schema.names if name not in PLAIN_COLUMNS]
        self._rows = np.empty(0, np.int64)
        self._chips: pa.Table | None = None
        self._keys: pa.Array | None = None

    def take(self, rows: npt.NDArray[np.int64]) -> tuple[pa.Table, pa.Array]:
        """*rows* of the pool in their order, and their keys; read only where they have not been before."""
        new = rows[~np.isin(rows, self._rows)]
        if len(new):
            chips = self._pool.take(new, self._columns, coded=True)
            keys = chip_keys(chips, self._sensors, self._assets)
            self._rows = np.concatenate([self._rows, new])
            self._chips = chips if self._chips is None else pa.concat_tables([self._chips, chips])
            self._keys = keys if self._keys is None else pa.concat_arrays([self._keys, keys])
        assert self._chips is not None and self._keys is not None
        if np.array_equal(rows, self._rows):  # the first draw
            return self._chips, self._keys
        order = np.argsort(self._rows)
        at = pa.array(order[np.searchsorted(self._rows[order], rows)])
        return self._chips.take(at), self._keys.take(at)


def _cut(
    rows: pa.Table,
    keys: pa.Array,
    sensors: Sequence[SensorInfo],
    recipe: Recipe,
    assets: Assets,
    folder: Path,
    engine: Engine,
) -> None:
    """Cut *rows* in planned shards, and note in the manifest what became of each."""
    from curate.pixels.cutting import cut

    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    shards.record_notes(folder)
    planned = plan(rows, keys, sensors[0].prefix, recipe.pixels.shard_chips)
    tasks = _Tasks(rows, keys, sensors, recipe, assets, folder)
    grouped = [tasks.task(one) for one in tasks_of(planned, engine.slots)]
    for _, entries in engine.map(cut, grouped, "cut"):
        for entry in entries:
            shards.record(folder, entry)


class _Tasks:
    """Makes the tasks of a plan from the rows to be cut and the table of scenes."""

    def __init__(
        self,
        rows: pa.Table,
        keys: pa.Array,
        sensors: Sequence[SensorInfo],
        recipe: Recipe,
        assets: Assets,
        folder: Path,
    ) -> None:
        self.rows, self.keys, self.sensors = rows, keys, tuple(sensors)
        self.recipe, self.folder = recipe, folder
        self.assets = assets

    def task(self, planned: Sequence[Planned]) -> Any:
        """The task that cuts the shards *planned*."""
        from curate.pixels.tasks import Asset, CutTask

        found = tuple(self._shard(one) for one in planned)
        assets = {
            info.prefix: {
                scene: {band: Asset(**fields) for band, fields in self.assets[info.sensor, scene].items()}
                for scene in sorted({scene for shard in found for scene in shard.scenes[info.prefix]})
            }
            for info in self.sensors
        }
        return CutTask(
            shards=found,
            folder=self.folder,
            chip_px=self.recipe.chips.size_px,
            resolution_m=self.recipe.chips.resolution_m,
            sensors=self.sensors,
            assets=assets,
            pixels=self.recipe.pixels,
        )

    def _shard(self, planned: Planned) -> Any:
        from curate.pixels.tasks import Shard

        at = pa.array(planned.rows)
        part = self.rows.take(at)
        corners = part["transform"].combine_chunks().flatten().to_numpy().reshape(-1, 6)
        return Shard(
            name=planned.name,
            keys=tuple(self.keys.take(at).to_pylist()),
            chip_ids=tuple(part["chip_id"].to_pylist()),
            grid=tuple(
                zip(part["epsg"].to_pylist(), corners[:, 2].tolist(), corners[:, 5].tolist(), strict=True)
            ),
            scenes={info.prefix: tuple(part[f"{info.prefix}_id"].to_pylist()) for info in self.sensors},
        )


def scene_assets(workspace: Workspace) -> Assets:
    """Assets of the scenes in some pair, by sensor and scene id, then band: href, scale, offset, nodata and unit."""
    table = read_table(workspace.scenes, ["sensor", "id", "assets"])
    if workspace.pairs.exists():  # of a million scenes a few thousand are chosen
        ids = [name for name in pq.read_schema(workspace.pairs).names if name.endswith("_id")]
        pairs = read_table(workspace.pairs, ids)
        used = pa.chunked_array([chunk for name in ids for chunk in pairs[name].chunks], pa.string())
        table = table.filter(pc.is_in(table["id"], pc.unique(used)))
    result: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in table.to_pylist():
        assets = {asset.pop("band"): asset for asset in row["assets"]}
        for asset in assets.values():
            asset["href"] = workspace.absolute(asset["href"])
        result[row["sensor"], row["id"]] = assets
    return result


def write_catalog(
    drawn: Drawn,
    pool_rows: int,
    recipe: Recipe,
    source: dict[str, Any],
    workspace: Workspace,
    notes: dict[str, Any],
) -> int:
    """Write the catalog and its statistics; returns how many of its chips have pixels."""
    sensors = sensors_of(recipe)
    prefixes = [info.prefix for info in sensors]
    folder = workspace.chips(chips_key(recipe, sensors))
    known = read_known(folder, prefixes)
    where = known.locate(drawn.keys)
    columns = {name: drawn.chips[name] for name in drawn.chips.column_names}
    columns |= {"stratum": _strata(drawn.draw), "split": drawn.draw.split, "weight": drawn.draw.weight}
    columns |= _pixel_columns(known, where, prefixes)
    hrefs = _hrefs(workspace)
    for info in sensors:
        ids = drawn.chips[f"{info.prefix}_id"].cast(
            pa.string()
        )  # a dictionary may hold scenes of rows not drawn
        scenes = pc.dictionary_encode(ids).combine_chunks()
        files = pa.array([hrefs[info.sensor, scene] for scene in scenes.dictionary.to_pylist()], HREFS)
        columns[f"{info.prefix}_hrefs"] = pa.DictionaryArray.from_arrays(scenes.indices, files)
    legend = {int(code): name for code, name in source["legend"].items()}
    further = tuple(DescriptorInfo(**column) for column in source["further"])
    schema = catalog_schema(prefixes, list(legend), further)
    meta = CatalogMeta(
        region=workspace.slug,
        chip_px=recipe.chips.size_px,
        resolution_m=recipe.chips.resolution_m,
        sensors=sensors,
        landcover=legend,
        recipe=recipe.model_dump(mode="json"),
        recipe_hash=recipe.hash,
        source={key: value for key, value in source.items() if key not in ("legend", "further")},
        software={"curate": __version__, "python": platform.python_version()}
        | {n: version(n) for n in SOFTWARE},
        chips=folder.relative_to(workspace.root).as_posix(),
        statistics=workspace.statistics.relative_to(workspace.root).as_posix(),
        pool_rows=pool_rows,
        notes=notes,
        further=further,
    )
    cut = int((where >= 0).sum())
    if cut:
        where_cut = pa.table({name: columns[name] for name in ("shard", "shard_row", "split")})
        write_statistics(workspace.statistics, _statistics(where_cut, folder, sensors))
    groups = _row_groups(columns, schema, len(where))
    write_row_groups(groups, workspace.catalog, schema, drawn.chips, meta.to_json())
    return cut


def _strata(drawn: Draw) -> pa.DictionaryArray:
    """The stratum of each row."""
    labels = pa.array(drawn.labels.tolist(), pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(drawn.label), labels)


def _row_groups(columns: dict[str, Any], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """The catalog's rows, some at a time: a text that stands for many rows is written out only here."""
    for first in range(0, rows, ROW_GROUP_ROWS):
        some = slice(first, first + ROW_GROUP_ROWS)
        yield pa.Table.from_arrays(
            [_cast(columns[name][some], schema.field(name).type) for name in schema.names], schema=schema
        )


def _pixel_columns(known: Known, where: npt.NDArray[np.int64], prefixes: list[str]) -> dict[str, Any]:
    index = pa.array(where, mask=where < 0)
    names = ["shard", "shard_row", *(f"{p}_{name}" for p in prefixes for name in ("valid", "cloud"))]
    return {name: known.pixels[name].take(index) for name in names}


def _hrefs(workspace: Workspace) -> dict[tuple[str, str], list[dict[str, str]]]:
    return {
        scene: [{"band": band, "href": workspace.relative(asset["href"])} for band, asset in assets.items()]
        for scene, assets in scene_assets(workspace).items()
    }


def _cast(values: Any, dtype: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.DictionaryArray):
        return values.dictionary.take(values.indices)
    return values.cast(dtype) if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, dtype)


def _statistics(table: pa.Table, folder: Path, sensors: Sequence[SensorInfo]) -> dict[str, BandStatistics]:
    """Statistics of the training split's chips, from the moments and histograms in their shards."""
    cut = table.filter(pc.is_valid(table["shard"]))
    train = cut.filter(pc.equal(cut["split"], "train"))
    if not train.num_rows:
        say("No chip of the training split has pixels; statistics are those of all splits.")
    return of_rows(folder, train if train.num_rows else cut, sensors)
