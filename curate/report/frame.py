"""The map: a plane for the catalog's place on Earth, its coast, its grid, and the chips as points with counts.

Catalogs of a continent are shown in Lambert's azimuthal equal-area projection about their own centre, which has no
trouble with poles and the antimeridian; those of more than a hemisphere with meridians and parallels as straight lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from pyproj import Transformer

from curate.catalog.page import packed
from curate.grid import Floats, Grid
from curate.sampling.arrays import Ints, encode, numbers
from curate.sphere import chord, unit_vectors

STEPS = 1 << 16  # of the frame along its longer side, for outlines and for points in cells
FINE_STEPS = 1 << 22  # for points that are few
COARSEST = 1 << 11
FEW = 200_000
_WIDEST_DEG = 75.0  # from the centre; beyond, meridians and parallels are straight
_MARGIN = 0.06
_AROUND = 0.6  # of the data's extent that is shown around it
_LEAST_M = 60_000.0
_MOST_CELLS = 20_000
_SPHERE_M = 6_371_008.8


@dataclass(frozen=True)
class Frame:
    """A square of a plane."""

    projection: str  # PROJ's text
    azimuthal: tuple[float, float] | None  # longitude and latitude of the centre; None: straight meridians
    left: float  # metres in the plane
    bottom: float
    side: float
    view: tuple[float, float, float, float]  # what is shown at first, metres: left, bottom, right, top

    @classmethod
    def around(cls, lon: Floats, lat: Floats) -> Frame:
        """The frame for chips at *lon* and *lat*, degrees."""
        points = unit_vectors(lon, lat)
        centre = points.mean(0)
        size = float(np.linalg.norm(centre))
        far = np.linalg.norm(points - centre / max(size, 1e-9), axis=1).max()
        if size > 0.1 and far <= chord(np.radians(_WIDEST_DEG) * _SPHERE_M / 1000):
            at = (
                round(float(np.degrees(np.arctan2(centre[1], centre[0]))), 2),
                round(float(np.degrees(np.arcsin(centre[2] / size))), 2),
            )
            projection = f"+proj=laea +lon_0={at[0]} +lat_0={at[1]} +R={_SPHERE_M}"
        else:
            at = None
            projection = f"+proj=eqc +R={_SPHERE_M}"
        x, y = _project(projection, lon, lat)
        view = _padded(float(x.min()), float(y.min()), float(x.max()), float(y.max()), _MARGIN, _LEAST_M)
        left, bottom, right, top = _padded(*view, _AROUND, 0)
        side = max(right - left, top - bottom)
        middle = ((left + right) / 2, (bottom + top) / 2)
        return cls(projection, at, middle[0] - side / 2, middle[1] - side / 2, side, view)

    def project(self, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        """Metres in the plane."""
        return _project(self.projection, lon, lat)

    def steps(self, x: Floats, y: Floats, steps: int = STEPS) -> tuple[Ints, Ints]:
        """Places in the plane as whole steps from the frame's top left corner."""
        across = np.floor((x - self.left) / self.side * steps)
        down = np.floor((self.bottom + self.side - y) / self.side * steps)
        return tuple(np.clip(v, 0, steps - 1).astype(np.int64) for v in (across, down))  # type: ignore[return-value]

    def to_json(self) -> dict[str, Any]:
        left, bottom, right, top = self.view
        return {
            "azimuthal": self.azimuthal,
            "left": self.left,
            "top": self.bottom + self.side,
            "side": self.side,
            "view": [left - self.left, self.bottom + self.side - top, right - left, top - bottom],
        }


