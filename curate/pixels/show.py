"""One chip for a person: what is known of it, and how it looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from curate.catalog.errors import InputError
from curate.catalog.reader import Catalog
from curate.pixels.pictures import compose, composites, save, stored


def about(catalog: Catalog, chip_id: str) -> dict[str, Any]:
    """All columns of a chip but its outline.

    Raises:
        InputError: the catalog has no such chip.
    """
    rows = catalog.table.filter(pc.equal(catalog.table["chip_id"], chip_id))
    if not rows.num_rows:
        some = ", ".join(catalog.table["chip_id"].slice(0, 3).to_pylist())
        raise InputError(f"Catalog {catalog.path} has no chip {chip_id!r}", do=f"Its first chips are {some}")
    found: dict[str, Any] = rows.drop_columns(["geometry", "bbox"]).to_pylist()[0]
    return found


def draw(catalog: Catalog, row: dict[str, Any], path: Path, times: int) -> Path:
    """Write the chip's sensors side by side, the anchor first, as PNG; the path.

    Raises:
        InputError: the chip has no pixels, or its shard cannot be read.
    """
    if row["shard"] is None:
        raise InputError(f"Chip {row['chip_id']} has no pixels", do="Cut them with: curate cut")
    images = [
        compose(stored(catalog, info, row["shard"], row["shard_row"]), info, composites(info)[0])
        for info in catalog.meta.sensors
    ]
    save(path, images, times)
    return path
