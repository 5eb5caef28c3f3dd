"""Which chips go into which shards, and what has become of them so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.catalog import shards
from curate.catalog.errors import InputError
from curate.catalog.schema import SensorInfo
from curate.recipe import Recipe, stable_hash

STRIP_M = 5120.0  # in which a scene's chips are taken one after the other: 512 pixels of 10 m
UNREADABLE = "scene unreadable"  # may pass: the next run tries again
CUT_VERSION = 6  # raise it when the same settings give other shards


def chips_key(recipe: Recipe, sensors: Sequence[SensorInfo]) -> str:
    """Names the folder of shards: all that decides a chip's stored pixels but its place and its scenes."""
    bands = [[s.sensor, s.band_names, s.dtype, s.scales] for s in sensors]
    quality = recipe.pixels.model_dump(mode="json", exclude={"shard_chips"})
    return stable_hash([CUT_VERSION, bands, quality, recipe.chips.size_px, recipe.chips.resolution_m])


def chip_keys(
    rows: pa.Table, sensors: Sequence[SensorInfo], assets: dict[tuple[str, str], dict[str, dict[str, Any]]]
) -> pa.Array:
    """Chip id and sources, unique: with another scene, file or scaling a chip is another one to cut.

    Args:
        assets: of `building.scene_assets`, by sensor and scene id.
    """
    digests = {scene: stable_hash([scene, found]) for scene, found in assets.items()}
    tails, tail = [""], np.zeros(rows.num_rows, np.int64)  # few texts, and which of them each row has
    for info in sensors:
        scenes = pc.dictionary_encode(rows[f"{info.prefix}_id"]).combine_chunks()
        names = scenes.dictionary.to_pylist()
        pairs, tail = np.unique(tail * len(names) + scenes.indices.to_numpy(), return_inverse=True)
        both = (divmod(pair, len(names)) for pair in pairs.tolist())
        tails = [stable_hash(tails[one] + digests[info.sensor, names[other]]) for one, other in both]
    ends = pa.array(tails, pa.string()).take(pa.array(tail))
    return pc.binary_join_element_wise(rows["chip_id"], ends, "@").combine_chunks()


@dataclass(frozen=True)
class Known:
    """What is known of chips: where their pixels are, or why they were refused."""

    pixels: pa.Table  # key, shard, shard_row, then valid and cloud of each sensor
    rejected: dict[str, str]  # key -> reason

    def locate(self, keys: pa.Array) -> npt.NDArray[np.int64]:
        """Row in `pixels` of each key, -1 where there are none."""
        found = pc.index_in(keys, self.pixels["key"].combine_chunks())
        rows: npt.NDArray[np.int64] = pc.fill_null(found, -1).to_numpy().astype(np.int64)
        return rows

    def refused(self, keys: pa.Array, tried: set[str] = frozenset()) -> npt.NDArray[np.bool_]:  # type: ignore[assignment]
        """Whether each key was refused for good: an unreadable scene counts only for keys *tried* in this run."""
        unfit = [key for key, why in self.rejected.items() if key in tried or not why.endswith(UNREADABLE)]
        return _among(keys, unfit)

    def unreadable(self, keys: pa.Array) -> npt.NDArray[np.bool_]:
        """Whether each key's scene could not be read by an earlier run."""
        return _among(keys, [key for key, why in self.rejected.items() if why.endswith(UNREADABLE)])


