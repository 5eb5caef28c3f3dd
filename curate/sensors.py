"""Sensors as data: bands, wavelengths, resolutions, units, masks and asset keys. A new sensor is one entry.

Centre wavelengths: Sentinel-2A spectral response (ESA, COPE-GSEG-EOPG-TN-15-0007); Landsat 8 OLI and TIRS (USGS);
OLCI (ESA, Sentinel-3 OLCI user handbook); MODIS (NASA, MOD09 user's guide). Bits: Landsat Collection 2 QA_PIXEL
(USGS, LSDS-1619), HLS v2 Fmask (NASA LP DAAC, HLS user guide), MODIS 500 m state (MOD09 user's guide, table 13).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from curate.catalog.errors import InputError
from curate.catalog.schema import BandInfo, SensorInfo

PASSES = {"ascending": "asc", "descending": "desc"}  # orbit state -> what it adds to the column prefix
Kind = Literal["optical", "radar", "terrain", "landcover"]


@dataclass(frozen=True)
class Stored:
    """How values are kept in the shards: value = stored × scale + offset."""

    dtype: str
    scale: float
    nodata: int
    unit: str
    lowest: int = 1  # smallest stored value, so that a dark pixel never turns into nodata


@dataclass(frozen=True)
class Band:
    """One band of a sensor. What is None is as the sensor's entry says."""

    name: str
    asset_keys: tuple[str, ...]  # as the providers call it, most usual first
    resolution_m: float = 10.0  # native
    wavelength_nm: float | None = None  # centre
    unit: str | None = None  # of the source's values, where it is not the sensor's
    scale: float | None = None  # of the source, where the item does not say
    offset: float | None = None
    nodata: float | None = None
    lowest: float | None = None  # no measurement is below, in `unit`: what is, is fill
    stored: Stored | None = (
        None  # where it is not kept as the sensor's other bands; of the same type and nodata
    )


@dataclass(frozen=True)
class Flag:
    """Mask codes that mean one thing: the number in *bits* bits from bit *first* on is one of *values*."""

    values: tuple[int, ...]
    first: int = 0
    bits: int = 16  # all of them: a class, not a bit


@dataclass(frozen=True)
class Mask:
    """A quality band and what its codes mean."""

    band: Band
    cloud: tuple[Flag, ...]  # cloud, cirrus and cloud shadow
    nodata: tuple[Flag, ...] = ()


@dataclass(frozen=True)
class Dark:
    """A part of the spectrum in which nearly every scene has something that is nearly black.

    By such bands a scene tells whether its numbers still carry an offset (`radiometry.offset_by_dark`).
    """

    bands: tuple[str, ...]  # the first that a scene has is read
    ceiling: float  # reflectance of the darkest half percent of a scene in which the offset can be told


@dataclass(frozen=True)
class Sensor:
    """What a sensor is."""

    name: str  # STAC collection, as most providers call it
    prefix: str  # of its columns in the catalog
    kind: Kind
    bands: tuple[Band, ...]
    stored: Stored
    default_bands: tuple[str, ...] = ()  # where a recipe names none; () for all
    source_scale: float | None = (
        1.0  # where the item is silent: value = DN × scale + offset; None: it must say
    )
    source_offset: float = 0.0
    source_unit: str = ""  # of value: reflectance, power, amplitude, dB, m
    source_nodata: float | None = None
    mask: Mask | None = None
    cloud_bands: tuple[str, ...] = ()  # from which a cloud detector can tell clouds, where there is no mask
    dark: tuple[
        Dark, ...
    ] = ()  # of sensors whose numbers may carry an offset that not every provider declares
    platforms: tuple[str, ...] = ()  # whose scenes these are, where the collection has others too
    static: bool = False  # without a time: joined to any date
    span_days: float = 1.0  # longest start-to-end of one product; a longer one has no acquisition time
    orbit_state: str | None = None  # of a view of one pass: ascending or descending

    def band(self, name: str) -> Band:
        return next(band for band in self.bands if band.name == name)

    @property
    def default(self) -> tuple[Band, ...]:
        """The bands of a recipe that names none, in the sensor's order."""
        return tuple(band for band in self.bands if not self.default_bands or band.name in self.default_bands)

    def stored_as(self, band: Band) -> Stored:
        """How values of *band* are kept in the shards."""
        return band.stored or self.stored

    def stored_info(self, bands: tuple[str, ...], resampling: str) -> SensorInfo:
        """What the catalog's metadata says of this sensor's pixels."""
        chosen = [self.band(name) for name in bands]
        return SensorInfo(
            prefix=self.prefix,
            sensor=self.name,
            bands=tuple(
                BandInfo(
                    band.name,
                    band.wavelength_nm,
                    band.resolution_m,
                    *((band.stored.scale, band.stored.unit) if band.stored else ()),
                )
                for band in chosen
            ),
            dtype=self.stored.dtype,
            scale=self.stored.scale,
            offset=0.0,
            nodata=self.stored.nodata,
            unit=self.stored.unit,
            resampling=resampling,
        )


