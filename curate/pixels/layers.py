"""One band of one scene, held open while chips are cut from it: every block is read once, ahead of its use.

Chips come in batches whose order is known beforehand. So it is known which batch is the first to need a block and which
the last: `load` reads the blocks that a batch is the first to need – neighbours in one request – and `take` drops those
that no later batch needs. What is held in memory at a time is the front between chips that are cut and those that
are not.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.errors import RasterioError
from rasterio.windows import Window

from curate.catalog.errors import InputError
from curate.gdal import opened
from curate.pixels.resampling import Singles, Taps, blank, resample, taps
from curate.pixels.windows import ChipGrid, aligned, warped
from curate.signing import hide

Ints = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
Failures = dict[int, str]  # position of a chip -> why it could not be read
UNIT_PX = 256  # smaller blocks, and strips, are read in groups of at least so many rows and columns
LARGEST_RUN = 64  # units asked for at once where a request takes its time
GIVE_UP_S = 60.0  # of reads that failed; what is left of a band then counts as unreadable too
FAILED = (InputError, RasterioError, OSError)


@dataclass(frozen=True)
class Reading:
    """How one band is read: what stands for no data, and how it comes to the chips' grid."""

    href: str
    nodata: float | None  # what the item declares; else the file's own, else *usual*
    usual: float | None
    resampling: str
    power: bool = False  # numbers z are complex and |z|² is wanted


