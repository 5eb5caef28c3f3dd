"""Derive `coast.parquet` from Natural Earth 1:50m countries (public domain, naturalearthdata.com).

    python curate/data/make_coast.py countries_ne50m.geojson

Two kinds of rows: the land in pieces of 10°, so that a point meets few vertices, and its coast as lines. The map's own
edges (±180°, the South Pole) are no coast; the Caspian Sea, which belongs to no country, counts as sea.
"""

from __future__ import annotations

import sys
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

PIECE_DEG = 10.0
_EDGE_DEG = 0.002  # of the map: what lies nearer belongs to it


def derive(source: Path) -> pa.Table:
    """Rows of kind ``land`` (polygons) and ``coast`` (lines); WKB, longitude/latitude."""
    land = shapely.union_all(shapely.make_valid(geopandas.read_file(source).geometry.values))
    west, south = np.meshgrid(np.arange(-180, 180, PIECE_DEG), np.arange(-90, 90, PIECE_DEG))
    boxes = shapely.box(west.ravel(), south.ravel(), west.ravel() + PIECE_DEG, south.ravel() + PIECE_DEG)
    shapely.prepare(land)
    pieces = shapely.get_parts(shapely.intersection(land, boxes[shapely.intersects(land, boxes)]))
    pieces = [p for p in shapely.get_parts(pieces) if shapely.area(p) > 0]
    inside = shapely.box(-180 + _EDGE_DEG, -90 + _EDGE_DEG, 180 - _EDGE_DEG, 90)
    coast = shapely.line_merge(shapely.intersection(shapely.boundary(land), inside))
    lines = list(shapely.get_parts(coast))
    kinds = ["land"] * len(pieces) + ["coast"] * len(lines)
    return pa.table({"kind": kinds, "geometry": pa.array(shapely.to_wkb([*pieces, *lines]), pa.binary())})


if __name__ == "__main__":
    pq.write_table(
        derive(Path(sys.argv[1])),
        Path(__file__).with_name("coast.parquet"),
        compression="zstd",
        compression_level=19,
    )
