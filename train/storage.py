"""Files that lie elsewhere: parts of them, over HTTP or from an object store."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import pyarrow as pa
from pyarrow import fs

from curate.catalog import InputError, RunError

TRIES, TIMEOUT_S = 6, 60.0
IN_FLIGHT = 32  # requests at a time


@dataclass(frozen=True)
class Entry:
    """A file as it lies there now."""

    size: int
    version: str  # changes with the content, as far as the place tells


class Source(Protocol):
    """A place with files."""

    def entry(self, url: str) -> Entry:
        """What lies at *url*.

        Raises:
            InputError: nothing does, or it may not be read.
        """

    def read(self, url: str, start: int, stop: int) -> bytes:
        """Bytes *start* to *stop* - 1.

        Raises:
            RunError: the place failed, again and again.
        """


class Web:
    """A server that answers requests for parts of a file."""

    def __init__(self) -> None:
        import urllib3

        again = urllib3.Retry(TRIES, backoff_factor=0.3, status_forcelist=(429, 500, 502, 503, 504))
        self._http = urllib3.PoolManager(maxsize=IN_FLIGHT, retries=again, timeout=TIMEOUT_S)

    def entry(self, url: str) -> Entry:
        answer = self._ask("HEAD", url, {})
        if answer.status != 200:
            raise absent(url, f"the server answers {answer.status}")
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        return Entry(int(answer.headers["Content-Length"]), version)

    def read(self, url: str, start: int, stop: int) -> bytes:
        for _ in range(TRIES):  # a body cut short is no failure to urllib3
            answer = self._ask("GET", url, {"Range": f"bytes={start}-{stop - 1}"})
            data: bytes = answer.data
            if answer.status == 206 and len(data) == stop - start:
                return data
            if answer.status == 200 and len(data) >= stop:
                return data[start:stop]
        raise RunError(f"{url} cannot be read: bytes {start}-{stop - 1} came with status {answer.status}")

    def _ask(self, method: str, url: str, headers: dict[str, str]) -> Any:
        import urllib3

        try:
            return self._http.request(method, url, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise RunError(f"{url} cannot be read: {error}") from error


class Store:
    """An object store that pyarrow knows: s3://, gs://. Credentials are found as their tools find them."""

    def __init__(self, url: str) -> None:
        self._files, _ = fs.FileSystem.from_uri(url)
        self._query = url.partition("?")[2]

    def entry(self, url: str) -> Entry:
        try:
            info = self._files.get_file_info(self._path(url))
        except (OSError, pa.ArrowException) as error:
            raise absent(url, str(error).splitlines()[0]) from error
        if info.type != fs.FileType.File:
            raise absent(url, "there is no such object")
        return Entry(info.size, str(info.mtime_ns))

    def read(self, url: str, start: int, stop: int) -> bytes:
        try:
            with self._files.open_input_file(self._path(url)) as file:
                data: bytes = file.read_at(stop - start, start)
        except (OSError, pa.ArrowException) as error:
            raise RunError(f"{url} cannot be read: {str(error).splitlines()[0]}") from error
        if len(data) != stop - start:
            raise RunError(f"{url} cannot be read: bytes {start}-{stop - 1} came cut short")
        return data

    def _path(self, url: str) -> str:
        return url.partition("://")[2].partition("?")[0]


def is_remote(path: object) -> bool:
    """Whether a path is an address."""
    return "://" in str(path)


@lru_cache(maxsize=8)
def source_of(place: str) -> Source:
    """What reads files below *place*, an address.

    Raises:
        InputError: nothing reads such addresses.
    """
    scheme = place.partition("://")[0]
    if scheme in ("http", "https"):
        return Web()
    try:
        return Store(place)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{place} cannot be opened", str(error).splitlines()[0], "Use a path, s3://, gs:// or https://"
        ) from error


def beside(url: str, name: str) -> str:
    """The address of *name* in the folder of *url*, options such as ?endpoint_override=… kept."""
    address, mark, query = url.partition("?")
    return address.rpartition("/")[0] + "/" + name + mark + query


def absent(url: str, why: str) -> InputError:
    return InputError(f"{url} cannot be read", why, "Check the address and the credentials")
