"""Chips of an earlier catalog hold the first seats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.catalog import InputError
from curate.recipe import Sampling, Splits
from curate.sampling import Draw, draw
from curate.sampling.sampler import Sampler
from curate.sampling.source import Pool

Makes = Callable[..., pa.Table]
WHOLE = Splits(val=0, test=0)


def ids(pool: pa.Table, drawn: Draw) -> list[str]:
    found: list[str] = pool["chip_id"].take(pa.array(drawn.rows)).to_pylist()
    return found


@pytest.fixture
def previous(make_pool: Makes, tmp_path: Path) -> tuple[pa.Table, list[str], Path]:
    """A pool, the chips of a catalog drawn from it, and that catalog's file."""
    pool = make_pool(3000, seed=8)
    drawn = draw(pool, Sampling(splits=WHOLE), 400)
    path = tmp_path / "previous.parquet"
    pq.write_table(pool.take(pa.array(drawn.rows)), path)
    return pool, ids(pool, drawn), path


def test_a_grown_pool_loses_nothing_that_was_drawn(
    previous: tuple[pa.Table, list[str], Path], make_pool: Makes
) -> None:
    pool, old, path = previous
    more = make_pool(2500, seed=77)
    for name in ("chip_id", "place"):
        renamed = pa.array([f"N{text}" for text in more[name].to_pylist()])
        more = more.set_column(more.column_names.index(name), name, renamed)
    grown = pa.concat_tables([more, pool])
    plain = Sampling(splits=WHOLE)
    keeping = plain.model_copy(update={"keep": str(path)})
    assert set(old) - set(ids(grown, draw(grown, plain, 600)))
    drawn = draw(grown, keeping, 600)
    found = ids(grown, drawn)
    assert found[:400] == old and len(set(found)) == 600
    assert drawn.summary["kept"] == {"asked": 400, "held": 400, "not_in_pool": 0, "not_drawable": 0}
    for budget in (10, 400, 401, 520):
        assert ids(grown, draw(grown, keeping, budget)) == found[:budget]
    assert drawn.weight.sum() == pytest.approx(drawn.summary["available"] - drawn.summary["unrepresented"])


def test_keeping_the_same_catalog_of_the_same_pool_changes_nothing(
    previous: tuple[pa.Table, list[str], Path],
) -> None:
    pool, old, path = previous
    same = draw(pool, Sampling(splits=WHOLE, keep=str(path)), 400)
    assert ids(pool, same) == old
    larger, plain = (
        draw(pool, Sampling(splits=WHOLE, keep=str(path)), 900),
        draw(pool, Sampling(splits=WHOLE), 900),
    )
    assert ids(pool, larger) == ids(pool, plain)


def test_what_is_gone_or_cannot_be_drawn_is_counted(previous: tuple[pa.Table, list[str], Path]) -> None:
    pool, old, path = previous
    names = np.array(pool["chip_id"].to_pylist())
    left = pool.filter(pa.array(~np.isin(names, old[:30])))
    names = np.array(left["chip_id"].to_pylist())
    bare = pa.array(np.isin(names, old[30:50]))
    nulls = pa.compute.if_else(bare, pa.scalar(None, pa.int8()), left["koppen"])
    left = left.set_column(left.column_names.index("koppen"), "koppen", nulls)
    drawn = draw(left, Sampling(splits=WHOLE, keep=str(path)), 500)
    assert drawn.summary["kept"] == {"asked": 400, "held": 350, "not_in_pool": 30, "not_drawable": 20}
    assert ids(left, drawn)[:350] == old[50:]
    refused = np.isin(names, old[60:70])
    again = draw(left, Sampling(splits=WHOLE, keep=str(path)), 500, refused)
    assert again.summary["kept"]["not_drawable"] == 30
    assert ids(left, again)[:340] == [name for name in old[50:] if name not in old[60:70]]


def test_a_kept_date_of_a_place_stands_before_its_others(previous: tuple[pa.Table, list[str], Path]) -> None:
    """What is kept need not be first by priority; then another date of its place waits."""
    pool, _, path = previous
    rng = np.random.default_rng(0)
    some = rng.choice(pool.num_rows, 200, replace=False)
    pq.write_table(pool.take(pa.array(some)), path)
    drawn = draw(pool, Sampling(splits=WHOLE, keep=str(path), allocation="representative"), 450)
    places = np.array(pool["place"].to_pylist())
    assert drawn.rows[:200].tolist() == some.tolist()
    again = np.isin(places[drawn.rows[200:]], places[some])
    by_chance = np.isin(places[np.setdiff1d(np.arange(pool.num_rows), some)], places[some]).mean()
    assert again.mean() < by_chance / 3


def test_keeping_works_from_files(previous: tuple[pa.Table, list[str], Path], tmp_path: Path) -> None:
    pool, _, path = previous
    pq.write_table(pool, tmp_path / "part.parquet", row_group_size=300)
    files = Pool.of_files([tmp_path / "part.parquet"], 500)
    keeping = Sampling(keep=str(path))
    streamed = Sampler(files, keeping, folder=tmp_path / "counts").draw(700)
    assert streamed.rows.tolist() == draw(pool, keeping, 700).rows.tolist()


def test_a_catalog_that_cannot_be_read_is_named(make_pool: Makes, tmp_path: Path) -> None:
    pool = make_pool(300)
    (tmp_path / "text.parquet").write_text("nothing")
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "other.parquet")
    for name in ("text.parquet", "other.parquet", "nowhere.parquet"):
        with pytest.raises(InputError, match=rf"{name}.*--keep") as error:
            draw(pool, Sampling(keep=str(tmp_path / name)), 10)
        assert "\n" not in str(error.value)
