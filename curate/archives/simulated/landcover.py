"""What covers the ground: a site's classes and the materials they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.archives.simulated.fields import Field, blur, ranks, smoothstep, spectral
from curate.archives.simulated.keys import generator
from curate.archives.simulated.parcels import Ids, Parcels, Towns, build_towns, cut_parcels, hashed
from curate.archives.simulated.places import Site
from curate.archives.simulated.seasons import CROPS, LAPSE_C_PER_KM, LATE
from curate.archives.simulated.terrain import Terrain

TREE, SHRUB, GRASS, CROP, BUILT, BARE, SNOW, WATER, WETLAND, MANGROVE, MOSS = (
    10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100,
)  # fmt: skip
CLASSES = {
    TREE: "Tree cover",
    SHRUB: "Shrubland",
    GRASS: "Grassland",
    CROP: "Cropland",
    BUILT: "Built-up",
    BARE: "Bare / sparse vegetation",
    SNOW: "Snow and ice",
    WATER: "Permanent water bodies",
    WETLAND: "Herbaceous wetland",
    MANGROVE: "Mangroves",
    MOSS: "Moss and lichen",
}

_CROP_MIX = {  # shares of CROPS by the season in which plants are green
    "ever": (0, 0.35, 0.1, 0.35, 0.1, 0.1),
    "wet": (0.1, 0.5, 0.05, 0.08, 0.12, 0.15),
    "winter": (0.38, 0.14, 0.05, 0.30, 0.13, 0),
    "spring": (0.48, 0.17, 0.07, 0.03, 0.25, 0),
    "summer": (0.40, 0.34, 0.2, 0.02, 0.04, 0),
    "short": (0.35, 0.05, 0.5, 0, 0.1, 0),
    "none": (0, 0, 1, 0, 0, 0),
}


@dataclass(frozen=True)
class Cover:
    """A site's land cover and what optics and radar need to know of it; arrays on the 10 m canvas."""

    codes: npt.NDArray[np.uint8]  # ESA WorldCover
    calendar: npt.NDArray[
        np.uint8
    ]  # crop and lateness of the field: index in CROPS x LATE + step of lateness
    richness: Field  # of the field's growth, 0.7 to 1.2
    tone: Field  # of the field's soil, 0.72 to 1.28
    rows: Field  # roughness and row direction of the field as the radar sees them, -0.5 to 0.5
    parcels: Parcels
    towns: Towns
    vigour: Field  # health and density of plants, about 1
    conifer: Field  # share of trees that keep needles, 0 to 1
    ground: Field  # patches of brighter and darker soil, about 0, unit variance
    grain: Field  # fine texture, about 0, unit variance
    rise_m: Field  # above the place's nominal elevation


