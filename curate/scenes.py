"""Scenes: acquisitions of one sensor, as rows of one table whatever archive they come from."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from pystac.utils import make_absolute_href

from curate.catalog.errors import InputError
from curate.catalog.schema import BBOX, TIMESTAMP
from curate.chips import wrapped
from curate.radiometry import (
    Offset,
    Unknown,
    band_scaling,
    coded_decibel,
    described_unit,
    offset_by_dark,
    radar_unit,
    reflectance_offset,
)
from curate.sensors import Band, Sensor
from curate.signing import unsigned

LowPercentile = Callable[
    [str, float | None], float
]  # href and nodata of a band -> `pixels.dark.low_percentile`
Refusal = Callable[[shapely.Geometry, dt.datetime | None, float | None], str | None]

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
        pa.field(
            "offset_source", pa.string()
        ),  # what decided: provider flag, baseline 04.00, declared, percentile
        pa.field("cloud_cover", pa.float32()),  # percent
        pa.field("assets", pa.list_(ASSET), nullable=False),
        pa.field("geometry", pa.binary(), nullable=False),
        pa.field("bbox", BBOX, nullable=False),
    ]
)
_BLOCK_DEG = 4.0
_DIFFERENT_OFFSETS = "bands declare different reflectance offsets"  # no pixel settles this
SCENES_PER_GROUP = 10_000  # rows that are read together: a few blocks of one sensor
_BASELINE_IN_NAME = re.compile(r"_N(\d{4})_")  # of ESA's product names


@dataclass(frozen=True)
class Rejected:
    """An item that is no usable scene, and why."""

    id: str
    reason: str


def scene(
    item: dict[str, Any],
    href: str,
    sensor: Sensor,
    bands: tuple[str, ...],
    low_percentile: LowPercentile | None = None,
    refusal: Refusal | None = None,
) -> dict[str, Any] | Rejected:
    """A STAC item as a row of `SCENES`, or why it cannot be one.

    Args:
        item: the item's JSON, any STAC version from 1.0.0-beta.2 to 1.1.
        href: where the item was read; relative asset hrefs are resolved against it.
        bands: the bands that the scene must have.
        low_percentile: reads the darkest numbers of a band (`pixels.dark.low_percentile`) of scenes whose metadata
            do not settle the reflectance offset, and of no other; without it these scenes are refused.
        refusal: says why a scene of this footprint, time and cloud cover is not wanted, before a pixel is read.

    Raises:
        Unavailable: the dark pixels cannot be read now, and perhaps can be later (`curate.archives.files`).
    """
    name = str(item.get("id", "?"))
    properties = _mapping(item.get("properties"))
    footprint = _footprint(item.get("geometry"))
    if footprint is None:
        return Rejected(name, "no footprint")
    platform = _text(properties.get("platform"))
    if platform and sensor.platforms and platform.lower().replace("_", "-") not in sensor.platforms:
        return Rejected(name, "of another platform")
    if sensor.kind == "radar" and not item.get("collection"):
        sensor = replace(sensor, source_unit="")  # of a product that is not named no unit is usual
    longest = dt.timedelta(days=sensor.span_days)
    time = None if sensor.static else acquisition_time(properties, longest)
    if time is None and not sensor.static:
        return Rejected(name, "acquisition time unknown")
    cloud_cover = _percent(properties.get("eo:cloud_cover"))
    if refusal is not None and (unwanted := refusal(footprint, time, cloud_cover)) is not None:
        return Rejected(name, unwanted)
    if any(_asset(item, sensor.band(band)) is None for band in bands):
        return Rejected(name, "bands missing")
    offset = _offset(sensor, item, bands, href, low_percentile)
    if isinstance(offset, Unknown):
        return Rejected(name, offset.reason)
    assets: list[dict[str, Any]] = []
    for band in [sensor.band(band) for band in (*bands, *_for_clouds(sensor, item, bands))]:
        row = _asset_row(item, band, sensor, href, offset)
        if isinstance(row, Unknown):
            return Rejected(name, row.reason)
        assets.append(row)
    mask = _asset(item, sensor.mask.band) if sensor.mask else None
    if sensor.mask and mask:  # without it a chip's cloud share stays unknown
        assets.append(_mask_row(mask, sensor.mask.band, href))
    return {
        "id": name,
        "sensor": sensor.name,
        "collection": _text(item.get("collection")),
        "platform": platform,
        "datetime": time,
        "orbit_state": str(properties.get("sat:orbit_state") or "").lower() or None,
        "relative_orbit": _whole(properties.get("sat:relative_orbit")),
        "baseline": _baseline(item),
        "offset": offset.dn if offset else None,
        "offset_source": offset.source if offset else None,
        "cloud_cover": cloud_cover,
        "assets": assets,
        "geometry": shapely.to_wkb(footprint),
        "bbox": dict(zip(("xmin", "ymin", "xmax", "ymax"), footprint.bounds, strict=True)),
    }


def _footprint(geometry: dict[str, Any] | shapely.Geometry | None) -> shapely.Geometry | None:
    """A footprint as valid polygons in two dimensions, split at the antimeridian; None where there is no area."""
    try:
        if geometry and not isinstance(geometry, shapely.Geometry):  # a table has shapes
            geometry = shapely.from_geojson(json.dumps(geometry))
        shape = shapely.force_2d(geometry) if geometry else None
        if not np.isfinite(shapely.get_coordinates(shape)).all():
            return None
        parts = [part for polygon in _polygons(shape) for part in _polygons(_across_antimeridian(polygon))]
        parts = [part for part in parts if shapely.area(part) > 0]  # make_valid leaves lines and slivers
        return shapely.union_all(parts) if len(parts) > 1 else parts[0] if parts else None
    except (shapely.GEOSException, TypeError, ValueError, IndexError):
        return None


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


def acquisition_time(
    properties: dict[str, Any], longest: dt.timedelta = dt.timedelta(days=1)
) -> dt.datetime | None:
    """When the scene was taken, UTC; the middle of a span up to *longest*; None where the item cannot say."""
    start, end = (_time(properties.get(f"{side}_datetime")) for side in ("start", "end"))
    single = _time(properties.get("datetime"))
    if single is not None:
        return single
    if start is not None and end is not None and dt.timedelta(0) <= end - start <= longest:
        return start + (end - start) / 2
    return None


def _time(text: Any) -> dt.datetime | None:
    if not isinstance(text, str):
        return None
    try:
        time = dt.datetime.fromisoformat(text)
        return time.astimezone(dt.UTC) if time.tzinfo else time.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):  # the last hours of the year 9999 may be past it in UTC
        return None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def absolute(href: str, base: str) -> str:
    """*href* resolved against *base*, the place of the document that it is written in."""
    return href if "://" in href else str(make_absolute_href(href, base))


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _whole(value: Any) -> int | None:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number < 2**15 else None


def _percent(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number <= 100 else None


def _asset(item: dict[str, Any], band: Band) -> dict[str, Any] | None:
    assets = _mapping(item.get("assets"))
    for key in band.asset_keys:  # a loop: this is asked thirty times a scene
        asset = assets.get(key)
        if isinstance(asset, dict) and isinstance(href := asset.get("href"), str) and href:
            return asset
    return None


def _for_clouds(sensor: Sensor, item: dict[str, Any], bands: tuple[str, ...]) -> tuple[str, ...]:
    """Bands beside those asked for by which clouds can be told, where the item has all of them and no mask."""
    if sensor.mask or any(_asset(item, sensor.band(band)) is None for band in sensor.cloud_bands):
        return ()
    return tuple(band for band in sensor.cloud_bands if band not in bands)


def _baseline(item: dict[str, Any]) -> str | None:
    """Processing baseline, however the provider calls it; else the one in the product's name."""
    properties = _mapping(item.get("properties"))
    for key in ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline"):
        if properties.get(key) is not None:
            return str(properties[key])
    for name in (item.get("id"), properties.get("s2:product_uri"), properties.get("sentinel:product_id")):
        if found := _BASELINE_IN_NAME.search(str(name)):
            return f"{found[1][:2]}.{found[1][2:]}"
    return None


