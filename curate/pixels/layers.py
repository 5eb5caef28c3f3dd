"""One band of one scene, held open while chips are cut from it: every block is read once, ahead of its use.

Chips come in batches whose order is known beforehand. So it is known which batch is the first to need a block and which
the last: `load` reads the blocks that a batch is the first to need – neighbours in one request – and `take` drops those
that no later batch needs. What is held in memory at a time is the front between chips that are cut and those that
are not.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.errors import RasterioError
from rasterio.windows import Window

from curate.catalog.errors import InputError
from curate.compiled import compiled
from curate.gdal import opened
from curate.pixels.resampling import Held, Singles, Taps, resample, resample_and_store, taps
from curate.pixels.storing import Storing, store
from curate.pixels.tiles import Squares, Tiles, put
from curate.pixels.windows import ChipGrid, aligned, warped
from curate.signing import hide

Ints = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
Failures = dict[int, str]  # position of a chip -> why it could not be read
UNIT_PX = 256  # smaller blocks, and strips, are read in groups of at least so many rows and columns
_AHEAD = 2  # batches that are usually read before the one that is taken
LARGEST_RUN = 64  # units asked for at once where a request takes its time
GIVE_UP_S = 60.0  # of reads that failed; what is left of a band then counts as unreadable too
_NOWHERE = -(2**40)  # where no raster reaches
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
        numbers, first = np.unique(batch, return_index=True)
        ends = [*first[1:].tolist(), len(batch)]
        self._chips = {
            k: slice(start, stop)
            for k, start, stop in zip(numbers.tolist(), first.tolist(), ends, strict=True)
        }
        self._to_load = len(numbers)
        self._lock = Lock()  # GDAL allows one thread at a time in a dataset
        self._open = ExitStack()
        self._source: Any = None
        self._tiles: Tiles | None = None
        self._broken: str | None = None  # why nothing of the band can be read
        self._failing_s = 0.0
        self._free: deque[int] = deque()  # places that hold no chip's window
        self._failed: dict[tuple[int, int], str] = {}
        self._warped: dict[int, Singles] = {}  # by position
        self._unwarped: Failures = {}

    def load(self, number: int) -> None:
        """Read what batch *number* is the first to need; other batches may be loaded and taken at the same time."""
        with self._lock:
            if self._source is None and self._broken is None:
                self._prepare()
            if self._broken is None:
                self._read_units(self._units_of(self._first, number))
                self._warp(number)
            self._to_load -= 1
            if not self._to_load:  # the batches may come out of order
                self.close()

    def take(self, number: int) -> tuple[Singles, Failures]:
        """The chips of batch *number* that `load` has read, NaN where no data is; and which could not be read.

        Returns:
            (chips, size_px, size_px); positions of failures count the batch's chips.
        """
        chips, size = self._chips[number], self.grid.size_px
        count = chips.stop - chips.start
        if self._broken is not None:
            nothing = np.full((count, size, size), np.nan, np.float32)
            return nothing, dict.fromkeys(range(count), self._broken)
        values = np.empty((count, size, size), np.float32)
        whole = self._whole[chips]
        into = values if whole.all() else np.full((int(whole.sum()), size, size), np.nan, np.float32)
        if len(into):
            resample(self._windows(chips, whole), self._taps.weights, into)
        if into is not values:
            values[whole] = into
        for i in np.flatnonzero(~whole).tolist():
            values[i] = self._warped.pop(chips.start + i, np.float32(np.nan))
        return values, self._let_go(chips)

    def store(
        self, number: int, how: Storing, rows: Ints, band: int, out: npt.NDArray[Any], data: Booleans
    ) -> Failures:
        """Put the chips of batch *number*, as stored integers, into *rows* of *out*, as one of its bands.

        Args:
            out: (chips, bands, size_px, size_px).
            data: booleans, (chips, size_px, size_px); becomes False where no data is.
        """
        chips = self._chips[number]
        if self._broken is not None:
            out[rows, band], data[rows] = how.nodata, False
            return dict.fromkeys(range(len(rows)), self._broken)
        whole = self._whole[chips]
        if whole.any():
            windows = self._windows(chips, whole)
            resample_and_store(windows, self._taps.weights, how, rows[whole], band, out, data)
        for i in np.flatnonzero(~whole).tolist():
            chip = self._warped.pop(chips.start + i, None)
            if chip is None:
                chip = np.full((self.grid.size_px,) * 2, np.nan, np.float32)
            store(chip, how, out[rows[i], band], data[rows[i]])
        return self._let_go(chips)

    def _windows(self, chips: slice, some: Booleans) -> Held:
        """The windows of some of the *chips*, as far as they could be read."""
        nodata = np.float32(np.nan if self.nodata is None else self.nodata)
        place = np.where(self._gap[chips] < 0, self._place[chips], -1)[some]
        return Held(self._held, place, self._top[chips][some], self._left[chips][some], *self._shape, nodata)

    def _let_go(self, chips: slice) -> Failures:
        """Give the room of chips to others; which of them could not be read."""
        held = self._place[chips]
        self._free.extend(held[held >= 0].tolist())
        self._place[chips] = -1
        gap, found = self._gap[chips], Failures()
        for i in np.flatnonzero(gap >= 0).tolist():
            y, x = divmod(int(gap[i]), self._count[1])
            found[i] = self._failed[y, x]
        if self._unwarped:
            every = range(chips.start, chips.stop)
            found |= {i: self._unwarped.pop(chip) for i, chip in enumerate(every) if chip in self._unwarped}
        return found

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
        if self._unit == (height, width) and (tiles := Tiles.of(source, read.href)) is not None:
            self._tiles = tiles
            self._open.callback(tiles.close)
        self._count = tuple(-(-side // unit) for side, unit in zip(self._shape, self._unit, strict=True))
        self._needs()

    def _why(self, error: Exception) -> str:
        if isinstance(error, InputError):
            return str(error)
        return f"Band {self.reading.href} is broken: {hide(' '.join(str(error).split()))}"

    def _needs(self) -> None:
        """The first batch that needs each unit; no room for any chip yet."""
        count = len(self.batch)
        self._first = np.full(self._count, np.iinfo(np.int64).max)
        self._top, self._left = (
            np.where(self._whole, at - self._taps.margin, _NOWHERE) for at in (self._at.row, self._at.col)
        )
        self._place, self._gap = np.full(count, -1), np.full(count, -1)
        begin = self.batch.copy()
        some = np.flatnonzero(self._whole)
        if len(some):
            spans = *self._spans(self._at.row[some], 0), *self._spans(self._at.col[some], 1)
            begin[some] = _mark(*spans, self.batch[some], self._first)
        kind, length = self._source.dtypes[0], self._taps.length
        self._held = np.empty((self._most_at_once(begin[some], self.batch[some]), length, length), kind)
        self._free.extend(range(len(self._held)))

    def _most_at_once(self, begin: Ints, batch: Ints) -> int:
        """Chips whose windows are held at a time where batches are read shortly before they are taken."""
        if not len(batch):
            return 0
        begin, end = np.maximum(begin - _AHEAD, 0), batch + 1
        return int(np.cumsum(np.bincount(begin, minlength=end.max() + 1) - np.bincount(end)).max())

    def _spans(self, start: Ints, axis: int) -> tuple[Ints, Ints]:
        """First and one past the last unit under each chip's window, within the raster."""
        low, high = start - self._taps.margin, start + self._at.size + self._taps.margin
        low, high = np.clip(low, 0, self._shape[axis]), np.clip(high, 0, self._shape[axis])
        return low // self._unit[axis], np.where(high > low, -(-high // self._unit[axis]), 0)

    def _units_of(self, batch: Ints, number: int) -> list[tuple[int, int]]:
        return [(int(y), int(x)) for y, x in np.argwhere(batch == number)]

    def _read_units(self, units: list[tuple[int, int]]) -> None:
        for top, bottom, left, right in runs(units, self._most):
            inside = [(y, x) for y in range(top, bottom) for x in range(left, right)]
            try:
                self._read_run(top, bottom, left, right)
            except FAILED as error:
                if len(inside) == 1:
                    self._miss(*inside[0], self._why(error))
                    continue
                for y, x in inside:  # which of them is broken?
                    self._read_alone(y, x, self._why(error))

    def _read_alone(self, y: int, x: int, otherwise: str) -> None:
        if self._failing_s > GIVE_UP_S:
            self._miss(y, x, otherwise)
            return
        started = time.monotonic()
        try:
            self._read_run(y, y + 1, x, x + 1)
        except FAILED as error:
            self._miss(y, x, self._why(error))
            self._failing_s += time.monotonic() - started

    def _miss(self, y: int, x: int, why: str) -> None:
        """Note that a unit cannot be read, and with it the chips on it."""
        self._failed[y, x] = why
        height, width = self._unit
        window = self._taps.length, y * height, x * width, height, width
        self._gap[_under(self._top, self._left, *window)] = y * self._count[1] + x

    def _read_run(self, top: int, bottom: int, left: int, right: int) -> None:
        """Read neighbouring units at once, so that GDAL asks for all of their bytes in one go."""
        (height, width), whole = self._unit, self._shape
        at = top * height, left * width
        size = min(bottom * height, whole[0]) - at[0], min(right * width, whole[1]) - at[1]
        self.decoded += (bottom - top) * (right - left)
        if self._tiles is not None and (bottom - top) * (right - left) == 1:
            block = self._tiles.inflated(top, left)
            if block is not None:
                self._tiles.put(block, at, size, self._under(at, size))
                return
        values = self._source.read(1, window=Window(at[1], at[0], size[1], size[0]))
        put(values, at, self._under(at, size))

    def _under(self, at: tuple[int, int], size: tuple[int, int]) -> Squares:
        """The windows of all chips on a rectangle that was read."""
        chips = _under(self._top, self._left, self._taps.length, *at, *size)
        for chip in chips[self._place[chips] < 0].tolist():
            self._place[chip] = self._room()
        return Squares(self._top[chips], self._left[chips], self._place[chips], self._held)

    def _room(self) -> int:
        """A place for one more chip's window; where there is none their number is doubled."""
        if not self._free:
            before = len(self._held)
            more = np.empty((2 * before + 1, *self._held.shape[1:]), self._held.dtype)
            more[:before] = self._held
            self._held = more  # who still looks at the old places finds in them what was there
            self._free.extend(range(before, len(more)))
        return self._free.pop()  # the one that was let go last is still in the cache

    def _warp(self, number: int) -> None:
        """Warp the batch's chips that do not lie on the band's grid."""
        chips = self._chips[number]
        for chip in (chips.start + np.flatnonzero(~self._whole[chips])).tolist():
            one = self.grid.take(np.array([chip]))
            try:
                self._warped[chip] = warped(
                    self._source, one, self.nodata, self.reading.resampling, self.reading.power
                )[0]
            except FAILED as error:
                self._unwarped[chip] = self._why(error)


@compiled
def _mark(top: Any, bottom: Any, left: Any, right: Any, batch: Any, first: Any) -> Any:
    """Note for each unit under some chip the first batch that needs it; the first that reads some of each chip."""
    for i in range(len(batch)):
        for y in range(top[i], bottom[i]):
            for x in range(left[i], right[i]):
                first[y, x] = min(first[y, x], batch[i])
    begin = batch.copy()
    for i in range(len(batch)):
        for y in range(top[i], bottom[i]):
            for x in range(left[i], right[i]):
                begin[i] = min(begin[i], first[y, x])
    return begin


@compiled
def _under(top: Any, left: Any, length: int, y: int, x: int, height: int, width: int) -> Any:
    """Chips whose windows have pixels in a rectangle."""
    found = np.empty(len(top), np.int64)
    count = 0
    for i in range(len(top)):
        below, beside = top[i] < y + height, left[i] < x + width
        found[count] = i
        count += int(below & beside & (top[i] + length > y) & (left[i] + length > x))
    return found[:count].copy()


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
