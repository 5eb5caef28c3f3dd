"""How tables are written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from curate.catalog.geoparquet import read_metadata, write_geoparquet, write_row_groups
from curate.catalog.schema import BBOX

ROWS = 100


def table() -> pa.Table:
    lon = np.arange(ROWS) / 7
    box = shapely.box(lon, 0, lon + 1, 1)
    sides = [pa.array(side) for side in shapely.bounds(box).T]
    corner = pa.FixedSizeListArray.from_arrays(pa.array(np.repeat(lon, 6)), 6)
    arrays: dict[str, pa.Array] = {
        "chip_id": pa.array([f"chip {i}" for i in range(ROWS)]),
        "geometry": pa.array(shapely.to_wkb(box), pa.binary()),
        "bbox": pa.StructArray.from_arrays(sides, fields=list(BBOX)),
        "transform": corner.cast(pa.list_(pa.float64(), 6)),
        "season": pa.array([None, "summer", "winter", "summer"] * (ROWS // 4)),
        "koppen": pa.array([3, None, 4, 4] * (ROWS // 4), pa.int8()),
        "lc_10": pa.array(lon, pa.float32()),
        "chip_key": pa.array(np.arange(ROWS, dtype=np.uint64) << np.uint64(50)),
    }
    nullable = ("season", "koppen")
    return pa.table(
        arrays, pa.schema([pa.field(name, a.type, name in nullable) for name, a in arrays.items()])
    )


@pytest.mark.parametrize("quick", [False, True])
def test_a_table_comes_back_as_it_was(tmp_path: Path, quick: bool) -> None:
    path, whole = tmp_path / "a.parquet", table()
    write_geoparquet(whole, path, {"key": "value"}, 30, quick=quick)
    found = pq.read_table(path)
    assert found.schema.equals(whole.schema) and found.equals(whole)
    assert read_metadata(path) == {"key": "value"}
    with duckdb.connect() as link:
        (read,) = zip(*link.execute(f"select lc_10 from '{path}'").fetchall(), strict=True)
    assert list(read) == whole["lc_10"].to_pylist()


@pytest.mark.parametrize("quick", [False, True])
def test_what_repeats_has_a_dictionary_and_hashes_lie_as_they_are(tmp_path: Path, quick: bool) -> None:
    path = tmp_path / "a.parquet"
    write_geoparquet(table(), path, {}, quick=quick)
    group = pq.read_metadata(path).row_group(0)
    columns = {c.path_in_schema: c for c in map(group.column, range(group.num_columns))}
    assert {name for name, c in columns.items() if c.has_dictionary_page} == {"season", "koppen"}
    codecs = {name: c.compression for name, c in columns.items()}
    assert codecs.pop("chip_key") == "UNCOMPRESSED"
    assert codecs.pop("geometry") == "ZSTD"
    assert set(codecs.values()) == {"LZ4" if quick else "ZSTD"}


def test_row_groups_made_one_by_one_are_the_same_file(tmp_path: Path) -> None:
    whole = table()
    write_geoparquet(whole, tmp_path / "a.parquet", {"a": 1}, 30)
    parts = (whole.slice(first, 30) for first in range(0, ROWS, 30))
    write_row_groups(parts, tmp_path / "b.parquet", whole.schema, whole.select(["bbox"]), {"a": 1})
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert pq.read_metadata(tmp_path / "b.parquet").num_row_groups == 4


def test_a_row_group_that_cannot_be_made_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.parquet", table()
    write_geoparquet(whole, path, {})
    before = path.read_bytes()

    def broken() -> Iterator[pa.Table]:
        yield whole.slice(0, 30)
        yield whole.slice(30, 30)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        write_row_groups(broken(), path, whole.schema, whole, {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
