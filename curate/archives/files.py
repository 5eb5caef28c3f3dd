"""Files of an archive, wherever they lie: on disk, behind HTTP, or in an S3-compatible store."""

from __future__ import annotations

import io
import os
import random
import re
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.fs as pafs
import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError

from curate.archives.pacing import Pace, Patience, Repeat
from curate.catalog.errors import InputError
from curate.gdal import is_anonymous, s3_endpoint
from curate.signing import hide, sign

FILES = Patience(requests_per_s=200.0, threads=16, tries=4)  # of a file server, which an API is not
_LASTING = (
    "NO_SUCH",
    "ACCESS_DENIED",
    "RESOURCE_NOT_FOUND",
    "INVALID_ACCESS_KEY",
    "SIGNATURE",
    "HTTP status 4",
)
_TAIL = 65_536  # bytes at a file's end that are read with its size: most Parquet footers are shorter
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_PASSES = re.compile(  # of what GDAL and S3 stores say of a read that failed
    r"(?:HTTP response code|HTTP error code|response_code)\s*[:=]?\s*(?:408|425|429|5\d\d)\b|CURL error"
    r"|\btimed out\b|\b(?:SlowDown|InternalError|ServiceUnavailable|RequestTimeout)\b"
)
_CUT_OFF = re.compile(  # of a file behind a network as much as of one that is too short
    r"got \d+ bytes, expected \d+|[Cc]an ?not read TIFF|Failed to read directory"
)
_INSECURE = re.compile(r"\b(?:SSL|certificate)\b")


class Unavailable(OSError):
    """A file that could not be had now, and perhaps can be later."""


def is_absent(error: Exception) -> bool:
    """Whether *error* says that there is no such file, and not that it cannot or may not be read."""
    return isinstance(error, FileNotFoundError) or (isinstance(error, OSError) and str(error) == "HTTP 404")


def passing_fault(error: BaseException, href: str) -> str:
    """What *error*, or what led to it, says of a file that perhaps can be read later; empty where it is broken.

    Of a file behind a network whose bytes end too early nobody can tell which it is: it counts as the former.
    """
    remote = "#row=" not in href and ("://" in href.removeprefix("file://") or href.startswith("/vsi"))
    at: BaseException | None = error
    while at is not None:
        text = " ".join((at.why if isinstance(at, InputError) else str(at)).split())
        if isinstance(at, Unavailable) or (_PASSES.search(text) and not _INSECURE.search(text)):
            return hide(text).rstrip(".")
        if remote and _CUT_OFF.search(text):
            return "the answer broke off"
        at = at.__cause__ or at.__context__
    return ""


def signed(href: str) -> str:
    """*href* as `sign` gives it.

    Raises:
        Unavailable: there is no token to be had now.
        OSError: it is no address.
    """
    try:
        return sign(href)
    except InputError as error:
        raise Unavailable(hide(str(error)).rstrip(".")) from error
    except ValueError as error:
        raise OSError(f"no address ({error})") from error


@dataclass(frozen=True)
class Files:
    """Reads whole files and ranges of files by path, ``http(s)://`` or ``s3://``; safe to share by threads."""

    patience: Patience = FILES
    pace: Pace = field(init=False)
    http: urllib3.PoolManager = field(init=False, repr=False)

    def __post_init__(self) -> None:
        pace = Pace(self.patience.requests_per_s)
        timeout = urllib3.Timeout(connect=self.patience.connect_s, read=self.patience.read_s)
        retries = Repeat.of(self.patience, pace)
        pool = urllib3.PoolManager(maxsize=self.patience.threads, timeout=timeout, retries=retries)
        object.__setattr__(self, "pace", pace)
        object.__setattr__(self, "http", pool)

    def read(self, href: str) -> bytes:
        """The bytes of one file.

        Raises:
            Unavailable: the server fails for now.
            OSError: there is no such file, or it may not be read.
        """
        if href.startswith(("http://", "https://")):
            return self.get(href)[1]
        if href.startswith("s3://"):
            try:
                with s3(bucket_of(href)).open_input_stream(href.removeprefix("s3://")) as stream:
                    content: bytes = stream.read()
                    return content
            except OSError as error:
                raise _s3_fault(error) from error
        return Path(href.removeprefix("file://")).read_bytes()

    def open(self, href: str) -> Any:
        """A file to be read in pieces, as pyarrow takes it.

        Raises:
            Unavailable, OSError: as `read`.
        """
        if href.startswith(("http://", "https://")):
            return HttpFile(self, href)
        if href.startswith("s3://"):
            try:
                return s3(bucket_of(href)).open_input_file(href.removeprefix("s3://"))
            except OSError as error:
                raise _s3_fault(error) from error
        return pafs.LocalFileSystem().open_input_file(href.removeprefix("file://"))

    def exists(self, href: str) -> bool:
        """Whether there is such a file on disk or in a store."""
        if href.startswith("s3://"):
            info = s3(bucket_of(href)).get_file_info(href.removeprefix("s3://"))
            return bool(info.type == pafs.FileType.File)
        return Path(href).is_file()

    def matching(self, pattern: str, endings: tuple[str, ...] = (".parquet", ".geoparquet")) -> list[str]:
        """Files that *pattern* names, sorted: a file, a folder with all below it, or a glob of ``*``, ``**``, ``?``.

        Behind HTTP nothing can be listed; there a pattern is a file.

        Raises:
            Unavailable, OSError: the folder cannot be listed.
        """
        if pattern.startswith(("http://", "https://")) or (
            not is_glob(pattern) and pattern.endswith(endings)
        ):
            return [pattern]
        prefix = "s3://" if pattern.startswith("s3://") else ""
        path = pattern.removeprefix(prefix).rstrip("/")
        fixed = re.split(r"[*?\[]", path)[0]
        folder = (fixed.rpartition("/")[0] or ".") if is_glob(path) else path
        try:
            system = s3(bucket_of(pattern)) if prefix else pafs.LocalFileSystem()
            listed = system.get_file_info(pafs.FileSelector(folder, recursive=True))
        except OSError as error:
            raise (_s3_fault(error) if prefix else error) from error
        names = [
            info.path for info in listed if info.type == pafs.FileType.File and info.path.endswith(endings)
        ]
        if is_glob(path):
            wanted = _as_expression(path if folder != "." else f"./{path}".replace("././", "./"))
            names = [name for name in names if wanted.fullmatch(name)]
        hidden = [
            name for name in names if any(part[:1] in "._" for part in name[len(folder) :].split("/") if part)
        ]
        return sorted(prefix + name for name in set(names) - set(hidden))

    def get(self, href: str, headers: dict[str, str] | None = None) -> tuple[Any, bytes]:
        """A file behind HTTP, or the part of it that *headers* ask for: the headers of the answer, and its body.

        Raises:
            Unavailable: the server fails, does not answer in time, or breaks off, time and again; or there is no
                token for it.
            OSError: it refuses.
        """
        why = ""
        for attempt in range(self.patience.tries):
            if attempt:
                time.sleep(self.patience.backoff_s * 2**attempt * random.uniform(0.5, 1.0))
            self.pace.turn()
            try:
                answer = self.http.request("GET", signed(href), headers=headers, preload_content=False)
                try:
                    if answer.status in (200, 206):
                        if (
                            headers
                            and answer.status == 200
                            and int(answer.headers.get("Content-Length", _TAIL)) > _TAIL
                        ):
                            raise OSError("the server sends no parts of a file (no range requests)")
                        return answer.headers, answer.read()
                finally:
                    answer.close()
            except HTTPError as error:
                cause = error.reason if isinstance(error, MaxRetryError) else error
                why = "no answer in time" if "imeout" in type(cause).__name__ else "no connection"
                why = "the answer broke off" if "IncompleteRead" in repr(cause) else why
                if isinstance(cause, SSLError):
                    raise OSError(hide(f"no secure connection ({cause})")) from error
                if why == "no connection" and isinstance(error, MaxRetryError):
                    break  # it has been repeated already
            else:
                why = f"HTTP {answer.status}"
                if answer.status not in _PASSING:
                    raise OSError(why)
                break  # it has been repeated already
        raise Unavailable(why)


