"""Reading a pool's files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

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
