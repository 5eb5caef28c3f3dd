"""Pairs of the cells of one zone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from curate.catalog.schema import SEASONS
from curate.grid import Floats, Grid, Ints
from curate.pairing.choice import best, in_kept_orbit
from curate.pairing.coverage import areas_inside_both
from curate.pairing.places import LEAST_SHARE, Cells, Meetings, Scenes, Shapes, meet, overlap
from curate.pairing.table import pairs_table
from curate.pairing.times import partners_in_time, seasons
from curate.recipe import Recipe
from curate.sensors import sensor as sensor_named


def pair(cells: Cells, scenes: dict[str, Scenes], recipe: Recipe) -> tuple[pa.Table, int, dict[str, int]]:
    """Pairs of *cells*, how many anchor acquisitions per cell came in, and why the others made no pair.

    Args:
        cells: cells of one or several zones.
        scenes: scenes by sensor name; the recipe's anchor and partners.
    """
    anchor, rules = recipe.sensors.anchor, recipe.pairing
    pairs = _Pairs(cells, scenes, recipe)
    came_in = len(pairs.met)
    pairs.keep(
        ~(pairs.cloud_percent > rules.max_cloud_percent),
        f"{anchor} cloudier than {rules.max_cloud_percent:g} %",
    )
    pairs.keep(np.isin(np.array(SEASONS)[pairs.season], rules.seasons), "season not wanted")
    pairs.keep(pairs.met.coverage >= rules.min_coverage, f"{anchor} covers too little")
    for name in recipe.partners:
        pairs.join(name)
    if rules.per_season:
        pairs.keep(pairs.best_of_season(rules.per_season), "not among the best of its season")
    return pairs.table(), came_in, pairs.rejected


class _Pairs:
    """Cells × anchors on their way to pairs: one row each, fewer with every rule."""

    def __init__(self, cells: Cells, scenes: dict[str, Scenes], recipe: Recipe) -> None:
        self.cells, self.scenes, self.recipe = cells, scenes, recipe
        self.reach = cells.reach(recipe.chips.size_m)
        self.area = shapely.area(cells.polygons)
        self.anchors = scenes[recipe.sensors.anchor]
        self.met = meet(
            cells, self.reach, self.anchors
        )  # coverage and wholeness: of all scenes chosen so far
        self.chosen: dict[str, Ints] = {recipe.sensors.anchor: self.met.scene}
        self.held = {
            recipe.sensors.anchor: self.met.whole
        }  # whether that scene alone holds the cell and its margin
        self.rejected: dict[str, int] = {}

    @property
    def cloud_percent(self) -> Floats:
        return self.anchors.cloud_percent[self.met.scene]

    @property
    def season(self) -> Ints:
        """Position in `SEASONS`."""
        south, north = self.cells.bounds[:, [1, 3]].T
        return seasons(self.anchors.hours[self.met.scene], ((south + north) / 2)[self.met.cell])

    def keep(self, rows: npt.NDArray[np.bool_], reason: str) -> None:
        """Keep *rows*; the others are rejected for *reason*."""
        self._count(~rows, reason)
        self._take(rows)

    def join(self, name: str) -> None:
        """Give every row its partner of sensor *name*, by the recipe's policy; reject the rows that have none."""
        rules, sensor, partners = self.recipe.pairing, sensor_named(name), self.scenes[name]
        met = meet(self.cells, self.reach, partners)
        i, j = partners_in_time(self.anchors, self.met, partners, met, rules.max_dt_days * 24)
        in_time = self._has(i)
        coverage = self._coverage_with(i, partners, met, j)
        enough = (coverage > LEAST_SHARE) & (coverage >= rules.min_coverage)
        i, j, coverage = i[enough], j[enough], coverage[enough]
        covered = self._has(i)
        apart = np.nan_to_num(np.abs(partners.hours[met.scene[j]] - self.anchors.hours[self.met.scene[i]]))
        if sensor.kind == "radar" and rules.policy != "nearest":
            kept = in_kept_orbit(
                self.met.cell[i], i, self.season[i], partners.orbit[met.scene[j]], coverage, apart
            )
            i, j, coverage, apart = i[kept], j[kept], coverage[kept], apart[kept]
        nearest = best(i, coverage, apart, met.scene[j])
        partner, shared = np.full(len(self.met), -1), np.zeros(len(self.met))
        partner[i[nearest]], shared[i[nearest]] = j[nearest], coverage[nearest]
        found = partner >= 0
        here = np.isin(self.met.cell, met.cell)
        within = "" if partners.static else f" within {rules.max_dt_days:g} days"
        self._count(~here, f"no {name} scene here")
        self._count(here & ~in_time, f"no {name} scene{within}")
        self._count(in_time & ~covered, f"no {name} scene{within} covers enough")
        self._count(covered & ~found, f"no {name} scene{within} in the orbit kept here")
        self._take(found)
        self.chosen[name] = met.scene[partner[found]]
        self.held[name] = met.whole[partner[found]]
        self.met = Meetings(self.met.cell, self.met.scene, shared[found], self.met.whole & self.held[name])

    def best_of_season(self, number: int) -> npt.NDArray[np.bool_]:
        """The best rows of each cell and season: coverage, then scene cloud, time differences, and the anchor's id."""
        hours = self.anchors.hours[self.met.scene]
        apart = sum(
            np.nan_to_num(np.abs(self.scenes[name].hours[rows] - hours)) for name, rows in self.chosen.items()
        )
        cloud = np.nan_to_num(self.cloud_percent, nan=100.0)
        group = self.met.cell * len(SEASONS) + self.season
        kept = np.zeros(len(self.met), bool)
        rank = self.anchors.rank[self.met.scene]
        kept[best(group, self.met.coverage, cloud, np.asarray(apart), rank, keep=number)] = True
        return kept

    def table(self) -> pa.Table:
        """The rows as the table of pairs."""
        usable = self.reach[self.met.cell]
        partly = np.flatnonzero(~self.met.whole)
        usable[partly] = self._cut(usable[partly], partly)
        grid = Grid(self.recipe.chips.cell_km)
        cells, cell = self.cells, self.met.cell
        return pairs_table(
            grid.names(cells.row, cells.col)[cell],
            grid.epsg(cells.row, cells.col)[cell],
            np.array(SEASONS)[self.season],
            self.met.coverage,
            usable,
            {name: (self.scenes[name], rows) for name, rows in self.chosen.items()},
        )

    def _count(self, rejected: npt.NDArray[np.bool_], reason: str) -> None:
        if number := int(rejected.sum()):
            self.rejected[reason] = self.rejected.get(reason, 0) + number

    def _take(self, rows: npt.NDArray[np.bool_]) -> None:
        self.met = self.met.take(rows)
        self.chosen = {name: scene[rows] for name, scene in self.chosen.items()}
        self.held = {name: held[rows] for name, held in self.held.items()}

    def _has(self, rows: Ints) -> npt.NDArray[np.bool_]:
        has = np.zeros(len(self.met), bool)
        has[rows] = True
        return has

    def _coverage_with(self, i: Ints, partners: Scenes, met: Meetings, j: Ints) -> Floats:
        """Share of the cell that row *i* and meeting *j* of a partner cover together."""
        coverage = np.minimum(self.met.coverage[i], met.coverage[j])
        both = np.flatnonzero(
            (self.met.coverage[i] < 1) & (met.coverage[j] < 1)
        )  # few: the edges of two swaths
        rows, scene = self.met.scene[i[both]], met.scene[j[both]]
        easy = (
            self.anchors.edges.convex[rows]
            & partners.edges.convex[scene]
            & self.cells.is_box[self.met.cell[i[both]]]
            & (len(self.chosen) == 1)
        )
        cells = self.met.cell[i[both[easy]]]
        area = areas_inside_both(
            self.cells.bounds[cells], self.anchors.edges, rows[easy], partners.edges, scene[easy]
        )
        coverage[both[easy]] = area / self.area[cells]
        both = both[~easy]
        cut, place = np.unique(i[both], return_inverse=True)
        common = self._cut(self.cells.polygons[self.met.cell[cut]], cut)[place]
        common = overlap(common, partners.footprints[met.scene[j[both]]])
        coverage[both] = shapely.area(common) / self.area[met.cell[j[both]]]
        return coverage

    def _cut(self, shapes: Shapes, rows: Ints) -> Shapes:
        """What all scenes chosen so far for *rows* cover of *shapes*."""
        shapes = shapes.copy()
        for name, scene in self.chosen.items():
            some = np.flatnonzero(~self.held[name][rows])
            shapes[some] = overlap(shapes[some], self.scenes[name].footprints[scene[rows[some]]])
        return shapes
