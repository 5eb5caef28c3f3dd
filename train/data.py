"""Catalog to arrays: which chips, where their pixels lie, and how a batch of them is put together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, MutableMapping
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.catalog import Catalog, InputError, read_meta
from curate.catalog.shards import checksums, moments, open_shard, pixels
from train.inputs import DataConfig, Sensor
from train.mirror import BOUND_GB, CACHE, Mirror
from train.storage import is_remote

COLUMNS = ("chip_id", "place", "split", "shard", "shard_row", "lc_dominant_name", "koppen_symbol")

__all__ = ["Chips", "DataConfig", "Sensor", "located", "open_catalog"]

Arrays = dict[str, npt.NDArray[Any]]


class Columns(MutableMapping[str, npt.NDArray[Any]]):
    """A table's columns as arrays, each made when it is first asked for: a million names take a while, and memory."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._made: Arrays = {}

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self._made:
            self._made[name] = self.table[name].to_numpy(zero_copy_only=False)
        return self._made[name]

    def __setitem__(self, name: str, values: npt.NDArray[Any]) -> None:
        self._made[name] = values

    def __delitem__(self, name: str) -> None:
        self._made.pop(name, None)
        self.table = self.table.drop_columns([name]) if name in self.table.column_names else self.table

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.table.column_names, *self._made]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def take(self, rows: npt.NDArray[np.int64]) -> Columns:
        """The same columns at *rows*, in that order."""
        fewer = Columns(self.table.take(pa.array(rows)).combine_chunks())
        fewer._made = {name: values[rows] for name, values in self._made.items()}
        return fewer


@dataclass(frozen=True)
class Opened:
    """A shard that lies open."""

    name: str  # what the mirror calls it
    batch: pa.RecordBatch
    rows: int
    pixels: Arrays  # by sensor, views of the file
    sums: Arrays  # by sensor, of each row's pixels; empty where an older version cut the shard
    present: dict[str, npt.NDArray[np.bool_]]  # by sensor, of those that some chip lacks