_REFLECTANCE = Stored("uint16", 1e-4, 0, "reflectance")
_KELVIN = Stored("uint16", 0.01, 0, "K")
_DECIBEL = Stored("int16", 0.01, -32768, "dB", lowest=-32767)
_METRES = Stored("int16", 0.5, -32768, "m", lowest=-32767)
_COLDEST_K = 150.0  # no place on Earth; 149 K is a fill of 0 after the scaling of Landsat Collection 2


def _s2(name: str, key: str, resolution_m: float, wavelength_nm: float) -> Band:
    return Band(name, (key, name, f"{name}_{resolution_m:.0f}m"), resolution_m, wavelength_nm)


_MSI = (
    _s2("B01", "coastal", 60, 442.7),
    _s2("B02", "blue", 10, 492.4),
    _s2("B03", "green", 10, 559.8),
    _s2("B04", "red", 10, 664.6),
    _s2("B05", "rededge1", 20, 704.1),
    _s2("B06", "rededge2", 20, 740.5),
    _s2("B07", "rededge3", 20, 782.8),
    _s2("B08", "nir", 10, 832.8),
    _s2("B8A", "nir08", 20, 864.7),
    _s2("B09", "nir09", 60, 945.1),
    _s2("B10", "cirrus", 60, 1373.5),
    _s2("B11", "swir16", 20, 1613.7),
    _s2("B12", "swir22", 20, 2202.4),
)
_MSI_LAND = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
_S2CLOUDLESS = ("B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12")
_SCL = Mask(
    Band("SCL", ("scl", "SCL", "SCL_20m"), 20),
    cloud=(Flag((3, 8, 9, 10)),),  # shadow, medium and high probability cloud, thin cirrus
    nodata=(Flag((0,)),),
)


def _polarisation(name: str) -> Band:
    low = name.lower()
    return Band(name, (low, name, f"gamma0_{low}"))


def _slc(name: str, swath: str) -> Band:
    """Swaths of one polarisation are three images side by side; each is a band, IW1 the usual one."""
    return Band(f"{swath}-{name}", (f"{swath.lower()}-{name.lower()}",), 14.1)


_POLARISATIONS = tuple(_polarisation(name) for name in ("VV", "VH", "HH", "HV"))

_QA_PIXEL = Mask(
    Band("QA_PIXEL", ("qa_pixel", "QA_PIXEL", "QA_PIXEL.TIF"), 30),
    cloud=(
        Flag((1,), 1, 1),
        Flag((1,), 2, 1),
        Flag((1,), 3, 1),
        Flag((1,), 4, 1),
    ),  # dilated, cirrus, cloud, shadow
    nodata=(Flag((1,), 0, 1),),  # fill
)
_FMASK = Mask(
    Band("Fmask", ("Fmask",), 30),
    cloud=(Flag((1,), 1, 1), Flag((1,), 3, 1)),  # cloud, shadow; bit 0, cirrus, is reserved in version 2
    nodata=(Flag((255,)),),
)
_MODIS_STATE = Mask(
    Band("state", ("sur_refl_state_500m",), 500),
    cloud=(
        Flag((1, 2), 0, 2),
        Flag((1,), 2, 1),
        Flag((2, 3), 8, 2),
        Flag((1,), 10, 1),
    ),  # state, shadow, cirrus, own
    nodata=(Flag((65535,)),),
)


def _oli(name: str, number: int, wavelength_nm: float) -> Band:
    return Band(name, (name, f"SR_B{number}", f"SR_B{number}.TIF"), 30, wavelength_nm)


