"""Pages of a STAC API: read to the last, again and smaller where the server fails, and never for ever."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import requests
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from curate.archives.pacing import Pace, PageSize, Patience

_EMPTY_PAGES = 50  # one after the other with a link to the next: more is a server that runs in circles
_COUNTED = ("page", "offset", "startindex", "skip")  # links by number: another page size would shift them
_AGAIN = (408, 413, 429, 500, 502, 503, 504)  # HTTP statuses that may pass, or pass with a smaller page


class Lost(Exception):
    """A query that could not be brought to its end; says why."""


class Fault(Exception):
    """One answer that is no page of items; *again* where another attempt may bring one."""

    def __init__(self, why: str, again: bool = True) -> None:
        super().__init__(why)
        self.again = again


@dataclass(frozen=True)
class Request:
    """One page to ask for."""

    href: str
    body: dict[str, Any] | None = None  # of a POST; None for a GET
    headers: dict[str, str] | None = None

    def sized(self, items: int) -> Request:
        """The same page with *items*, where that does not shift it."""
        if self.body is not None:
            if "limit" not in self.body or any(key.lower() in _COUNTED for key in self.body):
                return self
            return Request(self.href, {**self.body, "limit": items}, self.headers)
        parts = urlsplit(self.href)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if "limit" not in query or any(key.lower() in _COUNTED for key in query):
            return self
        query["limit"] = str(items)
        return Request(urlunsplit(parts._replace(query=urlencode(query))), None, self.headers)

    def next(self, page: dict[str, Any]) -> Request | None:
        """What the link to the next page asks for, by the STAC API's paging rules; None on the last page."""
        links = page.get("links") or []
        link = next((x for x in links if isinstance(x, dict) and x.get("rel") == "next"), None)
        if link is None or not link.get("href"):
            return None
        merge = bool(link.get("merge"))
        headers = {**((self.headers or {}) if merge else {}), **(link.get("headers") or {})} or None
        href = urljoin(self.href, str(link["href"]))
        if str(link.get("method", "GET")).upper() != "POST":
            return Request(href, None, headers)
        body = {**((self.body or {}) if merge else {}), **(link.get("body") or {})}
        return Request(href, body, headers)

    @property
    def key(self) -> str:
        """The same for the same page, whatever its size."""
        same = self.sized(0)
        return json.dumps([same.href, same.body], sort_keys=True)


class Pages:
    """Reads the pages of one API; its pace and page size are shared by all threads."""

    def __init__(self, io: StacApiIO, pace: Pace, patience: Patience) -> None:
        self._io = io
        self._pace = pace
        self._patience = patience
        self._size = PageSize(patience.page)

    def walk(self, request: Request) -> Iterator[Any]:
        """Items from the page of *request* to the last, each id once.

        Raises:
            Lost: a page could not be had, repeats itself, or fewer items came than the server counted, and others
                when it was asked once more.
        """
        ids: set[str] = set()
        counted, came = yield from self._round(request, ids, set())
        if came >= counted:
            return
        again: set[str] = set()
        counted, came = yield from self._round(request, again, ids)
        if again != ids and max(came, len(again | ids)) < counted:  # equal: the count is an estimate
            raise Lost(f"the server counted {counted:,} items and sent {came:,}")

    def _round(
        self, request: Request, ids: set[str], known: set[str]
    ) -> Generator[Any, None, tuple[int, int]]:
        """Items that are not *known*, from the first page to the last; how many were counted, and how many came.

        Their ids go to *ids*; an item without one comes in the first round only.
        """
        before: set[str] = set()  # what the pages held
        asked: set[str] = set()
        counted, came, empty = None, 0, 0
        following: Request | None = request
        while following is not None:
            asked.add(following.key)
            page = self._page(following, before)
            counted = _counted(page) if counted is None else counted
            for item in page["features"]:
                name = str(item.get("id")) if isinstance(item, dict) else None
                if not known if name is None else name not in ids and name not in known:
                    yield item
                ids |= {name} if name else set()
            came += len(page["features"])
            empty = 0 if page["features"] else empty + 1
            following = following.next(page)
            if following is not None and (following.key in asked or empty > _EMPTY_PAGES):
                raise Lost("the server's pages run in circles")
        return counted or 0, came

    def _page(self, request: Request, before: set[str]) -> dict[str, Any]:
        """One page with items that no page in *before* had, in as many tries as patience allows."""
        why = ""
        for attempt in range(self._patience.tries):
            if attempt:
                time.sleep(self._patience.backoff_s * 2**attempt * random.uniform(0.5, 1.0))
            size = self._size.now
            try:
                page = self._read(request.sized(size))
                content = json.dumps([x.get("id") if isinstance(x, dict) else x for x in page["features"]])
                if page["features"] and content in before:
                    raise Fault("a page repeats itself")
            except Fault as fault:
                why = str(fault)
                if not fault.again:
                    raise Lost(why) from fault
                self._size.shrink(size)
            else:
                self._size.grow()
                before.add(content)
                return page
        raise Lost(f"{why}, {self._patience.tries} times")

    def _read(self, request: Request) -> dict[str, Any]:
        self._pace.turn()
        method = "GET" if request.body is None else "POST"
        try:
            page = json.loads(self._io.request(request.href, method, request.headers, request.body))
        except APIError as error:
            raise fault_of(error) from error
        except ValueError as error:
            raise Fault("the answer is no JSON") from error
        if not isinstance(page, dict) or not isinstance(page.get("features"), list):
            raise Fault("the answer is no page of items")
        return page


def fault_of(error: APIError) -> Fault:
    """What went wrong, in a few words: pystac-client keeps the status, or the error of requests as its context."""
    status = getattr(error, "status_code", None)
    if status is not None:
        said = " ".join(str(error).split())[:120]
        return Fault(
            f"HTTP {status}" + (f" ({said})" if status not in _AGAIN and said else ""), status in _AGAIN
        )
    cause = error.__context__
    if isinstance(cause, requests.Timeout):
        return Fault("no answer in time")
    if isinstance(
        cause, (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)
    ):
        return Fault("the answer broke off")
    if isinstance(cause, requests.ConnectionError):
        return Fault("no connection")
    return Fault(" ".join(str(error).split())[:120])


def _counted(page: dict[str, Any]) -> int | None:
    """How many items the server says there are in all, where it does."""
    said = page.get("numberMatched", (page.get("context") or {}).get("matched"))
    return said if isinstance(said, int) else None
