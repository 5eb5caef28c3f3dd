"""Reflectance of a site on a date: spectra of materials, mixed in every pixel, lit by the sun.

Linear mixing (Settle and Drake 1993): reflectance is the sum of each material's spectrum times its share of the
pixel. Spectra are rounded from the USGS Spectral Library 7 (Kokaly et al. 2017) and, for canopies, from typical
surface reflectances of Sentinel-2 products.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate.archives.simulated.fields import Field, blur, smoothstep, spectral
from curate.archives.simulated.keys import generator
from curate.archives.simulated.landcover import (
    BARE,
    BUILT,
    CROP,
    GRASS,
    MANGROVE,
    MOSS,
    SHRUB,
    SNOW,
    TREE,
    WATER,
    WETLAND,
    Cover,
    town_hash,
)
from curate.archives.simulated.places import Site
from curate.archives.simulated.seasons import calendars, day_of, grass, leaves
from curate.archives.simulated.terrain import Terrain

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
SPECTRA: dict[str, tuple[float, ...]] = {  # reflectance in BANDS
    "broadleaf": (0.018, 0.044, 0.022, 0.078, 0.255, 0.330, 0.350, 0.375, 0.185, 0.075),
    "needleleaf": (0.014, 0.028, 0.018, 0.046, 0.125, 0.155, 0.168, 0.185, 0.085, 0.038),
    "herb": (0.028, 0.068, 0.034, 0.108, 0.330, 0.420, 0.445, 0.465, 0.215, 0.105),
    "straw": (0.090, 0.135, 0.185, 0.215, 0.245, 0.265, 0.290, 0.310, 0.385, 0.275),
    "litter": (0.035, 0.048, 0.062, 0.080, 0.105, 0.120, 0.135, 0.155, 0.200, 0.140),
    "sand": (0.125, 0.195, 0.290, 0.320, 0.340, 0.355, 0.375, 0.390, 0.470, 0.420),
    "loam": (0.070, 0.100, 0.142, 0.165, 0.185, 0.200, 0.220, 0.235, 0.315, 0.265),
    "dark": (0.040, 0.054, 0.072, 0.086, 0.100, 0.112, 0.126, 0.138, 0.200, 0.165),
    "red": (0.045, 0.075, 0.165, 0.190, 0.210, 0.225, 0.250, 0.265, 0.330, 0.260),
    "rock": (0.105, 0.125, 0.145, 0.155, 0.162, 0.168, 0.176, 0.182, 0.215, 0.195),
    "lava": (0.036, 0.042, 0.050, 0.054, 0.057, 0.060, 0.064, 0.067, 0.085, 0.080),
    "moss": (0.045, 0.070, 0.085, 0.118, 0.175, 0.200, 0.220, 0.240, 0.235, 0.155),
    "water": (0.030, 0.024, 0.012, 0.009, 0.007, 0.006, 0.005, 0.005, 0.003, 0.002),
    "turbid": (0.062, 0.092, 0.084, 0.068, 0.038, 0.034, 0.027, 0.021, 0.007, 0.005),
    "snow": (0.930, 0.930, 0.915, 0.905, 0.890, 0.880, 0.870, 0.845, 0.115, 0.090),
    "ice": (0.620, 0.620, 0.570, 0.530, 0.470, 0.430, 0.400, 0.360, 0.030, 0.020),
    "concrete": (0.190, 0.215, 0.240, 0.250, 0.260, 0.266, 0.275, 0.280, 0.300, 0.280),
    "tiles": (0.070, 0.095, 0.175, 0.205, 0.220, 0.230, 0.245, 0.255, 0.290, 0.265),
    "asphalt": (0.075, 0.085, 0.095, 0.100, 0.105, 0.110, 0.115, 0.120, 0.140, 0.135),
}
MATERIALS = tuple(SPECTRA)
DIFFUSE = np.array([0.34, 0.27, 0.22, 0.20, 0.17, 0.16, 0.14, 0.13, 0.06, 0.04], np.float32)  # of light


Put = Callable[..., None]  # adds shares of materials where a mask holds


@dataclass(frozen=True)
class Scene:
    """A clear view of a site on a date, on the 10 m canvas."""

    reflectance: npt.NDArray[np.float32]  # (10 bands of BANDS, rows, columns)
    snow: Field  # share of the pixel under snow
    shade: Field  # direct sun against that on flat ground; 0 in a slope's own shadow


def weather_c(site: Site, seed: int, when: dt.datetime) -> float:
    """Temperature at the site's nominal elevation on a date: the climate's mean and a few degrees of weather."""
    usual = site.climate.temperature_c(day_of(when), site.south)
    return usual + float(generator(seed, site.name, when.date(), "weather").normal(0, 2.0))


def view(
    site: Site, seed: int, terrain: Terrain, cover: Cover, when: dt.datetime, sun_deg: tuple[float, float]
) -> Scene:
    """The site as seen from above, without cloud; *sun_deg* is the sun's elevation and azimuth."""
    rng = generator(seed, site.name, when.date(), "surface")
    temperature = weather_c(site, seed, when) - 6.5 * cover.rise_m / 1000
    shares = _mix(site, seed, cover, terrain, when)
    snow = _snow(site, cover, terrain, temperature, spectral(rng, terrain.x.shape[0], 2.2, 90, 2))
    shares *= 1 - snow
    shares[MATERIALS.index("snow")] += snow
    table = np.array([SPECTRA[name] for name in MATERIALS], np.float32).T
    rows, columns = terrain.x.shape
    mixed = (table @ shares.reshape(len(MATERIALS), -1)).reshape(-1, rows, columns)
    mixed *= 1 + cover.grain * _roughness(cover)
    shade = _illumination(terrain, sun_deg)
    for band, diffuse in zip(mixed, DIFFUSE, strict=True):
        band *= diffuse + (1 - diffuse) * shade
    np.clip(mixed, 0.001, 1.4, out=mixed)
    return Scene(mixed, snow, shade)


