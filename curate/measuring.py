"""`curate measure` and `curate compare`: what a catalog looks like, and what other ways would have drawn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.catalog import Catalog
from curate.catalog.errors import InputError
from curate.catalog.files import atomic, write_text
from curate.catalog.schema import SPLITS, landcover_column
from curate.console import progress, say
from curate.recipe import Budget, Recipe, parse
from curate.sampling import strata
from curate.sampling.arrays import Ints, numbers
from curate.sampling.comparison import Comparison, candidates_of, plain, side_by_side
from curate.sampling.features import features
from curate.sampling.measures import ENTROPY, OF_POOL, Yardstick, reach_km
from curate.sampling.ways import ways
from curate.workspace import Workspace

MOST_ROWS = 20_000_000  # of a pool; a million take about 1 GB
_COLUMNS = (
    "chip_id", "place", "lon", "lat", "season", "koppen", "koppen_symbol", "lc_dominant", "split", "weight",
)  # fmt: skip


def measure_catalog(path: Path, *, full: bool = False) -> dict[str, Any]:
    """Measure a catalog, as a whole and per split, and store the result in its folder as ``measures.json``.

    Measures that say something only beside the pool (`OF_POOL`) are None where the pool the catalog was drawn from
    is not beside it; ``beside`` says why then. In each split they compare with all candidates.

    Returns:
        What is in the file: ``splits`` holds the measures by split, ``all`` first.

    Raises:
        InputError: no such catalog, or an empty one.
    """
    catalog = _open(path)
    if not catalog.table.num_rows:
        raise InputError(f"Catalog {path} is empty", do="Draw a larger sample: curate sample")
    adjacent_km = reach_km(catalog.meta.chip_px * catalog.meta.resolution_m)
    beside = ""
    try:
        yardstick, rows = _beside_pool(catalog, adjacent_km)
    except InputError as error:
        beside = str(error)
        say(f"Measured without its pool. {beside}")
        presence = float(catalog.meta.recipe.get("sampling", {}).get("presence", 0.05))
        yardstick = Yardstick(catalog.table, None, presence, adjacent_km)
        rows = np.arange(catalog.table.num_rows, dtype=np.int64)
    described = strata.described(catalog.table)
    if not described.any():
        raise InputError(
            f"No chip of catalog {path} has a climate and a land cover", do="See: curate validate"
        )
    weight = numbers(catalog.table["weight"], np.float64)
    split = catalog.table["split"].to_numpy(zero_copy_only=False)
    found: dict[str, dict[str, Any]] = {}
    for name in ("all", *SPLITS):
        of = described & ((split == name) | (name == "all"))
        if of.any():
            measured = plain(asdict(yardstick.measure(rows[of], weight[of], full=full)))
            found[name] = measured | (dict.fromkeys(OF_POOL) if beside else {})
    result = {
        "catalog": path.name,
        "region": catalog.meta.region,
        "simulated": catalog.meta.simulated,
        "pool_rows": catalog.meta.pool_rows,
        "candidates": None if beside else len(yardstick.candidates),
        "undescribed": int((~described).sum()),
        "beside": beside or "pool",
        "adjacent_km": adjacent_km,
        "full": full,
        "splits": found,
    }
    write_text(path.with_suffix("") / "measures.json", json.dumps(result, indent=2) + "\n")
    return result


def _open(path: Path) -> Catalog:
    from curate.catalog.reader import read_meta

    names = [*_COLUMNS, *(landcover_column(code) for code in read_meta(path).landcover)]
    extra = [ENTROPY] if ENTROPY in pq.read_schema(path).names else []
    return Catalog.open(path, [*names, *extra])


def _beside_pool(catalog: Catalog, adjacent_km: float) -> tuple[Yardstick, Ints]:
    """The candidates that *catalog* was drawn from, and its rows among the pool's.

    Raises:
        InputError: the pool is not there, is another one, or does not hold the catalog's chips.
    """
    workspace = Workspace(catalog.path.resolve().parent, catalog.path.stem)
    recipe = parse(catalog.meta.recipe, f"the recipe of {catalog.path}")
    pool, _ = _read_pool(recipe, workspace)
    rows = pc.index_in(catalog.table["chip_id"], pool["chip_id"].combine_chunks())
    candidates = candidates_of(pool, recipe.sampling)
    held = pc.fill_null(rows, -1).to_numpy().astype(np.int64)
    if strange := int((~np.isin(held, candidates)).sum()):
        raise InputError(
            f"{strange:,} chips of catalog {catalog.path} are not among the candidates of its pool",
            "the pool was made again since",
            f"Draw again: curate sample --region {workspace.slug}",
        )
    return Yardstick(pool, candidates, recipe.sampling.presence, adjacent_km), held


def compare_ways(
    recipe: Recipe,
    workspace: Workspace,
    names: Sequence[str],
    seeds: int = 3,
    embedding: str | None = None,
    *,
    full: bool = False,
) -> dict[str, Any]:
    """Compare the ways *names* at the recipe's budget on the region's pool, and store the result in its folder.

    ``comparison.parquet`` has a row a way and seed, ``comparison.json`` the intervals over seeds as well.

    Returns:
        What is in the JSON file.

    Raises:
        InputError: no pool, one too large, an unknown way, no such column of embeddings, or a budget over the
            candidates.
    """
    chosen = ways(names, recipe.sampling, embedding)
    pool, metadata = _read_pool(recipe, workspace, embedding)
    if embedding is not None:
        features(pool, np.arange(min(1, pool.num_rows)), embedding)
    budget = Budget(recipe.sampling.budget).of(pool.num_rows)
    with progress("compare", len(chosen) * seeds) as done:
        found = side_by_side(
            pool,
            recipe.sampling,
            chosen,
            budget,
            seeds,
            reach_km(recipe.chips.size_m),
            full=full,
            done=done,
        )
    result = {
        "region": workspace.slug,
        "simulated": bool(metadata.get("simulated", False)),
        "pool_rows": pool.num_rows,
        "adjacent_km": reach_km(recipe.chips.size_m),
        "full": full,
        "meaning": {way.name: way.meaning for way in chosen},
        **found.to_json(),
    }
    _store(found, result, workspace.folder)
    return result


def _read_pool(
    recipe: Recipe, workspace: Workspace, embedding: str | None = None
) -> tuple[pa.Table, dict[str, Any]]:
    """The columns of the pool that draws and measures read, and the metadata of its files.

    Raises:
        InputError: there is none, it is stale, or it has more rows than are looked at one by one.
    """
    from curate.stages import open_pool

    pool, metadata = open_pool(recipe, workspace)
    if pool.rows > MOST_ROWS:
        raise InputError(
            f"The pool of {workspace.slug} has {pool.rows:,} candidates",
            f"measures look at each of them, and hold at most {MOST_ROWS:,}",
            "Compare on a smaller region",
        )
    fractions = [landcover_column(code) for code in strata.landcover_codes(pool.schema.empty_table())]
    sampling = recipe.sampling
    wanted = [*_COLUMNS, *fractions, ENTROPY, sampling.entropy_column, sampling.cluster_column, embedding]
    held = set(pool.schema.names)
    return pool.read([name for name in dict.fromkeys(wanted) if name is not None and name in held]), metadata


def _store(found: Comparison, result: dict[str, Any], folder: Path) -> None:
    table = found.table()
    about = {name: result[name] for name in ("region", "simulated", "pool_rows", "adjacent_km")}
    table = table.replace_schema_metadata({"curate": json.dumps(about)})
    with atomic(folder / "comparison.parquet") as part:
        pq.write_table(table, part)
    write_text(folder / "comparison.json", json.dumps(result, indent=2) + "\n")
