"""The commands as functions: the same names, and results that a notebook can use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import curate
from curate.api import OPTIONS
from curate.catalog import InputError
from curate.recipe import Recipe
from curate.workspace import Workspace


def test_importing_it_is_quick_and_loads_nothing() -> None:
    code = (
        "import sys, time; t = time.perf_counter(); import curate; "
        "print(time.perf_counter() - t, 'pyarrow' in sys.modules)"
    )

    def once() -> tuple[float, str]:
        said = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.split()
        return float(said[0]), said[1]

    found = [once() for _ in range(3)]
    assert min(found)[0] < 0.1 and {loaded for _, loaded in found} == {"False"}


def test_every_command_is_a_function() -> None:
    from typer.main import get_command

    from curate.cli import app

    groups = {
        "pool",
        "chips",
        "recipe",
    }  # which look at things; their modules are `curate.makeup` and `curate.pixels`
    names = set(get_command(app).commands) - groups  # type: ignore[attr-defined]
    assert names <= set(dir(curate))
    assert all(callable(getattr(curate, name)) for name in names)
    assert curate.catalog.Catalog is not None  # the package is still a package


def test_every_option_is_a_key_of_the_recipe() -> None:
    keys = {
        f"{a}.{b}"
        for a, part in Recipe()
        if hasattr(type(part), "model_fields")
        for b in type(part).model_fields
    }
    keys |= set(Recipe.model_fields)
    assert set(OPTIONS.values()) <= keys


def test_a_sample_is_a_table_of_chips(workspace: Workspace) -> None:
    where = {"root": workspace.root, "workers": 1}
    drawn = curate.sample(3, cut=False, **where)
    assert isinstance(drawn, geopandas.GeoDataFrame) and len(drawn) == 3
    assert drawn["chip_id"].tolist() == pq.read_table(workspace.catalog)["chip_id"].to_pylist()
    pool = curate.describe(**where)
    assert pool.count_rows() >= 3 and "koppen_symbol" in pool.schema.names
    assert isinstance(curate.pair(**where), pa.Table)
    assert curate.measure(root=workspace.root)["splits"]["all"]["rows"] == 3
    assert curate.validate(workspace.catalog) == []


def test_a_catalog_can_be_made_from_nothing(
    small_archive: Path, recipe: Recipe, built: Workspace, tmp_path: Path
) -> None:
    settings = {"chips.size_px": 60, "sampling.min_stratum": 3, "pixels.shard_chips": 4}
    options = {
        "archive": str(small_archive),
        "budget": "20%",
        "settings": settings,
        "root": tmp_path,
        "workers": 1,
    }
    found = curate.catalog(recipe.region, **options)
    assert found["chip_id"].tolist() == pq.read_table(built.catalog)["chip_id"].to_pylist()
    page = curate.report(root=tmp_path)
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_an_unknown_option_is_refused(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="no option 'budgte'"):
        curate.cut(root=workspace.root, budgte=3)
