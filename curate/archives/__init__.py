"""Where scenes come from. One door: `Archive.search(area, period, sensor, bands)`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import shapely

from curate.recipe import Period
from curate.scenes import Found
from curate.sensors import Sensor

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

    def search(self, area: shapely.Geometry, period: Period, sensor: Sensor, bands: tuple[str, ...]) -> Found:
        """Scenes of *sensor* that meet *area* within *period* and have *bands*; what was refused, and why."""
        ...


def open_archive(name: str) -> Archive:
    """The archive called *name*: a name in `READY`, the URL of a STAC API, or a static STAC catalog's path or URL.

    Raises:
        InputError: there is no such archive, or it is no STAC catalog.
    """
    from curate.archives.static import StaticArchive

    name = READY.get(name, name)
    if name.startswith(("http://", "https://")):
        from curate.archives.api import ApiArchive

        api = ApiArchive.open(name)
        return StaticArchive.open(name) if api is None else api
    path = Path(name)
    if "://" not in name and path.is_dir():
        name = str(path / "catalog.json")
    return StaticArchive.open(name)
