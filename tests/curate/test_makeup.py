"""The make-up of a pool: sums against the pool itself, and what a person sees."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from curate import stages
from curate.makeup import make_up
from curate.recipe import Recipe
from curate.sampling.source import Pool
from curate.workspace import Workspace

Command = Callable[..., subprocess.CompletedProcess[str]]


def test_the_numbers_are_those_of_the_pool(recipe: Recipe, built: Workspace) -> None:
    pool, metadata = stages.open_pool(recipe, built)
    found, table = make_up(pool, metadata, built.slug), pool.read()
    rows = table.to_pylist()
    counts = Counter(
        (row["lc_dominant_name"] or "none", (row["koppen_symbol"] or "none")[:1]) for row in rows
    )
    for cover, line in zip(found.landcovers, found.matrix, strict=True):
        for climate, number in zip(found.climates, line, strict=True):
            assert number == counts.get((cover, climate[:1]), 0)
    assert sum(map(sum, found.matrix)) == found.chips == len(rows)
    sums = [sum(line) for line in found.matrix]
    assert sums == sorted(sums, reverse=True)
    assert found.places == len({row["place"] for row in rows})
    assert found.cells == len({row["cell"] for row in rows})
    assert found.koppen == Counter(row["koppen_symbol"] or "none" for row in rows)
    assert found.seasons == {name: Counter(row["season"] for row in rows)[name] for name in found.seasons}
    assert found.unmapped == pytest.approx(sum(row["lc_unmapped"] for row in rows) / len(rows))
    purity = found.ranges["koppen_purity"]
    assert purity.known == sum(row["koppen_purity"] is not None for row in rows)
    assert found.simulated


def test_what_nothing_is_known_of() -> None:
    """Chips without land cover or climate, and columns without a value, are counted."""
    table = pa.table(
        {
            "place": ["a", "a", "b"],
            "cell": ["1", "1", "1"],
            "lc_dominant_name": [None, "Tree cover", "Tree cover"],
            "koppen_symbol": pa.array([None, "Cfb", None]),
            "koppen_nearest": [False, True, False],
            "season": ["winter", "summer", "summer"],
            "lc_unmapped": pa.array([1.0, 0.0, 0.5], pa.float32()),
            "coast_km": pa.array([None, 2.0, 4.0], pa.float32()),
            "terrain_slope_deg": pa.array([None] * 3, pa.float32()),
            "embedding": pa.array([[1.0, 2.0], None, None], pa.list_(pa.float32(), 2)),
        }
    )
    names = ("coast_km", "terrain_slope_deg", "embedding")
    metadata = {"further": [{"name": name, "unit": "km"} for name in names]}
    found = make_up(Pool.of_table(table), metadata, "eu")
    assert found.landcovers == ("Tree cover", "none")
    assert found.matrix == ((0, 0, 1, 0, 0, 1), (0, 0, 0, 0, 0, 1))
    assert (found.places, found.nearest, found.unmapped) == (2, 1, 0.5)
    coast = found.ranges["coast_km"]
    assert (coast.known, coast.least, coast.mean, coast.most, coast.unit) == (2, 2.0, 3.0, 4.0, "km")
    assert found.ranges["terrain_slope_deg"].least is None
    assert found.vectors == {"embedding": 1} and "embedding" not in found.ranges


def test_it_is_printed_for_persons_and_for_machines(
    curate_here: Command, recipe: Recipe, built: Workspace
) -> None:
    shown = curate_here("pool", "show", "--root", str(built.root))
    assert shown.returncode == 0 and not shown.stderr
    found = make_up(*stages.open_pool(recipe, built), built.slug)
    assert f"{found.chips:,} simulated chips" in shown.stdout
    for name in (*found.landcovers, *found.ranges, "winter"):
        assert name in shown.stdout
    printed = curate_here("pool", "show", "--root", str(built.root), "--region", built.slug, "--json")
    assert json.loads(printed.stdout) == json.loads(json.dumps(found.to_json()))


def test_without_a_pool_it_says_what_to_do(curate_here: Command, tmp_path: Path) -> None:
    result = curate_here("pool", "show", "--root", str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.startswith("error: There is no pool") and "make catalog" in result.stderr
