"""How many pixels of each class every chip holds: one pass over the blocks of a map that chips lie in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.chips import ChipPlaces
from curate.descriptors.thematic.mesh import Mesh, mesh_of
from curate.descriptors.thematic.rasters import STRANGE, Bytes, Classes, PixelGrid, Raster, strange_numbers
from curate.descriptors.thematic.runs import add_pixels
from curate.grid import Ints
from curate.legends import Legend
from curate.running import running

_UNIT = 1024  # pixels along a side of what is counted at once: whole blocks of a file where they are smaller
_LARGEST_UNIT = 4096
_BYTES = np.arange(256, dtype=np.uint8)


@dataclass(frozen=True)
class Window:
    """Pixels (parts of them, where a mesh divides them) that chips lie in; ends are not part of it."""

    first_row: int
    last_row: int
    first_col: int
    last_col: int
    cells: tuple[slice, slice]  # rows and columns of the mesh around its cells


def counted(places: ChipPlaces, rasters: list[Raster], legend: Legend) -> tuple[Ints, Ints] | None:
    """Pixels of each class in each chip, and all its pixels, of tiles on one grid.

    A pixel counts for the chip that holds its centre; pixels larger than 1/40 of a chip are divided. Where tiles
    overlap, the first that says something counts. Chips get the same numbers whatever chips are asked for with them.

    Returns:
        Arrays of shapes (chips, classes) and (chips,); None where the chips are no mesh in the map.

    Raises:
        InputError: a tile is broken, or has a number that the legend does not know inside a chip.
    """
    grid = rasters[0].grid
    mesh = mesh_of(places, grid) if grid is not None else None
    if grid is None or mesh is None:
        return None
    classes = len(legend.codes)
    counts = np.zeros((len(places), classes + 1), np.int64)
    boxes = mesh.boxes()
    placed = _placed(rasters, grid, mesh.parts, boxes)
    inside = np.zeros((len(placed), len(boxes[0])), bool)
    for number, tile in enumerate(placed):
        inside[number] = _inside(tile, boxes)
        overlapping = [other for other in placed[:number] if _overlap(tile, other)]
        _count_tile(tile, overlapping, mesh, boxes, legend, counts)
    # cells that lie in one tile alone were counted whole; the others' pixels are counted without a map
    touched = (
        np.stack([_touches(tile, boxes) for tile in placed]).sum(0) if placed else np.zeros(len(boxes[0]))
    )
    loose = ~((touched == 1) & inside.any(0)) if placed else np.ones(len(boxes[0]), bool)
    chip = mesh.chip.ravel()[boxes[0]]
    again = np.isin(chip, chip[loose])
    every = np.zeros((len(places), 1), np.int64)
    for window in _windows(mesh, tuple(side[again] for side in boxes), (0, 0), None, (_UNIT, _UNIT)):
        blank = np.zeros((window.last_row - window.first_row, window.last_col - window.first_col), np.uint8)
        _add(blank, mesh, window, _BYTES, every)
    return counts[:, :-1], np.where(np.isin(np.arange(len(places)), chip[again]), every[:, 0], counts.sum(1))


@dataclass(frozen=True)
class _Placed:
    """A raster and where it lies: parts of pixels of the mesh's grid, ends not part of it."""

    raster: Raster
    shift: int  # pixels added to the raster's columns: around the Earth
    parts: int
    top: int
    bottom: int
    left: int
    right: int


_Boxes = tuple[Ints, Ints, Ints, Ints, Ints]


def _placed(rasters: list[Raster], grid: PixelGrid, parts: int, boxes: _Boxes) -> list[_Placed]:
    """The rasters where chips lie, once for each turn around the Earth that brings them there."""
    first, last = int(boxes[3].min()), int(boxes[4].max()) + 1
    found = []
    for raster in rasters:
        for shift in {0, grid.period, -grid.period}:
            left, top = (raster.left + shift) * parts, raster.top * parts
            right, bottom = left + raster.width * parts, top + raster.height * parts
            if left < last and right > first:
                found.append(_Placed(raster, shift, parts, top, bottom, left, right))
    return found


def _inside(tile: _Placed, boxes: _Boxes) -> npt.NDArray[np.bool_]:
    _, top, bottom, left, right = boxes
    return (top >= tile.top) & (bottom < tile.bottom) & (left >= tile.left) & (right < tile.right)


def _touches(tile: _Placed, boxes: _Boxes) -> npt.NDArray[np.bool_]:
    _, top, bottom, left, right = boxes
    return (bottom >= tile.top) & (top < tile.bottom) & (right >= tile.left) & (left < tile.right)


def _overlap(a: _Placed, b: _Placed) -> bool:
    return a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom


