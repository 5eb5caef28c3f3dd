"""The inner loop of counting: which pixels of a map lie in which chip, and how many of each class.

Along a row of a map's pixels a chip is a run between two lines of the mesh. From row to row runs hardly move, so that
strips of some rows are nearly rectangles: in these all pixels are compared with one number after the other, many in one
instruction, until each is found. What lies beside them, along the lines, is looked up pixel by pixel.
"""

from __future__ import annotations

import math

import numpy as np

from curate.compiled import compiled
from curate.descriptors.thematic.rasters import STRANGE, Bytes
from curate.grid import Floats, Ints

_STRIP = 8  # rows; at most 255, the most that a byte counts


@compiled
def add_pixels(
    values: Bytes,
    first_row: int,
    first_col: int,
    row: Floats,
    col: Floats,
    chip: Ints,
    table: Bytes,
    counts: Ints,
    strange: Bytes,
) -> None:
    """Add the pixels of a window to *counts*; a pixel belongs to the cell of the mesh that holds its centre.

    Args:
        values: pixels of the window, shape (rows, columns).
        first_row: where the window begins in the mesh's pixels.
        first_col: as *first_row*.
        row: of the mesh's corners, shape (cells down + 1, cells across + 1).
        col: as *row*.
        chip: of each cell, -1 for none.
        table: shape (256,), class of each value, or `STRANGE`.
        counts: shape (chips, classes).
        strange: shape (256,), set to 1 for values in chips that have no class.
    """
    tall, wide = chip.shape
    end, cell_row = _lines(row, col, first_row, first_col, values.shape)
    numbers = np.flatnonzero(table != STRANGE).astype(np.uint8)  # those found in the last strips come first
    inner = np.zeros((wide, 2), np.int64)  # columns that are in the cell in all rows of a strip
    owner = np.zeros(wide, np.int64)  # the chip they lie in
    for top in range(0, len(values), _STRIP):
        bottom = min(top + _STRIP, len(values))
        for i in range(wide):
            j = cell_row[top, i]
            straight = j == cell_row[top, i + 1] == cell_row[bottom - 1, i] == cell_row[bottom - 1, i + 1]
            owner[i] = chip[j, i] if straight and 0 <= j < tall else -1
            inner[i] = end[top:bottom, i].max(), end[top:bottom, i + 1].min()
            if owner[i] < 0 or inner[i, 0] > inner[i, 1]:
                owner[i], inner[i] = -1, 0
        _add_rectangles(values[top:bottom], inner, owner, table, numbers, counts, strange)
        for r in range(top, bottom):
            for i in range(wide):
                if owner[i] >= 0:
                    _add_run(values[r, end[r, i] : inner[i, 0]], owner[i], table, counts, strange)
                    _add_run(values[r, inner[i, 1] : end[r, i + 1]], owner[i], table, counts, strange)
                    continue
                west, east, turn = cell_row[r, i], cell_row[r, i + 1], end[r, i + 1]
                if west != east:  # the line between two rows of cells crosses this row
                    j = max(west, east)
                    share = (first_row + r + 0.5 - row[j, i]) / (row[j, i + 1] - row[j, i])
                    line = col[j, i] + share * (col[j, i + 1] - col[j, i])
                    turn = min(max(math.ceil(line - 0.5) - first_col, end[r, i]), turn)
                if 0 <= west < tall:
                    _add_run(values[r, end[r, i] : turn], chip[west, i], table, counts, strange)
                if 0 <= east < tall:
                    _add_run(values[r, turn : end[r, i + 1]], chip[east, i], table, counts, strange)


@compiled
def _lines(
    row: Floats, col: Floats, first_row: int, first_col: int, shape: tuple[int, int]
) -> tuple[Ints, Ints]:
    """Where the lines that run north cross the rows of a window of *shape*, lines being straight between corners.

    Returns:
        Arrays of shape (rows, lines): the first column whose centre lies east of the line, and the row of cells
        that the line is in there, -1 and the number of these rows outside.
    """
    tall, (rows, columns) = len(row) - 1, shape
    end = np.zeros((rows, row.shape[1]), np.int64)
    cell_row = np.zeros((rows, row.shape[1]), np.int64)
    for i in range(row.shape[1]):
        r = 0
        for j in range(-1, tall + 1):
            stop = rows
            if j < tall:
                stop = min(max(math.ceil(row[j + 1, i] - 0.5) - first_row, 0), rows)
            piece = min(max(j, 0), tall - 1)
            slope = (col[piece + 1, i] - col[piece, i]) / (row[piece + 1, i] - row[piece, i])
            while r < stop:
                line = col[piece, i] + (first_row + r + 0.5 - row[piece, i]) * slope
                end[r, i] = min(max(math.ceil(line - 0.5) - first_col, 0), columns)
                if i > 0:
                    end[r, i] = max(end[r, i], end[r, i - 1])
                cell_row[r, i] = j
                r += 1
    return end, cell_row


@compiled
def _add_rectangles(
    strip: Bytes, inner: Ints, owner: Ints, table: Bytes, numbers: Bytes, counts: Ints, strange: Bytes
) -> None:
    """Add the columns *inner* of a strip's rows to the chips *owner*; *numbers* found move forward among them."""
    first, last, left = strip.shape[1], 0, 0
    for i in range(len(owner)):
        if owner[i] >= 0:
            first, last = min(first, inner[i, 0]), max(last, inner[i, 1])
            left += (inner[i, 1] - inner[i, 0]) * len(strip)
    for n in range(len(numbers)):
        if left == 0:
            return
        number, found = numbers[n], 0
        equal = np.zeros(last - first, np.uint8)  # how many of a column's pixels
        for pixels in strip:
            some = pixels[first:last]
            for k in range(len(equal)):
                equal[k] += np.uint8(some[k] == number)
        for i in range(len(owner)):
            if owner[i] >= 0:
                here = 0
                for pixels_equal in equal[inner[i, 0] - first : inner[i, 1] - first]:
                    here += pixels_equal
                counts[owner[i], table[number]] += here
                found += here
        left -= found
        if found > 0 and n > 0:
            numbers[n], numbers[n - 1] = numbers[n - 1], number
    if left > 0:
        for i in range(len(owner)):
            for pixels in strip:
                for value in pixels[inner[i, 0] : inner[i, 1]]:
                    strange[value] |= table[value] == STRANGE


@compiled
def _add_run(run: Bytes, owner: int, table: Bytes, counts: Ints, strange: Bytes) -> None:
    """Add pixels of one row to the chip *owner*, if it is one."""
    if owner < 0:
        return
    for value in run:
        if table[value] == STRANGE:
            strange[value] = 1
        else:
            counts[owner, table[value]] += 1
