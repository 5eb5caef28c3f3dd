"""STAC 1.1 items and collections of the archive."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pystac
import shapely
from rasterio.transform import Affine
from shapely.geometry.base import BaseGeometry

from curate.archives.simulated.frames import lonlat_bbox

CATALOG_ID = "curate-simulated"
WARNING = (
    "SIMULATED: real places, climate, orbits and dates; pixel values are drawn from models, not measured."
)
COLLECTIONS = {
    "sentinel-2-l2a": "Sentinel-2 Level-2A surface reflectance (simulated)",
    "sentinel-1-rtc": "Sentinel-1 radiometrically terrain corrected gamma0, linear power (simulated)",
    "sentinel-1-grd": "Sentinel-1 geocoded GRD, calibrated sigma0 amplitude (simulated)",
    "cop-dem-glo-30": "Copernicus DEM GLO-30 (simulated)",
    "landsat-c2-l2": "Landsat 8 Collection 2 Level-2 surface reflectance (simulated)",
    "esa-worldcover": "ESA WorldCover 2021 (simulated)",
}
_SCHEMA = "https://stac-extensions.github.io/{}/schema.json"
_EXTENSIONS = {
    "proj": "projection/v2.0.0",
    "raster": "raster/v2.0.0",
    "eo": "eo/v2.0.0",
    "sat": "sat/v1.0.0",
    "sar": "sar/v1.0.0",
    "view": "view/v1.0.0",
    "grid": "grid/v1.1.0",
    "classification": "classification/v2.0.0",
}
_COMMON_NAMES = {
    "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge071", "B06": "rededge075", "B07": "rededge078",
    "B08": "nir", "B8A": "nir08", "B11": "swir16", "B12": "swir22",
    "blue": "blue", "green": "green", "red": "red", "nir08": "nir08", "swir16": "swir16", "swir22": "swir22",
}  # fmt: skip


def asset(
    href: str,
    *,
    title: str,
    band: dict[str, Any],
    epsg: int,
    shape: tuple[int, ...],
    transform: Affine,
    gsd: float | None = None,
    wavelength_nm: float | None = None,
) -> pystac.Asset:
    """One band's file; *band* holds name, data_type and, where they apply, nodata, unit, scale and offset."""
    fields = dict(band)
    if wavelength_nm is not None:
        fields["eo:common_name"] = _COMMON_NAMES[band["name"]]
        fields["eo:center_wavelength"] = round(wavelength_nm / 1000, 4)
    extra: dict[str, Any] = {
        "bands": [fields],
        "proj:code": f"EPSG:{epsg}",
        "proj:shape": list(shape),
        "proj:transform": list(transform)[:6],
    }
    if gsd is not None:
        extra["gsd"] = gsd
    return pystac.Asset(
        href, title=title, media_type=pystac.MediaType.COG, roles=["data"], extra_fields=extra
    )


def item(
    *,
    name: str,
    collection: str,
    outline: BaseGeometry,
    when: dt.datetime | tuple[dt.datetime, dt.datetime],
    properties: dict[str, Any],
    assets: dict[str, pystac.Asset],
) -> dict[str, Any]:
    """An item as JSON, three folders below the catalog; *outline* is its data footprint in degrees."""
    first = next(iter(assets.values())).extra_fields
    properties = {
        **properties,
        **{key: first[key] for key in ("proj:code", "proj:shape", "proj:transform")},
        "curate:simulated": True,
    }
    start, end = when if isinstance(when, tuple) else (None, None)
    words = {key.split(":")[0] for key in properties} | {"proj", "raster"}
    if any("eo:common_name" in a.extra_fields["bands"][0] for a in assets.values()):
        words.add("eo")
    if any("classification:classes" in a.extra_fields["bands"][0] for a in assets.values()):
        words.add("classification")
    made = pystac.Item(
        id=name,
        geometry=shapely.geometry.mapping(outline),
        bbox=lonlat_bbox(outline),
        datetime=None if isinstance(when, tuple) else when,
        properties=properties,
        start_datetime=start,
        end_datetime=end,
        stac_extensions=[_SCHEMA.format(_EXTENSIONS[word]) for word in _EXTENSIONS if word in words],
        assets=assets,
        collection=collection,
    )
    for relation, target in (("root", "catalog.json"), ("parent", None), ("collection", None)):
        href = f"../../../{target or f'{collection}/collection.json'}"
        made.links.append(pystac.Link(relation, href, media_type=pystac.MediaType.JSON))
    return _plain(made.to_dict(include_self_link=False, transform_hrefs=False))


def collection(name: str, members: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A collection of the archive as JSON; *members* hold each item's name, href, bbox, start and end."""
    made = pystac.Collection(
        id=name,
        title=COLLECTIONS[name],
        description=f"{COLLECTIONS[name]}. {WARNING}",
        extent=pystac.Extent(pystac.SpatialExtent([_around(members)]), _between(members)),
        license="CC0-1.0",
        keywords=["simulated"],
        extra_fields={"curate:simulated": True},
    )
    links = [("root", "../catalog.json"), ("parent", "../catalog.json")]
    made.clear_links()
    for relation, href in links:
        made.links.append(pystac.Link(relation, href, media_type=pystac.MediaType.JSON))
    for member in sorted(members, key=lambda m: str(m["name"])):
        made.links.append(pystac.Link("item", f"../{member['href']}", media_type=pystac.MediaType.GEOJSON))
    return _plain(made.to_dict(include_self_link=False, transform_hrefs=False))


def catalog(names: Sequence[str], parameters: dict[str, Any]) -> dict[str, Any]:
    """The root catalog as JSON."""
    made = pystac.Catalog(
        id=CATALOG_ID,
        title="Simulated archive",
        description=WARNING,
        extra_fields={"curate:simulated": True, "curate:parameters": parameters},
    )
    made.clear_links()
    made.links.append(pystac.Link("root", "./catalog.json", media_type=pystac.MediaType.JSON))
    for name in names:
        made.links.append(
            pystac.Link("child", f"./{name}/collection.json", pystac.MediaType.JSON, COLLECTIONS[name])
        )
    return _plain(made.to_dict(include_self_link=False, transform_hrefs=False))


def _around(members: Sequence[dict[str, Any]]) -> list[float]:
    boxes = [member["bbox"] for member in members]
    south, north = min(box[1] for box in boxes), max(box[3] for box in boxes)
    if any(box[0] > box[2] for box in boxes):
        return [-180.0, south, 180.0, north]
    return [min(box[0] for box in boxes), south, max(box[2] for box in boxes), north]


def _between(members: Sequence[dict[str, Any]]) -> pystac.TemporalExtent:
    start = min(dt.datetime.fromisoformat(member["start"]) for member in members)
    end = max(dt.datetime.fromisoformat(member["end"]) for member in members)
    return pystac.TemporalExtent([[start, end]])


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """Links as the relative hrefs they were given."""
    for link in fields["links"]:
        link.pop("title", None) if link["rel"] != "child" else None
    return fields


def home_of(folder: Path, name: str) -> Path:
    """A new folder for an item's files."""
    home = folder / name
    home.mkdir()
    return home


def classes(band: str, names: dict[int, str]) -> dict[str, Any]:
    """A band of class codes with its legend."""
    legend = [
        {"value": code, "name": name.lower().replace(" / ", "_").replace(" ", "_")}
        for code, name in names.items()
    ]
    return {
        "name": band,
        "data_type": "uint8",
        "nodata": 0,
        "unit": "class",
        "classification:classes": legend,
    }