def _among(keys: pa.Array, wanted: list[str]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = pc.is_in(keys, pa.array(wanted, pa.string())).to_numpy(
        zero_copy_only=False
    )
    return found


def read_known(folder: Path, prefixes: Sequence[str]) -> Known:
    """Read the manifest of *folder* and the quality columns of its shards; missing or broken ones count as not cut."""
    parts: list[dict[str, Any]] = []
    rejected: dict[str, str] = {}
    for entry in shards.read_manifest(folder):
        rejected |= {key: reason for key, reason, _ in entry.rejected}
        for key in entry.chips:
            rejected.pop(key, None)  # it could be read after all
        if entry.shard is None or not (folder / entry.shard).exists():
            continue
        try:
            batch = shards.open_shard(folder / entry.shard)
        except InputError:
            continue  # broken: it will be cut again, under the same name
        part: dict[str, Any] = {
            "key": pa.array(entry.chips, pa.string()),
            "shard": pa.array([entry.shard] * len(entry.chips), pa.string()),
            "shard_row": pa.array(range(len(entry.chips)), pa.int32()),
        }
        for prefix in prefixes:
            part |= {f"{prefix}_{name}": batch.column(f"{prefix}_{name}") for name in ("valid", "cloud")}
        parts.append(part)
    schema = pa.schema([("key", pa.string()), ("shard", pa.string()), ("shard_row", pa.int32())])
    for prefix in prefixes:
        for name in ("valid", "cloud"):
            schema = schema.append(pa.field(f"{prefix}_{name}", pa.float32()))
    tables = [pa.Table.from_pydict(part, schema=schema) for part in parts]
    return Known(pa.concat_tables(tables) if tables else schema.empty_table(), rejected)


@dataclass(frozen=True)
class Planned:
    """A shard to cut."""

    name: str
    rows: npt.NDArray[np.int64]  # positions in the table to be cut, in the order of the shard's rows
    scene: str | None  # the anchor scene of all its chips; None where they are of several


def plan(rows: pa.Table, keys: pa.Array, anchor: str, per_shard: int) -> list[Planned]:
    """Shards to cut for *rows*.

    A scene's chips follow one another in the order in which its blocks lie, and fill shards of their own; what is left
    of each scene is gathered, scene after scene. All shards but the last are full, and each begins where the one before
    it ends, so that a run that was killed is continued with the same shards: those that were finished leave whole
    shards behind.
    """
    left, top = (_corner(rows, i) for i in (2, 5))
    zone, scene = _ranks(rows["epsg"]), _ranks(rows[f"{anchor}_id"])
    strip = np.floor(-top / STRIP_M)
    order = np.lexsort((_ranks(rows["chip_id"]), -top, left, strip, scene, zone))
    of = np.stack([zone, scene])[:, order]
    starts = np.flatnonzero(np.r_[True, (np.diff(of, axis=1) != 0).any(0)])[: len(order)]
    shards_of: list[tuple[npt.NDArray[np.int64], str | None]] = []
    rest: list[npt.NDArray[np.int64]] = []
    for start, stop in pairwise([*starts.tolist(), len(order)]):
        full = stop - (stop - start) % per_shard
        name = rows[f"{anchor}_id"][int(order[start])].as_py()
        shards_of += [(order[i : i + per_shard], name) for i in range(start, full, per_shard)]
        rest.append(order[full:stop])
    gathered = np.concatenate([np.empty(0, np.int64), *rest])
    for i in range(0, len(gathered), per_shard):
        group = gathered[i : i + per_shard]
        alone = (zone[group] == zone[group[0]]).all() and (scene[group] == scene[group[0]]).all()
        shards_of.append((group, rows[f"{anchor}_id"][int(group[0])].as_py() if alone else None))
    return [
        Planned(f"shard-{stable_hash(keys.take(pa.array(group)).to_pylist())}", group, name)
        for group, name in shards_of
    ]


def tasks(planned: Sequence[Planned], workers: int) -> list[list[Planned]]:
    """Shards to be cut by one process one after the other, the largest tasks first.

    The shards of a scene stay together, so that none of its blocks is read twice; unless it has more of them than a
    worker's share. How they are grouped does not change a shard.
    """
    most = -(-len(planned) // workers) if planned else 1
    groups: list[list[Planned]] = []
    for one in planned:
        before = groups[-1] if groups else []
        if before and one.scene is not None and before[-1].scene == one.scene and len(before) < most:
            before.append(one)
        else:
            groups.append([one])
    return sorted(groups, key=lambda group: -sum(len(one.rows) for one in group))


def _corner(rows: pa.Table, i: int) -> npt.NDArray[np.float64]:
    flat: npt.NDArray[np.float64] = rows["transform"].combine_chunks().flatten().to_numpy()
    return flat.reshape(-1, 6)[:, i]


def _ranks(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    ranks: npt.NDArray[np.int64] = np.unique(column.to_numpy(), return_inverse=True)[1]
    return ranks
