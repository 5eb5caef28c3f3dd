"""A small catalog in the true format, with classes that pixels tell of."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.catalog import BandInfo, BandStatistics, CatalogMeta, Moments, SensorInfo
from curate.catalog.geoparquet import write_geoparquet
from curate.catalog.schema import catalog_schema
from curate.catalog.shards import SensorChips, write_shard
from curate.catalog.statistics import write_statistics
from train.models import ModelConfig

S2_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
S2 = SensorInfo(
    "s2",
    "sentinel-2-l2a",
    tuple(BandInfo(b) for b in S2_BANDS),
    "uint16",
    1e-4,
    0.0,
    0,
    "reflectance",
    "cubic",
)
S1 = SensorInfo(
    "s1", "sentinel-1-rtc", (BandInfo("VV"), BandInfo("VH")), "int16", 0.01, 0.0, -32768, "dB", "bilinear"
)
LEGEND = {10: "Tree cover", 30: "Grassland", 40: "Cropland", 50: "Built-up", 80: "Permanent water bodies"}
REFLECTANCE = np.array(  # [class, band]
    [
        [0.03, 0.05, 0.03, 0.08, 0.22, 0.28, 0.30, 0.31, 0.15, 0.07],
        [0.05, 0.08, 0.07, 0.13, 0.24, 0.28, 0.30, 0.32, 0.24, 0.14],
        [0.07, 0.10, 0.12, 0.17, 0.22, 0.25, 0.28, 0.30, 0.32, 0.24],
        [0.12, 0.14, 0.16, 0.18, 0.20, 0.21, 0.23, 0.23, 0.25, 0.23],
        [0.05, 0.05, 0.03, 0.03, 0.02, 0.02, 0.02, 0.02, 0.01, 0.01],
    ]
)
BACKSCATTER_DB = np.array([[-8.0, -13.5], [-12.0, -19.0], [-10.5, -17.0], [-4.0, -10.0], [-20.0, -27.0]])
KOPPEN = {"BSk": 7, "Csa": 8, "Cfb": 15, "Dfb": 26, "ET": 29}
GAIN = {"BSk": 1.35, "Csa": 1.15, "Cfb": 1.0, "Dfb": 0.85, "ET": 0.7}  # of reflectance, by climate

MakeCatalog = Callable[..., Path]


def smooth_fields(rng: np.random.Generator, shape: tuple[int, ...], slope: float) -> np.ndarray:
    """Gaussian fields with a power spectrum f^-slope and unit deviation over the last two axes."""
    rows, columns = shape[-2:]
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal(shape)) * frequency ** (-slope / 2)
    spectrum[..., 0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(rows, columns))
    return field / field.std((-2, -1), keepdims=True)


def render(
    rng: np.random.Generator, dominant: np.ndarray, gain: np.ndarray, px: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stored S2 and S1 pixels of chips with these dominant classes, and class fractions."""
    n, classes = len(dominant), len(LEGEND)
    appeal = smooth_fields(rng, (n, classes, px, px), 3.0)
    appeal[np.arange(n), dominant] += 1.6
    cover = appeal.argmax(1)  # [n, px, px]
    texture = smooth_fields(rng, (n, 1, px, px), 2.0)
    light = gain[:, None, None, None] * (1 + 0.12 * texture + 0.1 * rng.standard_normal((n, 1, 1, 1)))
    reflectance = np.moveaxis(REFLECTANCE[cover], -1, 1) * light + 0.003 * rng.standard_normal(
        (n, len(S2_BANDS), px, px)
    )
    s2 = np.clip(reflectance * 1e4, 1, 65535).astype(np.uint16)
    speckle_db = 10 * np.log10(rng.gamma(8.0, 1 / 8, (n, 2, px, px)))
    s1_db = np.moveaxis(BACKSCATTER_DB[cover], -1, 1) + 0.6 * texture + speckle_db
    s1 = np.clip(s1_db * 100, -32767, 32767).astype(np.int16)
    s2[..., 0, 0] = S2.nodata
    s1[..., 0, 0] = S1.nodata
    fractions = (cover[:, None] == np.arange(classes)[:, None, None]).mean((2, 3))
    return s2, s1, fractions


def square(lon: float, lat: float) -> bytes:
    """WKB of a small square."""
    ring = [(lon, lat), (lon + 0.01, lat), (lon + 0.01, lat + 0.01), (lon, lat + 0.01), (lon, lat)]
    return struct.pack("<BIII", 1, 3, 1, 5) + b"".join(struct.pack("<dd", *point) for point in ring)


