"""The rasters of a land-cover map: what must hold of them, their common grid, and reading their classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog.errors import InputError
from curate.descriptors.thematic.naming import Bounds, worldcover_bounds
from curate.gdal import opened
from curate.grid import Floats, Ints
from curate.legends import Legend
from curate.signing import unsigned

Bytes = npt.NDArray[np.uint8]

STRANGE = 255  # in place of a class: a number that the legend does not know
_M_PER_DEG = 111_320.0
_ABSENT = ("404", "does not exist", "NoSuchKey")  # how GDAL says that there is no such object


@dataclass(frozen=True)
class Tile:
    """One file of a map and the box it covers, degrees."""

    href: str
    bounds: Bounds
    year: int | None = None
    optional: bool = False  # its name was composed: it need not exist


@dataclass(frozen=True)
class PixelGrid:
    """A grid of pixels without an end, on which the tiles of a map lie."""

    crs: str  # WKT
    is_geographic: bool
    step_x: float  # of a pixel, in the projection's units; rows count southwards
    step_y: float
    phase_x: float  # where column 0 starts, in pixels from the projection's origin
    phase_y: float
    pixel_m: float  # side of a pixel, metres

    def pixels(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Columns and rows of points of the projection."""
        return x / self.step_x - self.phase_x, -y / self.step_y - self.phase_y

    @property
    def period(self) -> int:
        """Pixels around the Earth; 0 where the grid does not close."""
        around = 360.0 / self.step_x if self.is_geographic else 0.5
        return round(around) if abs(around - round(around)) < 0.01 else 0


@dataclass(frozen=True)
class Raster:
    """One file of a map, opened once to see what it is."""

    href: str
    grid: PixelGrid | None  # None where the file's pixels are turned
    left: int  # its place in the grid, pixels
    top: int
    width: int
    height: int
    block: tuple[int, int]  # rows, columns
    dtype: str
    nodata: float | None
    overview: int | None  # level of the overview that is read, None: full resolution

    def read(
        self,
        source: Any,
        top: int,
        left: int,
        height: int,
        width: int,
        memory: npt.NDArray[Any] | None = None,
    ) -> npt.NDArray[Any]:
        """Numbers of a window, counted in the grid, from the dataset that `open` gave; it must lie in the raster.

        They are put into *memory* where that is given, of the raster's type and at least as many numbers.
        """
        from rasterio.windows import Window

        out = None if memory is None else memory[: height * width].reshape(height, width)
        window = Window(left - self.left, top - self.top, width, height)
        numbers: npt.NDArray[Any] = source.read(1, window=window, out=out)
        return numbers

    @contextmanager
    def open(self) -> Iterator[Any]:
        """The dataset at the resolution that is read.

        Raises:
            InputError: it cannot be opened, or cannot be read within the block.
        """
        with opened(self.href, "Land-cover map") as source:
            if self.overview is None:
                yield source
                return
            import rasterio

            with rasterio.open(source.name, overview_level=self.overview) as coarse:
                yield coarse


def look(tile: Tile, resolution_m: float | None = None) -> Raster | None:
    """What the file of *tile* is; None where it is optional and does not exist.

    Args:
        tile: the tile.
        resolution_m: take the overview whose pixels are nearest to this size; None: full resolution.

    Raises:
        InputError: it cannot be read, has no coordinate reference system, or lies elsewhere than its name says.
    """
    try:
        return _look(tile, resolution_m)
    except InputError as error:
        if tile.optional and any(sign in error.why for sign in _ABSENT):
            return None
        raise


def _look(tile: Tile, resolution_m: float | None) -> Raster:
    with opened(tile.href, "Land-cover map") as source:
        crs = source.crs
        if crs is None:
            raise no_crs(tile.href)
        _check_place(tile, source)
        wkt, unit_m = crs.to_wkt(), _M_PER_DEG if crs.is_geographic else float(crs.linear_units_factor[1])
        affine = source.transform
        pixel_m = max(abs(affine.a), abs(affine.e)) * unit_m
        level = _level(source.overviews(1), pixel_m, resolution_m)
        factor = 1.0 if level is None else float(source.overviews(1)[level])
        full = source.width, source.height
    found = Raster(tile.href, None, 0, 0, *full, (1, 1), "", None, level)
    with found.open() as source:
        width, height, block = source.width, source.height, source.block_shapes[0]
        dtype, nodata, is_geographic = source.dtypes[0], source.nodata, bool(crs.is_geographic)
    grid, left, top = None, 0, 0
    if affine.b == affine.d == 0 and affine.a > 0 > affine.e:
        step_x, step_y = affine.a * full[0] / width, -affine.e * full[1] / height
        x, y = affine.c / step_x, -affine.f / step_y
        left, top = round(x), round(y)
        phase_x, phase_y = (round(p, 6) + 0.0 for p in (x - left, y - top))
        grid = PixelGrid(wkt, is_geographic, step_x, step_y, phase_x, phase_y, pixel_m * factor)
    return Raster(tile.href, grid, left, top, width, height, block, dtype, nodata, level)


