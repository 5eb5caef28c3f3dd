"""Static tables of equal-area cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.sampling.sphere import EqualAreaTable
from curate.sphere import EARTH_RADIUS_KM, chord, kilometres, unit_vectors


def test_one_degree_blocks_have_one_area() -> None:
    table = EqualAreaTable.of_side(1.0)
    edges = np.sin(np.radians(np.linspace(-90, 90, 181)))
    area = np.diff(edges) * 2 * math.pi / table.columns
    away_from_poles = slice(10, -10)  # a row of few columns cannot divide evenly
    assert np.ptp(area[away_from_poles]) / area.mean() < 0.06
    assert abs(int(table.columns.sum()) - 41_253) < 20  # the sphere in square degrees


@pytest.mark.parametrize("rows, columns", [(180, 360), (90, 180), (720, 1440), (130, 33_280)])
def test_no_cosine_lies_near_a_rounding_edge(rows: int, columns: int) -> None:
    """A last digit of another platform's cosine cannot change the number of columns."""
    middles = -90 + (np.arange(rows) + 0.5) * 180 / rows
    fraction = np.mod(columns * np.cos(np.radians(middles)), 1)
    assert np.abs(fraction - 0.5).min() > 1e-6


@given(st.floats(-720, 720), st.floats(-90, 90))
def test_every_place_lies_in_a_cell(lon: float, lat: float) -> None:
    table = EqualAreaTable.of_side(1.0)
    cell = table.cell(np.array([lon]), np.array([lat]))
    assert 0 <= cell[0] < table.columns.sum()


def test_cells_meet_at_the_date_line_and_are_numbered_once() -> None:
    table = EqualAreaTable.of_side(10.0)
    ends = table.cell(np.array([180.0, -180.0, 540.0]), np.array([5.0, 5.0, 5.0]))
    assert len(set(ends.tolist())) == 1
    lon, lat = np.meshgrid(np.arange(-179.9, 180, 0.5), np.arange(-89.9, 90, 0.5))
    assert len(np.unique(table.cell(lon.ravel(), lat.ravel()))) == table.columns.sum()


def test_distances() -> None:
    points = unit_vectors(np.array([0.0, 1.0]), np.array([0.0, 0.0]))
    along = np.linalg.norm(points[0] - points[1])
    assert kilometres(float(along)) == pytest.approx(EARTH_RADIUS_KM * math.pi / 180)
    assert kilometres(chord(5.0)) == pytest.approx(5.0)