def write_catalog(
    folder: Path,
    chips: int = 96,
    px: int = 32,
    per_shard: int = 16,
    dates: int = 2,
    shares: tuple[float, float, float] = (0.6, 0.15, 0.25),
    simulated: bool = True,
    cut: bool = True,
    seed: int = 7,
) -> Path:
    """Write `folder/toy.parquet` with its shards and statistics; *shares* of train, val and test, by place."""
    rng = np.random.default_rng(seed)
    place = np.arange(chips) // dates
    places = place[-1] + 1
    symbols = np.array(list(KOPPEN))[rng.integers(len(KOPPEN), size=places)][place]
    dominant = rng.integers(len(LEGEND), size=places)[place]
    split = np.array(["train", "val", "test"])[
        np.searchsorted(np.cumsum(shares), (rng.permutation(places) + 0.5) / places)
    ][place]
    ids = [f"{place[i]:04d}_{i % dates}" for i in range(chips)]
    gain = np.array([GAIN[s] for s in symbols])
    fractions, kept = np.zeros((chips, len(LEGEND))), []
    for start in range(0, chips, per_shard):
        part = slice(start, min(start + per_shard, chips))
        s2, s1, fractions[part] = render(rng, dominant[part], gain[part], px)
        n = len(s2)
        pixels = {
            "s2": SensorChips(s2, np.ones(n, np.float32), np.zeros(n, np.float32)),
            "s1": SensorChips(s1, np.ones(n, np.float32), np.full(n, np.nan, np.float32)),
        }
        write_shard(folder / "toy" / "chips" / f"{start:05d}.arrow", (S2, S1), ids[part], pixels)
        kept.append((np.arange(start, part.stop), Moments.of_chips(s2, S2), Moments.of_chips(s1, S1)))
    train = split == "train"
    statistics = {}
    for sensor, index in ((S2, 1), (S1, 2)):
        every = Moments.stack([entry[index] for entry in kept])
        chosen = Moments(every.count[train], every.mean[train], every.m2[train])
        statistics[sensor.prefix] = BandStatistics.of(sensor, chosen.merged())
    write_statistics(folder / "toy" / "statistics.json", statistics)

    schema = catalog_schema(["s2", "s1"], list(LEGEND))
    codes, names = np.array(list(LEGEND)), np.array(list(LEGEND.values()))
    top = fractions.argmax(1)
    lon, lat = 5 + place * 0.05, 45 + place * 0.03
    boxes = [
        {"xmin": x, "ymin": y, "xmax": x + 0.01, "ymax": y + 0.01} for x, y in zip(lon, lat, strict=True)
    ]
    columns = {
        "chip_id": ids,
        "geometry": [square(x, y) for x, y in zip(lon, lat, strict=True)],
        "bbox": boxes,
        "lon": lon,
        "lat": lat,
        "place": [f"{p:04d}" for p in place],
        "cell": [f"{p // 4:03d}U" for p in place],
        "epsg": np.full(chips, 32632, np.int32),
        "transform": [[10.0, 0.0, 5e5, 0.0, -10.0, 5e6]] * chips,
        "season": ["summer"] * chips,
        "lc_unmapped": np.zeros(chips, np.float32),
        "lc_dominant": codes[top].astype(np.int16),
        "lc_dominant_name": names[top],
        "lc_classes": (fractions >= 0.05).sum(1).astype(np.int16),
        "koppen": np.array([KOPPEN[s] for s in symbols], np.int8),
        "koppen_symbol": symbols,
        "koppen_nearest": [False] * chips,
        "koppen_purity": np.ones(chips, np.float32),
        "stratum": symbols,
        "split": split,
        "weight": np.ones(chips),
        "shard": [f"{i // per_shard * per_shard:05d}.arrow" if cut else None for i in range(chips)],
        "shard_row": [i % per_shard if cut else None for i in range(chips)],
        **{f"lc_{code}": fractions[:, i].astype(np.float32) for i, code in enumerate(LEGEND)},
    }
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(chips, field.type)
        for field in schema
    ]
    meta = CatalogMeta(
        region="toy",
        chip_px=px,
        resolution_m=10.0,
        sensors=(S2, S1),
        landcover=LEGEND,
        recipe={"region": "toy"},
        recipe_hash="0" * 32,
        source={"archive": "fixture", "simulated": simulated},
        software={},
        chips="toy/chips",
        statistics="toy/statistics.json",
        pool_rows=chips,
    )
    write_geoparquet(pa.table(arrays, schema=schema), folder / "toy.parquet", meta.to_json())
    return folder / "toy.parquet"


@pytest.fixture(scope="session")
def make_catalog() -> MakeCatalog:
    return write_catalog


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog of 96 pairs of 32 px; tests only read it."""
    return write_catalog(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def small_config() -> ModelConfig:
    """A model for the toy catalog that takes a few milliseconds a step."""
    return ModelConfig(
        sensors={"s2": S2.band_names, "s1": S1.band_names},
        image_size=32,
        patch_size=4,
        embed_dim=24,
        num_heads=3,
        specific_depth=1,
        shared_depth=1,
        decoder_dim=16,
        decoder_depth=1,
        decoder_heads=2,
        experts=2,
        slots=2,
        scale_init=5.0,
    )


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The real sample data, or a skip that says why."""
    root = Path(os.environ.get("CURATE_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"the real sample data are not at {root}; set CURATE_REAL_DATA")
    return root