class HttpFile(io.RawIOBase):
    """A file behind HTTP of which only the parts are fetched that are read; for one thread at a time."""

    def __init__(self, files: Files, href: str) -> None:
        self._files, self._href, self._at = files, href, 0
        headers, tail = files.get(href, {"Range": f"bytes=-{_TAIL}"})
        total = str(headers.get("Content-Range", "")).rpartition("/")[2]
        self._size = int(total) if total.isdigit() else len(tail)
        self._tail_at, self._tail = self._size - len(tail), tail
        self._version = headers.get("ETag") or headers.get("Last-Modified")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        """Length of the file in bytes."""
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._size, self._at + size)
        start, self._at = self._at, max(self._at, end)
        if start >= end:
            return b""
        if start >= self._tail_at:
            return self._tail[start - self._tail_at : end - self._tail_at]
        headers, body = self._files.get(self._href, {"Range": f"bytes={start}-{end - 1}"})
        if (headers.get("ETag") or headers.get("Last-Modified")) != self._version:
            raise OSError("the file was changed while it was read")
        if len(body) != end - start:
            raise OSError(f"{len(body):,} bytes came in place of {end - start:,}")
        return body


def is_glob(name: str) -> bool:
    """Whether *name* is a pattern for several files."""
    return not name.startswith(("http://", "https://")) and any(sign in name for sign in "*?[")


def bucket_of(href: str) -> str:
    """The bucket of an ``s3://`` href."""
    return urlsplit(href).netloc


@lru_cache(maxsize=32)
def _s3(bucket: str, endpoint: str | None, region: str | None, anonymous: bool) -> pafs.S3FileSystem:
    options: dict[str, Any] = {"anonymous": anonymous, "request_timeout": 60.0, "connect_timeout": 10.0}
    if endpoint:
        parts = urlsplit(endpoint)
        options |= {"endpoint_override": parts.netloc + parts.path.rstrip("/"), "scheme": parts.scheme}
    if region:
        options["region"] = region
    elif not endpoint:
        options["region"] = pafs.resolve_s3_region(bucket)
    options["retry_strategy"] = pafs.AwsStandardS3RetryStrategy(max_attempts=5)
    return pafs.S3FileSystem(**options)


def s3(bucket: str) -> pafs.S3FileSystem:
    """The store that holds *bucket*, as the environment says; credentials are found by the AWS SDK alone."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    try:
        return _s3(bucket, s3_endpoint(os.environ), region, is_anonymous(os.environ))
    except OSError as error:
        raise _s3_fault(error) from error


def _s3_fault(error: OSError) -> OSError:
    text = " ".join(str(error).split())
    if isinstance(error, FileNotFoundError | Unavailable):
        return error
    lasting = any(sign in text for sign in _LASTING)
    return OSError(text) if lasting else Unavailable(text)


def _as_expression(pattern: str) -> re.Pattern[str]:
    """A glob as a regular expression: ``**`` crosses folders, ``*`` and ``?`` do not."""
    text = ""
    for part in re.split(r"(\*\*/?|\*|\?|\[[^\]]+\])", pattern):
        known = {"**": ".*", "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
        text += known.get(part) or (part.replace("[!", "[^", 1) if part.startswith("[") else re.escape(part))
    return re.compile(text)
