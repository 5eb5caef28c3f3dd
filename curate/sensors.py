"""Sensors as data: bands, wavelengths, resolutions, units and asset keys. A new sensor is one entry.

Wavelengths: Sentinel-2A spectral response (ESA, COPE-GSEG-EOPG-TN-15-0007), Landsat 8 OLI (USGS).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from curate.catalog.errors import InputError
from curate.catalog.schema import BandInfo, SensorInfo

Kind = Literal["optical", "radar", "terrain", "landcover"]


@dataclass(frozen=True)
class Band:
    """One band of a sensor."""

    name: str
    asset_keys: tuple[str, ...]  # as the providers call it, most usual first
    resolution_m: float = 10.0  # native
    wavelength_nm: float | None = None


@dataclass(frozen=True)
class Stored:
    """How the sensor's values are kept in the shards: value = stored × scale + offset."""

    dtype: str
    scale: float
    nodata: int
    unit: str
    lowest: int = 1  # smallest stored value, so that a dark pixel never turns into nodata


@dataclass(frozen=True)
class Sensor:
    """What a sensor is."""

    name: str  # STAC collection, as most providers call it
    prefix: str  # of its columns in the catalog
    kind: Kind
    bands: tuple[Band, ...]
    stored: Stored
    source_scale: float = 1.0  # where the STAC item does not say: value = DN × scale + offset
    source_offset: float = 0.0
    source_unit: str = ""  # of value: reflectance, power, amplitude, dB, m
    source_nodata: float | None = None
    mask: Band | None = None  # scene classification
    mask_cloud: tuple[int, ...] = ()  # its codes for cloud, cirrus and cloud shadow
    mask_nodata: tuple[int, ...] = ()
    static: bool = False  # without a time: joined to any date

    def band(self, name: str) -> Band:
        return next(band for band in self.bands if band.name == name)

    def stored_info(self, bands: tuple[str, ...], resampling: str) -> SensorInfo:
        """What the catalog's metadata says of this sensor's pixels."""
        chosen = [self.band(name) for name in bands]
        return SensorInfo(
            prefix=self.prefix,
            sensor=self.name,
            bands=tuple(BandInfo(b.name, b.wavelength_nm, b.resolution_m) for b in chosen),
            dtype=self.stored.dtype,
            scale=self.stored.scale,
            offset=0.0,
            nodata=self.stored.nodata,
            unit=self.stored.unit,
            resampling=resampling,
        )


def _s2(name: str, key: str, resolution_m: float, wavelength_nm: float) -> Band:
    return Band(name, (key, name, f"{name}_{resolution_m:.0f}m"), resolution_m, wavelength_nm)


_REFLECTANCE = Stored("uint16", 1e-4, 0, "reflectance")
_DECIBEL = Stored("int16", 0.01, -32768, "dB", lowest=-32767)
_SENTINEL_2_BANDS = (
    _s2("B02", "blue", 10, 492.4),
    _s2("B03", "green", 10, 559.8),
    _s2("B04", "red", 10, 664.6),
    _s2("B05", "rededge1", 20, 704.1),
    _s2("B06", "rededge2", 20, 740.5),
    _s2("B07", "rededge3", 20, 782.8),
    _s2("B08", "nir", 10, 832.8),
    _s2("B8A", "nir08", 20, 864.7),
    _s2("B11", "swir16", 20, 1613.7),
    _s2("B12", "swir22", 20, 2202.4),
)
_POLARISATIONS = (Band("VV", ("vv", "VV")), Band("VH", ("vh", "VH")))

SENSORS: dict[str, Sensor] = {
    sensor.name: sensor
    for sensor in (
        Sensor(
            name="sentinel-2-l2a",
            prefix="s2",
            kind="optical",
            bands=_SENTINEL_2_BANDS,
            stored=_REFLECTANCE,
            source_scale=1e-4,
            source_unit="reflectance",
            source_nodata=0,
            mask=Band("SCL", ("scl", "SCL", "SCL_20m"), 20),
            mask_cloud=(3, 8, 9, 10),  # shadow, medium and high probability cloud, thin cirrus
            mask_nodata=(0,),
        ),
        Sensor(
            name="sentinel-1-rtc",
            prefix="s1",
            kind="radar",
            bands=_POLARISATIONS,
            stored=_DECIBEL,
            source_unit="power",
            source_nodata=-32768,
        ),
        Sensor(
            name="sentinel-1-grd",
            prefix="s1",
            kind="radar",
            bands=_POLARISATIONS,
            stored=_DECIBEL,
            source_unit="",  # amplitude, power or dB, calibrated or not: only the item can say
            source_nodata=0,
        ),
        Sensor(
            name="landsat-c2-l2",
            prefix="ls",
            kind="optical",
            bands=(
                Band("blue", ("blue", "SR_B2"), 30, 482),
                Band("green", ("green", "SR_B3"), 30, 561),
                Band("red", ("red", "SR_B4"), 30, 655),
                Band("nir08", ("nir08", "SR_B5"), 30, 865),
                Band("swir16", ("swir16", "SR_B6"), 30, 1609),
                Band("swir22", ("swir22", "SR_B7"), 30, 2201),
            ),
            stored=_REFLECTANCE,
            source_scale=2.75e-5,
            source_offset=-0.2,
            source_unit="reflectance",
            source_nodata=0,
        ),
        Sensor(
            name="cop-dem-glo-30",
            prefix="dem",
            kind="terrain",
            bands=(Band("elevation", ("data", "elevation"), 30),),
            stored=Stored("int16", 0.5, -32768, "m", lowest=-32767),
            source_unit="m",
            static=True,
        ),
        Sensor(
            name="esa-worldcover",
            prefix="lc",
            kind="landcover",
            bands=(Band("map", ("map",)),),
            stored=Stored("uint8", 1, 0, "class"),
            source_unit="class",
            source_nodata=0,
            static=True,
        ),
    )
}


def sensor(name: str) -> Sensor:
    """The sensor called *name*.

    Raises:
        InputError: there is no such sensor.
    """
    if name not in SENSORS:
        raise InputError(f"There is no sensor {name!r}", do=f"Sensors are: {', '.join(SENSORS)}")
    return SENSORS[name]
