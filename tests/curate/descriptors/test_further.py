"""Further descriptors in the pool and the catalog: what a recipe chooses, and that it is the same whoever works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.transform import Affine

from curate import pool as pools
from curate import stages
from curate.catalog import Catalog, InputError
from curate.catalog.validation import violations
from curate.descriptors import further
from curate.engine import Engine, engine
from curate.recipe import Recipe
from curate.workspace import Workspace

NAMES = ("terrain", "spectral", "season", "coast", "embedding")


@pytest.fixture
def rich(recipe: Recipe, workspace: Workspace, tmp_path: Path) -> Recipe:
    """A recipe with all further descriptors: a made-up elevation model in tiles, and vectors of half of the chips."""
    pool = stages.read_pool(recipe, workspace)[0]
    (tmp_path / "dem").mkdir()
    for cell in pool["cell"].unique().to_pylist():  # a tile of 4 arcseconds around each cell
        rows = pool.filter(pc.equal(pool["cell"], cell))
        west, north = (
            np.floor(rows["lon"].to_numpy().min() * 5) / 5,
            np.ceil(rows["lat"].to_numpy().max() * 5) / 5,
        )
        z = np.random.default_rng(0).normal(300, 50, (360, 360)).astype(np.float32)
        with rasterio.open(
            tmp_path / "dem" / f"{west:.1f}_{north:.1f}.tif", "w", driver="GTiff", height=360, width=360, count=1,
            dtype="float32", crs="EPSG:4326", transform=Affine(1 / 900, 0, west, 0, -1 / 900, north),
        ) as file:  # fmt: skip
            file.write(z, 1)
    ids = pool["chip_id"].to_pylist()[::2]
    vectors = pa.array([[float(i), 1.0, 2.0] for i in range(len(ids))], pa.list_(pa.float32()))
    pq.write_table(pa.table({"chip_id": ids, "embedding": vectors}), tmp_path / "vectors.parquet")
    return recipe.with_options(
        {
            "descriptors.further": ["coast", "season", "spectral", "terrain"],
            "descriptors.terrain": str(tmp_path / "dem"),
            "descriptors.embedding": str(tmp_path / "vectors.parquet"),
        }
    )


def test_chosen_descriptors_reach_the_pool_and_the_catalog(
    rich: Recipe, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = stages.describe(rich, workspace, Engine(workers=1))
    pool, metadata = stages.read_pool(rich, workspace)
    half = pool.num_rows - (pool.num_rows + 1) // 2
    assert summary.notes["unknown"]["embedding"] == half == pool["embedding"].null_count
    assert f"Unknown for {half:,} of {pool.num_rows:,} chips: embedding" in capsys.readouterr().err
    names = [column["name"] for column in metadata["further"]]
    assert names[0] == "terrain_elevation_m" and names[-1] == "embedding"  # not in the recipe's order
    assert [name for name in pool.column_names if name in names] == names
    for name in ("terrain_slope_deg", "spectral_entropy", "spectral_ndvi", "sun_elevation_deg", "coast_km"):
        assert pool[name].null_count == 0
    bits = pool["spectral_entropy"].to_numpy()
    assert 0 < bits.min() < bits.max() < np.log2(100)
    stages.sample(rich, workspace, Engine(workers=1))
    assert violations(workspace.catalog) == []
    catalog = Catalog.open(workspace.catalog)
    assert [column.name for column in catalog.meta.further] == names
    assert catalog.meta.further[-1].size == 3
    row = catalog.table["chip_id"].to_pylist()
    of_pool = dict(zip(pool["chip_id"].to_pylist(), pool["coast_km"].to_pylist(), strict=True))
    assert catalog.table["coast_km"].to_pylist() == [of_pool[chip] for chip in row]


def test_two_workers_and_other_tasks_describe_the_same(
    rich: Recipe, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def described(workers: int) -> pa.Table:
        for part in workspace.pool.glob("*.parquet"):
            part.unlink()
        with engine(workers=workers) as running:
            stages.describe(rich, workspace, running)
        return stages.read_pool(rich, workspace)[0].sort_by("chip_id")

    def same(first: pa.Table, second: pa.Table) -> None:
        for name in first.column_names:
            assert first[name].combine_chunks().equals(second[name].combine_chunks()), name

    one = described(1)
    same(described(2), one)
    parts = len(list(workspace.pool.glob("*.parquet")))
    monkeypatch.setattr(pools, "ROWS_PER_TASK", 1)  # a task for each cell
    same(described(1), one)
    assert len(list(workspace.pool.glob("*.parquet"))) > parts


def test_without_further_descriptors_nothing_is_added(built: Workspace, recipe: Recipe) -> None:
    pool, metadata = stages.read_pool(recipe, built)
    assert metadata["further"] == [] and Catalog.open(built.catalog).meta.further == ()
    assert not [
        name for name in pool.column_names if name.startswith(("terrain", "spectral", "coast", "sun"))
    ]


def test_every_entry_is_documented_and_has_its_own_names(
    recipe: Recipe, rich: Recipe, workspace: Workspace
) -> None:
    assert tuple(further.ENTRIES) == NAMES
    columns = further.columns(further.chosen(rich, workspace))
    names = [column.name for column in columns]
    assert len(names) == len(set(names)) and all(column.meaning for column in columns)
    page = (Path(__file__).parents[3] / "docs" / "descriptors.md").read_text(encoding="utf-8")
    for name in names:
        said = re.sub("spectral_B.._", "spectral_<band>_", name)
        assert f"`{said}`" in page, name


def test_choices_that_make_no_sense(recipe: Recipe, workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no descriptor texture"):
        stages.start(recipe.with_options({"descriptors.further": ["texture"]}), tmp_path)
    with pytest.raises(InputError, match="No embeddings are named"):
        further.chosen(recipe.with_options({"descriptors.further": ["embedding"]}), workspace)
    with pytest.raises(InputError, match="has no elevation model"):
        stages.describe(
            recipe.with_options({"descriptors.further": ["terrain"]}), workspace, Engine(workers=1)
        )


def test_another_choice_makes_another_pool(rich: Recipe, recipe: Recipe, workspace: Workspace) -> None:
    chosen = recipe.with_options({"descriptors.further": ["season"]})
    assert not stages.describe(chosen, workspace, Engine(workers=1)).reused
    assert stages.describe(chosen, workspace, Engine(workers=1)).reused
    with pytest.raises(InputError, match="other settings"):
        stages.read_pool(recipe, workspace)


def test_metadata_survives_its_json(rich: Recipe, workspace: Workspace) -> None:
    from curate.catalog.schema import CatalogMeta

    stages.describe(rich, workspace, Engine(workers=1))
    stages.sample(rich, workspace, Engine(workers=1))
    meta = Catalog.open(workspace.catalog).meta
    assert CatalogMeta.from_json(json.loads(json.dumps(meta.to_json()))) == meta
