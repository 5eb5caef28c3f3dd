"""The picture of the README: the first chips of a catalog, Sentinel-2 above Sentinel-1.

python benchmarks/picture.py catalogs/eu.parquet docs/images/pairs.png
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from curate.catalog import Catalog, SensorInfo
from curate.catalog.shards import open_shard, pixels

COLUMNS, SIDE, GAP, CAPTION = 8, 150, 6, 34
Rgb = npt.NDArray[np.uint8]


def main(source: Path, target: Path) -> None:
    catalog = Catalog.open(source)
    rows = _different_places(catalog)
    sheet = Image.new("RGB", (COLUMNS * (SIDE + GAP) + GAP, 2 * (SIDE + GAP) + CAPTION + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, row in enumerate(rows):
        x = GAP + column * (SIDE + GAP)
        chip = {name: catalog.table[name][row].as_py() for name in ("shard", "shard_row", "s1_dt_hours")}
        for line, (prefix, render) in enumerate((("s2", true_colour), ("s1", backscatter))):
            image = Image.fromarray(render(_values(catalog, chip, prefix), catalog.sensors[prefix]))
            sheet.paste(image.resize((SIDE, SIDE)), (x, GAP + line * (SIDE + GAP)))
        said = [catalog.table[name][row].as_py() for name in ("koppen_symbol", "lc_dominant_name", "season")]
        text = f"{said[0]} · {said[1].split(' /')[0].lower()}\n{said[2]} · S1 {chip['s1_dt_hours']:+.0f} h"
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


def _values(catalog: Catalog, chip: dict[str, Any], prefix: str) -> npt.NDArray[np.float64]:
    sensor = catalog.sensors[prefix]
    shard = open_shard(catalog.chips_folder / chip["shard"])
    stored = pixels(shard, prefix, len(sensor.bands), catalog.meta.chip_px)[chip["shard_row"]]
    return np.where(stored == sensor.nodata, np.nan, stored * sensor.scale + sensor.offset)


def true_colour(values: npt.NDArray[np.float64], sensor: SensorInfo) -> Rgb:
    """Red, green, blue; reflectance 0 to 0.3 with a gamma."""
    picked = np.stack([values[sensor.band_names.index(band)] for band in ("B04", "B03", "B02")], axis=-1)
    return _bytes((picked / 0.3) ** (1 / 1.6))


def backscatter(values: npt.NDArray[np.float64], sensor: SensorInfo) -> Rgb:
    """VV, VH and their ratio in dB as red, green, blue."""
    vv, vh = (values[sensor.band_names.index(band)] for band in ("VV", "VH"))
    scaled = [(vv + 20) / 20, (vh + 27) / 20, 1 - (vv - vh - 2) / 14]
    return _bytes(np.stack(scaled, axis=-1))


def _bytes(values: npt.NDArray[np.float64]) -> Rgb:
    clipped: Rgb = (np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)
    return clipped


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
