"""What a report is about: a catalog, the pool it was drawn from, and what its stages said of themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.catalog import Catalog
from curate.catalog.errors import InputError
from curate.catalog.reader import read_meta
from curate.catalog.schema import landcover_column
from curate.catalog.statistics import BandStatistics
from curate.recipe import Recipe, parse
from curate.sampling.arrays import Ints
from curate.sampling.source import Pool
from curate.summary import load
from curate.workspace import Workspace

MOST_ROWS = 5_000_000  # of a pool that are looked at; of a larger one every so-manieth
NOWHERE = "none"  # in place of a class the map does not give
_PLACES = ("chip_id", "place", "lon", "lat", "cell", "season", "koppen", "koppen_symbol", "lc_dominant",
           "lc_dominant_name")  # fmt: skip
_OF_SENSOR = ("dt_hours", "orbit_state", "relative_orbit", "cloud_cover", "datetime", "platform")


@dataclass(frozen=True)
class Subject:
    """A catalog and what lies beside it."""

    catalog: Catalog
    workspace: Workspace
    pool: pa.Table | None  # candidates, the columns that figures need; None where it is not there
    every: int  # one in so many candidates was read
    lacking: str  # why there is no pool
    stages: dict[str, dict[str, Any]]  # summaries, by stage

    @classmethod
    def open(cls, path: Path) -> Subject:
        """Read the catalog *path* and what lies beside it.

        Raises:
            InputError: no such catalog, or an empty one.
        """
        meta = read_meta(path)
        names = [
            *_PLACES, "stratum", "split", "weight", "epsg", "transform", "shard", "shard_row",
            *(landcover_column(code) for code in meta.landcover),
        ]  # fmt: skip
        for info in meta.sensors:
            names += [f"{info.prefix}_{name}" for name in (*_OF_SENSOR, "valid", "cloud")]
        catalog = Catalog.open(path, names)
        if not catalog.table.num_rows:
            raise InputError(f"Catalog {path} is empty", do="Draw a larger sample: curate sample")
        path = path.resolve()
        workspace = Workspace(path.parent, path.stem)
        pool, every, lacking = None, 1, ""
        try:
            pool, every = _pool(parse(meta.recipe, f"the recipe of {path}"), workspace, catalog)
        except InputError as error:
            lacking = str(error)
        return cls(catalog, workspace, pool, every, lacking, load(workspace.summary))

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe that the catalog was made with."""
        return parse(self.catalog.meta.recipe, f"the recipe of {self.catalog.path}")

    @property
    def rows(self) -> int:
        return int(self.catalog.table.num_rows)

    @property
    def chip_m(self) -> float:
        """Side of a chip, metres."""
        return self.catalog.meta.chip_px * self.catalog.meta.resolution_m

    @property
    def partners(self) -> tuple[str, ...]:
        """Prefixes of the sensors beside the anchor that have a time of acquisition."""
        table = self.catalog.table
        every = [info.prefix for info in self.catalog.meta.sensors[1:]]
        return tuple(p for p in every if table[f"{p}_dt_hours"].null_count < table.num_rows)

    @property
    def statistics(self) -> dict[str, BandStatistics]:
        """Band statistics by sensor prefix; empty where no chip has been cut."""
        shards = self.catalog.table["shard"]
        there = (self.catalog.path.parent / self.catalog.meta.statistics).exists()
        return self.catalog.statistics() if there and shards.null_count < len(shards) else {}

    def beside(self, name: str) -> dict[str, Any] | None:
        """What the JSON file *name* in the catalog's folder holds; None where there is none, or it is broken."""
        path = self.workspace.folder / name
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None


def _pool(recipe: Recipe, workspace: Workspace, catalog: Catalog) -> tuple[pa.Table, int]:
    from curate.stages import open_pool

    pool, _ = open_pool(recipe, workspace)
    names = [name for name in catalog.table.column_names if name in pool.schema.names]
    names = [name for name in names if name not in ("epsg", "transform")]
    every = -(-pool.rows // MOST_ROWS)
    return (pool.read(names), 1) if every == 1 else (_thinned(pool, names, every), every)


def _thinned(pool: Pool, names: list[str], every: int) -> pa.Table:
    parts = []
    for group in pool.groups:
        table = group.read(names)
        rows: Ints = np.arange(-group.first % every, table.num_rows, every, dtype=np.int64)
        parts.append(table.take(pa.array(rows)))
    return pa.concat_tables(parts)


def texts(table: pa.Table, column: str) -> pa.ChunkedArray:
    """A column of texts, `NOWHERE` for null."""
    return pc.fill_null(table[column].cast(pa.string()), NOWHERE)