def _check_place(tile: Tile, source: Any) -> None:
    """Refuse a tile that is another one than its name says."""
    named = tile.bounds if tile.optional else worldcover_bounds(tile.href)
    if named is None:
        return
    off = max(abs(a - b) for a, b in zip(source.bounds, named, strict=True))
    if not source.crs.is_geographic or off > abs(source.transform.a):
        said = ", ".join(f"{side:g}" for side in source.bounds)
        raise InputError(
            f"Land-cover map {unsigned(tile.href)} is not the tile that its name says",
            f"it covers {said}, its name says {', '.join(f'{side:g}' for side in named)}",
            "Fetch it again",
        )


def _level(factors: list[int], pixel_m: float, resolution_m: float | None) -> int | None:
    """The overview nearest in size to *resolution_m* by ratio; None for full resolution."""
    if resolution_m is None:
        return None
    sizes = pixel_m * np.array([1, *factors])
    nearest = int(np.argmin(np.abs(np.log(sizes / resolution_m))))
    return None if nearest == 0 else nearest - 1


def same_grid(first: PixelGrid, second: PixelGrid) -> bool:
    """Whether two tiles lie on one grid, to a hundredth of a pixel around the Earth."""

    def near(a: float, b: float) -> bool:
        return abs((a - b + 0.5) % 1.0 - 0.5) < 0.01

    return (
        first.crs == second.crs
        and abs(first.step_x / second.step_x - 1) < 1e-9
        and abs(first.step_y / second.step_y - 1) < 1e-9
        and near(first.phase_x, second.phase_x)
        and near(first.phase_y, second.phase_y)
    )


@dataclass(frozen=True)
class Classes:
    """The classes of a raster's numbers: position in the legend, `unmapped` after the last, or `STRANGE`."""

    numbers: Ints  # sorted
    positions: Bytes
    unmapped: int

    @classmethod
    def of(cls, legend: Legend, nodata: float | None) -> Classes:
        """A file's own *nodata* comes before the legend."""
        positions = dict.fromkeys(legend.nodata, len(legend.codes)) | legend.numbers
        if nodata is not None and np.isfinite(nodata) and nodata == round(nodata):
            positions[round(nodata)] = len(legend.codes)
        numbers = np.array(sorted(positions), np.int64)
        return cls(numbers, np.array([positions[n] for n in numbers.tolist()], np.uint8), len(legend.codes))

    def table(self) -> Bytes:
        """Class of each number from 0 to 255."""
        table = np.full(256, STRANGE, np.uint8)
        small = (self.numbers >= 0) & (self.numbers < 256)
        table[self.numbers[small]] = self.positions[small]
        return table

    def of_numbers(self, values: npt.NDArray[Any]) -> Bytes:
        """Class of each number; not-a-number is unmapped."""
        if values.dtype == np.uint8:
            return np.asarray(self.table()[values], np.uint8)
        at = np.searchsorted(self.numbers, values).clip(max=len(self.numbers) - 1)
        found = np.where(self.numbers[at] == values, self.positions[at], np.uint8(STRANGE)).astype(np.uint8)
        if values.dtype.kind == "f":
            found[np.isnan(values)] = self.unmapped
        return found


def no_crs(href: str) -> InputError:
    """The error of a map that does not say where it lies."""
    said = f"Land-cover map {unsigned(href)} has no coordinate reference system"
    return InputError(said, do="Set one: gdal_edit.py -a_srs EPSG:4326")


def strange_numbers(href: str, numbers: npt.NDArray[Any]) -> InputError:
    """The error of a map that holds what its legend does not name."""
    said = ", ".join(f"{number:g}" for number in numbers[:8].tolist())
    return InputError(
        f"Land-cover map {unsigned(href)} has codes that its legend does not name",
        said + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""),
        "Give a complete legend (--landcover-legend NAME or CSV), with an empty name for what means no data, "
        "or set the file's nodata: gdal_edit.py -a_nodata",
    )
