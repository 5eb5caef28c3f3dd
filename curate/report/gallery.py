"""A gallery of pairs over the strata: composites of every sensor, the land cover beside them, and all that is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from curate.catalog.errors import InputError
from curate.catalog.page import picture
from curate.pixels.pictures import Image, compose, composites, stored
from curate.report.colours import NONE, landcovers
from curate.report.subject import Subject, texts
from curate.sampling.arrays import encode

CHIPS = 32
_MOST_PX = 160  # of a picture's side


def chosen(table: pa.Table, most: int = CHIPS) -> npt.NDArray[np.int64]:
    """Rows to show: those that are seated first in each climate × dominant land cover, evenly over these."""
    cut = np.flatnonzero(table["shard"].is_valid().to_numpy())
    if not len(cut):
        return cut.astype(np.int64)
    some = table.take(pa.array(cut))
    climate, _ = encode(texts(some, "koppen_symbol"))
    cover, names = encode(texts(some, "lc_dominant_name"))
    pair = climate * len(names) + cover
    _, first = np.unique(pair, return_index=True)  # rows are in seat order
    if len(first) < most:
        rest = np.setdiff1d(np.arange(len(cut)), first)[: most - len(first)]
        first = np.concatenate([first, rest])
        first = first[np.argsort(pair[first], kind="stable")]
    if len(first) > most:
        first = first[np.linspace(0, len(first) - 1, most).round().astype(np.int64)]
    rows: npt.NDArray[np.int64] = cut[first]
    return rows


@dataclass(frozen=True)
class Gallery:
    """Chips to look at."""

    names: list[str]  # of the pictures of each chip
    chips: list[dict[str, Any]]  # id, filters, pictures as data addresses, and facts in groups
    notes: list[str]
    legend: list[tuple[str, str]] = field(
        default_factory=list
    )  # land covers and their colours, where they are shown

    def pictures(self) -> list[list[str]]:
        return [chip["pictures"] for chip in self.chips]


def gallery(subject: Subject, most: int = CHIPS) -> Gallery:
    """The gallery of a catalog; empty where no chip has been cut.

    Raises:
        InputError: a shard cannot be read.
    """
    rows = chosen(subject.catalog.table, most)
    if not len(rows):
        return Gallery([], [], ["No chip of this catalog has been cut yet: curate cut."])
    full = _whole_rows(subject, rows)
    sensors = subject.catalog.meta.sensors
    shown = [(info, composite) for info in sensors for composite in composites(info)]
    names = [composite.name for _, composite in shown]
    facts = full.to_pylist()
    covers, note = landcover_pictures(subject, facts)
    chips = []
    for row, cover in zip(facts, covers, strict=True):
        addresses = []
        for info, composite in shown:
            numbers = stored(subject.catalog, info, row["shard"], row["shard_row"])
            addresses.append(picture(_small(compose(numbers, info, composite))))
        if cover is not None:
            addresses.append(picture(cover, lossless=True))
        chips.append(_chip(row, addresses, subject))
    if covers[0] is None:
        return Gallery(names, chips, [note])
    present = {
        name
        for row in facts
        for code, name in subject.catalog.meta.landcover.items()
        if row[f"lc_{code}"] > 0
    }
    legend = [
        (name, colour)
        for name, colour in landcovers(subject.catalog.meta.landcover.values()).items()
        if name in present
    ]
    return Gallery([*names, "Land cover"], chips, [], legend)


def _whole_rows(subject: Subject, rows: npt.NDArray[np.int64]) -> pa.Table:
    """All columns but the footprints' geometry of some rows, without holding the others."""
    ids = subject.catalog.table["chip_id"].take(pa.array(rows)).combine_chunks()
    names = [name for name in pq.read_schema(subject.catalog.path).names if name != "geometry"]
    found = pq.read_table(subject.catalog.path, columns=names, filters=pc.field("chip_id").isin(ids))
    return found.take(pc.index_in(ids, found["chip_id"].combine_chunks()))


def landcover_pictures(subject: Subject, rows: list[dict[str, Any]]) -> tuple[list[Image | None], str]:
    """The land-cover map in each chip's own grid, and what is to be said; None for all where it cannot be read."""
    from rasterio.errors import RasterioError

    from curate.stages import landcover_map

    meta = subject.catalog.meta
    lon, lat = [row["lon"] for row in rows], [row["lat"] for row in rows]
    around = shapely.box(min(lon) - 0.1, min(lat) - 0.1, max(lon) + 0.1, max(lat) + 0.1)
    try:
        land = landcover_map(subject.recipe, subject.workspace, around)
        colours = landcovers(land.legend.names.values())
        found: list[Image | None] = []
        for row in rows:
            codes = _window(land, row, meta.chip_px)
            image = np.full((*codes.shape, 3), _rgb(NONE), np.uint8)
            for value, code in land.legend.values.items():
                image[codes == value] = _rgb(colours[land.legend.names[code]])
            found.append(_small(image))
    except (InputError, RasterioError, OSError) as error:
        return [None] * len(rows), f"The land-cover map is not shown: {error}"
    return found, ""


