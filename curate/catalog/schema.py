"""The columns of a catalog, and what its file's metadata says: the contract with every reader.

`docs/catalog.md` describes each column for a person; `COLUMNS` below is its source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1
METADATA_KEY = b"curate"
SPLITS = ("train", "val", "test")
SEASONS = ("winter", "spring", "summer", "autumn")


@dataclass(frozen=True)
class BandInfo:
    """One band as it is stored in the shards."""

    name: str
    wavelength_nm: float | None = None  # None for radar and terrain
    resolution_m: float = 10.0  # native, before it was brought to the chip's grid
    scale: float | None = None  # where the band is not stored as the sensor says: kelvin beside reflectance
    unit: str | None = None


@dataclass(frozen=True)
class SensorInfo:
    """How one sensor's pixels are stored: physical value = stored × scale + offset, `nodata` apart."""

    prefix: str  # column prefix: s2, s1, dem, ls
    sensor: str  # sentinel-2-l2a, sentinel-1-rtc, ...
    bands: tuple[BandInfo, ...]  # in stored order
    dtype: str  # numpy name of the stored integers
    scale: float
    offset: float
    nodata: int
    unit: str  # reflectance, dB, m
    resampling: str  # how coarser bands were brought to the chip's grid

    @property
    def band_names(self) -> tuple[str, ...]:
        return tuple(band.name for band in self.bands)

    @property
    def scales(self) -> tuple[float, ...]:
        """Scale of each band: physical value = stored × scale + offset."""
        return tuple(self.scale if band.scale is None else band.scale for band in self.bands)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> SensorInfo:
        return cls(**{**fields, "bands": tuple(BandInfo(**band) for band in fields["bands"])})


@dataclass(frozen=True)
class DescriptorInfo:
    """A column of a further descriptor: numbers, or lists of *size* numbers; null where unknown."""

    name: str
    meaning: str
    unit: str = ""
    size: int = 0  # 0: one number

    @property
    def field(self) -> pa.Field:
        """The column in a pool or catalog."""
        return pa.field(self.name, pa.list_(pa.float32(), self.size) if self.size else pa.float32())


@dataclass(frozen=True)
class CatalogMeta:
    """What the file says about itself, stored as JSON under the Parquet metadata key ``curate``."""

    region: str  # slug, "eu"
    chip_px: int
    resolution_m: float
    sensors: tuple[SensorInfo, ...]  # the anchor (optical) first
    landcover: dict[int, str]  # legend: code -> class name
    recipe: dict[str, Any]
    recipe_hash: str
    source: dict[str, Any]  # archive, maps, and `simulated`: true where values are not measurements
    software: dict[str, str]
    chips: str  # folder of the shards, relative to the catalog's folder
    statistics: str  # JSON of band statistics, relative to the catalog's folder
    pool_rows: int  # candidates the sample was drawn from
    schema_version: int = SCHEMA_VERSION
    notes: dict[str, Any] = field(default_factory=dict)
    further: tuple[DescriptorInfo, ...] = ()  # columns of the further descriptors that the recipe chose

    @property
    def simulated(self) -> bool:
        return bool(self.source.get("simulated", False))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> CatalogMeta:
        sensors = tuple(SensorInfo.from_json(sensor) for sensor in fields["sensors"])
        legend = {int(code): name for code, name in fields["landcover"].items()}
        further = tuple(DescriptorInfo(**column) for column in fields.get("further", ()))
        return cls(**{**fields, "sensors": sensors, "landcover": legend, "further": further})


BBOX = pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])
TIMESTAMP = pa.timestamp("us", tz="UTC")
# no map, which Hugging Face's `datasets` does not know
HREFS = pa.list_(pa.struct([("band", pa.string()), ("href", pa.string())]))

Column = tuple[str, pa.DataType, bool, str]  # name, type, may be null, meaning

PLACE_COLUMNS: tuple[Column, ...] = (
    ("chip_id", pa.string(), False, "Unique id: grid cell, place in the zone's chip lattice, anchor date."),
    ("geometry", pa.binary(), False, "Chip footprint, WKB, longitude/latitude (OGC:CRS84)."),
    ("bbox", BBOX, False, "Bounds of the footprint, degrees (GeoParquet covering column)."),
    ("lon", pa.float64(), False, "Longitude of the chip's centre, degrees."),
    ("lat", pa.float64(), False, "Latitude of the chip's centre, degrees."),
    ("place", pa.string(), False, "The chip's place without a date; repeated dates share it."),
    ("cell", pa.string(), False, "Major TOM grid cell that holds the chip's centre."),
    ("epsg", pa.int32(), False, "UTM or UPS zone in which the chip was cut."),
    (
        "transform",
        pa.list_(pa.float64(), 6),
        False,
        "Pixel grid as (a, b, c, d, e, f): x = a·col + b·row + c, y = d·col + e·row + f, metres.",
    ),
    ("season", pa.string(), False, "Local season of the anchor date: winter, spring, summer, autumn."),
)

