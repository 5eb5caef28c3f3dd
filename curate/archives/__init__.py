"""Where scenes come from. One door: `Archive.search(area, period, sensor, bands)`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import shapely

from curate.recipe import Period
from curate.scenes import Found
from curate.sensors import Sensor

SIMULATED = "simulated"


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
    """The archive called *name*: the path or URL of a static STAC catalog, or of its folder.

    Raises:
        InputError: there is no such archive, or it is no STAC catalog.
    """
    from curate.archives.static import StaticArchive

    path = Path(name)
    if "://" not in name and path.is_dir():
        name = str(path / "catalog.json")
    return StaticArchive.open(name)
