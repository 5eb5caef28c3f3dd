"""What the names of a map's files say: the year, the tile, and where tiles lie that cannot be listed."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np
import shapely

from curate.catalog.errors import InputError
from curate.signing import unsigned

Bounds = tuple[float, float, float, float]  # west, south, east, north in degrees

RASTERS = (".tif", ".tiff", ".vrt")
# WorldCover Product User Manual, section 4: tiles of 3° named after their south-west corner
WORLDCOVER_STEP_DEG = 3
WORLDCOVER_EDITIONS = {2021: "v200", 2020: "v100"}  # the newer first
_WORLDCOVER = re.compile(r"ESA_WorldCover_10m_(\d{4})_v\d{3}_([NS]\d{2}[EW]\d{3})_Map\.tif")
_EDITION = re.compile(r"(?:^|/)v\d{3}/(\d{4})(?:/|$)")
_RANGE = re.compile(r"\{(\d{4})\.\.(\d{4})\}")
_DATE = (
    r"(?:(?:0[1-9]|1[0-2])\d{2}|(?:[0-2]\d{2}|3[0-6]\d)(?=\.))?"  # month and day, or the day of a MODIS year
)
_YEAR_FOLDER = re.compile(r"/((?:19|20)\d{2})/")
_YEAR = re.compile(rf"(?<!\d)((?:19|20)\d{{2}}){_DATE}(?!\d)")


def year_of(href: str) -> int | None:
    """The year that a file's name says first: 2021 of ``..._10m_2021_v200_...``; None where it says none.

    Of a URL whose file name says none, a folder called after a year counts.
    """
    found = _YEAR.search(_name(href)) or (_YEAR_FOLDER.search(href) if is_remote(href) else None)
    return int(found[1]) if found else None


def worldcover_bounds(href: str) -> Bounds | None:
    """The box that a WorldCover tile's name says; None for any other name."""
    found = _WORLDCOVER.fullmatch(_name(href))
    return tile_bounds(found[2]) if found else None


def tile_bounds(tile: str) -> Bounds:
    """The box of the 3° tile called *tile*, ``N00E006``."""
    south = float(tile[1:3]) * (1 if tile[0] == "N" else -1)
    west = float(tile[4:7]) * (1 if tile[3] == "E" else -1)
    return (west, south, west + WORLDCOVER_STEP_DEG, south + WORLDCOVER_STEP_DEG)


def worldcover_tiles(area: shapely.Geometry) -> list[str]:
    """Names (``N00E006``) of the 3° tiles that meet *area*, in longitude and latitude."""
    step = WORLDCOVER_STEP_DEG
    west, south = (side.ravel() for side in np.meshgrid(np.arange(-180, 180, step), np.arange(-90, 90, step)))
    shapely.prepare(area)
    meets = shapely.intersects(area, shapely.box(west, south, west + step, south + step))
    return [
        f"{'N' if y >= 0 else 'S'}{abs(y):02d}{'E' if x >= 0 else 'W'}{abs(x):03d}"
        for x, y in zip(west[meets].tolist(), south[meets].tolist(), strict=True)
    ]


def is_remote(name: str) -> bool:
    """Whether *name* is a URL or one of GDAL's names for one."""
    return "://" in name or name.startswith("/vsi")


def expand(name: str, area: shapely.Geometry | None) -> list[tuple[str, Bounds | None]]:
    """The files that *name* stands for, with their boxes where they were composed for a tile: those need not exist.

    ``{2017..2023}`` stands for every year from 2017 to 2023; ``{year}`` for every year, of files that can be
    listed; ``{tile}`` for the WorldCover tiles of *area*; a URL that is no raster for a folder of ESA's WorldCover.

    Raises:
        InputError: a folder or pattern without a raster, or tiles of an unknown area.
    """
    if years := _RANGE.search(name):
        first, last = int(years[1]), int(years[2])
        spelt = [name[: years.start()] + str(year) + name[years.end() :] for year in range(first, last + 1)]
        return [found for one in spelt for found in expand(one, area)]
    if is_remote(name):
        return _remote(name, area)
    return [(href, None) for href in _local(name)]


def files_of(name: str) -> list[str]:
    """The local files and folders that decide what a map says: *name* itself where it is no pattern."""
    return _pattern(name) if "{" in name and not _RANGE.search(name) and not is_remote(name) else [name]


def _local(name: str) -> list[str]:
    if "{" in name:
        return _pattern(name)
    path = Path(name)
    if not path.is_dir():
        return [name]
    files = sorted(str(p) for p in path.rglob("*") if p.suffix.lower() in RASTERS)
    if not files:
        raise InputError(
            f"Land-cover map {unsigned(name)} has no raster", f"no {', '.join(RASTERS)} file lies in it"
        )
    return files


def _pattern(name: str) -> list[str]:
    text = name.replace("{year}", "[12][0-9][0-9][0-9]").replace(
        "{tile}", "[NS][0-9][0-9][EW][0-9][0-9][0-9]"
    )
    root = Path(text).anchor
    files = sorted(str(p) for p in Path(root or ".").glob(text.removeprefix(root)))
    if not files:
        raise InputError(
            f"Land-cover map {unsigned(name)} has no raster",
            "no file has such a name",
            "Patterns know {year} and {tile}",
        )
    return files


def _remote(name: str, area: shapely.Geometry | None) -> list[tuple[str, Bounds | None]]:
    if "{year}" in name:
        raise InputError(
            f"Land-cover map {unsigned(name)} cannot be listed",
            "its years are not known",
            "Write them: {2017..2023}",
        )
    if "{tile}" not in name and PurePosixPath(name.split("?")[0]).suffix.lower() in RASTERS:
        return [(name, None)]
    if area is None:
        raise InputError(f"Land-cover map {unsigned(name)} has tiles, but no area to choose them for")
    if "{tile}" in name:
        return [(name.replace("{tile}", tile), tile_bounds(tile)) for tile in worldcover_tiles(area)]
    path, mark, query = name.partition("?")
    folder, query = path.rstrip("/"), mark + query
    edition = _EDITION.search(folder)
    if edition is None:
        editions = [f"{folder}/{version}/{year}/map{query}" for year, version in WORLDCOVER_EDITIONS.items()]
        return [found for one in editions for found in _remote(one, area)]
    year = int(edition[1])
    if year not in WORLDCOVER_EDITIONS:
        raise InputError(
            f"Land-cover map {unsigned(name)} is no edition of WorldCover", "there are 2020 and 2021"
        )
    tile = f"ESA_WorldCover_10m_{year}_{WORLDCOVER_EDITIONS[year]}_{{tile}}_Map.tif"
    return _remote(f"{folder}/{tile}{query}", area)


def _name(href: str) -> str:
    return PurePosixPath(href.split("?")[0].replace("\\", "/")).name