SENSOR_COLUMNS: tuple[Column, ...] = (
    ("id", pa.string(), True, "STAC item id of the scene."),
    ("datetime", TIMESTAMP, True, "Acquisition time, UTC; null for static layers."),
    ("dt_hours", pa.float64(), True, "Time difference to the anchor, signed, hours; null for static layers."),
    ("platform", pa.string(), True, "Satellite."),
    ("orbit_state", pa.string(), True, "ascending or descending."),
    ("relative_orbit", pa.int16(), True, "Relative orbit number (track)."),
    ("baseline", pa.string(), True, "Processing baseline."),
    (
        "offset",
        pa.int32(),
        True,
        "Offset in DN added to the source's numbers before scaling; null where none can apply.",
    ),
    ("offset_source", pa.string(), True, "What decided it: provider flag, baseline, declared or percentile."),
    ("cloud_cover", pa.float32(), True, "The whole scene's cloud cover as its provider says, percent."),
)

SENSOR_PIXEL_COLUMNS: tuple[Column, ...] = (
    (
        "hrefs",
        HREFS,
        True,
        "File of each band; relative to the catalog's folder where the file lies under it.",
    ),
    ("valid", pa.float32(), True, "Share of the chip's pixels with data in every band; null until cut."),
    (
        "cloud",
        pa.float32(),
        True,
        "Share of cloud, cirrus and cloud shadow in the chip; null without a mask or until cut.",
    ),
)

DESCRIPTOR_COLUMNS: tuple[Column, ...] = (
    ("lc_unmapped", pa.float32(), False, "Share of the chip the land-cover map says nothing about."),
    ("lc_dominant", pa.int16(), True, "Land-cover code with the largest share; null where all is unmapped."),
    ("lc_dominant_name", pa.string(), True, "Its name in the map's legend."),
    ("lc_classes", pa.int16(), False, "Number of classes with at least the presence share of the chip."),
    (
        "lc_entropy",
        pa.float32(),
        True,
        "Shannon entropy of the classes in the mapped part, bits; null where all is unmapped.",
    ),
    ("lc_year", pa.int16(), True, "Year of the map at the chip's centre; null where its name has none."),
    ("koppen", pa.int8(), True, "Köppen-Geiger class, Beck et al. codes 1-30; null where the map has none."),
    ("koppen_symbol", pa.string(), True, "Its symbol, Af to EF."),
    ("koppen_nearest", pa.bool_(), False, "True where the class was taken from the nearest land pixel."),
    (
        "koppen_purity",
        pa.float32(),
        True,
        "Share of the chip's points on the map with that class; 0 for the nearest pixel's, null without one.",
    ),
)

KEY_COLUMNS: tuple[
    Column, ...
] = (  # of the pool alone: what the sampler reads in place of texts and fractions
    ("chip_key", pa.uint64(), False, "Hash of the chip's id."),
    ("place_key", pa.uint32(), False, "Hash of the place, its upper half."),
    ("spot", pa.uint64(), False, "Latitude and longitude in 2^32 steps each."),
    (
        "kind",
        pa.uint64(),
        False,
        "Season (2 bits), climate (8), dominant class (6) and classes present (48); 0 where not described.",
    ),
)

PLAIN_COLUMNS = tuple(name for name, *_ in KEY_COLUMNS)  # stored as they are, which is read fastest
UNIQUE_COLUMNS = ("chip_id", "geometry", "place")  # hardly a value comes twice

SAMPLE_COLUMNS: tuple[Column, ...] = (
    ("stratum", pa.string(), False, "Stratum the chip was drawn from."),
    ("split", pa.string(), False, "train, val or test; spatially disjoint."),
    (
        "weight",
        pa.float64(),
        False,
        "How many usable candidates of its stratum and split the chip stands for.",
    ),
)

PIXEL_COLUMNS: tuple[Column, ...] = (
    ("shard", pa.string(), True, "Shard that holds the pixels; null until cut."),
    ("shard_row", pa.int32(), True, "Row within the shard; null until cut."),
)


def landcover_column(code: int) -> str:
    """Name of the column that holds the area fraction of land-cover class *code*."""
    return f"lc_{code}"


def _fields(columns: Sequence[Column], prefix: str = "") -> list[pa.Field]:
    return [pa.field(prefix + name, dtype, nullable=nullable) for name, dtype, nullable, _ in columns]


def pool_schema(
    prefixes: Sequence[str], landcover_codes: Sequence[int], further: Sequence[DescriptorInfo] = ()
) -> pa.Schema:
    """Columns of the pool: a candidate chip with its sources and descriptors, and the sampler's keys."""
    return pa.schema([*candidate_schema(prefixes, landcover_codes, further), *_fields(KEY_COLUMNS)])


def candidate_schema(
    prefixes: Sequence[str], landcover_codes: Sequence[int], further: Sequence[DescriptorInfo] = ()
) -> pa.Schema:
    """Columns that pool and catalog share."""
    fields = _fields(PLACE_COLUMNS)
    for prefix in prefixes:
        fields += _fields(SENSOR_COLUMNS, f"{prefix}_")
    fields += [pa.field(landcover_column(code), pa.float32(), nullable=False) for code in landcover_codes]
    return pa.schema(fields + _fields(DESCRIPTOR_COLUMNS) + [column.field for column in further])


def catalog_schema(
    prefixes: Sequence[str], landcover_codes: Sequence[int], further: Sequence[DescriptorInfo] = ()
) -> pa.Schema:
    """Columns of a catalog: the pool's, then how the chip was drawn, then where its pixels are."""
    fields = [*candidate_schema(prefixes, landcover_codes, further), *_fields(SAMPLE_COLUMNS)]
    for prefix in prefixes:
        fields += _fields(SENSOR_PIXEL_COLUMNS, f"{prefix}_")
    return pa.schema(fields + _fields(PIXEL_COLUMNS))
