"""Rasters in Parquet rows: only the footer and the pages of one column of one row are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.catalog.errors import InputError
from curate.gdal import opened
from curate.parquet_rows import is_row, read_row, row_href

ROWS, COLUMNS = 12, ("B02", "B03", "B04", "thumbnail")


@pytest.fixture
def part(tmp_path: Path, raster: Any) -> Path:
    """A part file like Major TOM's: a row is a row group; row 5 has nothing in B04."""
    path = tmp_path / "images" / "part_00001.parquet"
    path.parent.mkdir()
    noise = np.random.default_rng(0).bytes(300_000)  # so that compression does not help
    schema = pa.schema([("grid_cell", pa.string()), *((name, pa.binary()) for name in COLUMNS)])
    with pq.ParquetWriter(path, schema) as writer:
        for row in range(ROWS):
            cells = {
                name: [raster(32633, 0, 0, value=1000 * row + k).bytes(tmp_path) + noise]
                for k, name in enumerate(COLUMNS)
            }
            if row == 5:
                cells["B04"] = [None]
            writer.write_table(pa.table({"grid_cell": [f"{row}U_0R"], **cells}, schema=schema))
    assert pq.ParquetFile(path).num_row_groups == ROWS
    return path


def lowest(href: str) -> float:
    with opened(href, "Band") as source:
        return float(source.read(1).min())


def test_addresses() -> None:
    href = row_href("/data/part.parquet", 12, "B02")
    assert href == "/data/part.parquet#row=12&column=B02"
    assert is_row(href)
    assert not is_row("/data/part.parquet") and not is_row("/data/a.tif#row=x&column=B02")


def test_rows_and_columns(part: Path) -> None:
    for row in (0, 4, 11):
        for k, column in enumerate(COLUMNS):
            assert lowest(row_href(str(part), row, column)) == 1000 * row + k


def test_several_rows_in_a_row_group(part: Path, tmp_path: Path) -> None:
    other = tmp_path / "grouped.parquet"
    pq.write_table(pq.read_table(part), other, row_group_size=5)
    for row in (0, 4, 7, 11):
        assert lowest(row_href(str(other), row, "B03")) == 1000 * row + 1


def test_little_is_read_over_http(part: Path, file_server: Any) -> None:
    server = file_server(part.parent)
    whole = part.stat().st_size
    href = row_href(f"{server.url}/{part.name}", 7, "B03")
    assert lowest(href) == 7001
    first = server.log()
    assert all(entry["range"] for entry in first)
    assert sum(entry["sent"] for entry in first) < whole / 20
    server.plan()
    assert lowest(row_href(f"{server.url}/{part.name}", 8, "B03")) == 8001
    (second,) = server.log()  # the footer is known
    group = pq.ParquetFile(part).metadata.row_group(8)
    chunk = next(group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == "B03")
    assert second["sent"] <= chunk.total_compressed_size + 4096


def test_rows_in_an_s3_store(part: Path, s3_store: Any) -> None:
    folder, server = s3_store
    bucket = folder / "majortom"
    bucket.mkdir(exist_ok=True)
    (bucket / part.name).write_bytes(part.read_bytes())
    assert lowest(row_href(f"s3://majortom/{part.name}", 3, "B04")) == 3002
    assert sum(entry["sent"] for entry in server.log()) < part.stat().st_size / 4


def test_a_file_that_is_written_again_is_read_again(part: Path, raster: Any, tmp_path: Path) -> None:
    assert lowest(row_href(str(part), 0, "B02")) == 0
    pq.write_table(pa.table({"B02": [raster(32633, 0, 0, value=77).bytes(tmp_path)]}), part)
    assert lowest(row_href(str(part), 0, "B02")) == 77


@pytest.mark.parametrize(
    ("row", "column", "why"),
    [
        (12, "B02", "no row 12"),
        (0, "B99", "no column B99"),
        (5, "B04", "no raster in row 5"),
        (0, "grid_cell", "no raster"),
    ],
)
def test_what_is_not_there(part: Path, row: int, column: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read_row(row_href(str(part), row, column))


def test_files_that_are_absent_or_broken(part: Path, file_server: Any) -> None:
    for file in (str(part.with_name("none.parquet")), f"{file_server(part.parent).url}/none.parquet"):
        with pytest.raises(InputError, match=r"none\.parquet cannot be read"):
            read_row(row_href(file, 0, "B02"))
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be read"):
        read_row(row_href(str(part), 0, "B02"))
    with pytest.raises(InputError, match="no address"):
        read_row("somewhere.tif")


def test_bytes_that_are_no_raster(part: Path) -> None:
    pq.write_table(pa.table({"B02": [b"no raster"]}), part)
    with pytest.raises(InputError, match=r"Band .*B02 cannot be read"):
        lowest(row_href(str(part), 0, "B02"))
