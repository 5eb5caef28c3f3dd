"""`curate measure` and `curate compare` on a catalog that was built: what is printed, stored and refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate import measuring
from curate.catalog import SPLITS, Catalog
from curate.catalog.errors import InputError
from curate.measuring import compare_ways, measure_catalog
from curate.sampling.diversity import effective_number, kish
from curate.sampling.measures import OF_POOL, names
from curate.workspace import Workspace

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_a_catalog_is_measured_as_a_whole_and_per_split(workspace: Workspace) -> None:
    found = measure_catalog(workspace.catalog, full=True)
    table = Catalog.open(workspace.catalog).table
    assert found == json.loads((workspace.folder / "measures.json").read_text())
    assert found["simulated"] is True and found["beside"] == "pool"
    assert next(iter(found["splits"])) == "all"
    split = table["split"].to_numpy(zero_copy_only=False)
    symbol = table["koppen_symbol"].to_numpy(zero_copy_only=False)
    for name in SPLITS:
        of = split == name
        assert (name in found["splits"]) == of.any()
        if of.any():
            measured = found["splits"][name]
            assert measured["rows"] == of.sum()
            counts = np.unique(symbol[of], return_counts=True)[1]
            assert measured["climates"] == pytest.approx(effective_number(counts))
    whole = found["splits"]["all"]
    assert set(whole) == set(names())
    assert whole["ess"] == pytest.approx(kish(table["weight"].to_numpy()))
    assert 0 < whole["coverage"] <= 1 and whole["vendi"] > 1 and whole["head"] >= 0


def test_a_catalog_without_its_pool_is_measured_alone(workspace: Workspace, tmp_path: Path) -> None:
    beside = measure_catalog(workspace.catalog)
    alone_path = tmp_path / "alone" / "mine.parquet"
    alone_path.parent.mkdir()
    shutil.copy(workspace.catalog, alone_path)
    alone = measure_catalog(alone_path)
    assert "pool" in alone["beside"] and alone["candidates"] is None
    assert (alone_path.parent / "mine" / "measures.json").exists()
    for name, value in alone["splits"]["all"].items():
        if name in OF_POOL:
            assert value is None
        else:
            assert value == pytest.approx(beside["splits"]["all"][name], nan_ok=True), name


def test_chips_that_are_not_in_the_pool_are_measured_alone(workspace: Workspace) -> None:
    table = pq.read_table(workspace.catalog)
    other = table.set_column(
        table.column_names.index("chip_id"),
        table.schema.field("chip_id"),
        [[f"other {k}" for k in range(table.num_rows)]],
    )
    pq.write_table(other, workspace.catalog)
    assert "made again" in measure_catalog(workspace.catalog)["beside"]


def test_ways_are_compared_and_stored_beside_the_catalog(workspace: Workspace) -> None:
    recipe = workspace.load_recipe()
    found = compare_ways(recipe, workspace, ["diverse", "random", "kmeans"], 2, full=True)
    assert list(found["ways"]) == ["diverse", "random", "kmeans"] and not found["refused"]
    assert found == json.loads((workspace.folder / "comparison.json").read_text())
    table = pq.read_table(workspace.folder / "comparison.parquet")
    assert table.num_rows == 6 and set(names()) <= set(table.column_names)
    assert json.loads(table.schema.metadata[b"curate"])["simulated"] is True
    with pytest.raises(InputError, match="no column 'z'"):
        compare_ways(recipe, workspace, ["kmeans"], 1, embedding="z")


def test_the_commands_print_a_table_or_json(curate_here: Command, workspace: Workspace) -> None:
    root = ("--root", str(workspace.root))
    table = curate_here("measure", *root, cwd=workspace.root)
    assert table.returncode == 0, table.stderr
    assert "simulated chips" in table.stdout and "train" in table.stdout and "climates*" in table.stdout
    measured = curate_here("measure", str(workspace.catalog), "--json", cwd=workspace.root)
    assert json.loads(measured.stdout)["splits"]["all"]["rows"] > 0

    few = ("--budget", "20%", "--seeds", "2", "--ways", "diverse,random")
    table = curate_here("compare", *few, *root, cwd=workspace.root)
    assert table.returncode == 0, table.stderr
    assert "simulated candidates" in table.stdout and "diverse" in table.stdout and "±" in table.stdout
    compared = curate_here("compare", *few, *root, "--json", cwd=workspace.root)
    assert json.loads(compared.stdout)["seeds"] == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("compare", "--ways", "diverse,best"), ("'best'", "representative", "facility")),
        (("compare", "--budget", "100M"), ("100,000,000", "candidates", "--budget")),
        (("compare", "--budget", "0"), ("Budget", "250k, 1M or 25%")),
        (("compare", "--region", "de"), ("no pool", "'deu'", "curate catalog")),
        (("compare", "--ways", ","), ("no way to draw", "Ways are")),
        (("measure", "nowhere.parquet"), ("nowhere.parquet",)),
        (("measure", "--region", "de"), ("deu.parquet",)),
    ],
)
def test_bad_input_is_refused_in_a_line(
    curate_here: Command, workspace: Workspace, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    result = curate_here(*arguments, "--root", str(workspace.root), cwd=workspace.root)
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in result.stderr
    for word in words:
        assert word in lines[0], lines[0]
    assert not list(workspace.folder.glob("comparison.*"))


def test_a_pool_too_large_to_look_at_is_not_read(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MOST_ROWS", 3)
    with pytest.raises(InputError, match="at most 3"):
        compare_ways(workspace.load_recipe(), workspace, ["random"])
    assert "at most 3" in measure_catalog(workspace.catalog)["beside"]
