"""Derive `outlines.parquet` from Natural Earth 1:50m countries (public domain, naturalearthdata.com).

    python curate/data/make_outlines.py countries_ne50m.geojson

Outlines are simplified to about 2 km, and carry the ISO 3166-1 codes that Natural Earth leaves out (-99).
"""

from __future__ import annotations

import sys
from pathlib import Path

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

MISSING_CODES = {"FRA": "FR", "NOR": "NO", "KOS": "XK"}
TOLERANCE_DEG = 0.02


def derive(source: Path) -> pa.Table:
    """One row a country: code2, code3, name, continent, geometry (WKB, longitude/latitude)."""
    countries = geopandas.read_file(source).sort_values("adm0_a3")
    code2 = countries["iso_a2"].where(countries["iso_a2"] != "-99", countries["adm0_a3"].map(MISSING_CODES))
    code3 = countries["iso_a3"].where(countries["iso_a3"] != "-99", countries["adm0_a3"])
    simple = shapely.make_valid(shapely.simplify(countries.geometry.values, TOLERANCE_DEG))
    return pa.table(
        {
            "code2": pa.array(code2, pa.string(), from_pandas=True),
            "code3": pa.array(code3, pa.string()),
            "name": pa.array(countries["name"], pa.string()),
            "continent": pa.array(countries["continent"], pa.string()),
            "geometry": pa.array(shapely.to_wkb(shapely.set_precision(simple, 0.001)), pa.binary()),
        }
    )


if __name__ == "__main__":
    pq.write_table(
        derive(Path(sys.argv[1])), Path(__file__).with_name("outlines.parquet"), compression="zstd"
    )
