"""GDAL's environment, set in one place, and the one way to open a raster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

from curate.catalog.errors import InputError
from curate.signing import hide, sign, unsigned

_ENVIRONMENT = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # 4 instead of 13 requests to open a file behind HTTP
    "GDAL_CACHEMAX": "256",  # MB per process; only as a variable: rasterio.Env would read it as bytes
    "GDAL_NUM_THREADS": "1",  # processes work side by side
    "GDAL_HTTP_MAX_RETRY": "4",  # GDAL remembers a failed request, so that only GDAL itself can repeat it
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_TIME": "20",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
}
_EODATA = "https://eodata.dataspace.copernicus.eu"
_derived: dict[str, str] = {}  # what was set for GDAL from other variables


def set_environment() -> None:
    """Prepare GDAL's environment; what the user has set stays."""
    for name in ("PROJ_LIB", "PROJ_DATA"):  # another PROJ's database breaks the one in rasterio's wheel
        os.environ.pop(name, None)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    given = {name: value for name, value in os.environ.items() if _derived.get(name) != value}
    wanted = s3_environment(given)
    for name in _derived.keys() - wanted.keys() - given.keys():
        os.environ.pop(name, None)
    _derived.clear()
    _derived.update(wanted)
    os.environ.update(wanted)


def s3_environment(given: Mapping[str, str]) -> dict[str, str]:
    """What GDAL must be told about an S3 store beyond the variables in *given*, which stay as they are.

    GDAL wants the endpoint without its scheme, and does not read ``AWS_ENDPOINT_URL``.
    """
    wanted: dict[str, str] = {}
    endpoint = s3_endpoint(given)
    if endpoint is not None:
        parts = urlsplit(endpoint)
        wanted["AWS_S3_ENDPOINT"] = parts.netloc + parts.path.rstrip("/")
        wanted["AWS_HTTPS"] = "NO" if parts.scheme == "http" else "YES"
        if not (parts.hostname or "").endswith(".amazonaws.com"):
            wanted["AWS_VIRTUAL_HOSTING"] = "FALSE"
    if region := given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION"):
        wanted["AWS_REGION"] = region
    if is_anonymous(given):
        wanted["AWS_NO_SIGN_REQUEST"] = "YES"
    return {name: value for name, value in wanted.items() if not given.get(name)}


def s3_endpoint(given: Mapping[str, str]) -> str | None:
    """URL of the S3 store that the environment names, by AWS's variable or by GDAL's; None: AWS itself."""
    url = given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL")
    if url:
        return url if "://" in url else f"https://{url}"
    if host := given.get("AWS_S3_ENDPOINT"):
        secure = given.get("AWS_HTTPS", "YES").upper() not in ("NO", "FALSE", "OFF", "0")
        return f"{'https' if secure else 'http'}://{host}"
    return None


def is_anonymous(given: Mapping[str, str]) -> bool:
    """Whether requests to S3 stores go without a signature."""
    return given.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "ON", "1")


@contextmanager
def opened(href: str, what: str = "Raster") -> Iterator[Any]:
    """A rasterio dataset, opened for this process and closed at the end of the block.

    Raises:
        InputError: it cannot be opened, or cannot be read within the block; names *what* it should be.
    """
    set_environment()
    from rasterio.errors import RasterioIOError

    with ExitStack() as stack:
        try:
            source = _open(href, stack)
        except RasterioIOError as error:
            raise InputError(
                f"{what} {unsigned(href)} cannot be read", hide(" ".join(str(error).split())), s3_advice(href)
            ) from error
        try:
            yield source
        except RasterioIOError as error:
            raise InputError(
                f"{what} {unsigned(href)} is broken", hide(" ".join(str(error).split()))
            ) from error


def _open(href: str, stack: ExitStack) -> Any:
    """The dataset at *href*, closed with the *stack*."""
    import rasterio

    from curate.parquet_rows import is_row, read_row

    if is_row(href):
        memory = rasterio.MemoryFile(read_row(href))
        stack.callback(memory.close)
        source = memory.open()
    else:
        source = rasterio.open(sign(href))
    stack.callback(
        source.close
    )  # not as a context: rasterio would want it closed by the thread that opened it
    return source


def s3_advice(href: str) -> str:
    """Which variables a store behind *href* may need and lacks; empty where that is not the matter."""
    if not href.startswith(("s3://", "/vsis3/")):
        return ""
    wanted = []
    if href.split("/")[2] == "eodata" and s3_endpoint(os.environ) is None:
        wanted.append(f"AWS_ENDPOINT_URL={_EODATA}")
    if not is_anonymous(os.environ) and not (
        os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_PROFILE")
    ):
        wanted.append(
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_NO_SIGN_REQUEST=YES where it is public)"
        )
    return f"Set {' and '.join(wanted)}" if wanted else ""
