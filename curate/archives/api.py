"""STAC APIs: searched box by box and page by page; what could not be had is said."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import numpy as np
import shapely
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from curate.archives.duplicates import newest, processing_time
from curate.archives.pacing import Pace, Patience, Repeat
from curate.archives.paging import Lost, Pages, Request, fault_of
from curate.archives.static import SIMULATED_KEY
from curate.catalog.errors import InputError
from curate.chips import wrapped
from curate.recipe import Period
from curate.scenes import Found, Rejected, scene
from curate.sensors import Sensor

Bounds = tuple[float, float, float, float]  # west, south, east, north in degrees

# root URL -> sensor -> collection, where the provider calls it otherwise than `SENSORS`
COLLECTIONS: dict[str, dict[str, str]] = {
    "https://stac.dataspace.copernicus.eu/v1": {"cop-dem-glo-30": "cop-dem-glo-30-dged-cog"},
}
_BOX_DEG = 4.0  # of latitude, and as wide in kilometres: about 16 Sentinel-2 tiles
_ROUND_DEG = 1e-6  # boxes are rounded outwards


@dataclass(frozen=True)
class ApiArchive:
    """A STAC API, searched through pystac-client."""

    href: str
    client: Client
    pages: Pages
    patience: Patience

    @classmethod
    def open(cls, href: str, patience: Patience | None = None) -> ApiArchive | None:
        """The API whose root document lies at *href*; None where that document is a static catalog's.

        Raises:
            InputError: there is no answer, or it is no JSON.
        """
        patience = patience or Patience()
        pace = Pace(patience.requests_per_s)
        io = StacApiIO(max_retries=Repeat.of(patience, pace))
        pace.turn()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of static catalogs, that they conform to nothing
                # a timeout given to StacApiIO is lost here, only this one stays
                client = Client.open(href, stac_io=io, timeout=(patience.connect_s, patience.read_s))
        except (APIError, ValueError) as error:
            why = str(fault_of(error)) if isinstance(error, APIError) else "the answer is no JSON"
            raise InputError(
                f"Archive {href} cannot be read", why, "Give the root URL of a STAC API or a static catalog's"
            ) from error
        except Exception:  # pystac's many: it is JSON, but no catalog that pystac-client would take
            return None
        if not client.conforms_to("ITEM_SEARCH"):
            if client.get_search_link() is None:
                return None
            client.add_conforms_to("ITEM_SEARCH")
        return cls(href, client, Pages(io, pace, patience), patience)

    @property
    def simulated(self) -> bool:
        return bool(self.client.extra_fields.get(SIMULATED_KEY, False))

    def search(self, area: shapely.Geometry, period: Period, sensor: Sensor, bands: tuple[str, ...]) -> Found:
        """Scenes of the sensor's collection, one per acquisition; ``missing`` names what the server kept back."""
        collection = COLLECTIONS.get(self.href.rstrip("/"), {}).get(sensor.name, sensor.name)
        when = None if sensor.static else interval(period)
        query = _Query(self, collection, when, sensor, bands)
        found = Found()
        seen: set[str] = set()
        processed: dict[str, str] = {}
        shapely.prepare(area)
        for answer in query.answers(boxes(area)):
            for name, row, processing in answer.rows:
                if name in seen:
                    continue  # in the neighbouring box already
                seen.add(name)
                if isinstance(row, Rejected):
                    found.rejected.append(row)
                elif period.holds(row["datetime"]) and shapely.intersects(
                    area, shapely.from_wkb(row["geometry"])
                ):
                    found.scenes.append(row)
                    processed[name] = processing
                else:
                    found.other += 1
            found.missing += answer.missing
        found.scenes, older = newest(found.scenes, processed)
        found.rejected += older
        return found


@dataclass
class _Answer:
    """What one box brought."""

    rows: list[tuple[str, dict[str, Any] | Rejected, str]] = field(default_factory=list)  # id, row, processed
    missing: list[str] = field(default_factory=list)