class Layer:
    """One band of one scene on the grid of chips.

    Args:
        grid: the chips.
        batch: number of the batch in which each chip is taken, ascending.
    """

    def __init__(self, reading: Reading, grid: ChipGrid, batch: Ints) -> None:
        self.reading, self.grid, self.batch = reading, grid, batch
        self.decoded = 0  # units read so far
        self._to_load = len(np.unique(batch))
        self._lock = Lock()  # GDAL allows one thread at a time in a dataset
        self._open = ExitStack()
        self._source: Any = None
        self._broken: str | None = None  # why nothing of the band can be read
        self._failing_s = 0.0
        self._units: dict[tuple[int, int], npt.NDArray[Any]] = {}
        self._failed: dict[tuple[int, int], str] = {}
        self._warped: dict[int, Singles] = {}  # by position
        self._unwarped: Failures = {}

    def load(self, number: int) -> None:
        """Read what batch *number* is the first to need; other batches may be loaded and taken at the same time."""
        with self._lock:
            if self._source is None and self._broken is None:
                self._prepare()
            if self._broken is None:
                self._read_units(self._first_needed(number))
                self._warp(number)
            self._to_load -= 1
            if not self._to_load:  # the batches may come out of order
                self.close()

    def take(self, number: int) -> tuple[Singles, Failures]:
        """The chips of batch *number* that `load` has read, NaN where no data is; and which could not be read.

        Returns:
            (chips, size_px, size_px); positions of failures count the batch's chips.
        """
        chips = np.flatnonzero(self.batch == number)
        size = self.grid.size_px
        nothing = np.full((len(chips), size, size), np.nan, np.float32)
        if self._broken is not None:
            return nothing, dict.fromkeys(range(len(chips)), self._broken)
        failed: Failures = {}
        values = resample(self._cut(chips, failed), self._taps) if self._whole.any() else nothing
        for i, chip in enumerate(chips.tolist()):
            if chip in self._unwarped:
                failed[i] = self._unwarped.pop(chip)
            elif chip in self._warped:
                values[i] = self._warped.pop(chip)
        for unit in self._last_needed(number):
            self._units.pop(unit, None)
        return values, failed

    def close(self) -> None:
        """Close the file; what was read stays."""
        self._open.close()

    def _prepare(self) -> None:
        """Open the file and see which of its blocks each chip needs."""
        try:
            source = self._open.enter_context(opened(self.reading.href, "Band"))
            complex_ = source.dtypes[0].startswith("complex")
            if complex_ and not self.reading.power:
                raise InputError(
                    f"Band {self.reading.href} is complex", do="Its item must say so: unit: complex"
                )
        except FAILED as error:
            self._broken = self._why(error)
            return
        self._source, read = source, self.reading
        self._shape = (source.height, source.width)
        self._most = LARGEST_RUN if is_remote(read.href) else 1
        self.nodata = next((v for v in (read.nodata, source.nodata, read.usual) if v is not None), None)
        self._at, self._whole = aligned(source, self.grid)
        if read.power:
            self._whole = np.zeros_like(self._whole)
        self._taps: Taps = taps(max(self._at.size, 1), self.grid.size_px, read.resampling)
        height, width = source.block_shapes[0]
        self._unit = tuple(side * -(-UNIT_PX // side) for side in (height, width))
        self._count = tuple(-(-side // unit) for side, unit in zip(self._shape, self._unit, strict=True))
        self._needs()

    def _why(self, error: Exception) -> str:
        if isinstance(error, InputError):
            return str(error)
        return f"Band {self.reading.href} is broken: {hide(' '.join(str(error).split()))}"

    def _needs(self) -> None:
        """The first and the last batch that needs each unit."""
        rows, cols = self._spans(self._at.row, 0), self._spans(self._at.col, 1)
        first = np.full(self._count, np.iinfo(np.int64).max)
        last = np.full(self._count, -1)
        for i in np.flatnonzero(self._whole).tolist():
            part = np.s_[rows[0][i] : rows[1][i], cols[0][i] : cols[1][i]]
            np.minimum(first[part], self.batch[i], out=first[part])
            np.maximum(last[part], self.batch[i], out=last[part])
        self._first, self._last = first, last

    def _spans(self, start: Ints, axis: int) -> tuple[Ints, Ints]:
        """First and one past the last unit under each chip's window, within the raster."""
        low, high = start - self._taps.margin, start + self._at.size + self._taps.margin
        low, high = np.clip(low, 0, self._shape[axis]), np.clip(high, 0, self._shape[axis])
        return low // self._unit[axis], np.where(high > low, -(-high // self._unit[axis]), 0)

    def _first_needed(self, number: int) -> list[tuple[int, int]]:
        return [(int(y), int(x)) for y, x in np.argwhere(self._first == number)]

    def _last_needed(self, number: int) -> list[tuple[int, int]]:
        return [(int(y), int(x)) for y, x in np.argwhere(self._last == number)]

    def _read_units(self, units: list[tuple[int, int]]) -> None:
        for top, bottom, left, right in runs(units, self._most):
            inside = [(y, x) for y in range(top, bottom) for x in range(left, right)]
            try:
                self._read_run(top, bottom, left, right)
            except FAILED as error:
                if len(inside) == 1:
                    self._failed[inside[0]] = self._why(error)
                    continue
                for y, x in inside:  # which of them is broken?
                    self._read_alone(y, x, self._why(error))

    def _read_alone(self, y: int, x: int, otherwise: str) -> None:
        if self._failing_s > GIVE_UP_S:
            self._failed[y, x] = otherwise
            return
        started = time.monotonic()
        try:
            self._read_run(y, y + 1, x, x + 1)
        except FAILED as error:
            self._failed[y, x] = self._why(error)
            self._failing_s += time.monotonic() - started

    def _read_run(self, top: int, bottom: int, left: int, right: int) -> None:
        """Read neighbouring units at once, so that GDAL asks for all of their bytes in one go."""
        height, width = self._unit
        window = Window.from_slices(
            (top * height, min(bottom * height, self._shape[0])),
            (left * width, min(right * width, self._shape[1])),
        )
        values = self._source.read(1, window=window)
        self.decoded += (bottom - top) * (right - left)
        for y in range(top, bottom):
            for x in range(left, right):
                part = values[
                    (y - top) * height : (y - top + 1) * height, (x - left) * width : (x - left + 1) * width
                ]
                self._units[y, x] = part if values.shape == part.shape else part.copy()

    def _warp(self, number: int) -> None:
        """Warp the batch's chips that do not lie on the band's grid."""
        for chip in np.flatnonzero((self.batch == number) & ~self._whole).tolist():
            one = self.grid.take(np.array([chip]))
            try:
                self._warped[chip] = warped(
                    self._source, one, self.nodata, self.reading.resampling, self.reading.power
                )[0]
            except FAILED as error:
                self._unwarped[chip] = self._why(error)

    def _cut(self, chips: Ints, failed: Failures) -> Singles:
        """Windows of *chips*, with the margin that interpolation needs, out of the units."""
        margin, length = self._taps.margin, self._taps.length
        windows = np.full((len(chips), length, length), np.nan, np.float32)
        height, width = self._unit
        rows, cols = self._spans(self._at.row, 0), self._spans(self._at.col, 1)
        for i, chip in enumerate(chips.tolist()):
            if not self._whole[chip]:
                continue
            top, left = int(self._at.row[chip]) - margin, int(self._at.col[chip]) - margin
            for y in range(rows[0][chip], rows[1][chip]):
                for x in range(cols[0][chip], cols[1][chip]):
                    unit = self._units.get((y, x))
                    if unit is None:
                        failed[i] = self._failed.get((y, x), "block not read")
                        continue
                    y0, x0 = y * height - top, x * width - left  # the unit's corner in the window
                    part = unit[max(0, -y0) : length - y0, max(0, -x0) : length - x0]
                    at_y, at_x = max(0, y0), max(0, x0)
                    windows[i, at_y : at_y + part.shape[0], at_x : at_x + part.shape[1]] = part
        if self.nodata is not None and not np.isnan(self.nodata):
            blank(windows, np.float32(self.nodata))
        return windows


def is_remote(href: str) -> bool:
    """Whether a read of *href* is a request to a server."""
    return "://" in href or href.startswith("/vsi")


def runs(units: list[tuple[int, int]], most: int) -> list[tuple[int, int, int, int]]:
    """Rectangles (top, bottom, left, right) of at most *most* units that cover *units*, each once."""
    rows: list[tuple[int, int, int, int]] = []  # neighbours in a row
    for y, x in sorted(units):
        if rows and rows[-1][0] == y and rows[-1][3] == x and x < rows[-1][2] + most:
            rows[-1] = (*rows[-1][:3], x + 1)
        else:
            rows.append((y, y + 1, x, x + 1))
    found: list[tuple[int, int, int, int]] = []
    growing: dict[
        tuple[int, int, int], int
    ] = {}  # bottom, left, right -> position of the rectangle that ends there
    for top, bottom, left, right in rows:
        at = growing.pop((top, left, right), None)
        if at is not None and (bottom - found[at][0]) * (right - left) <= most:
            found[at] = (found[at][0], bottom, left, right)
        else:
            at = len(found)
            found.append((top, bottom, left, right))
        growing[bottom, left, right] = at
    return found
