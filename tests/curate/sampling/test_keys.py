"""A pool with the columns that `describe` writes for the sampler is drawn from as one without them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.catalog import InputError
from curate.catalog.geoparquet import encodings
from curate.catalog.schema import SEASONS
from curate.recipe import Sampling, Splits
from curate.sampling.keys import MOST_CLASSES, keyed, kinds, legend, unpacked
from curate.sampling.sampler import Sampler
from curate.sampling.source import Pool
from curate.sampling.strata import landcover_codes, present

SPLITS = Splits(val=0.2, test=0.1, block_deg=0.5, buffer_km=4)
PRESENCE = 0.05
Makes = Callable[..., pa.Table]


@pytest.fixture(scope="module")
def pool(make_pool: Makes) -> pa.Table:
    """Some rows of it are not described."""
    table = make_pool(6000, seed=3, sites=40)
    koppen = [None if i % 7 == 0 else code for i, code in enumerate(table["koppen"].to_pylist())]
    return table.set_column(table.schema.get_field_index("koppen"), "koppen", pa.array(koppen, pa.int8()))


def written(pool: pa.Table, folder: Path, **metadata: Any) -> list[Path]:
    """*pool* in two files, as `describe` writes it."""
    kind = pa.field("kind", pa.uint64(), nullable=False)
    whole = keyed(pool).append_column(kind, kinds(pool, landcover_codes(pool.schema), PRESENCE))
    said = {"presence": PRESENCE, "climates": legend(pool)} | metadata
    whole = whole.replace_schema_metadata({b"curate": json.dumps(said).encode()})
    folder.mkdir(exist_ok=True)
    paths = [folder / "part-0.parquet", folder / "part-1.parquet"]
    for path, part in zip(paths, (whole.slice(0, 2500), whole.slice(2500)), strict=True):
        pq.write_table(
            part, path, row_group_size=700, data_page_size=1024, **encodings(whole.schema, quick=True)
        )
    return paths


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"presence": 0.2},
        {"levels": ("climate", "region")},
        {"levels": ("dominant",)},
        {"min_distance_km": 1.5},
    ],
)
def test_the_draw_is_that_of_a_pool_without_them(
    pool: pa.Table, tmp_path: Path, settings: dict[str, Any]
) -> None:
    sampling = Sampling(**{"splits": SPLITS, "min_stratum": 5} | settings)
    plain = Sampler(Pool.of_table(pool), sampling)
    streamed = Sampler(Pool.of_files(written(pool, tmp_path), 2000), sampling, folder=tmp_path / "counts")
    assert streamed._scheme.climates is None if "presence" in settings else streamed._scheme.climates
    assert "kind" in streamed.pool.groups[0].pieces[0].plain
    for budget in (1, 400, 10**6):
        one, two = plain.draw(budget), streamed.draw(budget)
        assert one.rows.tolist() == two.rows.tolist()
        assert one.stratum.tolist() == two.stratum.tolist()
        assert one.weight.tolist() == two.weight.tolist()
        assert one.summary == two.summary
    chips = streamed.pool.take(one.rows, ["chip_id", "season", "lon"])
    assert chips.equals(pool.select(["chip_id", "season", "lon"]).take(pa.array(one.rows)).combine_chunks())


def test_climates_that_files_name_otherwise_are_read_from_descriptors(pool: pa.Table, tmp_path: Path) -> None:
    paths = written(pool, tmp_path / "one")
    others = written(pool, tmp_path / "other", climates={"15": "another"})
    assert Pool.of_files(paths).legend is not None
    assert Pool.of_files([paths[0], others[1]]).legend is None


@given(st.data())
def test_a_kind_says_what_it_was_made_of(data: st.DataObject) -> None:
    codes = sorted(data.draw(st.sets(st.integers(1, 250), min_size=1, max_size=MOST_CLASSES)))
    season = data.draw(st.sampled_from(SEASONS))
    climate, dominant = data.draw(st.integers(1, 127)), data.draw(st.sampled_from(codes))
    shares = {
        f"lc_{code}": pa.array([data.draw(st.sampled_from([0, 0.04, 0.5]))], pa.float32()) for code in codes
    }
    table = pa.table({"season": [season], "koppen": [climate], "lc_dominant": [dominant], **shares})
    kind = kinds(table, codes, PRESENCE).to_numpy()
    found = [int(column[0]) for column in unpacked(kind, codes)]
    sets = int(present(table, tuple(codes), PRESENCE)[0]) | 1 << codes.index(dominant)
    assert found == [climate, dominant, sets]
    assert SEASONS[int(kind[0] & np.uint64(3))] == season


def test_a_season_of_another_name_is_refused(pool: pa.Table) -> None:
    column = pa.array(["monsoon", *pool["season"].to_pylist()[1:]])
    odd = pool.set_column(pool.schema.get_field_index("season"), "season", column)
    odd = odd.set_column(odd.schema.get_field_index("koppen"), "koppen", pa.array([1] * len(odd), pa.int8()))
    with pytest.raises(InputError, match="'monsoon'"):
        Sampler(Pool.of_table(odd), Sampling())


def test_a_file_whose_pages_are_broken_is_named(pool: pa.Table, tmp_path: Path) -> None:
    paths = written(pool, tmp_path)
    chunks = Pool.of_files(paths).groups[0].pieces[1].plain["kind"]
    content = bytearray(paths[1].read_bytes())
    content[chunks[1][0]] = 0xFF  # the first byte of a page's header
    paths[1].write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"part-1\.parquet cannot be read"):
        Sampler(Pool.of_files(paths), Sampling())


def test_files_of_earlier_counts_are_swept(pool: pa.Table, tmp_path: Path) -> None:
    folder = tmp_path / "counts"
    folder.mkdir()
    for name in ("a.kinds", "b.buffer", "c.rows", "d.counts"):
        (folder / name).write_text("")
    Sampler(Pool.of_files(written(pool, tmp_path), 2000), Sampling(), folder=folder)
    assert {path.suffix for path in folder.iterdir()} == {".counts", ".splits", ".unique"}
    assert not (folder / "d.counts").exists()
