"""Static STAC catalogs: JSON files that link to each other, on disk, behind HTTP or in an S3 store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shapely
from pystac.utils import make_absolute_href

from curate.archives.files import Files, Unavailable
from curate.archives.found import SIMULATED_KEY, Answer, Found, Limits
from curate.archives.kept import Kept, question_of
from curate.catalog.errors import InputError
from curate.console import growing_progress
from curate.recipe import Period
from curate.scenes import Rejected
from curate.sensors import Sensor

_ADVICE = "Give the catalog.json of a static STAC catalog, or its folder"
_AT_A_TIME = 512  # documents in memory
_LOST = 20  # documents lost one after the other, after which no further one is asked for

Document = dict[str, Any]


@dataclass(frozen=True)
class StaticArchive:
    """A static STAC catalog, read link by link, so that one broken item costs itself only."""

    href: str
    root: Document
    files: Files = field(default_factory=Files)
    kept: Kept | None = None

    @classmethod
    def open(cls, href: str, files: Files | None = None, kept: Kept | None = None) -> StaticArchive:
        """Read the root catalog.

        Raises:
            InputError: the file is absent, no JSON, or no STAC catalog.
        """
        files = files or Files()
        if "://" not in href:
            href = str(Path(href).resolve())
        try:
            root = _document(files, href)
        except (OSError, ValueError) as error:
            raise InputError(f"Archive {href} cannot be read", str(error), _ADVICE) from error
        if root.get("type") not in ("Catalog", "Collection") or "links" not in root:
            raise InputError(
                f"Archive {href} is no STAC catalog",
                f"its type is {root.get('type')!r}, not 'Catalog' or 'Collection'",
                _ADVICE,
            )
        return cls(href, root, files, kept)

    @property
    def simulated(self) -> bool:
        return bool(self.root.get(SIMULATED_KEY, False))

    def search(
        self,
        area: shapely.Geometry,
        period: Period,
        sensor: Sensor,
        bands: tuple[str, ...],
        max_cloud_percent: float = 100.0,
    ) -> Found:
        """Scenes of the collection that bears the sensor's name; ``missing`` names what a server kept back."""
        limits = Limits(area, period, max_cloud_percent)

        def ask() -> Answer:
            answer = Answer()
            for href, item in self._items(sensor.name, answer):
                answer.take(item, href, sensor, bands, limits)
            return answer.close()

        if self.kept is None or not self._remote:
            return Found.of(iter([ask()]))
        question = question_of(self.href, sensor.name, limits, sensor, bands)
        return Found.of(iter([self.kept.recall(question, ask)]))

    @property
    def _remote(self) -> bool:
        return "://" in self.href and not self.href.startswith("file://")

    def _items(self, collection: str, answer: Answer) -> Iterator[tuple[str, Document]]:
        """Items of one collection with their hrefs; what cannot be read goes to *answer*."""
        nodes = [(self.href, self.root)]
        seen = {self.href}  # links may lead back, or twice to the same place
        lost = 0
        threads = self.files.patience.threads if self._remote else 1
        with ThreadPoolExecutor(threads) as pool, growing_progress("search") as grow:
            while nodes:
                links = [
                    link for here, node in nodes for link in _links(here, node, answer) if link[1] not in seen
                ]
                links = list({href: (rel, href) for rel, href in reversed(links)}.values())[::-1]
                seen |= {href for _, href in links}
                grow(len(links), 0)
                nodes = []
                for first in range(0, len(links), _AT_A_TIME):
                    part = links[first : first + _AT_A_TIME]
                    if lost >= _LOST:
                        answer.missing.append(
                            f"{collection} in {self.href}: {len(links) - first:,} files and what they link to: "
                            f"not asked for, after {lost} failures in a row"
                        )
                        break
                    for (rel, href), child in zip(part, pool.map(self._attempt, part), strict=True):
                        grow(0, 1)
                        lost = lost + 1 if isinstance(child, Unavailable) else 0
                        if isinstance(child, Unavailable):
                            answer.missing.append(f"{collection} in {href}: {child}")
                        elif isinstance(child, Exception):
                            answer.rejected.append(Rejected(href, f"unreadable {rel}: {_reason(child)}"))
                        elif rel == "item":
                            if child.get("collection") in (collection, None):
                                yield href, child
                        elif child.get("type") == "Catalog" or child.get("id") == collection:
                            nodes.append((href, child))

    def _attempt(self, link: tuple[str, str]) -> Document | OSError | ValueError:
        try:
            return _document(self.files, link[1])
        except (OSError, ValueError) as error:
            return error


def _links(here: str, node: Document, answer: Answer) -> Iterator[tuple[str, str]]:
    """Kind and absolute href of the links to children and items."""
    links = node.get("links")
    for link in links if isinstance(links, list) else []:
        if not isinstance(link, dict) or link.get("rel") not in ("child", "item"):
            continue
        if not link.get("href"):
            answer.rejected.append(Rejected(here, f"{link['rel']} link without a target"))
            continue
        try:
            target = make_absolute_href(str(link["href"]), here)
        except ValueError:
            answer.rejected.append(Rejected(here, f"{link['rel']} link to no address"))
            continue
        yield link["rel"], target


def _reason(error: Exception) -> str:
    """What went wrong without names of files, so that equal faults are counted together."""
    text = str(error)
    return text if text.startswith("HTTP ") else type(error).__name__


def _document(files: Files, href: str) -> Document:
    """One JSON document.

    Raises:
        OSError: the file cannot be read; `Unavailable` where it perhaps can be later.
        ValueError: it is no JSON object.
    """
    document = json.loads(files.read(href))
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    return document
