"""The table of pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from curate.catalog.schema import BBOX, TIMESTAMP
from curate.grid import Floats, Ints, Strings
from curate.pairing.places import Scenes, Shapes
from curate.sensors import sensor as sensor_named

# what a pair, and later a chip, keeps of each of its scenes
SCENE_COLUMNS = (
    "id",
    "datetime",
    "platform",
    "orbit_state",
    "relative_orbit",
    "baseline",
    "offset",
    "offset_source",
    "cloud_cover",
)
_TYPES = {
    "datetime": TIMESTAMP,
    "relative_orbit": pa.int16(),
    "offset": pa.int32(),
    "cloud_cover": pa.float32(),
}


def pairs_schema(prefixes: list[str]) -> pa.Schema:
    """Columns of the table of pairs."""
    fields = [
        pa.field("cell", pa.string(), nullable=False),
        pa.field("epsg", pa.int32(), nullable=False),
        pa.field("season", pa.string(), nullable=False),
        pa.field("coverage", pa.float64(), nullable=False),  # share of the cell that all its scenes cover
        pa.field(
            "geometry", pa.binary(), nullable=False
        ),  # that area, with a margin of one chip around the cell
        pa.field("bbox", BBOX, nullable=False),
    ]
    for prefix in prefixes:
        fields += [pa.field(f"{prefix}_{name}", _TYPES.get(name, pa.string())) for name in SCENE_COLUMNS]
        fields.append(
            pa.field(f"{prefix}_dt_hours", pa.float64())
        )  # scene minus anchor; null for static layers
    return pa.schema(fields)


def pairs_table(
    cell: Strings,
    epsg: Ints,
    season: npt.NDArray[Any],
    coverage: Floats,
    usable: Shapes,
    chosen: dict[str, tuple[Scenes, Ints]],
) -> pa.Table:
    """Pairs as a table, sorted by cell and the anchor's time and id.

    Args:
        chosen: by sensor name, the anchor first: its scenes, and the scene of each pair.
    """
    bounds = shapely.bounds(usable).reshape(-1, 4)
    columns: dict[str, Any] = {
        "cell": cell,
        "epsg": epsg.astype(np.int32),
        "season": season,
        "coverage": coverage,
        "geometry": shapely.to_wkb(usable),
        "bbox": pa.StructArray.from_arrays([pa.array(side) for side in bounds.T], fields=list(BBOX)),
    }
    prefixes = [sensor_named(name).prefix for name in chosen]
    anchors, anchor_rows = next(iter(chosen.values()))
    for prefix, (scenes, rows) in zip(prefixes, chosen.values(), strict=True):
        taken = scenes.table.take(pa.array(rows))
        columns |= {f"{prefix}_{name}": taken[name].combine_chunks() for name in SCENE_COLUMNS}
        apart = np.round(scenes.hours[rows] - anchors.hours[anchor_rows], 6)
        columns[f"{prefix}_dt_hours"] = pa.array(apart, from_pandas=True)
    schema = pairs_schema(prefixes)
    arrays = [
        columns[field.name]
        if isinstance(columns[field.name], pa.Array)
        else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    by = ("cell", f"{prefixes[0]}_datetime", f"{prefixes[0]}_id")
    return pa.Table.from_arrays(arrays, schema=schema).sort_by([(name, "ascending") for name in by])
