"""How large chips must be for the shift between their sensors to be seen: simulated pairs, none shifted, then by 2 px.

python benchmarks/alignment.py FOLDER 60 40 24

FOLDER must not exist. The radar files of four simulated sites of 480 px are moved by two pixels to the east; of each
chip size up to 128 chips are drawn, cut and looked at.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

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


def shift(archive: Path) -> None:
    """Move radar files to the east."""
    for path in archive.rglob("*.tif"):
        if path.stem in ("vv", "vh"):
            with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
                at = file.transform
                file.transform = Affine(at.a, at.b, at.c + SHIFT_PX * at.a, at.d, at.e, at.f)


def main(folder: Path, sizes: list[int]) -> None:
    simulate(shapely.box(*BOX), folder / "plain", sites=4, seed=1, workers=1, size_px=480)
    shutil.copytree(folder / "plain", folder / "shifted")
    shift(folder / "shifted")
    for size_px in sizes:
        for archive in ("plain", "shifted"):
            options = {"region": "bbox:" + ",".join(map(str, BOX)), "archive": str(folder / archive)}
            options |= {"chips.size_px": size_px, "sampling.budget": "128", "sampling.min_stratum": 3}
            recipe = Recipe().with_options(options)
            workspace = stages.start(recipe, folder / f"{archive}-{size_px}")
            stages.build(recipe, workspace, Engine(workers=1))
            for found in align(Catalog.open(workspace.catalog)):
                print(f"{size_px} px, {archive}: {found.said(10)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(size) for size in sys.argv[2:]])
