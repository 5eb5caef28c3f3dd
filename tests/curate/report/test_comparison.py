"""Two catalogs on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curate import stages
from curate.cli import app
from curate.engine import Engine
from curate.recipe import Recipe
from curate.report import write_comparison
from curate.workspace import Workspace


@pytest.fixture
def other(recipe: Recipe, workspace: Workspace, tmp_path: Path) -> Path:
    """Half as many chips of the same pool, by another way."""
    options = {"sampling.budget": "10%", "sampling.allocation": "representative"}
    stages.sample(recipe.with_options(options), workspace, Engine(workers=1))
    return Path(workspace.catalog.rename(tmp_path / "few.parquet"))


def test_what_differs_and_what_is_shared_is_said(built: Workspace, other: Path, visit: Any) -> None:
    page = write_comparison(built.catalog, other, other.with_name("both.html"), other.with_name("figures"))
    text = page.path.read_text(encoding="utf-8")
    assert "<td>sampling.allocation</td><td>diverse</td><td>representative</td>" in text
    ids = [set(pq.read_table(path)["chip_id"].to_pylist()) for path in (built.catalog, other)]
    assert f"<dt>chips in both</dt><dd>{len(ids[0] & ids[1])}</dd>" in text
    assert len(list(other.with_name("figures").glob("*.svg"))) > 5
    seen = visit(page.path, viewport={"width": 390, "height": 844})
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_catalogs_of_one_name_are_told_apart(built: Workspace, other: Path) -> None:
    folder = other.parent / "elsewhere" / built.root.name
    folder.mkdir(parents=True)
    same = other.rename(folder / built.catalog.name)
    text = write_comparison(built.catalog, same, folder / "both.html").path.read_text(encoding="utf-8")
    ours, theirs = (
        f"{path.parent.parent.name}/{path.parent.name}/{path.stem}" for path in (built.catalog, same)
    )
    assert f"<h1>{ours} and {theirs}</h1>" in text


def test_the_command_takes_a_second_catalog(built: Workspace, other: Path) -> None:
    result = CliRunner().invoke(
        app, ["report", str(built.catalog), str(other), "--out", str(other.with_suffix(".html"))]
    )
    assert result.exit_code == 0 and "a page of" in result.output
    result = CliRunner().invoke(app, ["report", str(built.catalog), str(other.with_name("none.parquet"))])
    assert "There is no catalog" in str(result.exception)