def _offset(
    sensor: Sensor,
    item: dict[str, Any],
    bands: tuple[str, ...],
    href: str,
    low_percentile: LowPercentile | None,
) -> Offset | Unknown | None:
    """The Sentinel-2 offset; None for sensors that have none."""
    if not sensor.dark:
        return None
    said = _declared_offset(sensor, item, bands)
    if isinstance(said, Unknown) and said.reason == _DIFFERENT_OFFSETS:
        return said
    if low_percentile is None or (isinstance(said, Offset) and not said.doubtful):
        return said
    from rasterio.errors import RasterioError

    from curate.archives.files import Unavailable

    try:
        lows = [(_low(sensor, item, dark.bands, href, low_percentile), dark.ceiling) for dark in sensor.dark]
    except Unavailable:
        raise  # what a network does decides nothing
    except (InputError, RasterioError, OSError):
        doubt = said.reason if isinstance(said, Unknown) else "provider flag in doubt"
        return Unknown(f"{doubt}, dark pixels unreadable")
    shown = offset_by_dark(lows, sensor.source_scale or 1.0)
    if isinstance(said, Offset):
        return said if shown in (None, said.dn) else Offset(shown or 0, "percentile")
    return (
        Unknown(f"{said.reason}, dark pixels not decisive") if shown is None else Offset(shown, "percentile")
    )