def _hls(name: str, wavelength_nm: float) -> Band:
    return Band(name, (name,), 30, wavelength_nm)


def _hls_thermal(name: str, wavelength_nm: float) -> Band:
    """Brightness temperature in hundredths of a degree Celsius."""
    return Band(name, (name,), 30, wavelength_nm, "K", 0.01, 273.15, -9999, _COLDEST_K, _KELVIN)


_OLCI_NM = (
    400, 412.5, 442.5, 490, 510, 560, 620, 665, 673.75, 681.25, 708.75, 753.75, 761.25, 764.375, 767.5, 778.75,
    865, 885, 900, 940, 1020,
)  # fmt: skip
_OLCI_SURFACE = (*range(1, 13), 16, 17, 18, 21)  # without the absorption bands of oxygen and water vapour
_MODIS_NM = (645, 858.5, 469, 555, 1240, 1640, 2130)


def _elevation(resolution_m: float) -> tuple[Band, ...]:
    return (Band("elevation", ("data", "elevation"), resolution_m),)


SENSORS: dict[str, Sensor] = {
    sensor.name: sensor
    for sensor in (
        Sensor(
            name="sentinel-2-l2a",
            prefix="s2",
            kind="optical",
            bands=tuple(band for band in _MSI if band.name != "B10"),
            default_bands=_MSI_LAND,
            stored=_REFLECTANCE,
            source_scale=1e-4,
            source_unit="reflectance",
            source_nodata=0,
            mask=_SCL,
            dark=(Dark(("B02", "B04", "B01", "B03"), 0.025), Dark(("B12", "B11", "B8A", "B08"), 0.05)),
        ),
        Sensor(
            name="sentinel-2-l1c",
            prefix="s2toa",
            kind="optical",
            bands=_MSI,
            stored=_REFLECTANCE,
            source_scale=1e-4,
            source_unit="reflectance",
            source_nodata=0,
            cloud_bands=_S2CLOUDLESS,
            dark=(Dark(("B10",), 0.02),),  # water vapour hides the ground
        ),
        Sensor(
            name="sentinel-1-rtc",
            prefix="s1",
            kind="radar",
            bands=_POLARISATIONS,
            default_bands=("VV", "VH"),
            stored=_DECIBEL,
            source_unit="power",
            source_nodata=-32768,
        ),
        Sensor(
            name="sentinel-1-grd",
            prefix="s1",
            kind="radar",
            bands=_POLARISATIONS,
            default_bands=("VV", "VH"),
            stored=_DECIBEL,
            source_unit="",  # amplitude, power or dB, calibrated or not: only the item can say
            source_nodata=0,
        ),
        Sensor(
            name="sentinel-1-slc",
            prefix="s1slc",
            kind="radar",
            bands=tuple(_slc(p, swath) for swath in ("IW1", "IW2", "IW3") for p in ("VV", "VH", "HH", "HV")),
            default_bands=("IW1-VV", "IW1-VH"),
            stored=_DECIBEL,
            source_unit="",  # calibrated or not: only the item can say
            source_nodata=0,
        ),
        Sensor(
            name="landsat-c2-l2",
            prefix="ls",
            kind="optical",
            platforms=("landsat-8", "landsat-9"),  # the bands of 4, 5 and 7 lie elsewhere
            bands=(
                _oli("coastal", 1, 443),
                _oli("blue", 2, 482),
                _oli("green", 3, 561),
                _oli("red", 4, 655),
                _oli("nir08", 5, 865),
                _oli("swir16", 6, 1609),
                _oli("swir22", 7, 2201),
                Band(
                    "lwir11",
                    ("lwir11", "ST_B10", "ST_B10.TIF"),
                    100,
                    10_895,
                    unit="K",
                    scale=0.00341802,
                    offset=149.0,
                    lowest=_COLDEST_K,
                    stored=_KELVIN,
                ),
            ),
            default_bands=("blue", "green", "red", "nir08", "swir16", "swir22"),
            stored=_REFLECTANCE,
            source_scale=2.75e-5,
            source_offset=-0.2,
            source_unit="reflectance",
            source_nodata=0,
            mask=_QA_PIXEL,
        ),
        Sensor(
            name="hls2-s30",
            prefix="hls",
            kind="optical",
            bands=tuple(_hls(band.name, band.wavelength_nm or 0.0) for band in _MSI),
            default_bands=_MSI_LAND,
            stored=_REFLECTANCE,
            source_scale=1e-4,
            source_unit="reflectance",
            source_nodata=-9999,
            mask=_FMASK,
        ),
        Sensor(
            name="hls2-l30",
            prefix="hlsl",
            kind="optical",
            bands=(
                _hls("B01", 443),
                _hls("B02", 482),
                _hls("B03", 561),
                _hls("B04", 655),
                _hls("B05", 865),
                _hls("B06", 1609),
                _hls("B07", 2201),
                _hls("B09", 1373),
                _hls_thermal("B10", 10_895),
                _hls_thermal("B11", 12_005),
            ),
            default_bands=("B02", "B03", "B04", "B05", "B06", "B07"),
            stored=_REFLECTANCE,
            source_scale=1e-4,
            source_unit="reflectance",
            source_nodata=-9999,
            mask=_FMASK,
        ),
        Sensor(
            name="modis-09A1-061",
            prefix="modis",
            kind="optical",
            bands=tuple(
                Band(f"b{i:02d}", (f"sur_refl_b{i:02d}",), 500, nm) for i, nm in enumerate(_MODIS_NM, start=1)
            ),
            stored=_REFLECTANCE,
            source_scale=1e-4,
            source_unit="reflectance",
            source_nodata=-28672,
            mask=_MODIS_STATE,
            span_days=8,
        ),
        Sensor(
            name="modis-43A4-061",
            prefix="nbar",
            kind="optical",
            bands=tuple(
                Band(f"b{i:02d}", (f"Nadir_Reflectance_Band{i}",), 500, nm)
                for i, nm in enumerate(_MODIS_NM, start=1)
            ),
            stored=_REFLECTANCE,
            source_scale=1e-4,
            source_unit="reflectance",
            source_nodata=32767,
            span_days=16,
        ),
        Sensor(
            name="sentinel-3-synergy-syn-l2-netcdf",
            prefix="s3",
            kind="optical",
            bands=tuple(
                Band(
                    f"Oa{i:02d}",
                    (f"syn-oa{i:02d}-reflectance", f"Syn_Oa{i:02d}_reflectance_Data"),
                    300,
                    _OLCI_NM[i - 1],
                )
                for i in _OLCI_SURFACE
            ),
            stored=_REFLECTANCE,
            source_scale=1e-4,
            source_unit="reflectance",
            source_nodata=-10000,
        ),
        Sensor(
            name="sentinel-3-olci-1-efr-ntc",
            prefix="s3toa",
            kind="optical",
            bands=tuple(
                Band(f"Oa{i:02d}", (f"Oa{i:02d}_radianceData", f"oa{i:02d}-radiance"), 300, nm)
                for i, nm in enumerate(_OLCI_NM, start=1)
            ),
            stored=Stored("uint16", 0.02, 0, "mW m-2 sr-1 nm-1"),
            source_scale=None,  # another one in every band, and inside the file
            source_unit="mW m-2 sr-1 nm-1",
            source_nodata=65535,
        ),
        Sensor(
            name="cop-dem-glo-30",
            prefix="dem",
            kind="terrain",
            bands=_elevation(30),
            stored=_METRES,
            source_unit="m",
            static=True,
        ),
        Sensor(
            name="cop-dem-glo-90",
            prefix="dem",
            kind="terrain",
            bands=_elevation(90),
            stored=_METRES,
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
    """The sensor called *name*; ``sentinel-1-rtc:ascending`` is its passes of one direction, with a prefix of its own.

    Raises:
        InputError: there is no such sensor.
    """
    base, _, orbit_state = name.partition(":")
    if base not in SENSORS or orbit_state not in ("", *PASSES):
        raise InputError(
            f"There is no sensor {name!r}",
            do=f"Sensors are: {', '.join(SENSORS)}; one pass of a radar: sentinel-1-rtc:ascending",
        )
    whole = SENSORS[base]
    if not orbit_state:
        return whole
    return replace(whole, prefix=whole.prefix + PASSES[orbit_state], orbit_state=orbit_state)


def passes_of(name: str) -> tuple[str, ...]:
    """The two views of a radar by direction of its passes; another sensor as it is."""
    if name not in SENSORS or SENSORS[name].kind != "radar":
        return (name,)
    return tuple(f"{name}:{orbit_state}" for orbit_state in PASSES)
