"""Candidates for the tests of further descriptors: the chips of one grid cell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from curate.chips import ChipPlaces, places_in
from curate.descriptors.candidates import Candidates
from curate.grid import Grid


@pytest.fixture
def cell_of() -> Callable[..., ChipPlaces]:
    """The chips of the grid cell at a point, in its own zone or another."""

    def make(lon: float, lat: float, size_m: float = 1200.0, epsg: int | None = None) -> ChipPlaces:
        grid = Grid()
        row, col = grid.at(np.array([lon]), np.array([lat]))
        return places_in(grid, row, col, epsg or int(grid.epsg(row, col)[0]), size_m)

    return make


@pytest.fixture
def candidates() -> Callable[..., Candidates]:
    """One candidate a place."""

    def make(places: ChipPlaces, scene: str = "scene", time: str = "2021-06-01T10:00") -> Candidates:
        ids = np.array([f"chip-{x}-{y}" for x, y in zip(places.ix, places.iy, strict=True)])
        times = np.full(len(places), np.datetime64(time, "us"))
        return Candidates(places, np.arange(len(places)), ids, times, np.full(len(places), scene))

    return make


@pytest.fixture
def some() -> Callable[[ChipPlaces], np.ndarray]:
    """Positions of a part of the places, in another order."""
    return lambda places: np.random.default_rng(5).permutation(len(places))[: len(places) // 3]
