"""The commands as functions, for notebooks and scripts: the same names and options, tables instead of lines.

Options are those of the command line, with underscores: ``--max-dt`` is ``max_dt``. `settings` takes any key of the
recipe, as ``--set`` does: ``{"chips.size_px": 60}``. Without *region* the only region under *root* is meant. Every
function raises `InputError` where the command would end with exit code 2, and `RunError` where with 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.catalog.errors import InputError

if TYPE_CHECKING:
    import geopandas
    import pyarrow as pa
    import pyarrow.dataset as ds

    from curate.workspace import Workspace

__all__ = [
    "catalog", "compare", "cut", "describe", "export", "labels", "measure", "pair", "report", "sample", "search",
    "validate",
]  # fmt: skip

OPTIONS = {  # name -> key of the recipe
    "region": "region",
    "archive": "archive",
    "sites": "sites",
    "max_dt": "pairing.max_dt_days",
    "policy": "pairing.policy",
    "chip_px": "chips.size_px",
    "landcover": "descriptors.landcover",
    "landcover_legend": "descriptors.landcover_legend",
    "landcover_resolution": "descriptors.landcover_resolution",
    "landcover_classes": "descriptors.landcover_classes",
    "climate": "descriptors.climate",
    "climate_legend": "descriptors.climate_legend",
    "budget": "sampling.budget",
    "seed": "sampling.seed",
    "allocation": "sampling.allocation",
    "way": "sampling.way",
    "levels": "sampling.levels",
    "target": "sampling.target",
    "min_distance": "sampling.min_distance_km",
    "keep": "sampling.keep",
}


def catalog(
    region: str | None = None,
    *,
    recipe: Path | str | None = None,
    root: Path | str = "catalogs",
    workers: int | None = None,
    scheduler: str | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> geopandas.GeoDataFrame:
    """Run all stages, from an archive to *root*/<region>.parquet with its pixels; the catalog, one row a chip.

    Args:
        region: as ``--region``; by default the recipe's.
        recipe: YAML file; what is given besides overrides it.
        workers: local processes; 1 runs all in this one.
        options: see `OPTIONS`.
    """
    from curate import runs, stages

    chosen = runs.chosen(recipe, _keys({"region": region, **options}, settings))
    workspace = stages.start(chosen, Path(root))
    runs.run(("search", "pair", "describe", "cut"), chosen, workspace, workers, scheduler)
    return _frame(workspace.catalog)


def search(region: str | None = None, *, archive: str | None = None, **more: Any) -> geopandas.GeoDataFrame:
    """Find the scenes of a region anew: one row a scene. Options as those of `catalog`."""
    from curate import runs, stages

    root, workers, scheduler, settings, options = _usual(more)
    path = options.pop("recipe", None)
    chosen = runs.chosen(path, _keys({"region": region, "archive": archive, **options}, settings))
    workspace = stages.start(chosen, root)
    workspace.scenes.unlink(missing_ok=True)
    runs.run(("search",), chosen, workspace, workers, scheduler)
    return _frame(workspace.scenes)


def pair(region: str | None = None, **more: Any) -> pa.Table:
    """Pair the scenes that were found: one row a pair."""
    import pyarrow.parquet as pq

    return pq.read_table(_again("pair", region, more).pairs)


def describe(region: str | None = None, **more: Any) -> ds.Dataset:
    """Lay chips over the pairs and describe them: the pool, which need not fit into memory."""
    import pyarrow.dataset as ds

    return ds.dataset(_again("describe", region, more).pool, format="parquet")


def sample(
    budget: str | int | None = None, region: str | None = None, *, cut: bool = True, **more: Any
) -> geopandas.GeoDataFrame:
    """Draw a sample of the region's pool and write the catalog, one row a chip in the order of the draw.

    Args:
        budget: a count (5000, "250k") or a share ("25%").
        cut: cut the pixels that are still missing.
    """
    more["budget"] = None if budget is None else str(budget)
    return _frame(_again("cut" if cut else "sample", region, more).catalog)


def cut(region: str | None = None, **more: Any) -> geopandas.GeoDataFrame:
    """Cut the pixels that the sample still lacks: the catalog."""
    return _frame(_again("cut", region, more).catalog)


def measure(
    file: Path | str | None = None,
    region: str | None = None,
    *,
    full: bool = False,
    root: Path | str = "catalogs",
) -> dict[str, Any]:
    """How diverse a catalog is, per split: what ``curate measure --json`` prints."""
    from curate.measuring import measure_catalog

    return measure_catalog(_file(file, region, root), full=full)


def compare(
    budget: str | int | None = None,
    region: str | None = None,
    *,
    ways: Sequence[str] = ("diverse", "random", "area"),
    seeds: int = 3,
    embedding: str | None = None,
    full: bool = False,
    root: Path | str = "catalogs",
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What other ways would draw from the same candidates: what ``curate compare --json`` prints."""
    from curate.measuring import compare_ways
    from curate.runs import found

    workspace = found(region, Path(root))
    given = _keys({"budget": None if budget is None else str(budget)}, settings)
    recipe = workspace.load_recipe().with_options(given)
    return compare_ways(recipe, workspace, list(ways), seeds, embedding, full=full)


