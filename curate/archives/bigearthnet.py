"""BigEarthNet, version 1 and 2, as it is unpacked: patches of 1,200 m, one folder each, named after their place.

A patch's name holds its column and row in a Sentinel-2 tile, so that its place needs no file. Only the names of
version 1's Sentinel-2 patches lack the tile: theirs is in the JSON beside the bands, or in the first band's header.

Sumbul et al. 2021, "BigEarthNet-MM" (arXiv 2105.07921); Clasen et al. 2025, "reBEN" (arXiv 2407.03653).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from curate.archives.files import Files, Unavailable, is_absent
from curate.archives.found import Found, Limits
from curate.archives.names import product_properties, tile_corner
from curate.archives.patches import Floats, Patches, Shapes, Strings, answer_of, epsg_of, runs, squares
from curate.catalog.errors import InputError
from curate.gdal import opened
from curate.recipe import Period
from curate.scenes import Rejected
from curate.sensors import Sensor
from curate.signing import hide

SIDE_M = 1200
METADATA = ("metadata.parquet", "metadata_for_patches_with_snow_cloud_or_shadow.parquet")
NO_NAME = "no name of a BigEarthNet patch"
_DOWNLOAD = "Download it again from the corpus's own page"
FLAGGED = "named cloud or cloud shadow by the corpus"
OPTICAL, RADAR = "sentinel-2-l2a", "sentinel-1-grd"

_FOLDERS = {  # of the unpacked corpus; version 2 has a folder for each product in between
    (1, OPTICAL): ("BigEarthNet-v1.0", "BigEarthNet-S2-v1.0"),
    (1, RADAR): ("BigEarthNet-S1-v1.0",),
    (2, OPTICAL): ("BigEarthNet-S2",),
    (2, RADAR): ("BigEarthNet-S1",),
}
_BANDS = {
    OPTICAL: ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"),
    RADAR: ("VV", "VH"),
}
_NAMES = {
    (1, OPTICAL): r"^(?P<scene>S2[A-D]_MSIL2A_\d{8}T\d{5,6})_(?P<col>\d{1,2})_(?P<row>\d{1,2})$",
    (2, OPTICAL): r"^(?P<scene>S2[A-D]_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_T(?P<tile>\d\d[A-Z]{3}))"
    r"_(?P<col>\d{1,2})_(?P<row>\d{1,2})$",
    RADAR: r"^(?P<scene>S1[A-D]_IW_GRDH_1S[A-Z]{2}_\d{8}T\d{6}_(?P<tile>\d\d[A-Z]{3}))"
    r"_(?P<col>\d{1,2})_(?P<row>\d{1,2})$",
}
_TILE_END = re.compile(r"_\d\d[A-Z]{3}$")
_CHUNK = 100_000  # names at a time


@dataclass(frozen=True)
class BigEarthNetArchive:
    """A folder of BigEarthNet, or the address under which version 2 is served."""

    root: str
    version: int

    @classmethod
    def open(cls, root: str) -> BigEarthNetArchive:
        """The corpus at *root*: the folder that holds ``BigEarthNet-S2`` (version 2) or ``BigEarthNet-v1.0``.

        Raises:
            InputError: it is neither.
        """
        if "://" in root:
            archive = cls(root.rstrip("/"), 2)
            _metadata(archive.root)  # nothing can be listed there: the table must be readable
            return archive
        version = version_of(Path(root))
        if version is None:
            raise InputError(
                f"Archive {root} is no BigEarthNet",
                "it is no folder" if not Path(root).is_dir() else "it has no folder named like the corpus's",
                "Give the folder that holds BigEarthNet-S2 and BigEarthNet-S1 (version 2), or BigEarthNet-v1.0 "
                "and BigEarthNet-S1-v1.0 (version 1)",
            )
        return cls(str(Path(root).resolve()), version)

    @property
    def simulated(self) -> bool:
        return False

    def search(
        self,
        area: shapely.Geometry,
        period: Period,
        sensor: Sensor,
        bands: tuple[str, ...],
        max_cloud_percent: float = 100.0,
    ) -> Found:
        """Patches of Sentinel-2 L2A or Sentinel-1 GRD; those of a missing or unknown sensor are none."""
        if sensor.name not in _BANDS:
            return Found()
        limits = Limits(area, period, max_cloud_percent)
        answers = (
            answer_of(self._groups(names, sensor.name, bands, limits), limits, sensor, bands)
            for names in self._names(sensor.name)
        )
        return Found.of(answers, distinct=True)  # neighbours touch, and every patch is there once

    @property
    def _remote(self) -> bool:
        return "://" in self.root

    def _folder(self, sensor: str) -> str | None:
        """Where the patches of *sensor* lie."""
        names = _FOLDERS[self.version, sensor]
        if self._remote:
            return f"{self.root}/{names[0]}"
        return next((str(path) for name in names if (path := Path(self.root, name)).is_dir()), None)

    def _names(self, sensor: str) -> Iterator[pa.Array]:
        """Names of patches, sorted, some at a time: those that have a folder, or behind an address all."""
        folder = self._folder(sensor)
        if folder is None:
            return
        if self._remote:
            names = _metadata(self.root)["patch_id" if sensor == OPTICAL else "s1_name"]
        else:
            names = pa.chunked_array([pa.array(_listed(folder, self.version), pa.string())])
        names = names.combine_chunks().cast(pa.string())
        names = names.take(pc.sort_indices(names))
        for start in range(0, len(names), _CHUNK):
            yield names.slice(start, _CHUNK)

    def _groups(
        self, names: pa.Array, sensor: str, bands: tuple[str, ...], limits: Limits
    ) -> Iterator[Patches | Rejected]:
        """Patches of one acquisition each."""
        if sensor == OPTICAL and limits.max_cloud_percent < 100:
            flagged = pc.is_in(names, value_set=self._flagged())
            yield from (Rejected(name, FLAGGED) for name in names.filter(flagged).to_pylist())
            names = names.filter(pc.invert(flagged))
        pattern = _NAMES[RADAR] if sensor == RADAR else _NAMES[self.version, sensor]
        parts = pc.extract_regex(names, pattern)
        strange = pc.is_null(parts)
        yield from (Rejected(name, NO_NAME) for name in names.filter(strange).to_pylist())
        names, parts = names.filter(pc.is_valid(parts)), parts.filter(pc.is_valid(parts))
        if not len(names):
            return
        scenes = parts.field("scene").dictionary_encode()
        place = {key: parts.field(key).cast(pa.int32()).to_numpy() for key in ("col", "row")}
        for rows in runs(scenes.indices.to_numpy().astype(np.int64)):
            scene = scenes[int(rows[0])].as_py()
            ids = names.take(pa.array(rows)).to_numpy(zero_copy_only=False)
            if sensor == OPTICAL and self.version == 1:
                yield from self._without_tile(scene, ids, bands)
            else:
                col, row = place["col"][rows].astype(float), place["row"][rows].astype(float)
                yield from self._in_tile(scene, ids, sensor, bands, col, row)

    def _in_tile(
        self, scene: str, ids: Strings, sensor: str, bands: tuple[str, ...], col: Floats, row: Floats
    ) -> Iterator[Patches | Rejected]:
        """Patches whose scene's name ends with the tile."""
        properties = product_properties(scene)
        try:
            epsg, left, top = tile_corner(scene[-5:])
        except ValueError:
            properties = None
        if properties is None:
            yield from (Rejected(name, NO_NAME) for name in ids)
            return
        footprints = squares(
            epsg, left + SIDE_M * col.astype(float), top - SIDE_M * row.astype(float), SIDE_M
        )
        yield self._patches(ids, footprints, sensor, bands, properties)

    def _without_tile(self, scene: str, ids: Strings, bands: tuple[str, ...]) -> Iterator[Patches | Rejected]:
        """Sentinel-2 patches of version 1: one name may stand for several tiles."""
        properties = product_properties(scene)
        if properties is None:
            yield from (Rejected(name, NO_NAME) for name in ids)
            return
        folder = Path(self._folder(OPTICAL) or "")
        places = [_place(folder / name, name) for name in ids]
        for name, place in zip(ids, places, strict=True):
            if isinstance(place, str):
                yield Rejected(name, place)
        kinds = [place if isinstance(place, str) else (place[0], place[3]) for place in places]
        codes = {kind: code for code, kind in enumerate(dict.fromkeys(kinds))}
        for rows in runs(np.array([codes[kind] for kind in kinds], np.int64)):
            first = places[rows[0]]
            if isinstance(first, str):
                continue
            corners = np.array([places[i][1:3] for i in rows], float)
            footprints = squares(first[0], corners[:, 0], corners[:, 1], SIDE_M)
            source = product_properties(first[3] or "") or {}
            more = {key: source[key] for key in ("sat:relative_orbit",) if key in source}
            yield self._patches(ids[rows], footprints, OPTICAL, bands, {**properties, **more})

    def _patches(
        self,
        ids: Strings,
        footprints: Shapes,
        sensor: str,
        bands: tuple[str, ...],
        properties: dict[str, Any],
    ) -> Patches:
        folders = [self._folder(sensor), *self._between(str(ids[0]), sensor)]
        start = f"{'/'.join(str(part) for part in folders)}/"
        stems = pc.binary_join_element_wise(pa.array(start + ids), pa.array(ids), "/")
        files = {
            band: pc.binary_join_element_wise(stems, f"_{band}.tif", "").to_numpy(zero_copy_only=False)
            for band in _BANDS[sensor]
            if band in bands
        }
        if sensor == RADAR:
            return Patches(ids, footprints, files, properties, {"unit": "dB"})
        # Both versions were made from products of baselines 02.04 to 02.07, which have no offset. Version 2 was
        # processed by sen2cor itself and calls its baseline 99.99, which says nothing.
        known = {**properties, "earthsearch:boa_offset_applied": True}
        return Patches(ids, footprints, files, known, {"nodata": 0} if self.version == 2 else {})

    def _between(self, name: str, sensor: str) -> list[str]:
        """The folders between a sensor's folder and the patch's own."""
        if self.version == 1:
            return []
        scene = name.rsplit("_", 2)[0]
        return [scene if sensor == OPTICAL else _TILE_END.sub("", scene)]

    def _flagged(self) -> pa.Array:
        """Patches that the corpus's own lists call cloudy or shadowed; none where there is no list."""
        if self.version == 1 or (not self._remote and not Path(self.root, METADATA[0]).is_file()):
            return pa.array([], pa.string())
        table = _metadata(self.root)
        flags = pc.fill_null(table["contains_cloud_or_shadow"], False)
        return table["patch_id"].filter(flags).combine_chunks().cast(pa.string())


