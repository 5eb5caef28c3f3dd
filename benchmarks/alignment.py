"""How large chips must be for the shift between their sensors to be seen: as the archive is, then radar moved by 2 px.

python benchmarks/alignment.py FOLDER 60 40 24                          # simulated pairs
python benchmarks/alignment.py FOLDER 60 40 24 --data PATH/data         # real ones: PATH/data/archive, maps beside it

FOLDER must not exist. Radar files – of four simulated sites of 480 px, or of the archive – are moved by two of their
pixels to the east; of each chip size chips are drawn, cut and looked at: 128, or as many as there are.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import rasterio
import shapely
from rasterio.transform import Affine

from curate import stages
from curate.archives.simulated import simulate
from curate.catalog import Catalog
from curate.engine import Engine
from curate.pixels.alignment import align
from curate.recipe import Recipe

BOX = (-10, 36, 30, 60)
SHIFT_PX = 2
FEWEST = 6  # real chips of one radar scene that are looked at alone too


def shift(archive: Path) -> None:
    """Move radar files to the east."""
    for path in archive.rglob("*.tif"):
        if path.stem in ("vv", "vh"):
            with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
                at = file.transform
                file.transform = Affine(at.a, at.b, at.c + SHIFT_PX * at.a, at.d, at.e, at.f)


def simulated(folder: Path) -> dict[str, Any]:
    """Recipe options of a simulated archive, which is made."""
    simulate(shapely.box(*BOX), folder / "plain", sites=4, seed=1, workers=1, size_px=480)
    return {"region": "bbox:" + ",".join(map(str, BOX)), "sampling.budget": "128", "sampling.min_stratum": 3}


def real(folder: Path, data: Path) -> dict[str, Any]:
    """Recipe options of the archive of real scenes, which is copied."""
    shutil.copytree(data / "archive", folder / "plain")
    return {
        "region": "global",
        "sensors.partners": ["sentinel-1-grd"],
        "sensors.bands": {"sentinel-2-l2a": ["B04", "B08"]},
        "pairing.per_season": 0,
        "pairing.max_cloud_percent": 100,
        "sampling.budget": "1M",
        "descriptors.landcover": str(data / "landcover" / "glcnmo_third_degree.tif"),
        "descriptors.landcover_legend": str(data / "landcover" / "glcnmo_legend.csv"),
        "descriptors.climate": str(data / "climate" / "koppen_beck2023_1991-2020_0p1.tif"),
    }


def main(folder: Path, sizes: list[int], data: Path | None) -> None:
    options = simulated(folder) if data is None else real(folder, data)
    shutil.copytree(folder / "plain", folder / "shifted")
    shift(folder / "shifted")
    for size_px in sizes:
        for name in ("plain", "shifted"):
            archive = folder / name / ("" if data is None else "catalog.json")
            recipe = Recipe().with_options(options | {"archive": str(archive), "chips.size_px": size_px})
            workspace = stages.start(recipe, folder / f"{name}-{size_px}")
            stages.build(recipe, workspace, Engine(workers=1))
            catalog = Catalog.open(workspace.catalog)
            for found in align(catalog):
                print(f"{size_px} px, {name}: {found.said(10)}", flush=True)
            for scene in [] if data is None else many(catalog.table["s1_id"]):
                alone = replace(catalog, table=catalog.table.filter(pc.equal(catalog.table["s1_id"], scene)))
                print(f"    {scene}: {align(alone)[0].said(10)}", flush=True)


def many(scenes: pa.ChunkedArray) -> list[str]:
    """Scenes with `FEWEST` chips or more."""
    return [one["values"] for one in pc.value_counts(scenes).to_pylist() if one["counts"] >= FEWEST]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("sizes", type=int, nargs="+", metavar="SIZE_PX")
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    main(options.folder, options.sizes, options.data)
