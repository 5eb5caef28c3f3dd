"""Maps cut on the grids of chips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import rasterio
from rasterio.transform import Affine

from curate.catalog import Catalog
from curate.catalog.errors import InputError
from curate.engine import Engine
from curate.pixels import labels
from curate.pixels.labels import cut_labels
from curate.workspace import Workspace


def read(path: Path) -> tuple[pa.Table, dict]:
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    return table, json.loads(table.schema.metadata[b"labels"])


def images(table: pa.Table, px: int) -> np.ndarray:
    return table["label"].combine_chunks().flatten().to_numpy().reshape(-1, px, px)


def test_shares_of_classes_are_those_that_the_catalog_says(
    built: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "BLOCK", 7)
    path, summary = cut_labels(built.catalog, Engine(1), out=tmp_path / "l.arrow")
    table, info = read(path)
    catalog = Catalog.open(built.catalog)
    assert table["chip_id"].to_pylist() == catalog.table["chip_id"].to_pylist()
    assert summary.came_in == summary.left == table.num_rows and not summary.rejected
    assert info["kind"] == "classes" and info["simulated"] and info["nodata"] == 0
    cut = images(table, 60)
    for code in catalog.meta.landcover:
        said = catalog.table[f"lc_{code}"].to_numpy()
        np.testing.assert_allclose(
            (cut == code).mean((1, 2)), said, atol=0.03
        )  # map pixels are smaller than 10 m


def test_a_map_of_values_is_interpolated_on_the_chips_grid(built: Workspace, tmp_path: Path) -> None:
    catalog = Catalog.open(built.catalog)
    epsg = catalog.table["epsg"].to_numpy()
    zone = int(epsg[0])
    transform = np.array(catalog.table["transform"].to_pylist())
    rows = np.flatnonzero(epsg == zone)
    left, top = transform[rows, 2].min() - 300, transform[rows, 5].max() + 300
    width = int((transform[rows, 2].max() - left) / 30) + 60
    height = int((top - transform[rows, 5].min()) / 30) + 60
    x = left + (np.arange(width) + 0.5) * 30
    y = top - (np.arange(height) + 0.5) * 30
    plane = (0.01 * (x - left)[None] + 0.02 * (top - y)[:, None]).astype(np.float32)
    with rasterio.open(
        tmp_path / "height.tif", "w", driver="GTiff", width=width, height=height, count=1, dtype="float32",
        crs=zone, transform=Affine(30, 0, left, 0, -30, top),
    ) as file:  # fmt: skip
        file.write(plane, 1)
    path, summary = cut_labels(
        built.catalog, Engine(1), str(tmp_path / "height.tif"), "values", unit="m", out=tmp_path / "h.arrow"
    )
    table, info = read(path)
    assert info["unit"] == "m" and info["kind"] == "values" and info["classes"] == {}
    cut = images(table, 60)
    i = int(rows[0])
    step = (np.arange(60) + 0.5) * 10
    expected = 0.01 * (transform[i, 2] + step - left)[None] + 0.02 * (top - transform[i, 5] + step)[:, None]
    np.testing.assert_allclose(cut[i], expected, atol=0.01)
    other = np.flatnonzero(epsg != zone)
    assert np.isnan(cut[other]).all() and summary.left == summary.came_in - sum(summary.rejected.values())


def test_maps_that_are_not_there(built: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no map of elevation"):
        cut_labels(built.catalog, Engine(1), "elevation", out=tmp_path / "x")
    with pytest.raises(InputError, match="has no raster"):
        cut_labels(built.catalog, Engine(1), str(tmp_path), out=tmp_path / "x")
    with pytest.raises(InputError):
        cut_labels(built.catalog, Engine(1), str(tmp_path / "absent.tif"), out=tmp_path / "x")
    assert not (tmp_path / "x").exists()