class Chips:
    """The chips of a split of a catalog, or of several ("val+test"); pixels stay in memory-mapped shards."""

    def __init__(self, catalog: Catalog, config: DataConfig, split: str) -> None:
        table = catalog.table
        wanted = pc.is_in(table["split"], pa.array(split.split("+")))
        kept = np.flatnonzero(wanted.to_numpy(zero_copy_only=False))
        self.config, self.split = config, split
        self.folder: Path = catalog.chips_folder
        self._infos = {sensor.prefix: catalog.sensors[sensor.prefix] for sensor in config.sensors}
        part = table.select([name for name in COLUMNS if name in table.column_names])
        self.columns = Columns(part).take(kept)
        coded = self.columns.table["shard"].dictionary_encode().combine_chunks()
        names = coded.dictionary.to_numpy(zero_copy_only=False).astype(str)
        order = np.argsort(names)
        self._names, self._shard = names[order], np.argsort(order)[coded.indices.to_numpy()]
        self._mirror, self._inside = Mirror.of(catalog.path.parent), catalog.meta.chips
        self._row: npt.NDArray[np.int64] = self.columns["shard_row"].astype(np.int64)
        self._opened: dict[int, Opened] = {}
        self._known: set[int] = set()  # shards whose chips are those of the catalog

    def __len__(self) -> int:
        return len(self._row)

    @property
    def ids(self) -> npt.NDArray[Any]:
        return self.columns["chip_id"]

    def named(self, chips: npt.NDArray[np.int64]) -> list[str]:
        """The ids of some of the chips."""
        names: list[str] = self.columns.table["chip_id"].take(pa.array(chips)).to_pylist()
        return names

    def digest(self) -> str:
        """A digest of which chips there are, in which order."""
        whole = hashlib.blake2b(digest_size=16)
        for part in self.columns.table["chip_id"].chunks:
            (joined,) = pc.binary_join(pa.ListArray.from_arrays([0, len(part)], part), "\n")
            whole.update(joined.as_buffer())
            whole.update(b"\n")
        return whole.hexdigest()

    def some(self, limit: int, seed: int) -> Chips:
        """At most *limit* of these chips, drawn with *seed*, in the catalog's order."""
        if len(self) <= limit:
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:limit]))

    def take(self, rows: npt.NDArray[np.int64]) -> Chips:
        """The chips at *rows*, in that order."""
        fewer = copy(self)
        fewer.columns = self.columns.take(rows)
        fewer._shard, fewer._row = self._shard[rows], self._row[rows]
        return fewer

    def complete(self) -> Chips:
        """The chips that have all of the sensors: a blank image has no feature to be judged by."""
        lacking = self.present(np.arange(len(self)))
        return self.take(np.flatnonzero(np.all([*lacking.values()], axis=0))) if lacking else self

    def in_storage_order(self, chips: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The same chips, those of a shard side by side."""
        return chips[np.lexsort((self._row[chips], self._shard[chips]))]

    def layout(self, count: int) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and type of the stored integers of *count* chips, by sensor."""
        px = self.config.chip_px
        return {
            p: ((count, len(info.bands), px, px), np.dtype(info.dtype)) for p, info in self._infos.items()
        }

    def gather(self, chips: npt.NDArray[np.int64], out: Arrays | None = None) -> Arrays:
        """Stored integers by sensor, [B, c, H, W], in the order given; runs of one shard are copied at once.

        Args:
            out: arrays of `layout` to write into.

        Raises:
            InputError: a shard is missing, cut short, holds other bands, other chips or chips of another size, or its
                bytes have changed since it was cut: the sum of each chip's bytes is taken while they lie in the
                processor's cache.
        """
        if out is None:
            out = {prefix: np.empty(*form) for prefix, form in self.layout(len(chips)).items()}
        runs = self._runs(chips)
        if self._mirror:
            self._mirror.at_once(self._open, {shard for *_, shard in runs})
        found = [(a, b, self._open(shard), self._rows(chips[a:b], shard)) for a, b, shard in runs]
        asked = ((opened.name, rows) for *_, opened, rows in found)
        with self._mirror.holding(asked) if self._mirror else nullcontext():
            for start, stop, opened, rows in found:
                for prefix, target in out.items():
                    # "clip" copies straight into place, "raise" makes a copy first; `_rows` has checked the rows
                    np.take(opened.pixels[prefix], rows, axis=0, out=target[start:stop], mode="clip")
                    if prefix in opened.sums:
                        same = checksums(target[start:stop]) == opened.sums[prefix][rows]
                        if not same.all():
                            raise self._changed(chips[start:stop][~same], opened.name)
        return out

    def _changed(self, chips: npt.NDArray[np.int64], shard: str) -> InputError:
        return InputError(
            f"Shard {self.folder.parent / shard} has changed since it was cut",
            f"pixels of {len(chips)} of its chips are not those that were written, of {self.named(chips[:1])[0]} first",
            "Delete it and cut it again with: curate cut",
        )

    def present(self, chips: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.bool_]]:
        """Which chips have which sensor, for the sensors that some of these chips lack."""
        found = {prefix: np.ones(len(chips), bool) for prefix in self._infos}
        for start, stop, shard in self._runs(chips):
            rows = self._rows(chips[start:stop], shard)
            for prefix, there in self._open(shard).present.items():
                found[prefix][start:stop] = there[rows]
        return {prefix: there for prefix, there in found.items() if not there.all()}

    def band_means(self) -> npt.NDArray[np.float64]:
        """Mean of each chip's bands, sensors side by side, physical units: [n, bands]; reads no pixel."""
        parts = []
        for start, stop, shard in self._runs(np.arange(len(self))):
            rows = self._rows(np.arange(start, stop), shard)
            batch = self._open(shard).batch
            parts.append(np.concatenate([moments(batch, p).mean[rows] for p in self._infos], axis=1))
        return np.concatenate(parts)

    def _runs(self, chips: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:
        """(start, stop, shard) of each run of neighbours that lie in one shard."""
        shards = self._shard[chips]
        edges = [0, *(np.flatnonzero(np.diff(shards)) + 1), len(chips)]
        return [(int(a), int(b), int(shards[a])) for a, b in pairwise(edges) if b > a]

    def _rows(self, chips: npt.NDArray[np.int64], shard: int) -> npt.NDArray[np.int64]:
        """Rows of *chips* in a shard, which is the one the catalog was written with: its first look tells."""
        rows, opened = self._row[chips], self._open(shard)
        same = rows.max() < opened.rows
        if same and shard not in self._known:
            same = opened.batch.column("chip_id").take(pa.array(rows)).to_pylist() == self.named(chips)
        if not same:
            raise InputError(
                f"Shard {self.folder / self._names[shard]} does not hold the chips that the catalog says",
                "it is not the shard that the catalog was written with",
                "Cut it again with: curate cut",
            )
        self._known.add(shard)
        return rows

    def _open(self, shard: int) -> Opened:
        if shard not in self._opened:
            path, name = self.folder / self._names[shard], f"{self._inside}/{self._names[shard]}"
            if self._mirror:
                name, batch = self._mirror.open(name, list(self._infos))
            else:
                batch = open_shard(path)
            try:
                views = {
                    prefix: pixels(batch, prefix, len(info.bands), self.config.chip_px)
                    for prefix, info in self._infos.items()
                }
                present = {prefix: there for prefix in views if not (there := has(batch, prefix)).all()}
            except (KeyError, ValueError) as error:
                raise InputError(
                    f"Shard {path} does not hold what the catalog says",
                    str(error),
                    "Cut it again with: curate cut",
                ) from error
            held = {p: f"{p}_sum" for p in views if f"{p}_sum" in batch.schema.names}
            sums = {p: batch.column(column).to_numpy() for p, column in held.items()}
            self._opened[shard] = Opened(name, batch, batch.num_rows, views, sums, present)
        return self._opened[shard]


def has(shard: pa.RecordBatch, prefix: str) -> npt.NDArray[np.bool_]:
    """Which chips of a shard have a sensor: those with pixels that hold data."""
    valid: npt.NDArray[np.bool_] = pc.fill_null(
        pc.greater(shard.column(f"{prefix}_valid"), 0), False
    ).to_numpy(zero_copy_only=False)
    there: npt.NDArray[np.bool_] = shard.column(prefix).is_valid().to_numpy(zero_copy_only=False)
    return valid & there


@lru_cache
def located(path: Path | str, cache: Path | str | None = None, bound_gb: float | None = None) -> Path:
    """The path of a catalog, or of its mirror where it lies on s3://, gs:// or https://: one in a process.

    Args:
        bound_gb: pixels that may lie in *cache*.

    Raises:
        InputError: there is no such address.
    """
    if not is_remote(path):
        return Path(path)
    url = str(path)
    bound = (BOUND_GB if bound_gb is None else bound_gb) * 1e9
    mirror = Mirror(url, Path(cache) if cache else CACHE, bound)
    here = mirror.file(url.partition("?")[0].rpartition("/")[2])
    mirror.file(read_meta(here).statistics)
    return here


def open_catalog(path: Path | str, cache: Path | str | None = None, bound_gb: float | None = None) -> Catalog:
    """A catalog whose pixels are there, with the columns that training and probing read.

    Args:
        path: of the catalog; of one that lies elsewhere as much as is read is mirrored: see `located`.

    Raises:
        InputError: no catalog, another schema version, or chips without pixels.
    """
    catalog = Catalog.open(located(path, cache, bound_gb), COLUMNS)
    catalog.require_pixels()
    return catalog