def _mix(site: Site, seed: int, cover: Cover, terrain: Terrain, when: dt.datetime) -> npt.NDArray[np.float32]:
    """Shares of MATERIALS in every pixel, shape (materials, rows, columns)."""
    climate, day, codes = site.climate, day_of(when), cover.codes
    shares = np.zeros((len(MATERIALS), *codes.shape), np.float32)
    of = {name: shares[number] for number, name in enumerate(MATERIALS)}
    leafy = leaves(climate, day, site.south)
    sward = grass(climate, day, site.south)
    salt = int(generator(seed, site.name, "fields of the year").integers(2**31))
    ground = cover.ground

    def put(where: npt.NDArray[np.bool_], **parts: Field | float) -> None:
        for name, part in parts.items():
            target = of[climate.soil if name == "soil" else name]
            target[where] += part[where] if isinstance(part, np.ndarray) and part.ndim == 2 else part

    vigour = cover.vigour
    here = codes == TREE
    if here.any():
        closed = np.clip((0.82 if climate.tree > 20 else 0.5) * vigour, 0.2, 1)
        broad = (1 - cover.conifer) * closed
        put(here, needleleaf=cover.conifer * closed, broadleaf=broad * leafy)
        put(here, litter=broad * (1 - leafy) * 0.75 + (1 - closed) * 0.5, soil=(1 - closed) * 0.2)
    here = codes == SHRUB
    if here.any():
        green = np.clip(0.42 * vigour + 0.06 * cover.grain, 0.08, 0.8) * (
            0.45 if climate.symbol[0] == "B" else 1
        )
        put(here, broadleaf=green * (0.35 + 0.65 * leafy), litter=0.25, soil=np.clip(0.7 - green, 0, 1))
    here = codes == GRASS
    if here.any():
        green = np.clip(sward * vigour * (1 + 0.18 * ground), 0.02, 1)
        closed = 0.55 if climate.symbol[0] == "B" else 0.9
        put(here, herb=green * closed, straw=(1 - green) * closed * 0.8, soil=1 - closed)
    here = codes == CROP
    if here.any():
        _plough(site, cover, when, here, put)
    here = codes == BUILT
    if here.any():
        roof, plot = town_hash(cover.towns.blocks, salt), np.clip(0.55 - 0.6 * cover.towns.dense, 0.05, 0.5)
        large = (roof > 0.86).astype(np.float32)
        street = np.where(cover.towns.road, np.float32(0.6), np.float32(0.2))
        houses = np.clip((1 - street - plot) * (1 + 0.3 * cover.grain), 0.05, 1)
        concrete = np.clip(0.25 + 0.75 * large + 0.4 * (roof - 0.5), 0, 1)
        put(here, asphalt=street, concrete=houses * concrete, tiles=houses * (1 - concrete))
        lawn, crowns = 0.55 * sward, 0.35 * leafy
        put(here, herb=plot * lawn, broadleaf=plot * crowns, soil=plot * (1 - lawn - crowns))
    here = codes == BARE
    if here.any():
        stone = (
            smoothstep(terrain.slope + 0.08 * ground, 0.12, 0.4)
            if climate.soil != "rock"
            else np.full_like(vigour, 0.85)
        )
        strata: Field = 1 + 0.22 * ground + 0.12 * np.sin(terrain.elevation_m / 14 + 2 * ground)
        scant = 0.06 * sward * vigour
        put(here, rock=stone * strata * 0.9, soil=(1 - stone) * strata, herb=scant)
    here = codes == SNOW
    put(here, snow=0.8 + 0.05 * ground, ice=0.18 - 0.05 * ground)
    here = codes == WATER
    if here.any():
        mud = np.clip(0.35 + 0.2 * ground - terrain.shore_m / 1500, 0.02, 0.9)
        if site.water == "coast":
            mud = np.clip(0.5 * np.exp(-terrain.shore_m / 350) + 0.04 * ground, 0, 0.9)
        put(here, turbid=mud, water=1 - mud)
    here = codes == WETLAND
    if here.any():
        put(here, herb=(0.15 + 0.4 * sward) * vigour, litter=0.35, water=0.25, straw=0.12 * (1 - sward))
    here = codes == MANGROVE
    put(here, broadleaf=0.72 * vigour, turbid=0.15)
    here = codes == MOSS
    put(here, moss=0.62 * vigour, rock=0.2 + 0.06 * ground, herb=0.14 * sward)
    return np.clip(shares, 0, None, out=shares)


