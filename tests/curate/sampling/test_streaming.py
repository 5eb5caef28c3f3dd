"""A pool in files is drawn from as one in memory is: same rows, same order, whatever the files and workers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.spatial import cKDTree

from curate.catalog import InputError
from curate.engine import engine
from curate.recipe import Sampling, Splits
from curate.sampling import ALPHAS, counting, draw, keys, sampler, unique
from curate.sampling.sampler import Sampler
from curate.sampling.source import Pool, in_order, threads
from curate.sphere import chord, unit_vectors

ROWS = 12_000
SPLITS = Splits(val=0.2, test=0.1, block_deg=0.5, buffer_km=4)
Makes = Callable[..., pa.Table]


@pytest.fixture(scope="module")
def large(make_pool: Makes) -> pa.Table:
    return make_pool(ROWS, seed=4, sites=60)


def write(pool: pa.Table, folder: Path, cuts: Sequence[int], row_group: int = 1000) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, (a, b) in enumerate(zip([0, *cuts], [*cuts, pool.num_rows], strict=True)):
        path = folder / f"part-{i:05d}.parquet"
        pq.write_table(pool.slice(a, b - a), path, row_group_size=row_group)
        paths.append(path)
    return paths


def said(pool: pa.Table, found: Sampler, budget: int, refused: Any = None) -> list[Any]:
    """All that a draw says of its rows, in seat order, by chip id; and its counts."""
    drawn = found.draw(budget, refused)
    chips = pool["chip_id"].take(pa.array(drawn.rows)).to_pylist()
    rows = list(zip(chips, drawn.stratum.tolist(), drawn.split.tolist(), drawn.weight.tolist(), strict=True))
    return [rows, drawn.summary]


@pytest.mark.parametrize("allocation", list(ALPHAS))
def test_files_give_the_draw_of_the_table_in_memory(large: pa.Table, tmp_path: Path, allocation: Any) -> None:
    settings = Sampling(allocation=allocation, min_stratum=5, splits=SPLITS)
    paths = write(large, tmp_path / "pool", [1, 3000, 7777])
    streamed = Sampler(Pool.of_files(paths, 2000), settings, folder=tmp_path / "counts")
    assert len(streamed.pool.groups) > 3 and len(list((tmp_path / "counts").glob("*.counts"))) > 3
    refused = np.arange(0, large.num_rows, 5)
    mask = np.zeros(large.num_rows, bool)
    mask[refused] = True
    for budget in (1, 50, 700, 4000, 10**6):
        for unfit, given in ((None, None), (refused, mask)):
            one = streamed.draw(budget, unfit)
            two = draw(large, settings, budget, given)
            two.summary.pop("least_train_eval_km")
            assert one.rows.tolist() == two.rows.tolist()
            assert one.stratum.tolist() == two.stratum.tolist()
            assert one.split.tolist() == two.split.tolist()
            assert one.weight.tolist() == two.weight.tolist()
            assert one.summary == two.summary
            assert one.available.tolist() == two.available.tolist()


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("group_rows", [500, 4096, 10**6])
def test_order_files_groups_and_workers_do_not_matter(
    large: pa.Table, tmp_path: Path, workers: int, group_rows: int
) -> None:
    settings = Sampling(splits=SPLITS, min_distance_km=1.5, floor=2)
    expected = said(large, Sampler(Pool.of_table(large), settings), 900)
    rng = np.random.default_rng(group_rows + workers)
    mixed = large.take(pa.array(rng.permutation(large.num_rows)))
    cuts = np.sort(rng.choice(large.num_rows, 6, replace=False)).tolist()
    paths = write(mixed, tmp_path / "pool", cuts, row_group=int(rng.integers(200, 3000)))
    pool = Pool.of_files(paths, group_rows)
    folder = tmp_path / "counts" if workers > 1 else None
    assert said(mixed, Sampler(pool, settings, threads(workers), folder), 900) == expected


def test_a_cluster_of_two_workers_gives_the_same(large: pa.Table, tmp_path: Path) -> None:
    settings = Sampling(splits=SPLITS)
    pool = Pool.of_files(write(large, tmp_path / "pool", [4000]), 3000)
    with engine(workers=2) as running:

        def run(function: Callable[[Any], Any], tasks: Sequence[Any]) -> list[Any]:
            return in_order(running.map(function, tasks, "sample"))

        found = said(large, Sampler(pool, settings, run, tmp_path / "counts"), 800)
    assert found == said(large, Sampler(Pool.of_table(large), settings), 800)


def test_too_few_candidates_are_noticed_and_fetched(large: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that are far too low change how often is collected, not what is drawn."""
    settings = Sampling(splits=SPLITS, min_distance_km=1.5)
    expected = said(large, Sampler(Pool.of_table(large), settings), 1200)
    monkeypatch.setattr(sampler, "_SURELY", -0.9)
    monkeypatch.setattr(sampler, "_MORE", 1.5)
    found = Sampler(Pool.of_table(large, 3000), settings)
    collected = []
    collect = found._collect
    monkeypatch.setattr(found, "_collect", lambda *args: (collected.append(1), collect(*args)))
    assert said(large, found, 1200) == expected
    assert len(collected) > 2


