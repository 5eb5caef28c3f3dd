"""Pace: how often a server is asked, how it is asked again, and for how much at a time."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from urllib3 import BaseHTTPResponse, Retry

_LEAST_ITEMS = 5  # a page is not made smaller
_GOOD_PAGES = 4  # after so many the size doubles again


@dataclass(frozen=True)
class Patience:
    """How much is asked of a server, and for how long it is asked again."""

    connect_s: float = 10.0
    read_s: float = 60.0  # without a byte
    requests_per_s: float = 5.0  # over all threads, repeats included
    repeats: int = 3  # of one request, on 429, 502, 503, 504 or no connection
    backoff_s: float = 0.5  # before the second repeat; doubles with every further one, plus as much jitter
    longest_s: float = 120.0  # wait between two repeats, whatever Retry-After says
    tries: int = 5  # of one page, each with half as many items
    page: int = 100  # items
    lost: int = 3  # queries lost one after the other, after which no further one is begun
    threads: int = 4


class Pace:
    """Turns for requests, so many per second over all threads; a server's Retry-After holds them all."""

    def __init__(self, per_second: float) -> None:
        self._gap_s = 1.0 / per_second
        self._next = 0.0
        self._lock = threading.Lock()

    def turn(self) -> None:
        with self._lock:
            at = max(time.monotonic(), self._next)
            self._next = at + self._gap_s
        time.sleep(max(0.0, at - time.monotonic()))

    def hold(self, seconds: float) -> None:
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class Repeat(Retry):
    """urllib3's Retry whose repeats take their turn in the pace of the archive."""

    pace: Pace

    @classmethod
    def of(cls, patience: Patience, pace: Pace) -> Repeat:
        repeat = cls(
            total=patience.repeats,
            read=False,  # what is too slow is asked for again with fewer items instead
            status_forcelist=(429, 502, 503, 504),
            allowed_methods=None,  # POST too: a search changes nothing
            backoff_factor=patience.backoff_s,
            backoff_jitter=patience.backoff_s,
            backoff_max=patience.longest_s,
            raise_on_status=False,
        )
        repeat.pace = pace
        return repeat

    def new(self, **changes: Any) -> Repeat:
        again: Repeat = super().new(**changes)
        again.pace = self.pace
        return again

    def sleep(self, response: BaseHTTPResponse | None = None) -> None:
        wait_s = None if response is None else self.get_retry_after(response)
        if wait_s:
            self.pace.hold(min(wait_s, self.backoff_max))
        else:
            super().sleep()
        self.pace.turn()


class PageSize:
    """Items per page: halves where the server fails, and doubles again after some good pages."""

    def __init__(self, most: int) -> None:
        self.now = self._most = most
        self._good = 0
        self._lock = threading.Lock()

    def shrink(self, failed: int) -> None:
        """Halve, unless another thread has since the page of *failed* items was asked for."""
        with self._lock:
            self._good = 0
            if self.now == failed:
                self.now = min(failed, max(_LEAST_ITEMS, failed // 2))

    def grow(self) -> None:
        with self._lock:
            self._good += 1
            if self._good >= _GOOD_PAGES:
                self.now, self._good = min(self._most, 2 * self.now), 0
