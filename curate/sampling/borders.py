"""Rows near the edge of their block: only they can lie within a buffer of another split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate.sampling.arrays import Floats, Ints
from curate.sampling.hashing import hash_words
from curate.sampling.sphere import EqualAreaTable, row_of
from curate.sphere import EARTH_RADIUS_KM

_SLACK = 1.001  # a parallel is longer than the shortest way; distances themselves are compared later
_POLAR_DEG = 89.0  # nearer to a pole all rows lie near an edge, and near any block
WIDEST_KM = (
    50.0  # up to here a buffer is measured along parallels and meridians; beyond, all rows lie near an edge
)
ANY = -2  # in place of a block: there may be others than the eight


@dataclass(frozen=True, eq=False)
class Around:
    """Which blocks lie around rows near an edge: few combinations, many rows."""

    blocks: Ints  # (c, 9) the rows' own block, and the blocks a buffer away in eight directions
    rows: Ints  # (c,) how many rows


@dataclass(frozen=True, eq=False)
class Edges:
    """The rows near an edge themselves."""

    row: npt.NDArray[np.uint32]  # (m,) position among the rows given
    lon: Floats
    lat: Floats
    around: npt.NDArray[np.uint32]  # (m,) index into `Around.blocks`


def edges(
    table: EqualAreaTable, block: Ints, lon: Floats, lat: Floats, buffer_km: float
) -> tuple[Around, Edges]:
    """The rows (degrees) that lie within the buffer of another block of *table*, and which blocks those are.

    Looking in eight directions finds all of them where blocks are wider than the buffer.
    """
    near = _near_edge(table, lon, lat, buffer_km)
    block, lon, lat = block[near], lon[near], lat[near]
    step_lat = np.degrees(buffer_km / EARTH_RADIUS_KM) * _SLACK
    step_lon = step_lat / np.maximum(np.cos(np.radians(lat)), 0.01)
    around = [block]
    for north in (-1, 0, 1):
        there = np.clip(lat + north * step_lat, -90.0, 90.0)
        around += [table.cell(lon + east * step_lon, there) for east in (-1, 0, 1) if east or north]
    around[1] = np.where(np.abs(lat) > _POLAR_DEG, ANY, around[1])
    _, first, index, number = np.unique(
        hash_words(*around, seed=0), return_index=True, return_inverse=True, return_counts=True
    )
    kinds = np.stack(around, axis=1)[first]
    rows = Edges(near.astype(np.uint32), lon, lat, index.astype(np.uint32))
    return Around(kinds, number.astype(np.int64)), rows


def _near_edge(table: EqualAreaTable, lon: Floats, lat: Floats, buffer_km: float) -> Ints:
    """Positions of rows that lie within the buffer of their block's edge, and of a few that do not."""
    if buffer_km == 0:
        return np.empty(0, np.int64)
    if buffer_km > WIDEST_KM:
        return np.arange(len(lon))
    step = np.degrees(buffer_km / EARTH_RADIUS_KM) * _SLACK**2
    height = 180.0 / len(table.columns)
    row = row_of(lat, len(table.columns))
    above = (lat + 90.0) - row * height
    width = (360.0 / table.columns)[row]
    beyond = np.mod(lon + 180.0, width)
    wide = step / np.maximum(np.cos(np.radians(lat)), 0.01)
    near = (above < step) | (above > height - step) | (beyond < wide) | (beyond > width - wide)
    return np.flatnonzero(near | (np.abs(lat) > _POLAR_DEG))
