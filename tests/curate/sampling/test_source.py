"""Reading a pool's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.sampling.source import Pool


def test_texts_that_repeat_in_one_file_only_are_read_as_texts(tmp_path: Path) -> None:
    files = [
        pa.table({"chip_id": [f"a{i}" for i in range(99)], "place": ["one"] * 99}),
        pa.table(
            {"chip_id": [f"b{i}" for i in range(99)], "place": [f"a long name, {i}" for i in range(99)]}
        ),
    ]
    paths = [tmp_path / name for name in ("0.parquet", "1.parquet")]
    for path, table in zip(paths, files, strict=True):
        pq.write_table(table, path)
    for group_rows in (50, 500):  # two groups; one
        pool = Pool.of_files(paths, group_rows)
        found = pool.read(["place", "chip_id"])
        assert found["place"].cast(pa.string()).to_pylist() == pa.concat_tables(files)["place"].to_pylist()
        assert found["chip_id"].to_pylist() == pa.concat_tables(files)["chip_id"].to_pylist()
        assert pool.read().equals(pa.concat_tables(files))


@pytest.fixture(scope="module")
def two_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], pa.Table]:
    """Texts that repeat in both files, with some unknown; in one file only; and none that does."""
    files = [
        pa.table(
            {
                "chip_id": [f"{first}{i}" for i in range(99)],
                "season": (["summer", None, "winter"] if first == "a" else ["spring", "summer", None]) * 33,
                "cell": ["here"] * 99 if first == "a" else [f"a long name, {i}" for i in range(99)],
                "lc_10": np.arange(99, dtype=np.float32),
            }
        )
        for first in "ab"
    ]
    paths = [tmp_path_factory.mktemp("pool") / f"{i}.parquet" for i in range(2)]
    for path, table in zip(paths, files, strict=True):
        pq.write_table(table, path, row_group_size=33)
    return paths, pa.concat_tables(files)


@given(rows=st.lists(st.integers(0, 197), unique=True), group_rows=st.sampled_from([50, 500]))
def test_rows_are_taken_in_the_order_asked_for(
    two_files: tuple[list[Path], pa.Table], rows: list[int], group_rows: int
) -> None:
    paths, whole = two_files
    pool, index = Pool.of_files(paths, group_rows), np.array(rows, np.int64)
    expected = whole.take(pa.array(index))
    assert pool.take(index).equals(expected)
    coded = pool.take(index, coded=True)
    assert {name for name in coded.column_names if pa.types.is_dictionary(coded[name].type)} == {"season"}
    assert coded.cast(expected.schema).equals(expected)
