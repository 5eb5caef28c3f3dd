"""One site from nothing to files: the unit of work, whole or absent."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import rasterio

from curate.archives.simulated import maps, products
from curate.archives.simulated.cog import ENVIRONMENT
from curate.archives.simulated.dates import plan
from curate.archives.simulated.frames import canvas
from curate.archives.simulated.ground import Ground
from curate.archives.simulated.landcover import grow
from curate.archives.simulated.places import Site
from curate.archives.simulated.terrain import raise_terrain
from curate.catalog.files import write_text

MARKER = "site.json"
MAKERS = {
    "sentinel-2-l2a": products.sentinel_2,
    "sentinel-1-rtc": products.sentinel_1,
    "sentinel-1-grd": products.sentinel_1,
    "landsat-c2-l2": products.landsat,
}


@dataclass(frozen=True)
class Task:
    """A site to build; equal tasks give equal files."""

    site: Site
    seed: int
    size_px: int
    version: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def lay_ground(task: Task) -> Ground:
    """The site's terrain and land cover, on a canvas a little larger than its scenes."""
    pad = max(12, task.size_px // 12)
    frame = canvas(task.site.lon, task.site.lat, task.size_px, pad)
    terrain = raise_terrain(task.site, task.seed, frame.width)
    cover = grow(task.site, task.seed, terrain)
    return Ground(task.site, task.seed, frame, pad, terrain, cover)


def build(task: Task, folder: Path) -> None:
    """Make all scenes and maps of a site under *folder*, which takes its name when all is written."""
    part = folder.parent / f".{folder.name}.{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with rasterio.Env(**ENVIRONMENT):
        ground = lay_ground(task)
        items = [MAKERS[wanted.sensor](ground, wanted, part) for wanted in plan(task.site, task.seed)]
        items += [maps.elevation(ground, part), maps.land_cover(ground, part)]
    members = []
    for item in items:
        name = item["id"]
        (part / name / f"{name}.json").write_text(json.dumps(item, indent=1), encoding="utf-8")
        times = item["properties"]
        members.append(
            {
                "name": name,
                "collection": item["collection"],
                "href": f"{folder.parent.name}/{folder.name}/{name}/{name}.json",
                "bbox": item["bbox"],
                "start": times["datetime"] or times["start_datetime"],
                "end": times["datetime"] or times["end_datetime"],
            }
        )
    write_text(part / MARKER, json.dumps({"task": task.to_json(), "items": members}, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    part.replace(folder)


def members(task: Task, folder: Path) -> list[dict[str, Any]] | None:
    """What the finished site in *folder* holds; None where it is absent or was built for another task."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return list(marker["items"]) if marker.get("task") == task.to_json() else None