def _small(image: Image) -> Image:
    """Every so-manieth pixel, so that no side is longer than a picture's."""
    step = -(-max(image.shape[:2]) // _MOST_PX)
    return np.ascontiguousarray(image[::step, ::step])


def _window(land: Any, row: dict[str, Any], chip_px: int) -> npt.NDArray[np.int64]:
    """Numbers of the map's pixels nearest to those of a chip; −1 where it says nothing."""
    from rasterio.enums import Resampling
    from rasterio.transform import Affine
    from rasterio.vrt import WarpedVRT

    from curate.gdal import opened

    near = land.near((row["lon"] - 0.02, row["lat"] - 0.02, row["lon"] + 0.02, row["lat"] + 0.02))
    year = row.get("lc_year")
    codes = np.full((chip_px, chip_px), -1, np.int64)
    for tile in (near.of_year(year) if year else near).tiles:
        with (
            opened(tile.href, "Land-cover map") as source,
            WarpedVRT(
                source,
                crs=f"EPSG:{row['epsg']}",
                transform=Affine(*row["transform"]),
                width=chip_px,
                height=chip_px,
                resampling=Resampling.nearest,
            ) as warped,
        ):
            numbers = warped.read(1, masked=True).astype(np.int64).filled(-1)
        numbers[np.isin(numbers, list(land.legend.nodata))] = -1
        codes = np.where(codes < 0, numbers, codes)
        if (codes >= 0).all():
            break
    return codes


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _chip(row: dict[str, Any], addresses: list[str], subject: Subject) -> dict[str, Any]:
    """What the page knows of a chip."""
    meta = subject.catalog.meta
    prefixes = tuple(info.prefix for info in meta.sensors)
    sizes = {f"lc_{code}": name for code, name in meta.landcover.items()}
    fractions = sorted(
        ((row[column], name) for column, name in sizes.items() if row[column] > 0), reverse=True
    )
    partner = next(iter(subject.partners), None)
    groups = [
        ("Chip", [(k, v) for k, v in row.items() if k not in sizes and not k.startswith(_starts(prefixes))])
    ]
    groups.append(("Land cover", [(name, f"{share:.1%}") for share, name in fractions]))
    for info in meta.sensors:
        own = [
            (k.removeprefix(f"{info.prefix}_"), v) for k, v in row.items() if k.startswith(f"{info.prefix}_")
        ]
        groups.append((info.sensor, own))
    return {
        "id": row["chip_id"],
        "climate": row["koppen_symbol"] or "none",
        "cover": row["lc_dominant_name"] or "none",
        "split": row["split"],
        "orbit": (row[f"{partner}_orbit_state"] if partner else None) or "none",
        "season": row["season"],
        "dt_hours": row[f"{partner}_dt_hours"] if partner else None,
        "date": str(row[f"{prefixes[0]}_datetime"])[:10],
        "pictures": addresses,
        "groups": [(name, [(k, _said(v)) for k, v in pairs]) for name, pairs in groups],
    }


def _starts(prefixes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{prefix}_" for prefix in prefixes)


def _said(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, dict):
        return ", ".join(_said(v) for v in value.values())
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return _files(value)
    if isinstance(value, list):
        return ", ".join(f"{v:.10g}" if isinstance(v, float) else str(v) for v in value[:12])
    return str(value)


def _files(hrefs: list[dict[str, str]]) -> str:
    """The folder of all files, and under it the name of each band's."""
    parts = [(one["band"], *one["href"].rpartition("/")) for one in hrefs]
    if len({folder for _, folder, _, _ in parts}) > 1:
        return "\n".join(f"{one['band']} {one['href']}" for one in hrefs)
    said = ", ".join(name if name.startswith(f"{band}.") else f"{band} {name}" for band, _, _, name in parts)
    return f"{parts[0][1]}/\n{said}"


def contact_sheet(found: Gallery, path: Path) -> None:
    """All pictures of a gallery as one PNG, a row a chip."""
    import base64
    import io

    from PIL import Image as Pictures

    rows = [
        [Pictures.open(io.BytesIO(base64.b64decode(address.split(",", 1)[1]))) for address in chip]
        for chip in found.pictures()
    ]
    width, height = rows[0][0].size
    gap = 4
    across = max(map(len, rows))
    halves = 2 if len(rows) > 8 else 1
    tall = -(-len(rows) // halves)
    sheet = Pictures.new("RGB", (halves * across * (width + gap) + gap, tall * (height + gap) + gap), "white")
    for i, pictures in enumerate(rows):
        for j, one in enumerate(pictures):
            column, line = (i // tall) * across + j, i % tall
            sheet.paste(one.convert("RGB"), (gap + column * (width + gap), gap + line * (height + gap)))
    sheet.save(path, "PNG", optimize=True)
