"""The doors of the house: who imports what, and how soon help comes."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GEOSPATIAL = (
    "rasterio",
    "geopandas",
    "shapely",
    "pyproj",
    "dask",
    "distributed",
    "xarray",
    "pystac",
    "pandas",
)


def imports(path: Path) -> set[str]:
    """Modules that a file imports anywhere, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def under(module: str, *names: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "train").rglob("*.py")), ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_train_knows_of_curate_only_the_catalog(path: Path) -> None:
    outside = {m for m in imports(path) if under(m, "curate") and not under(m, "curate.catalog")}
    assert not outside
    assert not {m for m in imports(path) if under(m, *GEOSPATIAL)}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "curate").rglob("*.py")), ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_curate_knows_neither_torch_nor_train(path: Path) -> None:
    assert not {m for m in imports(path) if under(m, "torch", "train")}


def test_the_contract_needs_pyarrow_and_numpy_only() -> None:
    code = f"""
import sys
class Closed:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {(*GEOSPATIAL, "pydantic", "yaml", "rich", "typer", "torch", "scipy")!r}:
            raise ImportError(name)
sys.meta_path.insert(0, Closed())
import curate.catalog, curate.catalog.shards, curate.catalog.validation, curate.catalog.geoparquet
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize("program", ["curate", "train"])
def test_help_comes_in_under_half_a_second(program: str) -> None:
    def seconds() -> float:
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", f"{program}.cli", "--help"], cwd=ROOT, check=True, capture_output=True
        )
        return time.perf_counter() - started

    assert min(seconds() for _ in range(5)) < 0.5


def test_no_file_is_too_long_to_read() -> None:
    long = [
        path.relative_to(ROOT).as_posix()
        for folder in ("curate", "train")
        for path in (ROOT / folder).rglob("*.py")
        if len(path.read_text(encoding="utf-8").splitlines()) > 600
    ]
    assert not long


def test_every_column_is_described() -> None:
    from curate.catalog import schema

    page = (ROOT / "docs" / "catalog.md").read_text(encoding="utf-8")
    groups = (schema.PLACE_COLUMNS, schema.DESCRIPTOR_COLUMNS, schema.SAMPLE_COLUMNS, schema.PIXEL_COLUMNS)
    described = [(name, meaning) for group in groups for name, _, _, meaning in group]
    per_sensor = (*schema.SENSOR_COLUMNS, *schema.SENSOR_PIXEL_COLUMNS)
    described += [(f"s2_{name}", meaning) for name, _, _, meaning in per_sensor]
    for name, meaning in described:
        assert f"| `{name}` |" in page and meaning in page, name