def report(
    file: Path | str | None = None,
    other: Path | str | None = None,
    *,
    region: str | None = None,
    out: Path | str | None = None,
    figures: Path | str | None = None,
    root: Path | str = "catalogs",
) -> Path:
    """Write a catalog's page, or that of two catalogs side by side: the page's file."""
    from curate.report import write_comparison, write_report

    first, page = _file(file, region, root), Path(out) if out else None
    folder = Path(figures) if figures else None
    if other is None:
        return write_report(first, page, folder).path
    return write_comparison(first, Path(other), page, folder).path


def validate(file: Path | str) -> list[str]:
    """Every violation of the contract by a catalog; empty where there is none."""
    from curate.catalog.validation import violations

    return list(violations(Path(file)))


def labels(
    file: Path | str,
    source: str = "landcover",
    *,
    kind: str | None = None,
    legend: str | None = None,
    unit: str = "",
    out: Path | str | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
) -> Path:
    """Cut a map on the grid of every chip: the Arrow file of the labels."""
    from curate.engine import engine
    from curate.pixels.labels import cut_labels

    with engine(workers, scheduler) as running:
        return cut_labels(Path(file), running, source, kind, legend, unit, Path(out) if out else None)[0]


def export(file: Path | str, stac: Path | str) -> Path:
    """Write a catalog's chips as STAC items into one stac-geoparquet file *stac*."""
    from curate.stac_export import export_stac

    return export_stac(Path(file), Path(stac))


def _usual(
    more: dict[str, Any],
) -> tuple[Path, int | None, str | None, Mapping[str, Any] | None, dict[str, Any]]:
    """Root, workers, scheduler and settings, and the options that are left."""
    named = ("root", "workers", "scheduler", "settings")
    options = {name: value for name, value in more.items() if name not in named}
    root = Path(more.get("root", "catalogs"))
    return root, more.get("workers"), more.get("scheduler"), more.get("settings"), options


def _keys(options: Mapping[str, Any], settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options as keys of the recipe, *settings* over them."""
    for name in options:
        if name not in OPTIONS:
            raise InputError(f"There is no option {name!r}", do=f"Choose among: {', '.join(OPTIONS)}")
    return {OPTIONS[name]: value for name, value in options.items()} | dict(settings or {})


def _file(file: Path | str | None, region: str | None, root: Path | str) -> Path:
    from curate.runs import found

    return Path(file) if file else found(region, Path(root)).catalog


def _again(stage: str, region: str | None, more: dict[str, Any]) -> Workspace:
    """Run *stage* with the recipe of the region's tables and the options given."""
    from curate.runs import run_again

    root, workers, scheduler, settings, options = _usual(more)
    return run_again(stage, region, _keys(options, settings), root, workers, scheduler)


def _frame(path: Path) -> geopandas.GeoDataFrame:
    import geopandas

    return geopandas.read_parquet(path)
