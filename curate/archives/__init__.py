"""Where scenes come from. One door: `Archive.search(area, period, sensor, bands, max_cloud_percent)`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import shapely

from curate.archives.found import Found
from curate.catalog.errors import InputError
from curate.recipe import Period
from curate.sensors import Sensor
from curate.signing import hide

SIMULATED = "simulated"
READY = {  # STAC APIs by name
    "earth-search": "https://earth-search.aws.element84.com/v1",
    "planetary-computer": "https://planetarycomputer.microsoft.com/api/stac/v1",
    "copernicus": "https://stac.dataspace.copernicus.eu/v1",
}


class Archive(Protocol):
    """A place that can be asked for scenes."""

    @property
    def simulated(self) -> bool:
        """True where the pixels are not measurements."""
        ...

    def search(
        self,
        area: shapely.Geometry,
        period: Period,
        sensor: Sensor,
        bands: tuple[str, ...],
        max_cloud_percent: float = 100.0,
    ) -> Found:
        """Scenes of *sensor* that meet *area* within *period* and have *bands*; what was refused, and why.

        Scenes that are known to be cloudier than *max_cloud_percent* are refused; where it is unknown they stay.
        """
        ...


def open_archive(name: str, kept: Path | None = None) -> Archive:
    """The archive called *name*: a name in `READY`; the URL of a STAC API; the path or URL of a static STAC catalog;
    stac-geoparquet: a file, a folder of files or a pattern, by path, ``http(s)://`` or ``s3://``; or a corpus, as
    ``majortom:``, ``bigearthnet:`` or ``ssl4eo:`` and its folder or address.

    Args:
        kept: folder in which answers are kept until they are cleared, so that a search that is asked again
            continues (`curate.archives.kept`); None keeps nothing.

    Raises:
        InputError: there is no such archive, it cannot be reached, or it is of none of these kinds.
    """
    import pyarrow as pa

    try:
        return _open(READY.get(name, name), kept)
    except InputError as error:
        advice = error.do
        if isinstance(error.__cause__, OSError):
            advice = _store_advice(name) or advice
        raise InputError(hide(error.what), hide(error.why), advice) from error
    except (OSError, pa.ArrowException) as error:
        why = hide(" ".join(str(error).split()))
        raise InputError(hide(f"Archive {name} cannot be read"), why, _store_advice(name)) from error


def _store_advice(name: str) -> str:
    """What may help where *name* lies in an S3 store; empty where it does not."""
    from curate.gdal import s3_advice

    _, scheme, path = name.partition("s3://")
    if not scheme:
        return ""
    usual = "Check the bucket's name, AWS_ENDPOINT_URL, AWS_REGION and the keys, or try again later"
    return s3_advice(scheme + path) or usual


def _open(name: str, kept: Path | None) -> Archive:
    from curate.archives.corpora import open_corpus
    from curate.archives.files import Files, is_glob
    from curate.archives.kept import Kept
    from curate.archives.static import StaticArchive
    from curate.archives.table import TableArchive

    if (corpus := open_corpus(name)) is not None:
        return corpus
    answers = None if kept is None else Kept(kept)
    files = Files()
    if urlsplit(name).path.endswith((".parquet", ".geoparquet")) or is_glob(name):
        return TableArchive.open(name, files, answers)
    if name.startswith(("http://", "https://")):
        from curate.archives.api import ApiArchive

        api = ApiArchive.open(name, kept=answers)
        return StaticArchive.open(name, files, answers) if api is None else api
    remote = "://" in name
    if not name.endswith(".json") and (remote or Path(name).is_dir()):
        root = f"{name.rstrip('/')}/catalog.json"
        if not files.exists(root) and (remote or _holds_tables(Path(name))):
            return TableArchive.open(name, files, answers)
        name = root
    return StaticArchive.open(name, files, answers)


def _holds_tables(folder: Path) -> bool:
    """Whether there is a Parquet file in *folder* or below it."""
    return any(next(folder.rglob(f"*{ending}"), None) for ending in (".parquet", ".geoparquet"))
