"""How long a draw takes, and how much memory, beside a bare scan of its columns and beside window queries.

    python benchmarks/synthetic_pool.py POOL --rows 10M
    python benchmarks/sampling_scale.py POOL --budget 1M [--workers 2] [--repeat 3] [--write]

Every way runs in a process of its own, one after the other, and the best of the repeats is printed: wall-clock and
processor seconds and the peak of resident memory, imports included. Ways:

- scan: pyarrow reads the columns that the first pass needs, on so many threads, and does nothing with them
- draw, first: both passes, nothing counted before
- draw, counted: the same where the counts of the first pass lie beside the pool, as from the second draw on
- duckdb, polars: equally many rows of each climate × land-cover set by the order of a hash, in one window query; a
  simpler task, without splits, places, seasons, nesting, or the same answer from another version
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from synthetic_pool import CLASSES, number_of

FRACTIONS = [f"lc_{code}" for code in CLASSES]


def scan(pool: Path, budget: int, workers: int, counts: Path) -> str:
    """Read what the first pass reads."""
    from curate.recipe import Sampling
    from curate.sampling import levels
    from curate.sampling.source import Pool, threads

    run = threads(workers)
    files = Pool.of_files(sorted(pool.glob("*.parquet")))
    columns = levels.columns(levels.scheme_of(files, Sampling(), run))
    rows = run(lambda group: group.read_keyed(columns).num_rows, files.groups)
    return f"{sum(rows):,} rows"


def draw(pool: Path, budget: int, workers: int, counts: Path) -> str:
    """Both passes; ids are rows of the pool."""
    from curate.recipe import Sampling
    from curate.sampling.sampler import Sampler
    from curate.sampling.source import Pool, threads

    started = time.monotonic()
    files = Pool.of_files(sorted(pool.glob("*.parquet")))
    drawn = Sampler(files, Sampling(), threads(workers), counts).draw(budget)
    seconds = time.monotonic() - started
    return f"{len(drawn.rows):,} ids, {drawn.summary['strata']:,} strata; {seconds:.2f} s without imports"


def write(pool: Path, budget: int, workers: int, counts: Path) -> str:
    """Both passes, and the rows drawn with all their columns written as one table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from curate.recipe import Sampling
    from curate.sampling.sampler import Sampler
    from curate.sampling.source import Pool, threads

    files = Pool.of_files(sorted(pool.glob("*.parquet")))
    drawn = Sampler(files, Sampling(), threads(workers), counts).draw(budget)
    chips = files.take(drawn.rows)
    labels = pa.array(drawn.labels.tolist(), pa.string())
    chips = chips.append_column("stratum", labels.take(pa.array(drawn.label)))
    chips = chips.append_column("split", pa.array(drawn.split.tolist()))
    chips = chips.append_column("weight", pa.array(drawn.weight))
    out = counts.parent / "sample.parquet"
    pq.write_table(chips, out, compression="zstd")
    return f"{chips.num_rows:,} rows, {out.stat().st_size / 1e6:,.0f} MB"


def duckdb(pool: Path, budget: int, workers: int, counts: Path) -> str:
    """A window query over all rows."""
    import duckdb as database

    link = database.connect()
    link.execute(f"set threads = {workers}; set enable_progress_bar = false")
    key = " || ".join(f"(({name} >= 0.05)::int)::varchar" for name in FRACTIONS)
    source = f"(select chip_id, koppen, {key} as cover from '{pool}/*.parquet')"
    strata = link.execute(f"select count(*) from (select distinct koppen, cover from {source})").fetchone()
    each = max(1, budget // (strata or (1,))[0])
    rows = link.execute(
        f"select chip_id from {source} qualify row_number() over "
        f"(partition by koppen, cover order by hash(chip_id)) <= {each}"
    ).fetchnumpy()
    return f"{len(rows['chip_id']):,} ids, {each} a stratum"


def polars(pool: Path, budget: int, workers: int, counts: Path) -> str:
    """A window query over all rows."""
    os.environ["POLARS_MAX_THREADS"] = str(workers)
    import polars as pl

    bits = [(pl.col(name) >= 0.05).cast(pl.UInt32) * (1 << bit) for bit, name in enumerate(FRACTIONS)]
    rows = pl.scan_parquet(pool / "*.parquet").select(
        "chip_id", "koppen", pl.sum_horizontal(bits).alias("cover")
    )
    frame = rows.with_columns(pl.col("chip_id").hash().alias("turn")).collect()
    each = max(1, budget // frame.select(pl.struct("koppen", "cover").n_unique()).item())
    chosen = frame.filter(pl.col("turn").rank("ordinal").over("koppen", "cover") <= each)
    return f"{chosen.height:,} ids, {each} a stratum"


WAYS = {
    "scan": scan,
    "draw, first": draw,
    "draw, counted": draw,
    "draw, written": write,
    "duckdb": duckdb,
    "polars": polars,
}


def measured(way: str, options: argparse.Namespace, counts: Path) -> tuple[float, float, float, str]:
    """Wall-clock and processor seconds, gigabytes and what came of one run of *way* in its own process."""
    command = [sys.executable, __file__, str(options.pool), "--one", way, "--counts", str(counts)]
    command += ["--budget", str(options.budget), "--workers", str(options.workers)]
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.read().strip() if process.stdout else ""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{way} failed")
    return time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--budget", type=number_of, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="also write the rows drawn")
    parser.add_argument("--only", nargs="*", choices=list(WAYS))
    parser.add_argument("--one", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--counts", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(WAYS[options.one](options.pool, options.budget, options.workers, options.counts))
        return
    asked = [way for way in WAYS if not options.only or way in options.only]
    if not options.write:
        asked = [way for way in asked if way != "draw, written"]
    asked = [
        way
        for way in asked
        if importlib.util.find_spec(way.split(",")[0]) or way.startswith(("scan", "draw"))
    ]
    with tempfile.TemporaryDirectory(dir=options.pool.parent) as folder:
        counts = Path(folder) / "counts"
        best: dict[str, tuple[float, float, float, str]] = {}
        for _ in range(options.repeat):
            for way in asked:  # in turn, so that all see the same machine
                if way == "draw, first":
                    shutil.rmtree(counts, ignore_errors=True)
                found = measured(way, options, counts)
                best[way] = min(best.get(way, found), found)
                print(f"{way:<14} {found[0]:>7.2f} s", file=sys.stderr)
        print(f"{'way':<14} {'wall s':>7} {'CPU s':>7} {'GB':>6}")
        for way, (wall, cpu, memory, said) in best.items():
            print(f"{way:<14} {wall:>7.2f} {cpu:>7.2f} {memory:>6.2f}  {said}")


if __name__ == "__main__":
    main()
