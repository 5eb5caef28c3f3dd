"""Areas inside footprints against shapely, on polygons of every kind."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from curate.pairing.coverage import Edges, areas_inside, areas_inside_both

coordinate = st.integers(-8, 8).map(lambda n: n / 4)  # on a lattice, so that edges and corners often coincide
point = st.tuples(coordinate, coordinate)
box = st.tuples(point, point).map(
    lambda p: (min(p[0][0], p[1][0]), min(p[0][1], p[1][1]), max(p[0][0], p[1][0]), max(p[0][1], p[1][1]))
)
boxes = box.filter(lambda b: b[0] < b[2] and b[1] < b[3])


def _polygonal(shape: shapely.Geometry) -> shapely.Geometry:
    parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon" and part.area > 0]
    return shapely.union_all(parts)


polygons = (
    st.lists(point, min_size=3, max_size=12)
    .map(lambda points: _polygonal(shapely.make_valid(shapely.Polygon(points))))
    .filter(lambda shape: shape.area > 0)
)
convex = (
    st.lists(point, min_size=3, max_size=9)
    .map(lambda points: shapely.convex_hull(shapely.MultiPoint(points)))
    .filter(lambda shape: shape.area > 0)
)


@given(st.lists(st.tuples(boxes, polygons), min_size=1, max_size=4))
def test_area_of_boxes_inside_polygons_with_parts_and_holes(
    cases: list[tuple[tuple[float, ...], shapely.Geometry]],
) -> None:
    shapes = np.array([shape for _, shape in cases], dtype=object)
    found = areas_inside(np.array([b for b, _ in cases]), Edges.of(shapes), np.arange(len(cases)))
    expected = [(shapely.box(*b) & shape).area for b, shape in cases]
    assert found == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.tuples(boxes, convex, convex), min_size=1, max_size=5))
def test_area_of_boxes_inside_two_convex_polygons(
    cases: list[tuple[tuple[float, ...], shapely.Geometry, shapely.Geometry]],
) -> None:
    first = Edges.of(np.array([shape for _, shape, _ in cases], dtype=object))
    second = Edges.of(np.array([shape for _, _, shape in cases], dtype=object)[::-1])
    rows = np.arange(len(cases))
    assert first.convex.all() and second.convex.all()
    found = areas_inside_both(np.array([b for b, _, _ in cases]), first, rows, second, rows[::-1])
    expected = [(shapely.box(*b) & one & other).area for b, one, other in cases]
    assert found == pytest.approx(expected, abs=1e-9)


@given(polygons)
def test_convex_is_what_equals_its_hull(shape: shapely.Geometry) -> None:
    found = Edges.of(np.array([shape, shape], dtype=object)).convex
    hull = shapely.convex_hull(shape)
    single = shape.geom_type == "Polygon" and not shape.interiors
    assert found.tolist() == [single and hull.area == pytest.approx(shape.area, rel=1e-9)] * 2


def test_many_boxes_are_cut_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    low = random.uniform(-1, 1, (500, 2))
    cells = np.hstack([low, low + random.uniform(0.01, 1, (500, 2))])
    shapes = shapely.buffer(shapely.points(random.uniform(-1, 1, (7, 2))), 0.7)
    polygon = random.integers(0, 7, 500)
    monkeypatch.setattr("curate.pairing.coverage._AT_A_TIME", 100)  # a polygon here has 64 edges
    found = areas_inside(cells, Edges.of(shapes), polygon)
    expected = shapely.area(shapely.intersection(shapely.box(*cells.T), shapes[polygon]))
    assert found == pytest.approx(expected, abs=1e-9)


def test_nothing_has_no_area() -> None:
    none = Edges.of(np.zeros(0, dtype=object))
    rows = np.zeros(0, np.int64)
    assert len(areas_inside(np.zeros((0, 4)), none, rows)) == 0
    assert len(areas_inside_both(np.zeros((0, 4)), none, rows, none, rows)) == 0