def _declared_offset(sensor: Sensor, item: dict[str, Any], bands: tuple[str, ...]) -> Offset | Unknown:
    """The offset that the item's metadata tell of."""
    said = {band_scaling(_asset(item, sensor.band(band)) or {})["offset"] for band in bands}
    declared = said - {None}
    if len(declared) > 1:
        return Unknown(_DIFFERENT_OFFSETS)
    properties = _mapping(item.get("properties"))
    applied = properties.get("earthsearch:boa_offset_applied", properties.get("sentinel:boa_offset_applied"))
    return reflectance_offset(
        baseline=_baseline(item),
        applied=applied,
        declared=declared.pop() if declared else None,
        scale=sensor.source_scale or 1.0,
    )


def _low(
    sensor: Sensor, item: dict[str, Any], names: tuple[str, ...], href: str, low_percentile: LowPercentile
) -> float | None:
    """The darkest numbers in the first of the bands that the item has."""
    assets = (_asset(item, sensor.band(name)) for name in names)
    asset = next((asset for asset in assets if asset), None)
    if asset is None:
        return None
    return low_percentile(absolute(asset["href"], href), band_scaling(asset)["nodata"])


def _backscatter_unit(item: dict[str, Any], asset: dict[str, Any], sensor: Sensor) -> str | Unknown:
    """Unit of a radar band's numbers; a product with calibration tables beside it is not calibrated yet."""
    calibrated = not any(str(key).startswith("schema-calibration") for key in _mapping(item.get("assets")))
    declared = band_scaling(asset)["unit"] or described_unit(_text(asset.get("description")))
    unit = radar_unit(declared, sensor.source_unit if calibrated else "")
    return Unknown("backscatter not calibrated") if isinstance(unit, Unknown) and not calibrated else unit


def _asset_row(
    item: dict[str, Any], band: Band, sensor: Sensor, item_href: str, offset_dn: Offset | None
) -> dict[str, Any] | Unknown:
    asset = _asset(item, band) or {}
    said = band_scaling(asset)
    scale, offset = _usual(said["scale"], band.scale, sensor.source_scale), said["offset"]
    if scale is None:
        return Unknown("scale unknown")
    offset = _usual(offset, band.offset, sensor.source_offset) or 0.0
    if offset_dn is not None:
        offset = offset_dn.dn * scale
    unit: str | Unknown = band.unit or sensor.source_unit
    if sensor.kind == "radar":
        coded = coded_decibel(said["unit"])
        if coded:
            unit, scale, offset = coded[0], coded[1], 0.0
        else:
            unit = _backscatter_unit(item, asset, sensor)
    if isinstance(unit, Unknown):
        return unit
    href = unsigned(absolute(asset["href"], item_href))
    return {
        "band": band.name,
        "href": href,
        "nodata": said["nodata"],
        "scale": scale,
        "offset": offset,
        "unit": unit,
    }


def _mask_row(asset: dict[str, Any], band: Band, item_href: str) -> dict[str, Any]:
    href = unsigned(absolute(asset["href"], item_href))
    return {"band": band.name, "href": href, "nodata": None, "scale": 1.0, "offset": 0.0, "unit": "class"}


def _usual(*values: float | None) -> float | None:
    """The first that is given."""
    return next((value for value in values if value is not None), None)


def table(rows: list[dict[str, Any]]) -> pa.Table:
    """Scenes as a table, sorted by sensor, time and id, so that it does not depend on the archive's order."""
    earliest = dt.datetime.min.replace(tzinfo=dt.UTC)
    rows = sorted(rows, key=lambda row: (row["sensor"], row["datetime"] or earliest, row["id"]))
    return pa.Table.from_pylist(rows, schema=SCENES)


def arrangement(scenes: pa.Table) -> pa.Array:
    """Positions of scenes in the order in which they are kept: neighbours together, so that a reader skips the rest.

    By sensor, then by blocks of 4° that hold the middle of the bounding box, then by time and id.
    """
    box = scenes["bbox"].combine_chunks()
    sides = {side: box.field(side).to_numpy() for side in ("xmin", "ymin", "xmax", "ymax")}
    across = (
        sides["xmax"] - sides["xmin"] > 180
    )  # split at the antimeridian: a block of their own, at the end
    lon = np.floor((sides["xmin"] + sides["xmax"]) / (2 * _BLOCK_DEG)).astype(np.int32)
    lat = np.floor((sides["ymin"] + sides["ymax"]) / (2 * _BLOCK_DEG)).astype(np.int32)
    keyed = scenes.append_column("block", pa.array(np.where(across, np.int32(10**9), lon * 1000 + lat)))
    by = [(name, "ascending") for name in ("sensor", "block", "datetime", "id")]
    return pc.sort_indices(keyed, sort_keys=by)


def arranged(scenes: pa.Table) -> pa.Table:
    """Scenes in the order in which they are kept."""
    return scenes.take(arrangement(scenes))