@dataclass
class _Query:
    """One search, asked box by box."""

    archive: ApiArchive
    collection: str
    when: str | None
    sensor: Sensor
    bands: tuple[str, ...]
    _lost: int = 0  # boxes, one after the other
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answers(self, around: list[Bounds]) -> Iterator[_Answer]:
        """An answer for each box, in their order, some boxes at a time."""
        pool = ThreadPoolExecutor(self.archive.patience.threads)
        try:
            yield from pool.map(self._answer, around)
        finally:
            pool.shutdown(cancel_futures=True)

    def _answer(self, box: Bounds) -> _Answer:
        answer = _Answer()
        where = f"{self.collection} in bbox:{','.join(f'{side:.6g}' for side in box)}"
        if self._lost >= self.archive.patience.lost:
            answer.missing.append(f"{where}: not asked for, after {self._lost} failures in a row")
            return answer
        came = 0
        try:
            for item in self.archive.pages.walk(self._request(box)):
                came += 1
                answer.rows.append(self._row(item))
        except Lost as lost:
            answer.missing.append(
                f"{where}: {lost}; {came:,} items came before" if came else f"{where}: {lost}"
            )
        with self._lock:
            self._lost = self._lost + 1 if answer.missing else 0
        return answer

    def _request(self, box: Bounds) -> Request:
        client = self.archive.client
        links = [link for link in client.links if link.rel == "search"]
        post = not links or any(link.extra_fields.get("method") == "POST" for link in links)
        search = client.search(
            method="POST" if post else "GET",
            collections=[self.collection],
            bbox=box,
            datetime=self.when,
            limit=self.archive.patience.page,
        )
        if post:
            return Request(search.url, search.get_parameters())
        return Request(search.url_with_parameters())

    def _row(self, item: Any) -> tuple[str, dict[str, Any] | Rejected, str]:
        if not isinstance(item, dict) or not item.get("id"):
            return "?", Rejected("?", "no STAC item"), ""
        name = str(item["id"])
        usual = f"{self.archive.href.rstrip('/')}/collections/{self.collection}/items/{name}"
        links = [link for link in item.get("links") or [] if isinstance(link, dict)]
        itself = next((link["href"] for link in links if link.get("rel") == "self" and link.get("href")), "")
        row = scene(item, urljoin(usual, itself), self.sensor, self.bands)
        return name, row, processing_time(item.get("properties") or {})


def boxes(area: shapely.Geometry, side_deg: float = _BOX_DEG) -> list[Bounds]:
    """Boxes that hold *area* together, none across the antimeridian, each about *side_deg* of latitude square.

    An area that is no larger than one box has one. Each box is as tight as the part of the area in it allows.
    """
    west, south, east, north = shapely.bounds(area)
    if west < -180 or east > 180:
        area = wrapped(area)
        west, south, east, north = shapely.bounds(area)
    if east - west <= side_deg / _narrowing(south, north) and north - south <= side_deg:
        return [_outwards((west, south, east, north))]
    cells: list[shapely.Geometry] = []
    for low in np.arange(np.floor(south / side_deg), np.ceil(north / side_deg)) * side_deg:
        around = max(1, round(360.0 * _narrowing(low, low + side_deg) / side_deg))
        edges = np.linspace(-180.0, 180.0, around + 1)
        cells += list(shapely.box(edges[:-1], low, edges[1:], low + side_deg))
    shapely.prepare(area)
    near = np.asarray(cells, dtype=object)[shapely.intersects(area, cells)]
    parts = shapely.intersection(area, near)
    if shapely.area(area) > 0:
        parts = parts[shapely.area(parts) > 0]
    return [_outwards(tuple(side)) for side in shapely.bounds(parts).tolist()]


def _narrowing(south: float, north: float) -> float:
    """Width of a degree of longitude at the wider edge, as a share of one at the equator; 0.02 next to a pole."""
    nearest = 0.0 if south <= 0 <= north else min(abs(south), abs(north))
    return max(0.02, float(np.cos(np.radians(nearest))))


def _outwards(bounds: Bounds) -> Bounds:
    west, south, east, north = bounds
    low = [
        max(limit, float(np.floor(x / _ROUND_DEG) * _ROUND_DEG)) for x, limit in ((west, -180), (south, -90))
    ]
    high = [
        min(limit, float(np.ceil(x / _ROUND_DEG) * _ROUND_DEG)) for x, limit in ((east, 180), (north, 90))
    ]
    return low[0], low[1], high[0], high[1]


def interval(period: Period) -> str | None:
    """The period as an API is asked for it, UTC; None where it has no end on either side."""
    if period.start is None and period.end is None:
        return None
    start = f"{period.start}T00:00:00Z" if period.start else ".."
    end = f"{period.end}T23:59:59.999999Z" if period.end else ".."
    return f"{start}/{end}"
