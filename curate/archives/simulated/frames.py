"""Where a site's scenes lie: projection, pixel grids and true data footprints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True)
class Cut:
    """A swath's edge: the side of the line towards (nx, ny) has no data."""

    nx: float
    ny: float
    limit_m: float  # no data where x·nx + y·ny > limit

    def valid(self, frame: Frame) -> npt.NDArray[np.bool_]:
        """Pixels whose centre has data."""
        x, y = frame.centres()
        return x * self.nx + y * self.ny <= self.limit_m


@dataclass(frozen=True)
class Frame:
    """A north-up pixel grid in a projection in metres."""

    epsg: int
    left: float
    top: float
    width: int
    height: int
    pixel_m: float

    @property
    def transform(self) -> Affine:
        return Affine(self.pixel_m, 0, self.left, 0, -self.pixel_m, self.top)

    def coarser(self, factor: int) -> Frame:
        """The same ground in pixels *factor* times larger."""
        return Frame(
            self.epsg, self.left, self.top, self.width // factor, self.height // factor, self.pixel_m * factor
        )

    def centres(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Pixel centres: x of shape (1, width), y of shape (height, 1)."""
        x = self.left + (np.arange(self.width, dtype=np.float64) + 0.5) * self.pixel_m
        y = self.top - (np.arange(self.height, dtype=np.float64) + 0.5) * self.pixel_m
        return x[None, :], y[:, None]

    def footprint(self, cut: Cut | None = None) -> BaseGeometry:
        """Outline of the pixels with data, in the frame's projection."""
        right, bottom = self.left + self.width * self.pixel_m, self.top - self.height * self.pixel_m
        square = shapely.box(self.left, bottom, right, self.top)
        if cut is None:
            return square
        n = np.array([cut.nx, cut.ny])
        n /= np.hypot(*n)
        foot = n * (cut.limit_m / np.hypot(cut.nx, cut.ny))
        along = np.array([-n[1], n[0]]) * 1e5
        centre = np.array([(self.left + right) / 2, (self.top + bottom) / 2])
        foot = foot + (centre - foot) @ along / 1e10 * along
        half = shapely.Polygon([foot + along, foot - along, foot - along - n * 1e5, foot + along - n * 1e5])
        return square.intersection(half)


@lru_cache(maxsize=64)
def to_lonlat(epsg: int) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)


def lonlat_outline(outline: BaseGeometry, epsg: int) -> BaseGeometry:
    """A projected polygon in longitude/latitude, its edges densified; split in two at the antimeridian."""
    dense = shapely.segmentize(outline, 1500.0)
    lon, lat = to_lonlat(epsg).transform(*np.asarray(shapely.get_coordinates(dense)).T)
    lon = np.where(lon - lon[0] > 180, lon - 360, np.where(lon - lon[0] < -180, lon + 360, lon))
    polygon = shapely.Polygon(np.round(np.stack([lon, lat], -1), 7))
    west, _, east, _ = polygon.bounds
    if west >= -180 and east <= 180:
        return shapely.geometry.polygon.orient(polygon)
    shift = 360 if west < -180 else -360
    near = polygon.intersection(shapely.box(-180, -90, 180, 90))
    far = shapely.transform(polygon, lambda xy: xy + np.array([shift, 0])).intersection(
        shapely.box(-180, -90, 180, 90)
    )
    return shapely.MultiPolygon([shapely.geometry.polygon.orient(part) for part in (near, far)])


def lonlat_bbox(outline: BaseGeometry) -> list[float]:
    """West, south, east, north; west is greater than east where the antimeridian is crossed (RFC 7946, 5.2)."""
    parts = list(getattr(outline, "geoms", [outline]))
    west, south, east, north = outline.bounds
    if len(parts) == 2:
        west = max(part.bounds[0] for part in parts)
        east = min(part.bounds[2] for part in parts)
    return [west, south, east, north]


def local_epsg(lon: float, lat: float) -> int:
    """UTM zone with the exceptions for Norway and Svalbard, as Sentinel-2 tiles have them; UPS at the poles."""
    if lat >= 84:
        return 32661
    if lat < -80:
        return 32761
    zone = math.floor((lon + 180) / 6) % 60 + 1
    if 56 <= lat < 64 and 3 <= lon < 12:
        zone = 32
    if 72 <= lat < 84 and 0 <= lon < 42:
        zone = 31 if lon < 9 else 33 if lon < 21 else 35 if lon < 33 else 37
    return (32600 if lat >= 0 else 32700) + zone


def canvas(lon: float, lat: float, size_px: int, pad_px: int) -> Frame:
    """The ground a site is simulated on, at 10 m: the Sentinel-2 frame of *size_px* and *pad_px* around it.

    The Sentinel-2 frame starts on multiples of 60 m in x; in y too in the north, and at 40 m past them in the
    southern zones, because the false northing of 10,000 km is no multiple of 60 m.
    """
    epsg = local_epsg(lon, lat)
    x, y = pyproj.Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
    false_northing = 40 if 32700 < epsg < 32761 else 0
    left = round((x - size_px * 5) / 60) * 60
    top = round((y + size_px * 5 - false_northing) / 60) * 60 + false_northing
    total = size_px + 2 * pad_px
    return Frame(epsg, left - pad_px * 10, top + pad_px * 10, total, total, 10)


def mgrs_tile(frame: Frame) -> str:
    """Name of the 100 km square that holds the frame's centre (the tile a Sentinel-2 product is called after)."""
    x = frame.left + frame.width * frame.pixel_m / 2
    y = frame.top - frame.height * frame.pixel_m / 2
    if frame.epsg in (32661, 32761):
        return "UPS"
    zone = frame.epsg % 100
    lat = to_lonlat(frame.epsg).transform(x, y)[1]
    letter = "CDEFGHJKLMNPQRSTUVWXX"[min(20, int((lat + 80) // 8))]
    column = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")[(zone - 1) % 3][int(x // 100_000) - 1]
    rows = "ABCDEFGHJKLMNPQRSTUV"
    row = rows[(int(y // 100_000) + (5 if zone % 2 == 0 else 0)) % 20]
    return f"{zone:02d}{letter}{column}{row}"