def _plough(site: Site, cover: Cover, when: dt.datetime, here: npt.NDArray[np.bool_], put: Put) -> None:
    """Fields: each crop's calendar on this day, early or late by field."""
    table = calendars(site.climate, day_of(when), site.south)[cover.calendar[here]]
    edge, vigour = cover.parcels.edge[here], cover.vigour[here]
    green = np.clip(table[:, 0] * cover.richness[here] * (0.5 + 0.5 * vigour), 0, 1) * (1 - 0.35 * edge)
    straw = table[:, 1] * (1 - green)
    left = np.clip(1 - green - straw, 0, 1)
    flood = left * table[:, 2]
    put(here, herb=green, straw=straw, water=flood)
    put(here, soil=(left - flood) * cover.tone[here] * (1 + 0.08 * cover.ground[here]))


def _snow(site: Site, cover: Cover, terrain: Terrain, temperature: Field, patches: Field) -> Field:
    """Share of each pixel under seasonal snow: where it freezes, patchy near freezing, less under trees."""
    lying = smoothstep(
        -temperature + 0.6 * patches + 1.5 * terrain.north_slope * (1 if site.south else -1), 0.3, 2.8
    )
    if site.climate.symbol[0] == "B":
        lying = lying * 0.5
    hidden = np.zeros(256, np.float32)
    hidden[[TREE, SHRUB, BUILT]] = 0.92, 0.35, 0.45
    lying = lying * (1 - hidden[cover.codes] * (0.8 + 0.2 * cover.conifer))
    deep = terrain.sea | (cover.codes == WATER)
    frozen = smoothstep(-temperature - 2 + 0.3 * patches, 2.5, 5)
    if site.water == "river":
        frozen = frozen * 0.8
    return np.where(deep, np.where(terrain.sea, 0, frozen), lying).astype(np.float32)


def _roughness(cover: Cover) -> Field:
    """Relative size of fine texture by class."""
    table = np.zeros(256, np.float32)
    table[[TREE, SHRUB, GRASS, CROP, BUILT, BARE]] = 0.05, 0.04, 0.02, 0.010, 0.075, 0.03
    table[[SNOW, WATER, WETLAND, MANGROVE, MOSS]] = 0.008, 0.010, 0.05, 0.07, 0.05
    return np.asarray(table[cover.codes], np.float32)


def _illumination(terrain: Terrain, sun_deg: tuple[float, float]) -> Field:
    """Cosine of the sun's incidence over that on flat ground (Teillet et al. 1982, eq. 1), at most 3."""
    elevation, azimuth = math.radians(sun_deg[0]), math.radians(sun_deg[1])
    towards = (
        math.cos(elevation) * math.sin(azimuth),
        math.cos(elevation) * math.cos(azimuth),
        math.sin(elevation),
    )
    dot = towards[2] - terrain.east_slope * towards[0] - terrain.north_slope * towards[1]
    cosine = dot / np.sqrt(1 + terrain.east_slope**2 + terrain.north_slope**2)
    limit = max(float(towards[2]), 0.2)  # products do not correct a grazing sun in full either
    lit = np.clip(1 + (cosine - towards[2]) / limit, 0, 3)
    return np.asarray(np.where(terrain.water, 1, lit), np.float32)


def vegetation_index(reflectance: npt.NDArray[np.float32]) -> Field:
    """NDVI of a reflectance stack in BANDS."""
    red, nir = reflectance[BANDS.index("B04")], reflectance[BANDS.index("B08")]
    return np.asarray((nir - red) / np.maximum(nir + red, 1e-3), np.float32)


def hazed(reflectance: npt.NDArray[np.float32], haze: Field) -> None:
    """Add thin haze in place, bluest most."""
    for band, strength in zip(reflectance, (1, 0.8, 0.65, 0.6, 0.5, 0.5, 0.45, 0.4, 0.2, 0.15), strict=True):
        band += np.float32(strength) * blur(haze, 2)