def _project(projection: str, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    forward = Transformer.from_pipeline(
        f"+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad +step {projection}"
    )
    x, y = forward.transform(np.asarray(lon, np.float64), np.asarray(lat, np.float64))
    return np.asarray(x, np.float64), np.asarray(y, np.float64)


def _padded(
    left: float, bottom: float, right: float, top: float, share: float, least: float
) -> tuple[float, float, float, float]:
    grown = max(right - left, top - bottom, least) * share
    x, y = (max(0.0, least - (high - low)) / 2 for low, high in ((left, right), (bottom, top)))
    return left - x - grown, bottom - y - grown, right + x + grown, top + y + grown


@dataclass(frozen=True)
class Points:
    """Chips gathered at places of the frame and by kind, with how many there are."""

    steps: int  # of the frame; a point covers one
    x: Ints
    y: Ints
    kind: Ints  # row of a table of kinds, fewer than 2 ** 20
    count: Ints
    every: int = 1  # one in so many chips is counted

    def to_json(self) -> dict[str, Any]:
        place = np.uint16 if self.steps <= STEPS else np.uint32
        return {
            "steps": self.steps,
            "every": self.every,
            "x": packed(self.x.astype(place), differences=True),
            "y": packed(self.y.astype(place), differences=True),
            "kind": packed(self.kind.astype(np.uint32)),
            "count": packed(np.minimum(self.count, 2**32 - 1).astype(np.uint32)),
        }


def points(frame: Frame, lon: Floats, lat: Floats, kind: Ints, most: int) -> Points:
    """Chips as at most *most* points: one a chip while they are few, gathered in ever larger cells otherwise.

    Where cells of `COARSEST` still hold too many places and kinds, only every so-manieth chip is counted.
    """
    x, y = frame.project(lon, lat)
    steps = FINE_STEPS if len(lon) <= min(FEW, most) else STEPS
    across, down = frame.steps(x, y, steps)
    kinds, count = kind, np.ones(len(lon), np.int64)
    while True:
        across, down, kind, count = _gathered(across, down, kind, count)
        if len(kind) <= most:
            return Points(steps, across, down, kind, count)
        if steps == COARSEST:
            break
        steps //= 2
        across, down = across // 2, down // 2
    every = -(-len(lon) // most)
    across, down = (v[::every] for v in frame.steps(x, y))
    return Points(
        STEPS, *_gathered(across, down, kinds[::every], np.ones(len(across), np.int64)), every=every
    )


def _gathered(x: Ints, y: Ints, kind: Ints, count: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Points of one place and kind as one, in order of place."""
    code = (
        (y.astype(np.uint64) << np.uint64(42))
        | (x.astype(np.uint64) << np.uint64(20))
        | kind.astype(np.uint64)
    )
    found, where = np.unique(code, return_inverse=True)
    total = np.bincount(where, weights=count).astype(np.int64)
    low = np.uint64((1 << 22) - 1)
    return (
        ((found >> np.uint64(20)) & low).astype(np.int64),
        (found >> np.uint64(42)).astype(np.int64),
        (found & np.uint64((1 << 20) - 1)).astype(np.int64),
        total,
    )


def kinds(columns: list[pa.ChunkedArray]) -> tuple[Ints, list[list[str]]]:
    """Each row's combination of texts as an index into the combinations that occur."""
    joint = np.zeros(len(columns[0]), np.int64)
    labels = []
    for column in columns:
        index, names = encode(column)
        joint = joint * len(names) + index
        labels.append(names)
    found, kind = np.unique(joint, return_inverse=True)
    table: list[list[str]] = []
    for names in reversed(labels):
        table.insert(0, [names[i] for i in found % len(names)])
        found = found // len(names)
    return kind.astype(np.int64), [list(row) for row in zip(*table, strict=True)]


def coast(frame: Frame) -> dict[str, Any]:
    """Outlines of the land around the frame, as rings of steps."""
    with (resources.files("curate") / "data" / "coast.parquet").open("rb") as file:
        table = pq.read_table(file)
    land = table.filter(pc.equal(table["kind"], "land"))
    pieces = shapely.from_wkb(land["geometry"].to_numpy(zero_copy_only=False))
    if frame.azimuthal is not None:
        centre = unit_vectors(*(np.array([v]) for v in frame.azimuthal))
        middles = shapely.get_coordinates(shapely.centroid(pieces))
        near = np.linalg.norm(unit_vectors(*middles.T) - centre, axis=1) < chord(13_500)
        pieces = pieces[near]
    pieces = shapely.transform(
        shapely.segmentize(pieces, 1.0), lambda c: np.stack(frame.project(*c.T), axis=1)
    )
    box = shapely.box(frame.left, frame.bottom, frame.left + frame.side, frame.bottom + frame.side)
    pieces = shapely.make_valid(pieces)
    pieces = pieces[shapely.intersects(pieces, box)]
    pixel = frame.side / 6000
    merged = shapely.union_all(
        shapely.buffer(pieces, pixel / 20, quad_segs=1)
    )  # closes the seams of 10° pieces
    shown = shapely.simplify(shapely.intersection(merged, box), pixel)
    polygons = [
        part for part in shapely.get_parts(shown) if part.geom_type == "Polygon" and part.area > pixel**2
    ]
    return _paths(frame, [shapely.get_coordinates(ring) for ring in shapely.get_rings(polygons)])


def graticule(frame: Frame) -> dict[str, Any]:
    """Meridians and parallels, as lines of steps."""
    degrees = frame.side / 111_195 / 6
    step = next((s for s in (0.1, 0.25, 0.5, 1, 2, 5, 10, 20) if s >= degrees), 30)
    longitudes, latitudes = np.arange(-180, 180, step), np.arange(-90 + step, 90, step)
    lines = [np.stack([np.full(181, lon), np.linspace(-89.9, 89.9, 181)], 1) for lon in longitudes]
    lines += [np.stack([np.linspace(-180, 180, 361), np.full(361, lat)], 1) for lat in latitudes]
    shapes = shapely.linestrings(
        np.concatenate(lines), indices=np.repeat(np.arange(len(lines)), [*map(len, lines)])
    )
    plane = shapely.transform(
        shapely.segmentize(shapes, 1.0), lambda c: np.stack(frame.project(*c.T), axis=1)
    )
    box = shapely.box(frame.left, frame.bottom, frame.left + frame.side, frame.bottom + frame.side)
    near = plane[np.isfinite(shapely.length(plane)) & (shapely.length(plane) < 5e7)]
    parts = shapely.get_parts(shapely.simplify(shapely.intersection(near, box), frame.side / 4000))
    paths = [
        shapely.get_coordinates(part) for part in parts if part.geom_type == "LineString" and part.length > 0
    ]
    return {**_paths(frame, paths), "step_deg": step}


def cells(frame: Frame, lon: Floats, lat: Floats, spacing_km: float) -> dict[str, Any]:
    """Outlines of the grid's cells that hold chips, of a coarser grid where there are too many."""
    spacing = spacing_km
    while True:
        grid = Grid(spacing)
        row, col = grid.at(lon, lat)
        code = np.unique((row << 32) + (col + (1 << 31)))
        if len(code) <= _MOST_CELLS:
            break
        spacing *= 2
    west, south, east, north = grid.bounds(code >> 32, (code & 0xFFFFFFFF) - (1 << 31))
    corners = np.stack([west, south, east, south, east, north, west, north], 1).reshape(-1, 2)
    x, y = frame.project(corners[:, 0], corners[:, 1])
    across, down = frame.steps(x, y)
    return {
        "spacing_km": spacing,
        "of": spacing_km,
        "number": len(code),
        "corners": packed(np.stack([across, down], 1).astype(np.uint16).ravel()),
    }


def _paths(frame: Frame, paths: list[npt.NDArray[np.float64]]) -> dict[str, Any]:
    lengths = np.array([len(path) for path in paths], np.uint32)
    every = np.concatenate(paths) if paths else np.empty((0, 2))
    across, down = frame.steps(every[:, 0], every[:, 1])
    return {
        "lengths": packed(lengths),
        "places": packed(np.stack([across, down], 1).astype(np.uint16).ravel()),
    }


def places(table: pa.Table) -> tuple[Floats, Floats]:
    """Longitude and latitude of a table's chips."""
    return numbers(table["lon"], np.float64), numbers(table["lat"], np.float64)
