"""The picture of the README: the first chips of a catalog, Sentinel-2 above Sentinel-1.

python benchmarks/picture.py catalogs/eu.parquet docs/images/pairs.png
python benchmarks/picture.py catalogs/global.parquet docs/images/real-pairs.png    # of the real sample archive
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from curate.catalog import Catalog
from curate.pixels.pictures import compose, composites, stored

COLUMNS, SIDE, GAP, CAPTION = 8, 150, 6, 34


def main(source: Path, target: Path) -> None:
    catalog = Catalog.open(source)
    rows = _different_places(catalog)
    sheet = Image.new("RGB", (len(rows) * (SIDE + GAP) + GAP, 2 * (SIDE + GAP) + CAPTION + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, row in enumerate(rows):
        x = GAP + column * (SIDE + GAP)
        chip = {name: catalog.table[name][row].as_py() for name in ("shard", "shard_row", "s1_dt_hours")}
        for line, prefix in enumerate(("s2", "s1")):
            sensor = catalog.sensors[prefix]
            numbers = stored(catalog, sensor, chip["shard"], chip["shard_row"])
            image = Image.fromarray(compose(numbers, sensor, composites(sensor)[0]))
            sheet.paste(image.resize((SIDE, SIDE)), (x, GAP + line * (SIDE + GAP)))
        said = [catalog.table[name][row].as_py() for name in ("koppen_symbol", "lc_dominant_name", "season")]
        text = f"{said[0]} · {said[2]} · S1 {chip['s1_dt_hours']:+.0f} h\n{said[1].split(' /')[0].lower()}"
        draw.multiline_text((x, 2 * (SIDE + GAP) + GAP), text, "black", font)
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, optimize=True)


def _different_places(catalog: Catalog) -> list[int]:
    """The first row, in seat order, of every combination of climate and dominant cover."""
    kinds = zip(
        catalog.table["koppen_symbol"].to_pylist(), catalog.table["lc_dominant"].to_pylist(), strict=True
    )
    first: dict[Any, int] = {}
    for row, kind in enumerate(kinds):
        first.setdefault(kind, row)
    return list(first.values())[:COLUMNS]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
