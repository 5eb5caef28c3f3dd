"""Static STAC catalogs: JSON files that link to each other, on disk or behind HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pystac
import shapely
from pystac.utils import make_absolute_href

from curate.archives.duplicates import newest, processing_time
from curate.catalog.errors import InputError
from curate.recipe import Period
from curate.scenes import Found, Rejected, scene
from curate.sensors import Sensor

SIMULATED_KEY = "curate:simulated"


@dataclass(frozen=True)
class StaticArchive:
    """A static STAC catalog, read link by link, so that one broken item costs itself only."""

    href: str
    root: dict[str, Any]

    @classmethod
    def open(cls, href: str) -> StaticArchive:
        """Read the root catalog.

        Raises:
            InputError: the file is absent, no JSON, or no STAC catalog.
        """
        if "://" not in href:
            href = str(Path(href).resolve())
        try:
            root = _read(href)
        except (OSError, ValueError) as error:
            raise InputError(
                f"Archive {href} cannot be read",
                str(error),
                "Give the catalog.json of a static STAC catalog, or its folder",
            ) from error
        if root.get("type") not in ("Catalog", "Collection") or "links" not in root:
            raise InputError(
                f"Archive {href} is no STAC catalog",
                f"its type is {root.get('type')!r}, not 'Catalog' or 'Collection'",
                "Give the catalog.json of a static STAC catalog, or its folder",
            )
        return cls(href, root)

    @property
    def simulated(self) -> bool:
        return bool(self.root.get(SIMULATED_KEY, False))

    def search(self, area: shapely.Geometry, period: Period, sensor: Sensor, bands: tuple[str, ...]) -> Found:
        """Scenes of the collection that bears the sensor's name."""
        found = Found()
        shapely.prepare(area)
        processed: dict[str, str] = {}
        for href, item in self._items(sensor.name, found):
            row = scene(item, href, sensor, bands)
            if when := processing_time(item.get("properties") or {}):
                processed[str(item.get("id"))] = when
            if isinstance(row, Rejected):
                found.rejected.append(row)
            elif period.holds(row["datetime"]) and shapely.intersects(
                area, shapely.from_wkb(row["geometry"])
            ):
                found.scenes.append(row)
            else:
                found.other += 1
        found.scenes, older = newest(found.scenes, processed)
        found.rejected += older
        return found

    def _items(self, collection: str, found: Found) -> Iterator[tuple[str, dict[str, Any]]]:
        """Items of one collection with their hrefs; what cannot be read goes to ``found.rejected``."""
        todo = [(self.href, self.root)]
        seen = {self.href}  # links may lead back, or twice to the same place
        while todo:
            here, node = todo.pop()
            for link in node.get("links", []):
                if link.get("rel") not in ("child", "item"):
                    continue
                if not link.get("href"):
                    found.rejected.append(Rejected(here, f"{link['rel']} link without a target"))
                    continue
                href = make_absolute_href(link["href"], here)
                if href in seen:
                    continue
                seen.add(href)
                try:
                    child = _read(href)
                except (OSError, ValueError) as error:
                    found.rejected.append(Rejected(href, f"unreadable {link['rel']}: {type(error).__name__}"))
                    continue
                if link["rel"] == "item":
                    if child.get("collection") in (collection, None):
                        yield href, child
                elif child.get("type") == "Catalog" or child.get("id") == collection:
                    todo.append((href, child))


def _read(href: str) -> dict[str, Any]:
    """One JSON document.

    Raises:
        OSError: the file or page cannot be read.
        ValueError: it is no JSON object.
    """
    try:
        text = pystac.StacIO.default().read_text(href)
    except (OSError, ValueError):
        raise
    except Exception as error:  # pystac and urllib3 raise their own kinds
        raise OSError(" ".join(str(error.__cause__ or error).split())) from error
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    return document