def _count_tile(
    tile: _Placed, before: list[_Placed], mesh: Mesh, boxes: _Boxes, legend: Legend, counts: Ints
) -> None:
    """Add the pixels of one tile to *counts*; what the tiles *before* it say is left to them."""
    touched = _touches(tile, boxes)
    if not touched.any():
        return
    limits = (tile.top, tile.bottom, tile.left, tile.right)
    unit = (_unit(tile.raster.block[0] * tile.parts), _unit(tile.raster.block[1] * tile.parts))
    classes = Classes.of(legend, tile.raster.nodata)
    plain = classes.table()
    told = np.where(classes.unmapped >= _BYTES, _BYTES, np.uint8(STRANGE))  # where values are classes
    # used again for each window: new memory is zeroed by the kernel, which takes as long as decoding into it
    memory = np.empty((unit[0] // tile.parts + 2) * (unit[1] // tile.parts + 2), tile.raster.dtype)
    with ExitStack() as stack:
        source = stack.enter_context(tile.raster.open())
        earlier = [
            (other, stack.enter_context(other.raster.open()), Classes.of(legend, other.raster.nodata))
            for other in before
        ]
        for window in _windows(
            mesh, tuple(side[touched] for side in boxes), (tile.top, tile.left), limits, unit
        ):
            numbers = _read(tile, source, window, memory)
            values, table = numbers, plain
            if earlier or numbers.dtype != np.uint8:
                values, table = classes.of_numbers(numbers), told
                for other, other_source, other_classes in earlier:
                    _leave(values, window, other, other_source, other_classes)
            strange = _add(values, mesh, window, table, counts)
            if len(strange):
                raise strange_numbers(tile.raster.href, np.unique(numbers[np.isin(values, strange)]))


def _unit(block: int) -> int:
    """Side of what is counted at once, in parts of pixels: so many whole blocks as come near to `_UNIT`."""
    return block * max(1, _UNIT // block) if block <= _LARGEST_UNIT else _UNIT


def _windows(
    mesh: Mesh,
    boxes: tuple[Ints, ...],
    origin: tuple[int, int],
    limits: tuple[int, int, int, int] | None,
    unit: tuple[int, int],
) -> Iterator[Window]:
    """Squares of *unit* from *origin* on that cells lie in, each cut to its cells and to *limits*."""
    cell, top, bottom, left, right = boxes
    if not len(cell):
        return
    if limits is not None:
        top, bottom = np.maximum(top, limits[0]), np.minimum(bottom, limits[1] - 1)
        left, right = np.maximum(left, limits[2]), np.minimum(right, limits[3] - 1)
    first_row, last_row = (top - origin[0]) // unit[0], (bottom - origin[0]) // unit[0]
    first_col, last_col = (left - origin[1]) // unit[1], (right - origin[1]) // unit[1]
    tall, wide = last_row - first_row + 1, last_col - first_col + 1
    number = tall * wide
    box = np.repeat(np.arange(len(cell)), number)
    k = running(number)
    row, col = first_row[box] + k // wide[box], first_col[box] + k % wide[box]
    order = np.lexsort((col, row))
    row, col, box = row[order], col[order], box[order]
    group = np.flatnonzero(np.diff(row, prepend=-1) | np.diff(col, prepend=-1))
    north, west = origin[0] + row[group] * unit[0], origin[1] + col[group] * unit[1]
    j, i = np.divmod(cell[box], mesh.chip.shape[1])
    sides = (
        np.maximum(north, np.minimum.reduceat(top[box], group)),
        np.minimum(north + unit[0], np.maximum.reduceat(bottom[box], group) + 1),
        np.maximum(west, np.minimum.reduceat(left[box], group)),
        np.minimum(west + unit[1], np.maximum.reduceat(right[box], group) + 1),
        np.minimum.reduceat(j, group),
        np.maximum.reduceat(j, group) + 1,
        np.minimum.reduceat(i, group),
        np.maximum.reduceat(i, group) + 1,
    )
    for r, last_r, c, last_c, j0, last_j, i0, last_i in np.stack(sides, axis=1).tolist():
        yield Window(r, last_r, c, last_c, (slice(j0, last_j), slice(i0, last_i)))


def _read(
    tile: _Placed, source: Any, window: Window, memory: npt.NDArray[Any] | None = None
) -> npt.NDArray[Any]:
    """The raster's numbers in a window, pixels repeated where the mesh divides them."""
    parts = tile.parts
    top, bottom = window.first_row // parts, -(-window.last_row // parts)
    left, right = window.first_col // parts, -(-window.last_col // parts)
    values = tile.raster.read(source, top, left - tile.shift, bottom - top, right - left, memory)
    if parts == 1:
        return values
    rows = np.arange(window.first_row, window.last_row) // parts - top
    cols = np.arange(window.first_col, window.last_col) // parts - left
    return np.ascontiguousarray(values[rows][:, cols])


def _leave(values: Bytes, window: Window, other: _Placed, source: Any, classes: Classes) -> None:
    """Make those of *values* unmapped about which another tile says something."""
    first_row, last_row = max(window.first_row, other.top), min(window.last_row, other.bottom)
    first_col, last_col = max(window.first_col, other.left), min(window.last_col, other.right)
    if first_row >= last_row or first_col >= last_col:
        return
    common = Window(first_row, last_row, first_col, last_col, window.cells)
    said = classes.of_numbers(_read(other, source, common)) < classes.unmapped
    part = values[
        first_row - window.first_row : last_row - window.first_row,
        first_col - window.first_col : last_col - window.first_col,
    ]
    part[said] = classes.unmapped


def _add(values: Bytes, mesh: Mesh, window: Window, table: Bytes, counts: Ints) -> npt.NDArray[np.intp]:
    """Add the pixels of a window to their chips; gives the values in chips to which *table* gives no class."""
    strange = np.zeros(256, np.uint8)
    row, col, chip = mesh.part(*window.cells)
    corner = (window.first_row, window.first_col)
    add_pixels(np.ascontiguousarray(values), *corner, row, col, chip, table, counts, strange)
    return np.flatnonzero(strange)
