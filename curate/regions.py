"""Areas of interest: a continent, a country, a box or a vector file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import shapely

from curate.catalog.errors import InputError

# name -> slug, continent in the table of outlines, box it is clipped to (west, south, east, north)
_WORLD = (-180.0, -90.0, 180.0, 90.0)
_CONTINENTS: dict[str, tuple[str, str, tuple[float, float, float, float]]] = {
    "europe": ("eu", "Europe", (-32.0, 34.0, 60.0, 82.0)),  # Russia to the Ural; without overseas territories
    "africa": ("af", "Africa", _WORLD),
    "asia": ("as", "Asia", _WORLD),
    "north-america": ("na", "North America", _WORLD),
    "south-america": ("sa", "South America", _WORLD),
    "oceania": ("oc", "Oceania", _WORLD),
    "antarctica": ("an", "Antarctica", _WORLD),
}
_BEYOND_URAL = (60.0, 34.0, 180.0, 82.0)
_FAR_EAST_WEST_OF_180 = (-180.0, 34.0, -168.0, 82.0)


@dataclass(frozen=True)
class Region:
    """An area of interest."""

    slug: str  # names its files: eu, deu, bbox_10_45_12_47
    name: str
    area: shapely.Geometry  # longitude and latitude, parts on either side of the antimeridian


def region(text: str) -> Region:
    """The region that *text* names: a continent or its slug (europe, eu), global, an ISO 3166-1 code (DE, DEU),
    ``bbox:W,S,E,N``, or the path of a vector file.

    Slugs are written small and codes in capitals where both exist: ``na`` is North America, ``NA`` Namibia.

    Raises:
        InputError: no such region, or one without an area.
    """
    for name, (slug, _, _) in _CONTINENTS.items():
        if text == slug or text.lower() == name:
            return Region(slug, name, _continent(name))
    if text.lower() == "global":
        return Region("global", "global", shapely.box(*_WORLD))
    if text.lower().startswith("bbox:"):
        return _box(text)
    if Path(text).suffix or Path(text).exists():
        return _from_file(Path(text))
    if re.fullmatch(r"[A-Za-z]{2,3}", text):
        for row in _outlines():
            if text.upper() in (row["code2"], row["code3"]):
                return Region(str(row["code3"]).lower(), row["name"], shapely.from_wkb(row["geometry"]))
    raise InputError(
        f"There is no region {text!r}",
        "it is no continent, ISO country code, box or file",
        f"Write one of {', '.join([*_CONTINENTS, 'global'])}, a code such as DE, bbox:W,S,E,N, or a file's path",
    )


@lru_cache(maxsize=1)
def _outlines() -> list[dict[str, Any]]:
    with resources.as_file(resources.files("curate") / "data" / "outlines.parquet") as path:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def _continent(name: str) -> shapely.Geometry:
    _, continent, clip = _CONTINENTS[name]
    shapes = [shapely.from_wkb(row["geometry"]) for row in _outlines() if row["continent"] == continent]
    area = shapely.intersection(shapely.union_all(shapes), shapely.box(*clip))
    europe = [shapely.from_wkb(row["geometry"]) for row in _outlines() if row["continent"] == "Europe"]
    if name == "asia":  # Natural Earth counts all of Russia as Europe
        beyond = shapely.union_all([shapely.box(*_BEYOND_URAL), shapely.box(*_FAR_EAST_WEST_OF_180)])
        area = shapely.union(area, shapely.intersection(shapely.union_all(europe), beyond))
    if name == "south-america":  # French Guiana
        guiana = shapely.intersection(shapely.union_all(europe), shapely.box(-56, 1, -50, 7))
        area = shapely.union(area, guiana)
    return area


def _box(text: str) -> Region:
    try:
        west, south, east, north = (float(part) for part in text[5:].split(","))
    except ValueError as error:
        raise InputError(
            f"Region {text!r} is no box", "it needs four numbers", "Write bbox:W,S,E,N in degrees"
        ) from error
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90) or west == east:
        raise InputError(
            f"Region {text!r} is an empty box or lies outside the Earth",
            "longitudes run from -180 to 180, latitudes from -90 to 90, south before north",
            "Where the box crosses the antimeridian, west is larger than east: bbox:178,-20,-178,-15",
        )
    parts = [(west, east)] if west < east else [(west, 180.0), (-180.0, east)]
    area = shapely.union_all([shapely.box(w, south, e, north) for w, e in parts if w < e])
    if shapely.is_empty(area):
        raise InputError(f"Region {text!r} is an empty box", "it runs from the antimeridian to itself")
    slug = "bbox_" + "_".join(f"{value:g}".replace(".", "p") for value in (west, south, east, north))
    return Region(slug, text, area)


def _from_file(path: Path) -> Region:
    if not path.exists():
        raise InputError(f"There is no region file {path}")
    import geopandas

    try:
        shapes = geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path)
    except Exception as error:  # the drivers raise their own kinds
        raise InputError(f"Region file {path} cannot be read", " ".join(str(error).split())) from error
    if shapes.crs is None:
        raise InputError(f"Region file {path} has no coordinate reference system", do="Save it with one")
    area = shapely.make_valid(shapes.to_crs("OGC:CRS84").union_all())
    if shapely.area(area) == 0:
        raise InputError(f"Region file {path} has no area", "it holds no polygon", "Give polygons")
    return Region(re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_") or "region", str(path), area)
