"""A small simulated archive and a catalog built from it, shared by the tests of the stages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import shapely

from curate import stages
from curate.engine import Engine
from curate.recipe import Recipe
from curate.workspace import Workspace

AREA = (-10.0, 36.0, 30.0, 60.0)
REGION = "bbox:-10,36,30,60"


@pytest.fixture(scope="session")
def small_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sites of 3.6 km, in the true format; the folder of its catalog.json."""
    from curate.archives.simulated import simulate

    folder = tmp_path_factory.mktemp("archive")
    simulate(shapely.box(*AREA), folder, sites=3, seed=1, workers=1, size_px=360)
    return folder


@pytest.fixture(scope="session")
def recipe(small_archive: Path) -> Recipe:
    """A recipe with chips of 600 m, so that the small sites hold enough of them."""
    return Recipe().with_options(
        {
            "region": REGION,
            "archive": str(small_archive),
            "chips.size_px": 60,
            "sampling.budget": "20%",
            "sampling.min_stratum": 3,
            "pixels.shard_chips": 4,
        }
    )


@pytest.fixture(scope="session")
def built(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which all stages have run; do not change it."""
    workspace = stages.start(recipe, tmp_path_factory.mktemp("catalogs"))
    stages.build(recipe, workspace, Engine(workers=1))
    return workspace


@pytest.fixture
def workspace(built: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the built workspace to change."""
    shutil.copytree(built.root, tmp_path / "catalogs")
    return Workspace(tmp_path / "catalogs", built.slug)