def test_less_than_the_pool_is_held(make_pool: Makes) -> None:
    pool = make_pool(40_000, seed=9, sites=80)
    found = Sampler(Pool.of_table(pool), Sampling(min_stratum=400, allocation="representative"))
    found.draw(400)
    assert len(found._held) < 8000


def test_one_counted_pool_serves_all_budgets_in_any_order(large: pa.Table) -> None:
    settings = Sampling(splits=SPLITS)
    found = Sampler(Pool.of_table(large, 2500), settings)
    for budget in (300, 5000, 10, 2000):
        fresh = Sampler(Pool.of_table(large), settings)
        assert said(large, found, budget) == said(large, fresh, budget)


def test_a_grown_pool_is_counted_where_it_is_new(
    large: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, folder = Sampling(splits=SPLITS), tmp_path / "counts"
    paths = write(large, tmp_path / "pool", [4000, 8000])
    Sampler(Pool.of_files(paths[:2], 4000), settings, folder=folder)
    counted = []
    count = counting._count
    monkeypatch.setattr(
        counting, "_count", lambda group, scheme: (counted.append(group), count(group, scheme))[1]
    )
    grown = said(large, Sampler(Pool.of_files(paths, 4000), settings, folder=folder), 500)
    assert [group.first for group in counted] == [8000]
    assert grown == said(large, Sampler(Pool.of_table(large), settings), 500)
    assert grown == said(large, Sampler(Pool.of_files(paths, 4000), settings, folder=folder), 500)
    other = settings.model_copy(update={"allocation": "equal", "seed": 7})
    found = Sampler(Pool.of_files(paths, 4000), other, folder=folder)
    assert said(large, found, 500) == said(large, Sampler(Pool.of_table(large), other), 500)
    assert [group.first for group in counted if group.pieces] == [8000]  # no count depends on the seed
    counted.clear()
    Sampler(Pool.of_files(paths, 4000), settings.model_copy(update={"presence": 0.2}), folder=folder)
    assert len(counted) == 3
    assert len(list(folder.glob("*.counts"))) == 3  # those of the other presence went


def test_kept_counts_may_be_deleted_while_a_pool_is_drawn_from(large: pa.Table, tmp_path: Path) -> None:
    settings = Sampling(splits=SPLITS)
    pool = Pool.of_files(write(large, tmp_path / "pool", [4000]), 3000)
    found = Sampler(pool, settings, folder=tmp_path / "counts")
    shutil.rmtree(tmp_path / "counts")
    assert said(large, found, 600) == said(large, Sampler(Pool.of_table(large), settings), 600)


def test_splits_of_files_lie_a_buffer_apart(large: pa.Table, tmp_path: Path) -> None:
    """By KD-trees over all that can be drawn; and nothing is left out that does not lie near another split."""
    pool = Pool.of_files(write(large, tmp_path / "pool", [5000]), 3000)
    drawn = Sampler(pool, Sampling(splits=SPLITS), folder=tmp_path / "counts").draw(10**6)
    points = unit_vectors(large["lon"].to_numpy(), large["lat"].to_numpy())
    tree = {name: cKDTree(points[drawn.rows[drawn.split == name]]) for name in ("train", "val", "test")}
    reach = chord(SPLITS.buffer_km)
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert tree[one].query(tree[other].data)[0].min() >= reach
    out = np.setdiff1d(np.arange(large.num_rows), drawn.rows)
    assert len(out) == drawn.summary["buffer"] > 0
    nearest = np.min([tree[name].query(points[out])[0] for name in ("train", "test")], axis=0)
    assert (nearest < reach).all()


def test_a_broken_file_is_named_and_nothing_is_kept_of_it(large: pa.Table, tmp_path: Path) -> None:
    paths = write(large, tmp_path / "pool", [4000, 8000])
    content = bytearray(paths[1].read_bytes())
    content[2000:60_000] = bytes(58_000)
    paths[1].write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"part-00001\.parquet cannot be read") as error:
        Sampler(Pool.of_files(paths, 1000), Sampling(), threads(1), folder=tmp_path / "counts")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "counts").glob(".*"))
    paths[1].write_bytes(bytes(content[: len(content) // 2]))
    with pytest.raises(InputError, match=r"part-00001\.parquet cannot be read"):
        Pool.of_files(paths)
    paths[1].write_bytes(b"")
    with pytest.raises(InputError, match=r"part-00001\.parquet cannot be read"):
        Pool.of_files(paths)


def test_files_of_other_columns_are_named(large: pa.Table, tmp_path: Path) -> None:
    paths = write(large, tmp_path / "pool", [4000])
    pq.write_table(large.slice(4000).drop_columns(["season"]), paths[1])
    with pytest.raises(InputError, match=r"part-00001.*season"):
        Pool.of_files(paths)


def test_duplicates_in_two_files_are_named(
    large: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = pa.concat_tables([large, large.slice(17, 2)])
    paths = write(twice, tmp_path / "pool", [ROWS // 2, large.num_rows])
    monkeypatch.setattr(unique, "_BUCKET_BITS", 3)
    monkeypatch.setattr(unique, "_BITS", 35)
    monkeypatch.setattr(unique, "_AT_ONCE", 4000)
    with pytest.raises(InputError, match="2 chip ids occur more than once") as error:
        Sampler(Pool.of_files(paths, 2000), Sampling(), folder=tmp_path / "counts")
    assert large["chip_id"][17].as_py() in str(error.value)


def test_equal_hashes_are_no_duplicates(make_pool: Makes, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make_pool(600)
    honest = keys.hash_strings

    def colliding(column: Any, seed: int) -> Any:
        return honest(column, seed) >> np.uint64(57) << np.uint64(57)

    monkeypatch.setattr(keys, "hash_strings", colliding)
    drawn = Sampler(Pool.of_table(pool), Sampling(splits=Splits(val=0, test=0))).draw(100)
    assert len(set(drawn.rows.tolist())) == 100


@pytest.mark.parametrize("rows", [1, 2, 5, 20, 60])
def test_a_pool_of_few_rows_can_be_drawn_from(make_pool: Makes, rows: int) -> None:
    """None of its places may be among those by which the number of candidates to look at is estimated."""
    for seed in range(4):
        pool = make_pool(rows, seed=seed, sites=2)
        assert len(Sampler(Pool.of_table(pool), Sampling()).draw(max(rows // 2, 1)).rows) == max(rows // 2, 1)