def grow(site: Site, seed: int, terrain: Terrain) -> Cover:
    """Cover the terrain of *site*.

    Natural classes compete: each has the logarithm of its share in the climate, a preference for relief, wetness
    and warmth, and a random field of its own; the highest wins. Trees end where the warmest month is under
    10 degC (the definition of class E) and snow stays where it is near freezing, with a lapse of 6.5 degC per km.
    Fields, towns and waters are laid over them.
    """
    rng = generator(seed, site.name, "cover")
    size = terrain.x.shape[0]
    climate = site.climate
    noise = [
        0.75 * spectral(rng, size, 2.6, 240, 3) + 0.4 * spectral(rng, size, 2.0, 40, 2) for _ in range(5)
    ]
    grain = spectral(rng, size, 1.4, 9, 3.4)
    vigour = (1 + 0.10 * spectral(rng, size, 2.9, 120, 5)).clip(0.5, 1.4)
    rise = terrain.elevation_m - np.float32(site.elevation_m)
    warmest = climate.warm_c - LAPSE_C_PER_KM * rise / 1000 + 0.5 * noise[0]
    slope, valley = terrain.slope, terrain.valley
    humid = climate.symbol[0] != "B"

    riparian = 0.2 if humid else 2.5  # trees keep to the valleys where it is dry
    scores = {
        TREE: _log(climate.tree) + 1.2 * noise[0] + 1.3 * smoothstep(slope, 0.08, 0.4) + riparian * (valley - 0.5),
        SHRUB: _log(climate.shrub) + noise[1] + 0.5 * slope,
        GRASS: _log(climate.grass) + noise[2],
        BARE: _log(climate.bare) + noise[3] + 2.2 * smoothstep(slope, 0.45, 1.1) - (valley - 0.5),
        WETLAND: _log(climate.wetland) + 1.3 * noise[4] + 3.0 * (valley - 0.75) - 14 * slope,
    }  # fmt: skip
    if climate.symbol[0] in "DEC":
        cold = smoothstep(-warmest, -10.6, -9.4)  # 1 above the tree line
        scores[TREE] = scores[TREE] - 9 * cold
        scores[SHRUB] = scores[SHRUB] + np.log1p(8 * smoothstep(-np.abs(warmest - 9.3), -2.5, -0.5))
        scores[MOSS] = (
            np.log(0.02 + 28 * smoothstep(-warmest, -9, -5.5) * smoothstep(warmest, -1, 3))
            + noise[1]
            + 0.3 * valley
        )
        scores[BARE] = scores[BARE] + 2.6 * smoothstep(-warmest, -7.5, -3) + 0.8 * cold
        scores[GRASS] = scores[GRASS] - 1.5 * smoothstep(-warmest, -6.5, -3)
        frozen = smoothstep(-warmest - 2.5 * slope.clip(0, 1), -5.4, -4.0)
        scores[SNOW] = np.log(1e-6 + frozen * 3000) + 0.6 * noise[4]
    if climate.symbol == "EF":
        scores[SNOW] = 1.5 + noise[4] + 2 * ranks(rise)
        scores[BARE] = 2.2 + noise[3] + 2 * smoothstep(slope, 0.1, 0.4)
    codes = _winner(scores)

    parcels, towns = cut_parcels(site, seed, terrain), build_towns(site, seed, terrain)
    salt = int(rng.integers(2**31))
    _, index = np.unique(parcels.ids, return_inverse=True)
    index = index.reshape(parcels.ids.shape)
    tilled, crop, number = _till(site, terrain, parcels, index, blur(noise[2], 8), warmest, salt)
    codes[tilled] = CROP
    if humid:  # hedges and lone copses between the fields
        hedge = tilled & (parcels.edge > 0.6) & (hashed(parcels.ids, salt + 5) < 0.16) & (climate.tree > 8)
        codes[hedge] = TREE
    codes[(codes == TREE) & (np.abs(terrain.river_m) > 1e5) & (vigour < 0.66)] = GRASS
    codes[towns.built] = BUILT
    gardens = towns.built & ~towns.road & (noise[1] > 0.75 + 1.2 * (towns.dense - 0.4))
    codes[gardens] = TREE if climate.tree > 8 else SHRUB
    if site.water == "coast" and climate.symbol[0] == "A":
        low = (terrain.shore_m > -260 + 150 * noise[4]) & (terrain.elevation_m < 9) & ~terrain.sea
        codes[low] = MANGROVE
    codes[terrain.water] = WATER
    if climate.symbol == "EF":
        codes[terrain.water & (noise[1] > -0.3)] = SNOW
    codes[towns.road & terrain.water & ~terrain.sea] = BUILT
    conifer = np.clip(climate.conifer + 0.45 * spectral(rng, size, 2.6, 110, 4) + 0.0007 * rise, 0, 1)
    if climate.conifer == 0:
        conifer = np.zeros_like(conifer)
    return Cover(
        codes,
        (crop * LATE + np.minimum(hashed(number, salt + 6) * LATE, LATE - 1)).astype(np.uint8)[index],
        (0.7 + 0.5 * hashed(number, salt + 7))[index],
        (0.72 + 0.56 * hashed(number, salt + 8))[index],
        (hashed(number, salt + 9) - 0.5)[index],
        parcels,
        towns,
        np.asarray(vigour, np.float32),
        np.asarray(conifer, np.float32),
        spectral(rng, size, 2.9, 200, 5),
        grain,
        rise,
    )


def _log(percent: float) -> float:
    return float(np.log(percent / 100 + 1e-5))


def _winner(scores: dict[int, Field]) -> npt.NDArray[np.uint8]:
    best = np.full(next(iter(scores.values())).shape, -np.inf, np.float32)
    codes = np.zeros(best.shape, np.uint8)
    for code, score in scores.items():
        better = score > best
        codes[better], best[better] = code, score[better]
    return codes


def _till(
    site: Site,
    terrain: Terrain,
    parcels: Parcels,
    index: npt.NDArray[Any],
    patch: Field,
    warmest: Field,
    salt: int,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint8], Ids]:
    """Which pixels are fields; crop and id of each field: whole fields are tilled where their ground is fit for it."""
    climate = site.climate
    count = np.bincount(index.ravel())
    fitness = 1.2 * patch - 14 * terrain.slope - 0.25 * np.minimum(np.abs(terrain.river_m), 4000) / 1000
    fitness = fitness - 60 * terrain.water - 8 * smoothstep(-warmest, -13, -10)
    mean = np.bincount(index.ravel(), fitness.ravel()) / count
    first = np.zeros(len(count), np.uint32)
    first[index.ravel()] = parcels.ids.ravel()
    mean += 0.8 * (hashed(first, salt) - 0.5)
    order = np.argsort(-mean)
    share = np.cumsum(count[order]) / count.sum()
    wanted = climate.crop / 100 * (1.25 if site.built else 0.5)
    take = np.zeros(len(count), bool)
    take[order[share <= wanted]] = True
    take &= mean > -4.5
    shares = np.cumsum(_CROP_MIX[climate.green])
    kind = np.searchsorted(shares, hashed(first, salt + 1) * 0.999, side="right").astype(np.uint8)
    kind = np.minimum(kind, len(CROPS) - 1).astype(np.uint8)
    tilled = take[index] & parcels.round_ & (terrain.slope < 0.3)
    return tilled, kind, first


def town_hash(ids: Ids, salt: int) -> Field:
    """A number in [0, 1) for every block of a town."""
    return hashed(ids, salt)
