"""Scenes: acquisitions of one sensor, as rows of one table whatever archive they come from."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from pystac.utils import make_absolute_href

from curate.catalog.schema import BBOX, TIMESTAMP
from curate.chips import wrapped
from curate.radiometry import Unknown, band_scaling, radar_unit, reflectance_offset
from curate.sensors import Band, Sensor

ASSET = pa.struct(
    [
        pa.field("band", pa.string(), nullable=False),
        pa.field("href", pa.string(), nullable=False),
        pa.field("scale", pa.float64(), nullable=False),  # value = DN × scale + offset, in `unit`
        pa.field("offset", pa.float64(), nullable=False),
        pa.field("nodata", pa.float64()),
        pa.field("unit", pa.string(), nullable=False),
    ]
)
SCENES = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("sensor", pa.string(), nullable=False),
        pa.field("collection", pa.string()),
        pa.field("platform", pa.string()),
        pa.field("datetime", TIMESTAMP),  # null for static layers
        pa.field("orbit_state", pa.string()),
        pa.field("relative_orbit", pa.int16()),
        pa.field("baseline", pa.string()),
        pa.field("offset", pa.int32()),  # DN, decided; null where none can apply
        pa.field("cloud_cover", pa.float32()),  # percent
        pa.field("assets", pa.list_(ASSET), nullable=False),
        pa.field("geometry", pa.binary(), nullable=False),
        pa.field("bbox", BBOX, nullable=False),
    ]
)
_LONGEST_SPAN = dt.timedelta(days=1)  # an item with a longer start-to-end span has no acquisition time


@dataclass(frozen=True)
class Rejected:
    """An item that is no usable scene, and why."""

    id: str
    reason: str


@dataclass
class Found:
    """What a search brought."""

    scenes: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    other: int = 0  # items outside the area or the period
    missing: list[str] = field(default_factory=list)  # what the archive could not be made to give, and why


def scene(
    item: dict[str, Any], href: str, sensor: Sensor, bands: tuple[str, ...]
) -> dict[str, Any] | Rejected:
    """A STAC item as a row of `SCENES`, or why it cannot be one.

    Args:
        item: the item's JSON, any STAC version from 1.0.0-beta.2 to 1.1.
        href: where the item was read; relative asset hrefs are resolved against it.
        bands: the bands that the scene must have.
    """
    name = str(item.get("id", "?"))
    properties = item.get("properties") or {}
    footprint = _footprint(item.get("geometry"))
    if footprint is None:
        return Rejected(name, "no footprint")
    time = None if sensor.static else acquisition_time(properties)
    if time is None and not sensor.static:
        return Rejected(name, "acquisition time unknown")
    offset = _offset(sensor, item, bands)
    if isinstance(offset, Unknown):
        return Rejected(name, offset.reason)
    wanted = [sensor.band(band) for band in bands] + ([sensor.mask] if sensor.mask else [])
    assets: list[dict[str, Any]] = []
    for band in wanted:
        asset = _asset(item, band)
        if asset is None and band is sensor.mask:
            continue  # without a mask a chip's cloud share stays unknown
        if asset is None:
            return Rejected(name, "bands missing")
        row = _asset_row(asset, band, sensor, href, offset)
        if isinstance(row, Unknown):
            return Rejected(name, row.reason)
        assets.append(row)
    return {
        "id": name,
        "sensor": sensor.name,
        "collection": item.get("collection"),
        "platform": properties.get("platform"),
        "datetime": time,
        "orbit_state": properties.get("sat:orbit_state"),
        "relative_orbit": properties.get("sat:relative_orbit"),
        "baseline": _baseline(properties),
        "offset": offset,
        "cloud_cover": properties.get("eo:cloud_cover"),
        "assets": assets,
        "geometry": shapely.to_wkb(footprint),
        "bbox": dict(zip(("xmin", "ymin", "xmax", "ymax"), footprint.bounds, strict=True)),
    }


def _footprint(geometry: dict[str, Any] | None) -> shapely.Geometry | None:
    """A footprint as valid polygons in two dimensions, split at the antimeridian; None where there is no area."""
    try:
        shape = shapely.force_2d(shapely.from_geojson(json.dumps(geometry))) if geometry else None
    except (shapely.GEOSException, TypeError):
        return None
    parts = [part for polygon in _polygons(shape) for part in _polygons(_across_antimeridian(polygon))]
    parts = [part for part in parts if shapely.area(part) > 0]  # make_valid leaves lines and slivers
    return shapely.union_all(parts) if parts else None


def _polygons(shape: shapely.Geometry | None) -> list[shapely.Polygon]:
    """The polygons in *shape*, which may be a collection of collections."""
    parts = shapely.get_parts(shapely.get_parts(shape))
    return [part for part in parts if part.geom_type == "Polygon" and not shapely.is_empty(part)]


def _across_antimeridian(polygon: shapely.Polygon) -> shapely.Geometry:
    """*polygon* made valid, and split where it runs across ±180° in spite of RFC 7946, section 3.1.9.

    An edge that spans more than half the globe is one that crosses, unless no area is left then: that is a box
    around the globe. A ring that does not close then runs around a pole, and is closed over it.
    """
    rings = [shapely.get_coordinates(ring) for ring in (polygon.exterior, *polygon.interiors)]
    lon = rings[0][:, 0]
    if np.abs(np.diff(lon)).max() <= 180 and np.abs(lon).max() <= 180:
        return shapely.make_valid(polygon)
    around = [np.column_stack([np.unwrap(ring[:, 0], period=360.0), ring[:, 1]]) for ring in rings]
    outer = around[0]
    if abs(outer[-1, 0] - outer[0, 0]) > 180:
        pole = np.copysign(90.0, outer[:, 1].mean())
        outer = np.vstack([outer, [outer[-1, 0], pole], [outer[0, 0], pole]])
    middle = outer[:, 0].min() + np.ptp(outer[:, 0]) / 2
    holes = [hole - [360.0 * np.round((hole[:, 0].mean() - middle) / 360.0), 0.0] for hole in around[1:]]
    outer_shift = np.array([360.0 * np.round(middle / 360.0), 0.0])
    shape = shapely.Polygon(outer - outer_shift, [hole - outer_shift for hole in holes])
    split = wrapped(shapely.make_valid(shape))
    return shapely.make_valid(polygon) if shapely.is_empty(split) else split


def acquisition_time(properties: dict[str, Any]) -> dt.datetime | None:
    """When the scene was taken, UTC; the middle of a span of up to a day; None where the item cannot say."""
    start, end = (_time(properties.get(f"{side}_datetime")) for side in ("start", "end"))
    single = _time(properties.get("datetime"))
    if single is not None:
        return single
    if start is not None and end is not None and end - start <= _LONGEST_SPAN:
        return start + (end - start) / 2
    return None


def _time(text: Any) -> dt.datetime | None:
    if not isinstance(text, str):
        return None
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.astimezone(dt.UTC) if time.tzinfo else time.replace(tzinfo=dt.UTC)


def _asset(item: dict[str, Any], band: Band) -> dict[str, Any] | None:
    assets = item.get("assets") or {}
    found = (assets[key] for key in band.asset_keys if assets.get(key))
    return next((asset for asset in found if asset.get("href")), None)


def _baseline(properties: dict[str, Any]) -> str | None:
    """Processing baseline, however the provider calls it."""
    baseline = properties.get("s2:processing_baseline") or properties.get("processing:version")
    return None if baseline is None else str(baseline)


def _offset(sensor: Sensor, item: dict[str, Any], bands: tuple[str, ...]) -> int | Unknown | None:
    """The Sentinel-2 offset in DN; None for sensors that have none."""
    if not sensor.name.startswith("sentinel-2"):
        return None
    declared = {band_scaling(asset)["offset"] for band in bands if (asset := _asset(item, sensor.band(band)))}
    if len(declared) > 1:
        return Unknown("bands declare different reflectance offsets")
    properties = item.get("properties") or {}
    return reflectance_offset(
        baseline=_baseline(properties),
        applied=properties.get("earthsearch:boa_offset_applied"),
        declared=declared.pop() if declared else None,
        scale=sensor.source_scale,
    )


def _asset_row(
    asset: dict[str, Any], band: Band, sensor: Sensor, item_href: str, offset_dn: int | None
) -> dict[str, Any] | Unknown:
    said = band_scaling(asset)
    row = {"band": band.name, "href": make_absolute_href(asset["href"], item_href)}
    if band is sensor.mask:
        return {**row, "nodata": None, "scale": 1.0, "offset": 0.0, "unit": "class"}
    scale = sensor.source_scale if said["scale"] is None else float(said["scale"])
    offset = sensor.source_offset if said["offset"] is None else float(said["offset"])
    if offset_dn is not None:
        offset = offset_dn * scale
    unit = radar_unit(said["unit"], sensor.source_unit) if sensor.kind == "radar" else sensor.source_unit
    if isinstance(unit, Unknown):
        return unit
    return {**row, "nodata": said["nodata"], "scale": scale, "offset": offset, "unit": unit}


def table(rows: list[dict[str, Any]]) -> pa.Table:
    """Scenes as a table, sorted by sensor, time and id, so that it does not depend on the archive's order."""
    earliest = dt.datetime.min.replace(tzinfo=dt.UTC)
    rows = sorted(rows, key=lambda row: (row["sensor"], row["datetime"] or earliest, row["id"]))
    return pa.Table.from_pylist(rows, schema=SCENES)
