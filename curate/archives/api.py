"""STAC APIs: searched box by box and page by page; what could not be had is said."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import shapely
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from curate.archives.boxes import Bounds, boxes
from curate.archives.found import SIMULATED_KEY, Answer, Found, Limits
from curate.archives.kept import Kept, question_of
from curate.archives.pacing import Pace, Patience, Repeat
from curate.archives.paging import Lost, Pages, Request, fault_of
from curate.catalog.errors import InputError
from curate.console import watched
from curate.recipe import Period
from curate.sensors import Sensor

# root URL -> sensor -> collection, where the provider calls it otherwise than `SENSORS`
COLLECTIONS: dict[str, dict[str, str]] = {
    "https://stac.dataspace.copernicus.eu/v1": {
        "cop-dem-glo-30": "cop-dem-glo-30-dged-cog",
        "cop-dem-glo-90": "cop-dem-glo-90-dged-cog",
    },
}
_CLOUD = "eo:cloud_cover"


@dataclass(frozen=True)
class ApiArchive:
    """A STAC API, searched through pystac-client."""

    href: str
    client: Client
    pages: Pages
    patience: Patience
    kept: Kept | None = None

    @classmethod
    def open(cls, href: str, patience: Patience | None = None, kept: Kept | None = None) -> ApiArchive | None:
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
        return cls(href, client, Pages(io, pace, patience), patience, kept)

    @property
    def simulated(self) -> bool:
        return bool(self.client.extra_fields.get(SIMULATED_KEY, False))

    def search(
        self,
        area: shapely.Geometry,
        period: Period,
        sensor: Sensor,
        bands: tuple[str, ...],
        max_cloud_percent: float = 100.0,
    ) -> Found:
        """Scenes of the sensor's collection, one per acquisition; ``missing`` names what the server kept back.

        An API with CQL2 is asked only for items with at most *max_cloud_percent*, and those whose cloud cover it does
        not know. One without CQL2 is asked for all, and the clouds are looked at here: the older query extension cannot
        ask for "or unknown", and items without ``eo:cloud_cover`` would be lost in silence.
        """
        collection = COLLECTIONS.get(self.href.rstrip("/"), {}).get(sensor.name, sensor.name)
        query = _Query(self, collection, Limits(area, period, max_cloud_percent), sensor, bands)
        return Found.of(query.answers(boxes(area)), overlapping=True)


@dataclass
class _Query:
    """One search, asked box by box."""

    archive: ApiArchive
    collection: str
    limits: Limits
    sensor: Sensor
    bands: tuple[str, ...]
    _lost: int = 0  # boxes, one after the other
    _unfiltered: bool = False  # the server does not take the filter
    _takes_filter: bool = False  # the server has answered with it
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answers(self, around: list[Bounds]) -> Iterator[Answer]:
        """An answer for each box, in their order, some boxes at a time."""
        pool = ThreadPoolExecutor(self.archive.patience.threads)
        try:
            yield from watched(pool.map(self._answer, around), "search", len(around))
        finally:
            pool.shutdown(cancel_futures=True)

    def _answer(self, box: Bounds) -> Answer:
        if self.archive.kept is None:
            return self._ask(box)
        question = question_of(
            self.archive.href, self.collection, self.limits, self.sensor, self.bands, list(box)
        )
        return self.archive.kept.recall(question, lambda: self._ask(box))

    def _ask(self, box: Bounds) -> Answer:
        where = f"{self.collection} in bbox:{','.join(f'{side:.6g}' for side in box)}"
        if self._lost >= self.archive.patience.lost:
            return Answer(missing=[f"{where}: not asked for, after {self._lost} failures in a row"])
        filtered = self._is_filtered
        answer, came, lost = self._walk(box, filtered)
        self._takes_filter = self._takes_filter or (filtered and (lost is None or came > 0))
        refused = not self._takes_filter or str(lost).startswith("HTTP 400")
        if lost is not None and filtered and not came and refused:
            answer, came, lost = self._walk(box, False)  # it says it knows CQL2, and may fail at it
            self._unfiltered = self._unfiltered or lost is None or came > 0
        if lost is not None:
            answer.missing.append(
                f"{where}: {lost}; {came:,} items came before" if came else f"{where}: {lost}"
            )
        with self._lock:
            self._lost = self._lost + 1 if lost is not None else 0
        return answer

    def _walk(self, box: Bounds, filtered: bool) -> tuple[Answer, int, Lost | None]:
        """What the pages of one box hold, how many items they had, and why they ended too early."""
        answer, came = Answer(), 0
        try:
            for item in self.archive.pages.walk(self._request(box, filtered)):
                came += 1
                answer.take(item, self._href(item), self.sensor, self.bands, self.limits)
        except Lost as lost:
            return answer.close(), came, lost
        return answer.close(), came, None

    @property
    def _is_filtered(self) -> bool:
        clouds = self.sensor.kind == "optical" and self.limits.max_cloud_percent < 100
        return clouds and not self._unfiltered and bool(self.archive.client.conforms_to("FILTER"))

    def _request(self, box: Bounds, filtered: bool) -> Request:
        client = self.archive.client
        links = [link for link in client.links if link.rel == "search"]
        post = not links or any(link.extra_fields.get("method") == "POST" for link in links)
        most = self.limits.max_cloud_percent
        clouds: Any = None
        if filtered and post:
            cover = {"property": _CLOUD}
            known = {"op": "<=", "args": [cover, most]}
            clouds = {"op": "or", "args": [known, {"op": "isNull", "args": [cover]}]}
        elif filtered:
            clouds = f'"{_CLOUD}" <= {most:g} OR "{_CLOUD}" IS NULL'
        search = client.search(
            method="POST" if post else "GET",
            collections=[self.collection],
            bbox=box,
            datetime=None if self.sensor.static else interval(self.limits.period),
            limit=self.archive.patience.page,
            filter=clouds,
            filter_lang=None if clouds is None else "cql2-json" if post else "cql2-text",
        )
        if post:
            return Request(search.url, search.get_parameters())
        return Request(search.url_with_parameters())

    def _href(self, item: Any) -> str:
        """Where an item lies, against which its relative hrefs are resolved."""
        if not isinstance(item, dict):
            return self.archive.href
        usual = f"{self.archive.href.rstrip('/')}/collections/{self.collection}/items/{item.get('id')}"
        said = item.get("links")
        links = [link for link in said if isinstance(link, dict)] if isinstance(said, list) else []
        itself = next((link["href"] for link in links if link.get("rel") == "self" and link.get("href")), "")
        try:
            return urljoin(usual, str(itself))
        except ValueError:  # no address
            return usual


def interval(period: Period) -> str | None:
    """The period as an API is asked for it, UTC; None where it has no end on either side."""
    if period.start is None and period.end is None:
        return None
    start = f"{period.start}T00:00:00Z" if period.start else ".."
    end = f"{period.end}T23:59:59.999999Z" if period.end else ".."
    return f"{start}/{end}"
