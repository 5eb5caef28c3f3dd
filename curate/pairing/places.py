"""Cells and scenes as arrays, and which of them meet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from curate.chips import wrapped
from curate.grid import Floats, Grid, Ints
from curate.pairing.coverage import Edges, areas_inside
from curate.running import running
from curate.sensors import Sensor

Shapes = npt.NDArray[np.object_]
LEAST_SHARE = 1e-9  # of a cell, about a tenth of a square metre of 10 km: rounding, no coverage
_GROUP_CELLS = 2_500  # a task: about a second of work, and 100 MB
_BLOCK_DEG = 1.0  # candidate cells are looked for block by block, however many scenes lie on one


@dataclass(frozen=True)
class Cells:
    """Grid cells with their polygons in longitude and latitude."""

    row: Ints
    col: Ints
    polygons: Shapes

    @classmethod
    def of(cls, grid: Grid, row: Ints, col: Ints) -> Cells:
        return cls(row, col, grid.polygons(row, col))

    def __len__(self) -> int:
        return len(self.row)

    def take(self, rows: npt.NDArray[Any]) -> Cells:
        return Cells(self.row[rows], self.col[rows], self.polygons[rows])

    @cached_property
    def bounds(self) -> Floats:
        """West, south, east and north."""
        return np.asarray(shapely.bounds(self.polygons)).reshape(-1, 4)

    @cached_property
    def is_box(self) -> npt.NDArray[np.bool_]:
        """Whether each cell is one box: it does not cross the antimeridian."""
        return np.asarray(shapely.get_num_geometries(self.polygons) == 1, dtype=bool)

    def reach(self, size_m: float) -> Shapes:
        """The cells with a margin of *size_m*: a chip belongs to the cell of its centre and may stick out of it."""
        north = np.abs(self.bounds[:, [1, 3]]).max(1)
        margin_deg = size_m / 111_000.0 / np.maximum(np.cos(np.radians(north)), 0.02)
        shapes = _shapes(shapely.buffer(self.polygons, margin_deg, join_style="mitre"))
        bounds = shapely.bounds(shapes).reshape(-1, 4)
        for i in np.flatnonzero((bounds[:, 0] < -180) | (bounds[:, 2] > 180)):  # one or two cells of a row
            shapes[i] = shapely.union_all(shapely.get_parts(wrapped(shapes[i])))
        return shapes


@dataclass(frozen=True)
class Scenes:
    """Acquisitions of one sensor as arrays, sorted by time and id."""

    table: pa.Table
    footprints: Shapes
    hours: Floats  # since 1970; NaN for static layers
    cloud_percent: Floats  # NaN where the provider does not say

    @classmethod
    def of(cls, table: pa.Table, sensor: Sensor) -> Scenes:
        """The scenes of *sensor* in a table of `curate.scenes.SCENES`; ``assets`` are not needed."""
        chosen = table.filter(pc.equal(table["sensor"], sensor.name))
        if sensor.orbit_state is not None:
            chosen = chosen.filter(pc.equal(chosen["orbit_state"], sensor.orbit_state))
        chosen = chosen.sort_by([("datetime", "ascending"), ("id", "ascending")])
        micros = chosen["datetime"].cast(pa.int64()).to_numpy(zero_copy_only=False)
        return cls(
            chosen,
            _shapes(shapely.from_wkb(chosen["geometry"].to_numpy(zero_copy_only=False))),
            np.asarray(micros, dtype=np.float64) / 3.6e9,
            np.asarray(chosen["cloud_cover"].to_numpy(zero_copy_only=False), dtype=np.float64),
        )

    def __len__(self) -> int:
        return len(self.footprints)

    @property
    def static(self) -> bool:
        """Whether the scenes are layers without a time."""
        return bool(np.isnan(self.hours).all())

    @cached_property
    def edges(self) -> Edges:
        return Edges.of(self.footprints)

    @cached_property
    def orbit(self) -> Ints:
        """One number for each relative orbit and direction, in their order; what is not said is a value too."""
        track = self.table["relative_orbit"].cast(pa.int64()).fill_null(-1).to_numpy()
        state = np.unique(
            self.table["orbit_state"].fill_null("").to_numpy().astype(str), return_inverse=True
        )[1]
        number: Ints = np.unique(track * 1000 + state, return_inverse=True)[1].astype(np.int64)
        return number

    @cached_property
    def rank(self) -> Ints:
        """The place of each id in their alphabetical order."""
        ids = self.table["id"].to_numpy().astype(str)
        number: Ints = np.unique(ids, return_inverse=True)[1].astype(np.int64)
        return number


@dataclass(frozen=True)
class Meetings:
    """Acquisitions that cover a part of a cell: positions in two lists, sorted by cell and then by time."""

    cell: Ints
    scene: Ints
    coverage: Floats  # share of the cell
    whole: npt.NDArray[np.bool_]  # the footprint holds the cell and its margin

    def __len__(self) -> int:
        return len(self.cell)

    def take(self, rows: npt.NDArray[Any]) -> Meetings:
        return Meetings(self.cell[rows], self.scene[rows], self.coverage[rows], self.whole[rows])


def meet(cells: Cells, reach: Shapes, scenes: Scenes) -> Meetings:
    """Which scenes cover how much of which cells, and which hold a cell wholly, its *reach* included."""
    number = max(len(scenes), 1)
    scene, cell = shapely.STRtree(cells.polygons).query(scenes.footprints)
    key = np.sort(cell * number + scene)
    holding, held = shapely.STRtree(reach).query(scenes.footprints, predicate="contains")
    whole = np.zeros(len(key), bool)
    whole[np.searchsorted(key, held * number + holding)] = True
    coverage = np.ones(len(key))
    partly = np.flatnonzero(~whole)
    coverage[partly] = _shares(cells.polygons, key[partly] // number, scenes, key[partly] % number)
    key, coverage, whole = key[coverage > 0], coverage[coverage > 0], whole[coverage > 0]
    return Meetings(key // number, key % number, coverage, whole)


def _shares(shapes: Shapes, shape: Ints, scenes: Scenes, scene: Ints) -> Floats:
    """Share of each shape (a box, or several where it is split at the antimeridian) that its scene covers."""
    boxes, box_of = shapely.get_parts(shapes, return_index=True)
    bounds, size = shapely.bounds(boxes).reshape(-1, 4), np.bincount(box_of, minlength=len(shapes))
    rows = np.repeat(np.arange(len(shape)), size[shape])
    box = (np.cumsum(size) - size)[shape[rows]] + running(size[shape])
    inside = areas_inside(bounds[box], scenes.edges, scene[rows])
    share: Floats = np.bincount(rows, inside, minlength=len(shape)) / shapely.area(shapes)[shape]
    return np.where(share > 1 - LEAST_SHARE, 1.0, np.where(share < LEAST_SHARE, 0.0, share))


def candidate_cells(grid: Grid, area: shapely.Geometry, anchors: pa.Table) -> Cells:
    """Cells of *area* that lie in a block of 1° that some anchor's footprint may meet.

    Args:
        anchors: scenes with ``geometry``.
    """
    footprints = shapely.from_wkb(anchors["geometry"].to_numpy(zero_copy_only=False))
    bounds = shapely.bounds(shapely.get_parts(footprints)).reshape(-1, 4)  # parts: none across 180°
    low = np.floor(bounds[:, :2] / _BLOCK_DEG).astype(np.int64)
    size = np.floor(bounds[:, 2:] / _BLOCK_DEG).astype(np.int64) - low + 1
    boxes = np.unique(np.column_stack([low, size]), axis=0)
    column = np.repeat(boxes, boxes[:, 2], axis=0)
    column[:, 0] += running(boxes[:, 2])
    block = np.repeat(column, column[:, 3], axis=0)
    block[:, 1] += running(column[:, 3])
    blocks = np.unique(block[:, :2], axis=0) * _BLOCK_DEG
    blocks = blocks[shapely.intersects(area, shapely.box(*blocks.T, *(blocks + _BLOCK_DEG).T))]
    found = [
        np.stack(grid.within(west, max(south, -90.0), west + _BLOCK_DEG, min(south + _BLOCK_DEG, 90.0)))
        for west, south in blocks.clip([-180, -90], [180 - _BLOCK_DEG, 90 - _BLOCK_DEG])
    ]
    row, col = np.unique(np.concatenate([np.zeros((2, 0), np.int64), *found], axis=1), axis=1)
    cells = Cells.of(grid, row, col)
    shapely.prepare(area)
    return cells.take(shapely.intersects(area, cells.polygons))


def groups(grid: Grid, row: Ints, col: Ints) -> list[tuple[Ints, Ints]]:
    """The cells (row, col) in groups of one UTM/UPS zone, each a piece of it from south to north."""
    epsg = grid.epsg(row, col)
    parts: list[Ints] = []
    for zone in np.unique(epsg):
        inside = np.flatnonzero(epsg == zone)
        inside = inside[np.lexsort((col[inside], row[inside]))]
        parts += np.array_split(inside, -(-len(inside) // _GROUP_CELLS))
    return [(row[part], col[part]) for part in parts]


def overlap(first: Shapes, second: Shapes) -> Shapes:
    """What two lists of shapes share, one by one."""
    return _shapes(shapely.intersection(first, second))


def _shapes(shapes: Any) -> Shapes:
    return np.asarray(shapes, dtype=object).reshape(-1)
