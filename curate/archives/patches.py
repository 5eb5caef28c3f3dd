"""Patches of a corpus: scenes that differ in name, place and files only, so that one STAC item describes many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError

from curate.archives.files import Unavailable
from curate.archives.found import GATHERED, OUTSIDE, PROCESSED, Answer, Limits, dark_pixels
from curate.chips import from_zone, split_at_antimeridian
from curate.scenes import ASSET, Rejected, acquisition_time, scene
from curate.sensors import Sensor

Floats = npt.NDArray[np.float64]
Shapes = npt.NDArray[np.object_]
Strings = npt.NDArray[np.object_]

_ASKED = 4  # patches of an acquisition, where the first does not tell what its numbers mean


@dataclass(frozen=True)
class Patches:
    """Patches of one acquisition, by columns."""

    ids: Strings
    footprints: Shapes  # longitude and latitude
    files: Mapping[str, Strings]  # band -> file or address, for each patch
    properties: Mapping[str, Any]  # STAC properties that all share
    band_properties: Mapping[str, Any] = field(default_factory=dict)  # of the raster extension: unit, offset
    cloud_cover: Floats | None = None  # percent, NaN where unknown

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: npt.NDArray[Any]) -> Patches:
        """The patches at *rows* (indices or a mask)."""
        return Patches(
            self.ids[rows],
            self.footprints[rows],
            {band: files[rows] for band, files in self.files.items()},
            self.properties,
            self.band_properties,
            None if self.cloud_cover is None else self.cloud_cover[rows],
        )

    def item(self, sensor: Sensor, i: int) -> dict[str, Any]:
        """The *i*-th patch as a STAC item."""
        return {
            "id": str(self.ids[i]),
            "collection": sensor.name,
            "geometry": shapely.geometry.mapping(self.footprints[i]),
            "properties": dict(self.properties),
            "assets": {
                band.asset_keys[0]: {
                    "href": self.files[band.name][i],
                    "raster:bands": [dict(self.band_properties)],
                }
                for band in sensor.bands
                if band.name in self.files
            },
        }


def answer_of(
    groups: Iterable[Patches | Rejected], limits: Limits, sensor: Sensor, bands: tuple[str, ...]
) -> Answer:
    """The scenes that *groups* hold within *limits*, and what was refused."""
    answer = Answer()
    for group in groups:
        if isinstance(group, Rejected):
            answer.rejected.append(group)
            continue
        wanted = _within(group, limits, answer)
        if not len(wanted):
            continue
        try:
            row = _decided(wanted, limits, sensor, bands)
        except Unavailable as error:
            for name in wanted.ids:
                answer.lacks_pixels(str(name), error)
            continue
        if isinstance(row, Rejected):
            answer.rejected += [Rejected(name, row.reason) for name in wanted.ids]
        else:
            answer.batches.append(_batch(wanted, row))
    return answer


def _decided(
    group: Patches, limits: Limits, sensor: Sensor, bands: tuple[str, ...]
) -> dict[str, Any] | Rejected:
    """What holds for all patches of *group*, by the first of them that tells; or why none can be a scene.

    Raises:
        Unavailable: the dark pixels of one that is asked cannot be read now.
    """
    row: dict[str, Any] | Rejected = Rejected("", "")
    for i in range(min(len(group), _ASKED)):
        item, href = group.item(sensor, i), group.files[bands[0]][i]
        row = scene(item, href, sensor, bands, dark_pixels, limits.refusal)
        if isinstance(row, dict) or row.reason == OUTSIDE:
            break
    return row


def _within(group: Patches, limits: Limits, answer: Answer) -> Patches:
    """The patches that meet the area and the period and are not too cloudy."""
    meets = np.asarray(shapely.intersects(limits.area, group.footprints), bool)
    meets &= limits.period.holds(acquisition_time(dict(group.properties)))
    answer.rejected += [Rejected(name, OUTSIDE) for name in group.ids[~meets]]
    group = group if meets.all() else group.take(meets)
    if group.cloud_cover is None:
        return group
    cloudy = group.cloud_cover > limits.max_cloud_percent
    reason = f"cloudier than {limits.max_cloud_percent:g} %"
    answer.rejected += [Rejected(name, reason) for name in group.ids[cloudy]]
    return group.take(~cloudy) if cloudy.any() else group


def _batch(group: Patches, row: Mapping[str, Any]) -> pa.RecordBatch:
    """All patches of *group* as rows like *row*, each with its own name, place, files and cloud cover."""
    number = len(group)
    bounds = shapely.bounds(group.footprints)
    bbox = GATHERED.field("bbox").type
    own: dict[str, pa.Array] = {
        "id": pa.array(group.ids, pa.string()),
        "assets": _assets(group, row["assets"]),
        "geometry": pa.array(shapely.to_wkb(group.footprints), pa.binary()),
        "bbox": pa.StructArray.from_arrays(
            [pa.array(bounds[:, k]) for k in range(4)], fields=[bbox.field(k) for k in range(4)]
        ),
    }
    if group.cloud_cover is not None:
        own["cloud_cover"] = pa.array(group.cloud_cover.astype(np.float32), pa.float32(), from_pandas=True)
    shared = {**row, PROCESSED: ""}
    columns = [
        own[column.name]
        if column.name in own
        else pa.array([shared[column.name]], column.type).take(pa.array(np.zeros(number, np.int64)))
        for column in GATHERED
    ]
    return pa.RecordBatch.from_arrays(columns, schema=GATHERED)


def _assets(group: Patches, described: list[dict[str, Any]]) -> pa.Array:
    """The assets of every patch: those *described*, with the patch's own files."""
    number, per_row = len(group), len(described)
    files = np.empty((number, per_row), object)
    for k, asset in enumerate(described):
        files[:, k] = group.files[asset["band"]]
    structs = pa.array(described, ASSET).take(pa.array(np.tile(np.arange(per_row), number)))
    parts = structs.flatten()
    parts[ASSET.get_field_index("href")] = pa.array(files.ravel(), pa.string())
    values = pa.StructArray.from_arrays(parts, fields=list(ASSET))
    offsets = pa.array(np.arange(number + 1, dtype=np.int32) * per_row)
    return pa.ListArray.from_arrays(offsets, values, type=GATHERED.field("assets").type)


def squares(epsg: int, left: Floats, top: Floats, side_m: float) -> Shapes:
    """Squares of a projection as polygons in longitude and latitude, split at the antimeridian."""
    x = np.stack([left, left + side_m, left + side_m, left, left], axis=-1)
    y = np.stack([top - side_m, top - side_m, top, top, top - side_m], axis=-1)
    lon, lat = from_zone(epsg).transform(x, y)
    return split_at_antimeridian(np.stack([lon, lat], axis=-1))


@lru_cache(maxsize=1024)
def epsg_of(crs: str | None) -> int | None:
    """EPSG code of a coordinate reference system given as text, in whatever form; None where there is none."""
    try:
        return CRS.from_user_input(crs).to_epsg() if crs else None
    except CRSError:
        return None


def runs(codes: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Positions of equal *codes*, one array for each code, in the order of codes."""
    order = np.argsort(codes, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(order) else ()
