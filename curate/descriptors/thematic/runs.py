"""The inner loop of counting: which pixels of a map lie in which chip, and how many of each class.

Along a row of a map's pixels a cell of the mesh is a run between two of its lines. From row to row runs hardly move, so
that a cell is nearly a rectangle: in it all pixels are compared with one number after the other, many in one
instruction, until each is found. What lies beside the rectangle, along the lines, is looked up pixel by pixel.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from curate.compiled import compiled
from curate.descriptors.thematic.rasters import STRANGE, Bytes
from curate.grid import Floats, Ints

_TALL = (
    64  # rows of a rectangle: shorter ones leave less beside them; at most 252, the most that a byte counts
)
_WIDE = 64  # columns compared are made a multiple of it, so that none is left to be compared alone


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
    start = _first_rows(row, first_row, len(values))
    slope = (col[1:] - col[:-1]) / (row[1:] - row[:-1])
    lines = _Lines(row, col, slope, first_row, first_col, values.shape[1])
    numbers = np.flatnonzero(table != STRANGE).astype(
        np.uint8
    )  # those found in the last rectangles come first
    equal = np.zeros(values.shape[1], np.uint8)
    for j in range(tall + 1):
        for i in range(wide):
            here = chip[j, i] if j < tall else -1
            above = chip[j - 1, i] if j > 0 else -1
            top = max(start[j, i], start[j, i + 1])
            if here >= 0 or above >= 0:
                for r in range(
                    min(start[j, i], start[j, i + 1]), top
                ):  # the line between the two crosses them
                    left, right = (
                        _west(lines, j - (start[j, i] > r), i, r),
                        _west(lines, j - (start[j, i + 1] > r), i + 1, r),
                    )
                    turn = min(max(_south(lines, j, i, r), left), right)
                    west, east = (here, above) if start[j, i] <= r else (above, here)
                    _add_run(values[r], left, turn, west, table, counts, strange)
                    _add_run(values[r], turn, right, east, table, counts, strange)
            stop = min(start[j + 1, i], start[j + 1, i + 1]) if here >= 0 else top
            while top < stop:
                bottom = min(top + _TALL, stop)
                left_top, left_bottom = _west(lines, j, i, top), _west(lines, j, i, bottom - 1)
                right_top, right_bottom = _west(lines, j, i + 1, top), _west(lines, j, i + 1, bottom - 1)
                left, right = max(left_top, left_bottom), min(right_top, right_bottom)
                if left >= right:
                    for r in range(top, bottom):
                        first, last = _west(lines, j, i, r), _west(lines, j, i + 1, r)
                        _add_run(values[r], first, last, here, table, counts, strange)
                    top = bottom
                    continue
                _add_rectangle(values[top:bottom], left, right, here, table, numbers, equal, counts, strange)
                if left_top != left_bottom:
                    for r in range(top, bottom):
                        _add_run(values[r], _west(lines, j, i, r), left, here, table, counts, strange)
                if right_top != right_bottom:
                    for r in range(top, bottom):
                        _add_run(values[r], right, _west(lines, j, i + 1, r), here, table, counts, strange)
                top = bottom


class _Lines(NamedTuple):
    """The lines of a mesh, straight between its corners, in a window of a map."""

    row: Floats
    col: Floats
    slope: Floats  # columns a row, of the pieces that run north
    first_row: int
    first_col: int
    columns: int


@compiled
def _first_rows(row: Floats, first_row: int, rows: int) -> Ints:
    """The first row of a window whose centre lies south of each corner of the mesh; *rows* where none does."""
    start = np.zeros(row.shape, np.int64)
    for j in range(row.shape[0]):
        for i in range(row.shape[1]):
            start[j, i] = min(max(math.ceil(row[j, i] - 0.5) - first_row, 0), rows)
    return start


@compiled
def _west(lines: _Lines, j: int, i: int, r: int) -> int:
    """First column whose centre in row *r* lies east of line *i* along the row *j* of cells, or its continuation."""
    j = min(max(j, 0), len(lines.slope) - 1)
    down = lines.first_row + r + 0.5 - lines.row[j, i]
    return _inside(lines, lines.col[j, i] + down * lines.slope[j, i])


@compiled
def _south(lines: _Lines, j: int, i: int, r: int) -> int:
    """First column whose centre in row *r* lies east of the line between rows of cells *j* - 1 and *j*."""
    row, col = lines.row, lines.col
    share = (lines.first_row + r + 0.5 - row[j, i]) / (row[j, i + 1] - row[j, i])
    return _inside(lines, col[j, i] + share * (col[j, i + 1] - col[j, i]))


@compiled
def _inside(lines: _Lines, line: float) -> int:
    """First column of the window whose centre lies east of *line*."""
    return min(max(math.ceil(line - 0.5) - lines.first_col, 0), lines.columns)


@compiled
def _add_rectangle(
    rows: Bytes,
    left: int,
    right: int,
    owner: int,
    table: Bytes,
    numbers: Bytes,
    equal: Bytes,
    counts: Ints,
    strange: Bytes,
) -> None:
    """Add the columns from *left* to *right* to the chip *owner*; *numbers* found move forward among them."""
    width = min(-(-(right - left) // _WIDE) * _WIDE, rows.shape[1])
    first = min(left, rows.shape[1] - width)
    missing = len(rows) * (right - left)
    column = equal[:width]  # how many pixels of each have the number
    for n in range(len(numbers)):
        number, found = numbers[n], 0
        _count_columns(rows, first, number, column)
        for pixels in column[left - first : right - first]:
            found += pixels
        counts[owner, table[number]] += found
        missing -= found
        if found > 0 and n > 0:
            numbers[n], numbers[n - 1] = numbers[n - 1], number
        if missing == 0:
            return
    for pixels in rows:
        for value in pixels[left:right]:
            strange[value] |= table[value] == STRANGE


@compiled
def _count_columns(rows: Bytes, first: int, number: int, column: Bytes) -> None:
    """Set *column* to how many pixels of each column from *first* on are *number*."""
    column[:] = 0
    whole = len(rows) // 4 * 4
    last = first + len(column)
    for r in range(0, whole, 4):
        a, b, c, d = (
            rows[r, first:last],
            rows[r + 1, first:last],
            rows[r + 2, first:last],
            rows[r + 3, first:last],
        )
        for k in range(len(column)):
            column[k] += (
                np.uint8(a[k] == number)
                + np.uint8(b[k] == number)
                + np.uint8(c[k] == number)
                + np.uint8(d[k] == number)
            )
    for r in range(whole, len(rows)):
        a = rows[r, first:last]
        for k in range(len(column)):
            column[k] += np.uint8(a[k] == number)


@compiled
def _add_run(
    pixels: Bytes, first: int, last: int, owner: int, table: Bytes, counts: Ints, strange: Bytes
) -> None:
    """Add pixels of one row, from *first* to before *last*, to the chip *owner*, if it is one."""
    if owner < 0:
        return
    for k in range(first, last):
        value = pixels[k]
        if table[value] == STRANGE:
            strange[value] = 1
        else:
            counts[owner, table[value]] += 1
