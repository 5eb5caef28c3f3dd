"""Whether the pixels of a catalog are those that were cut: files, checksums, rows, statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.catalog import shards
from curate.catalog.errors import InputError
from curate.catalog.reader import Catalog
from curate.catalog.schema import SensorInfo
from curate.catalog.statistics import BINS, BandStatistics, Moments

STATISTICS_TOLERANCE = 1e-9  # relative; sums over rows depend on their order


@dataclass(frozen=True)
class Verified:
    """What was looked at, and all that is wrong with it."""

    shards: int
    chips: int
    size: int  # bytes
    violations: tuple[str, ...]


def verify(catalog: Catalog, progress: Callable[[], None] = lambda: None) -> Verified:
    """Check every shard that the catalog names.

    Args:
        progress: called once a shard.
    """
    table, folder = catalog.table, catalog.chips_folder
    missing = table["shard"].null_count
    found = [f"{missing:,} of {table.num_rows:,} chips have no pixels"] if missing else []
    cut = table.filter(pc.is_valid(table["shard"]))
    entries = {entry.shard: entry for entry in shards.read_manifest(folder) if entry.shard is not None}
    names = sorted(cut["shard"].unique().to_pylist())
    size, whole = 0, []
    for name in names:
        rows = cut.filter(pc.equal(cut["shard"], name))
        wrong = list(
            _shard(folder / name, entries.get(name), rows, catalog.meta.sensors, catalog.meta.chip_px)
        )
        found += [f"shard {name}: {text}" for text in wrong]
        whole += [] if wrong else [name]
        size += (folder / name).stat().st_size if (folder / name).exists() else 0
        progress()
    if cut.num_rows and len(whole) == len(names):
        found += _statistics(catalog, cut)
    return Verified(len(names), cut.num_rows, size, tuple(found))


def _shard(
    path: Path, entry: Any, rows: pa.Table, sensors: tuple[SensorInfo, ...], chip_px: int
) -> Iterator[str]:
    if not path.exists():
        yield "the file is missing; cut it again with: curate cut"
        return
    if entry is None:
        yield "the manifest does not know it"
    elif shards.checksum(path) != entry.digest:
        yield "its bytes are not those that were written; delete it and run: curate cut"
        return
    try:
        batch = shards.open_shard(path)
        held = batch.column("chip_id")
        for info in sensors:
            shards.pixels(batch, info.prefix, len(info.bands), chip_px)
    except (InputError, KeyError, ValueError) as error:
        yield f"it cannot be read: {error}"
        return
    if entry is not None and len(entry.chips) != batch.num_rows:
        yield f"it has {batch.num_rows:,} rows, its manifest {len(entry.chips):,}"
    at = rows["shard_row"].fill_null(-1).to_numpy()
    if at.min() < 0 or at.max() >= len(held):
        yield "the catalog names rows that it does not have"
    elif held.take(pa.array(at)).to_pylist() != rows["chip_id"].to_pylist():
        yield "its rows are not the chips that the catalog says"


def _statistics(catalog: Catalog, cut: pa.Table) -> Iterator[str]:
    try:
        written = catalog.statistics()
    except InputError as error:
        yield str(error)
        return
    for prefix, made in statistics(catalog, cut).items():
        there = written.get(prefix)
        if there is None or there.bands != made.bands:
            yield f"statistics of {prefix}: they are of other bands"
        elif not (
            there.count == made.count
            and np.allclose(there.mean, made.mean, rtol=STATISTICS_TOLERANCE, atol=1e-12)
            and np.allclose(there.std, made.std, rtol=STATISTICS_TOLERANCE, atol=1e-12)
            and there.histogram == made.histogram
        ):
            yield f"statistics of {prefix}: they are not those of the chips; write them again with: curate cut"


def statistics(catalog: Catalog, cut: pa.Table) -> dict[str, BandStatistics]:
    """Statistics of the training split – of all chips where it is empty –, from the sums kept in the shards."""
    train = cut.filter(pc.equal(cut["split"], "train"))
    return of_rows(catalog.chips_folder, train if train.num_rows else cut, catalog.meta.sensors)


def of_rows(folder: Path, rows: pa.Table, sensors: Sequence[SensorInfo]) -> dict[str, BandStatistics]:
    """Statistics of the chips in *rows* (shard, shard_row), from the moments and histograms in their shards."""
    ordered = rows.select(["shard", "shard_row"]).sort_by(
        [("shard", "ascending"), ("shard_row", "ascending")]
    )
    names, at = ordered["shard"].to_numpy(), ordered["shard_row"].to_numpy()
    parts: dict[str, list[Moments]] = {info.prefix: [] for info in sensors}
    counts = {info.prefix: np.zeros((len(info.bands), BINS), np.int64) for info in sensors}
    for group in np.split(np.arange(len(at)), np.flatnonzero(names[1:] != names[:-1]) + 1):
        batch = shards.open_shard(folder / names[group[0]])
        pick: npt.NDArray[np.int64] = at[group]
        for info in sensors:
            every = shards.moments(batch, info.prefix)
            parts[info.prefix].append(Moments(every.count[pick], every.mean[pick], every.m2[pick]))
            counts[info.prefix] += shards.counts(batch, info.prefix, len(info.bands))[pick].sum(0, np.int64)
    return {
        info.prefix: BandStatistics.of(info, Moments.stack(parts[info.prefix]).merged(), counts[info.prefix])
        for info in sensors
    }
