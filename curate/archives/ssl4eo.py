"""SSL4EO-S12 version 1, as it is unpacked: ``s2a/0000200/<scene>/B2.tif``, up to four seasons at each place.

Wang et al. 2023, "SSL4EO-S12" (arXiv 2211.07044). The pixels are in degrees, about 10 m wide; Sentinel-1 is
Earth Engine's calibrated GRD in dB, Sentinel-2 is unchanged numbers of the product that the JSON beside it names.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely

from curate.archives.found import Answer, Found, Limits
from curate.archives.names import product_properties
from curate.catalog.errors import InputError
from curate.gdal import opened
from curate.recipe import Period
from curate.scenes import Rejected
from curate.sensors import Band, Sensor

FOLDERS = {"sentinel-1-grd": "s1", "sentinel-2-l1c": "s2c", "sentinel-2-l2a": "s2a"}
_LOCATION = re.compile(r"\d{7}")
_LOCATIONS_AT_A_TIME = 2_000
_ZARR = "*.zarr.zip"


@dataclass(frozen=True)
class Ssl4eoArchive:
    """A folder of SSL4EO-S12."""

    root: Path

    @classmethod
    def open(cls, root: str) -> Ssl4eoArchive:
        """The corpus at *root*: the folder that holds ``s1``, ``s2a`` and ``s2c``, or some of them.

        Raises:
            InputError: it is no such folder, or holds version 1.1.
        """
        path = Path(root)
        if _has_places(path):
            return cls(path.resolve())
        if path.is_dir() and _has_shards(path):
            raise InputError(
                f"Archive {root} is SSL4EO-S12 version 1.1",
                "its Zarr shards cannot be read",
                "Give version 1, unpacked: a folder with s1, s2a and s2c",
            )
        raise InputError(
            f"Archive {root} is no SSL4EO-S12",
            "it has no folder s1, s2a or s2c with places of seven digits"
            if path.is_dir()
            else "it is no folder",
            "Give the folder that holds s1, s2a and s2c",
        )

    @property
    def simulated(self) -> bool:
        return False

    def search(
        self,
        area: shapely.Geometry,
        period: Period,
        sensor: Sensor,
        bands: tuple[str, ...],
        max_cloud_percent: float = 100.0,
    ) -> Found:
        """Scenes of Sentinel-1 GRD, Sentinel-2 L1C or L2A; those of another sensor, or a missing folder, are none."""
        limits = Limits(area, period, max_cloud_percent)
        return Found.of(self._answers(limits, sensor, bands))

    def _answers(self, limits: Limits, sensor: Sensor, bands: tuple[str, ...]) -> Iterator[Answer]:
        folder = self.root / FOLDERS.get(sensor.name, "none")
        if not folder.is_dir():
            return
        places = sorted(name for name in _folders_in(folder) if _LOCATION.fullmatch(name))
        for start in range(0, len(places), _LOCATIONS_AT_A_TIME):
            answer = Answer()
            for place in places[start : start + _LOCATIONS_AT_A_TIME]:
                for name in sorted(_folders_in(folder / place)):
                    path = folder / place / name
                    item = _item(path, sensor, bands)
                    if isinstance(item, Rejected):
                        answer.rejected.append(item)
                    else:
                        answer.take(item, str(path), sensor, bands, limits)
            yield answer


def is_ssl4eo(path: Path) -> bool:
    """Whether *path* is a folder of SSL4EO-S12, of whichever version."""
    return _has_places(path) or (path.is_dir() and _has_shards(path))


def _has_places(path: Path) -> bool:
    """Whether *path* is a folder of version 1."""
    for name in FOLDERS.values():
        if (path / name).is_dir() and any(_LOCATION.fullmatch(place) for place in _folders_in(path / name)):
            return True
    return False


def _has_shards(path: Path) -> bool:
    """Whether *path* holds shards of version 1.1."""
    return any(any(path.glob(pattern)) for pattern in (_ZARR, f"*/{_ZARR}", f"*/*/{_ZARR}"))


def _item(folder: Path, sensor: Sensor, bands: tuple[str, ...]) -> dict[str, Any] | Rejected:
    """One scene as a STAC item, or why it is none."""
    name = f"{folder.parent.name}_{folder.name}"
    try:
        said = json.loads((folder / "metadata.json").read_bytes())
    except FileNotFoundError:
        said = {}
    except (OSError, ValueError):
        said = None
    if not isinstance(said, dict):
        return Rejected(name, "broken JSON beside the bands")
    files = {band.name: folder / _file_of(band) for band in sensor.bands}
    present = {band: path for band, path in files.items() if path.is_file()}
    finest = sorted(
        (band for band in bands if band in present), key=lambda band: sensor.band(band).resolution_m
    )
    geometry = _footprint(present[finest[0]] if finest else None)
    if isinstance(geometry, str):
        return Rejected(name, geometry)
    about = {"raster:bands": [{"unit": "dB"}]} if sensor.kind == "radar" else {}
    return {
        "id": name,
        "collection": sensor.name,
        "geometry": geometry,
        "properties": _properties(said, folder.name),
        "assets": {
            band.asset_keys[0]: {"href": str(present[band.name]), **about}
            for band in sensor.bands
            if band.name in present
        },
    }


def _file_of(band: Band) -> str:
    """Earth Engine writes bands without the zero: B2, B8A."""
    return f"{re.sub(r'^B0', 'B', band.name)}.tif"


def _footprint(file: Path | None) -> dict[str, Any] | str:
    """Where the pixels of a band lie, or why that is not known; the coarser bands reach out a little further."""
    if file is None:
        return "bands missing"
    try:
        with opened(str(file), "Band") as source:
            if source.crs is None:
                return "coordinate reference system unknown"
            bounds, crs = source.bounds, source.crs
    except InputError:
        return "unreadable band"
    if crs.to_epsg() != 4326:
        return "its pixels are not in longitude and latitude"
    geometry: dict[str, Any] = shapely.geometry.mapping(shapely.box(*bounds))
    return geometry


def _properties(said: dict[str, Any], folder: str) -> dict[str, Any]:
    """STAC properties of what Earth Engine said of a scene; the folder bears its index there."""
    product = str(said.get("PRODUCT_ID") or said.get("system:index") or folder)
    properties = product_properties(product) or {}
    moment = said.get("system:time_start")
    if isinstance(moment, int | float):
        properties["datetime"] = dt.datetime.fromtimestamp(moment / 1000, dt.UTC).isoformat()
    direction = said.get("orbitProperties_pass") or said.get("SENSING_ORBIT_DIRECTION")
    optional = {
        "s2:processing_baseline": said.get("PROCESSING_BASELINE"),
        "sat:relative_orbit": said.get("relativeOrbitNumber_start") or said.get("SENSING_ORBIT_NUMBER"),
        "sat:orbit_state": str(direction).lower() if direction else None,
        "eo:cloud_cover": said.get("CLOUDY_PIXEL_PERCENTAGE"),
    }
    return {**properties, **{key: value for key, value in optional.items() if value is not None}}


def _folders_in(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_dir()]
