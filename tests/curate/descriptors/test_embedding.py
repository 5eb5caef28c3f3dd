"""Vectors joined by chip id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.catalog.errors import InputError
from curate.chips import ChipPlaces
from curate.descriptors.candidates import Candidates, as_column
from curate.descriptors.embedding import open_descriptor
from curate.recipe import Recipe
from curate.workspace import Workspace


def table(ids: Any, vectors: Any, dtype: pa.DataType | None = None) -> pa.Table:
    column = pa.array([None if v is None else list(v) for v in vectors], dtype or pa.list_(pa.float32()))
    return pa.table(
        {
            "chip_id": pa.array(list(ids), pa.string()),
            "embedding": column,
            "grid_cell": ["0U_0R"] * len(column),
        }
    )


def described(path: Path, chips: Candidates) -> np.ndarray:
    recipe = Recipe().with_options({"descriptors.embedding": str(path)})
    return open_descriptor(recipe, Workspace(path.parent, "x")).describe(chips)["embedding"]


@pytest.fixture
def chips(cell_of: Callable[..., ChipPlaces], candidates: Callable[..., Any]) -> Candidates:
    return candidates(cell_of(9.0, 46.0))


@pytest.mark.parametrize(
    "dtype", [pa.list_(pa.float32()), pa.list_(pa.float32(), 5), pa.large_list(pa.float64())]
)
def test_vectors_go_to_their_chips_and_lacking_ones_are_unknown(
    dtype: pa.DataType, chips: Candidates, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    order = random.permutation(len(chips))[5:]
    vectors = random.normal(size=(len(chips), 5))
    ids, rows = [*chips.chip_id[order], "another"], [*vectors[order], np.ones(5)]
    pq.write_table(table(ids, rows, dtype), tmp_path / "e.parquet", row_group_size=7)
    found = described(tmp_path / "e.parquet", chips)
    has = np.isin(np.arange(len(chips)), order)
    np.testing.assert_allclose(found[has], vectors[has], rtol=1e-6)
    assert np.isnan(found[~has]).all() and (~has).sum() == 5
    recipe = Recipe().with_options({"descriptors.embedding": str(tmp_path / "e.parquet")})
    column = as_column(found, open_descriptor(recipe, Workspace(tmp_path, "x")).columns[0])
    assert column.type == pa.list_(pa.float32(), 5) and column.null_count == 5
    pq.write_table(pa.table({"embedding": column}), tmp_path / "back.parquet")
    back = pq.read_table(tmp_path / "back.parquet")["embedding"].combine_chunks()
    assert back.to_pylist() == column.to_pylist()


def test_a_folder_of_files(chips: Candidates, tmp_path: Path) -> None:
    half = len(chips) // 2
    vectors = np.arange(len(chips) * 2.0).reshape(-1, 2)
    (tmp_path / "all").mkdir()
    for i, rows in enumerate((slice(0, half), slice(half, None))):
        pq.write_table(table(chips.chip_id[rows], vectors[rows]), tmp_path / "all" / f"{i}.parquet")
    np.testing.assert_array_equal(described(tmp_path / "all", chips), vectors)


def test_vectors_that_cannot_be_used(chips: Candidates, tmp_path: Path) -> None:
    path, ids = tmp_path / "e.parquet", chips.chip_id[:3]

    def refused(content: pa.Table, said: str) -> None:
        pq.write_table(content, path)
        with pytest.raises(InputError, match=said):
            described(path, chips)

    refused(table(ids, [[1, 2], [1, 2, 3], [1, 2]]), "not all 2 long")
    refused(table(ids, [[1, 2], None, [1, 2]]), "not all 2 long")
    refused(table(ids, [[1, 2], [1, np.nan], [1, 2]]), "not finite")
    refused(table([ids[0], ids[0]], [[1, 2], [1, 2]]), "more than once")
    refused(table([], []), "empty")
    refused(pa.table({"chip_id": ids, "embedding": [1.0, 2.0, 3.0]}), "must hold lists")
    refused(pa.table({"id": ids, "embedding": [[1.0]] * 3}), "no column 'chip_id'")
    path.write_text("no parquet")
    with pytest.raises(InputError, match="cannot be read"):
        described(path, chips)
    with pytest.raises(InputError, match="cannot be read"):
        described(tmp_path / "absent.parquet", chips)
