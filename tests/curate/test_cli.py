"""The command line: bad input gets one clear line, exit code 2, and leaves nothing behind."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.workspace import Workspace

Command = Callable[..., subprocess.CompletedProcess[str]]


def refuses(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    for word in words:
        assert word in lines[0], lines[0]


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_an_unknown_region(curate_here: Command, tmp_path: Path) -> None:
    refuses(
        curate_here("catalog", "--region", "atlantis", cwd=tmp_path), "atlantis", "europe", "bbox:W,S,E,N"
    )
    assert not list(tmp_path.iterdir())


def test_an_area_without_land_or_scenes(curate_here: Command, tmp_path: Path, small_archive: Path) -> None:
    refuses(curate_here("catalog", "--region", "bbox:-40,-40,-39,-39", cwd=tmp_path), "land")
    elsewhere = ("--region", "NZ", "--archive", str(small_archive))
    refuses(curate_here("catalog", *elsewhere, cwd=tmp_path), "no usable sentinel-2-l2a scene", "NZ")


@pytest.mark.parametrize(
    "text", ['{"type": "FeatureCollection", "features": []}', "[1, 2]", "no json", '"Catalog"']
)
def test_an_archive_that_is_no_stac_catalog(curate_here: Command, tmp_path: Path, text: str) -> None:
    archive = write(tmp_path / "catalog.json", text)
    refuses(curate_here("catalog", "--archive", archive, cwd=tmp_path), "catalog.json", "STAC")


def test_an_archive_that_is_not_there(curate_here: Command, tmp_path: Path) -> None:
    refuses(curate_here("catalog", "--archive", "nowhere/catalog.json", cwd=tmp_path), "nowhere/catalog.json")


@pytest.mark.parametrize("budget", ["0", "-5", "0%", "101%", "many", "1.5", "nan", ""])
def test_a_budget_of_nonsense(curate_here: Command, workspace: Workspace, budget: str) -> None:
    before = workspace.catalog.read_bytes()
    result = curate_here("sample", f"--budget={budget}", "--root", str(workspace.root), cwd=workspace.root)
    refuses(result, "Budget", "250k, 1M or 25%")
    assert workspace.catalog.read_bytes() == before


def test_an_unknown_key_in_a_recipe(curate_here: Command, tmp_path: Path) -> None:
    recipe = write(tmp_path / "mine.yaml", "sampling:\n  budgett: 1M\n")
    refuses(
        curate_here("catalog", "--recipe", recipe, cwd=tmp_path),
        "mine.yaml",
        "sampling.budgett",
        "unknown key",
    )
    refuses(curate_here("catalog", "--set", "pairing.max=3", cwd=tmp_path), "pairing.max", "unknown key")
    refuses(curate_here("catalog", "--set", "pairing.max_dt_days", cwd=tmp_path), "KEY=VALUE")


def test_a_sensor_or_band_that_does_not_exist(curate_here: Command, tmp_path: Path) -> None:
    refuses(
        curate_here("catalog", "--set", "sensors.partners=[sentinel-9]", cwd=tmp_path),
        "sentinel-9",
        "sentinel-1-rtc",
    )
    bands = "sensors.bands={sentinel-2-l2a: [B04, B99]}"
    refuses(curate_here("catalog", "--set", bands, cwd=tmp_path), "B99", "B8A")


def test_a_map_that_cannot_be_read(curate_here: Command, tmp_path: Path, workspace: Workspace) -> None:
    root = ("--root", str(workspace.root))
    refuses(
        curate_here("describe", "--landcover", "nomap.tif", *root, cwd=tmp_path),
        "Land-cover map",
        "nomap.tif",
    )
    truncated = tmp_path / "koppen.tif"
    truncated.write_bytes(b"II*\0 nothing follows")
    refuses(
        curate_here("describe", "--climate", str(truncated), *root, cwd=tmp_path), "Climate map", "koppen.tif"
    )


def test_a_command_before_its_stage(curate_here: Command, tmp_path: Path) -> None:
    refuses(curate_here("sample", "--budget", "1M", cwd=tmp_path), "no pool", "make catalog REGION=europe")
    refuses(curate_here("pair", "--region", "europe", cwd=tmp_path), "eu")


def test_a_broken_table_is_named(curate_here: Command, workspace: Workspace) -> None:
    part = next(workspace.pool.glob("part-*.parquet"))
    part.write_bytes(part.read_bytes()[:500])
    refuses(
        curate_here("sample", "--root", str(workspace.root), cwd=workspace.root), part.name, "cannot be read"
    )


def test_validate_names_every_violation(curate_here: Command, workspace: Workspace, tmp_path: Path) -> None:
    good = curate_here("validate", str(workspace.catalog), cwd=tmp_path)
    assert good.returncode == 0 and "a valid catalog" in good.stdout
    table = pq.read_table(workspace.catalog)
    split = pa.array(["trian", *table["split"].to_pylist()[1:]])
    at = table.column_names.index("split")
    bad = table.set_column(at, pa.field("split", pa.string(), nullable=False), split).drop_columns(["season"])
    pq.write_table(bad, workspace.catalog)
    result = curate_here("validate", str(workspace.catalog), cwd=tmp_path)
    assert result.returncode == 2 and "column season: missing" in result.stdout
    refuses(curate_here("validate", "nothing.parquet", cwd=tmp_path), "nothing.parquet")


def test_the_sample_command_finds_the_only_pool(curate_here: Command, workspace: Workspace) -> None:
    result = curate_here(
        "sample", "--budget", "1M", "--workers", "1", "--root", "catalogs", cwd=workspace.root.parent
    )
    assert result.returncode == 0, result.stderr
    assert "exceeds what can be drawn" in result.stderr


def test_the_recipe_is_printed_and_can_be_given_back(curate_here: Command, tmp_path: Path) -> None:
    text = curate_here("recipe", cwd=tmp_path).stdout
    assert "budget: 25%" in text
    recipe = write(tmp_path / "whole.yaml", text.replace("region: europe", "region: atlantis"))
    refuses(curate_here("catalog", "--recipe", recipe, cwd=tmp_path), "atlantis")


def test_the_draw_is_told_how_on_the_command_line(
    curate_here: Command, workspace: Workspace, tmp_path: Path
) -> None:
    """A target and a catalog to keep become part of the recipe, so that a later cut needs no options."""
    chips = pq.read_table(workspace.catalog)["chip_id"].to_pylist()
    dominant = str(pq.read_table(workspace.pool)["lc_dominant"][0].as_py())
    target = write(tmp_path / "target.csv", f"level,label,share\ndominant,{dominant},0.9\n")
    options = ("--levels", "climate,dominant", "--min-distance", "0.5", "--seed", "3")
    more = ("--target", target, "--keep", str(workspace.catalog), "--allocation", "balanced")
    root = ("--root", str(workspace.root))
    result = curate_here("sample", "--no-cut", "--budget", "40%", *options, *more, *root, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"Of {len(chips)} chips to keep, {len(chips)} hold the first seats" in " ".join(
        result.stderr.split()
    )
    Path(target).unlink()
    drawn = pq.read_table(workspace.catalog)
    assert drawn["chip_id"].to_pylist()[: len(chips)] == chips
    again = curate_here("sample", "--no-cut", *root, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert pq.read_table(workspace.catalog)["chip_id"].equals(drawn["chip_id"])
    recipe = workspace.load_recipe().sampling
    assert recipe.levels == ("climate", "dominant") and recipe.seed == 3 and recipe.min_distance_km == 0.5
    assert recipe.target == {"dominant": {dominant: 0.9}}


@pytest.mark.parametrize(
    "options, words",
    [
        (["--levels", "climate,biome"], ["sampling.levels", "landcover"]),
        (["--target", "nowhere.csv"], ["nowhere.csv cannot be read"]),
        (["--keep", "nowhere.parquet"], ["nowhere.parquet", "--keep"]),
        (["--levels", "cluster"], ["no column 'cluster'", "level 'cluster' needs it"]),
        (["--min-distance", "1000"], ["min_distance_km"]),
    ],
)
def test_a_draw_of_nonsense(
    curate_here: Command, workspace: Workspace, options: list[str], words: list[str]
) -> None:
    before = workspace.catalog.read_bytes()
    result = curate_here("sample", *options, "--root", str(workspace.root), cwd=workspace.root)
    refuses(result, *words)
    assert workspace.catalog.read_bytes() == before