def version_of(root: Path) -> int | None:
    """The version of the BigEarthNet in the folder *root*, by the names of its folders; None where it is none."""
    present = [
        version for (version, _), names in _FOLDERS.items() for name in names if (root / name).is_dir()
    ]
    return max(present, default=None)


def _listed(folder: str, version: int) -> list[str]:
    """Names of all patches' folders."""
    if version == 1:
        return _folders_in(folder)
    return [name for product in _folders_in(folder) for name in _folders_in(f"{folder}/{product}")]


def _folders_in(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_dir()]


def _metadata(root: str) -> pa.Table:
    """The tables of version 2 in one: names of both sensors' patches, and which are cloudy.

    Raises:
        InputError: the first of them is absent, or one cannot be read.
    """
    columns = ["patch_id", "s1_name", "contains_cloud_or_shadow"]
    tables = []
    for name in METADATA:
        try:
            with Files().open(f"{root}/{name}") as file:
                tables.append(pq.read_table(file, columns=columns))
        except (OSError, pa.ArrowException) as error:
            if is_absent(error) and tables:
                continue  # the second is not always there
            why = "there is no such file" if is_absent(error) else " ".join(str(error).split())
            do = "Try again later" if isinstance(error, Unavailable) else _DOWNLOAD
            raise _no_table(root, why, name, do) from error
    if any(table.column_names != columns for table in tables):
        raise _no_table(root, f"it lacks one of the columns {', '.join(columns)}")
    return pa.concat_tables(tables, promote_options="permissive")


def _no_table(root: str, why: str, name: str = METADATA[0], do: str = _DOWNLOAD) -> InputError:
    return InputError(hide(f"{root}/{name} cannot be read"), hide(why), do)


Place = tuple[int, float, float, str | None]  # EPSG code, left, top, the product it was cut from


def _place(folder: Path, name: str) -> Place | str:
    """Where a Sentinel-2 patch of version 1 lies, or why that is not known."""
    try:
        said = json.loads((folder / f"{name}_labels_metadata.json").read_bytes())
        corner = said["coordinates"]
        epsg = epsg_of(said["projection"])
        if epsg is None:
            return "coordinate reference system unknown"
        return epsg, float(corner["ulx"]), float(corner["uly"]), said.get("tile_source")
    except FileNotFoundError:
        return _place_in_file(folder / f"{name}_B02.tif")
    except (OSError, ValueError, KeyError, TypeError):
        return "broken JSON beside the bands"


def _place_in_file(path: Path) -> Place | str:
    try:
        with opened(str(path), "Band") as source:
            epsg = source.crs.to_epsg() if source.crs else None
            if epsg is None:
                return "coordinate reference system unknown"
            return epsg, source.transform.c, source.transform.f, None
    except InputError:
        return "neither JSON nor bands in its folder"
