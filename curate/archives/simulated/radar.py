"""C-band backscatter of a site on a date: means per cover, look, terrain, weather and speckle.

Means in dB are rounded from Ulaby and Dobson (1989), Handbook of Radar Scattering Statistics for Terrain, and for
crops, towns and snow from Sentinel-1 studies (Vreugdenhil et al. 2018; Koppel et al. 2017; Nagler et al. 2016).
"""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from curate.archives.simulated.fields import Field, smoothstep, spectral
from curate.archives.simulated.frames import Cut, Frame
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
from curate.archives.simulated.optics import weather_c
from curate.archives.simulated.orbits import Pass, incidence_deg
from curate.archives.simulated.places import Site
from curate.archives.simulated.seasons import CROPS, LATE, calendars, day_of, grass, leaves
from curate.archives.simulated.terrain import Terrain

LOOKS = 4.4  # equivalent number of looks of IW GRDH (Sentinel-1 Product Definition, table 5-1)
REFERENCE_DEG = 38.0  # incidence the means below hold at
FLOOR_POWER = 10**-3.1  # of the instrument's noise left after its removal

_RESOLUTION = np.array([0.23, 0.94, 0.23]) / np.sqrt(2 * 0.23**2 + 0.94**2)  # keeps unit variance
_SPECKLE = (special.gammaincinv(LOOKS, special.ndtr((np.arange(4000) + 0.5) / 400 - 5)) / LOOKS).astype(
    np.float32
)

_MEAN_DB = {  # sigma0 at 38 deg: VV, VH, and the change of VV per degree of incidence
    TREE: (-8.4, -13.9, -0.06),
    SHRUB: (-11.2, -17.8, -0.09),
    GRASS: (-12.4, -19.6, -0.11),
    CROP: (-12.2, -20.5, -0.13),
    BUILT: (-5.2, -12.6, -0.05),
    BARE: (-13.6, -22.6, -0.15),
    SNOW: (-9.5, -16.0, -0.15),
    WATER: (-19.5, -28.0, -0.42),
    WETLAND: (-10.4, -17.2, -0.12),
    MANGROVE: (-8.0, -13.6, -0.05),
    MOSS: (-13.2, -20.6, -0.12),
}
_STALKS = np.array(  # rise of VH by tall crops, and change of VV: cereals weaken it (Vreugdenhil et al. 2018)
    [
        (3.4 if crop in ("summer crop", "rice") else 1.2, -2.6 if crop == "winter cereal" else 0.6)
        for crop in CROPS
        for _ in range(LATE)
    ],
    np.float32,
).T


def backscatter(
    site: Site, seed: int, terrain: Terrain, cover: Cover, one: Pass, flattened: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean power of VV and VH on the 10 m canvas, without speckle.

    *flattened*: gamma0 on the terrain's own area, with the little that correction leaves; else sigma0 on the
    ellipsoid, bright on slopes that face the radar and dark behind (Small 2011, Flattening Gamma).
    """
    rng = generator(seed, site.name, one.when.date(), one.orbit_state, "radar")
    size = terrain.x.shape[0]
    incidence = _incidence(terrain, one)
    vv, vh, slope_db = (np.zeros(256, np.float32) for _ in range(3))
    for code, means in _MEAN_DB.items():
        vv[code], vh[code], slope_db[code] = means
    codes = cover.codes
    lean = slope_db[codes] * (incidence - REFERENCE_DEG)
    vv_db, vh_db = vv[codes] + lean, vh[codes] + 0.7 * lean
    change = _season(site, seed, cover, one.when)
    vv_db += change[0]
    vh_db += change[1]
    texture = 0.55 * spectral(rng, size, 1.6, 30, 2) + 0.7 * cover.ground
    texture *= np.where(codes == WATER, 0.25, np.where(codes == BUILT, 1.2, 0.8)).astype(np.float32)
    _walls(seed, site, cover, one, vv_db, vh_db)
    _water(rng, site, seed, terrain, one, vv_db, vh_db)
    vv_db += texture
    vh_db += 0.9 * texture
    tilt = _tilt(terrain, one)
    relief = np.clip(tilt, 0.05, 8) ** (0.12 if flattened else 0.85)
    power = []
    for decibel in (vv_db, vh_db):
        sigma = np.exp(decibel * np.float32(math.log(10) / 10))
        power.append(sigma * relief / (np.cos(np.radians(incidence)) if flattened else 1) + FLOOR_POWER * 0.6)
    return power[0].astype(np.float32), power[1].astype(np.float32)


def speckled(power: Field, names: tuple[object, ...]) -> Field:
    """Power times speckle: Gamma-distributed with unit mean and LOOKS looks, like the neighbour's by about 0.4.

    Resolution (20 x 22 m) is coarser than the pixel (10 m), so neighbours share speckle: a smoothed normal field
    is mapped to the Gamma distribution quantile by quantile.
    """
    noise = generator(*names, "speckle").standard_normal(power.shape, dtype=np.float32)
    ndimage.correlate1d(noise, _RESOLUTION, 0, output=noise, mode="wrap")
    ndimage.correlate1d(noise, _RESOLUTION, 1, output=noise, mode="wrap")
    bins = np.clip((noise + 5) * 400, 0, 3999).astype(np.int16)
    return np.asarray(power * _SPECKLE[bins], np.float32)


def coarse_mantissa(values: Field, bits: int = 4) -> Field:
    """Float32 with *bits* bits of mantissa, rounded: at most 0.14 dB off, a tenth of the speckle."""
    drop = 23 - bits
    whole = np.ascontiguousarray(values, np.float32).view(np.uint32)
    whole = (whole + np.uint32(1 << (drop - 1))) & np.uint32(0xFFFFFFFF ^ ((1 << drop) - 1))
    return whole.view(np.float32)


def swath_cut(rng: np.random.Generator, frame: Frame, heading_deg: float) -> Cut:
    """A swath's edge along the flight that cuts a corner off *frame*: some 5 to 25 percent of its area."""
    heading = math.radians(heading_deg)
    side = 1.0 if rng.random() < 0.5 else -1.0
    nx, ny = side * math.cos(heading), -side * math.sin(heading)
    middle_x = frame.left + frame.width * frame.pixel_m / 2
    middle_y = frame.top - frame.height * frame.pixel_m / 2
    reach = frame.width * frame.pixel_m * float(rng.uniform(0.25, 0.45))
    return Cut(nx, ny, middle_x * nx + middle_y * ny + reach)


def _incidence(terrain: Terrain, one: Pass) -> Field:
    """Incidence angle on the ellipsoid, degrees, linear across the scene."""
    heading = math.radians(one.heading_deg)
    right_km = (terrain.x * math.cos(heading) - terrain.y * math.sin(heading)) / 1000
    middle = incidence_deg(one.cross_km)
    per_km = (incidence_deg(one.cross_km + 4) - incidence_deg(one.cross_km - 4)) / 8
    return np.asarray(middle + per_km * right_km, np.float32)


def _tilt(terrain: Terrain, one: Pass) -> Field:
    """Illuminated area against that of flat ground: sin(incidence) over sin(local incidence), cross-range tilt only."""
    heading = math.radians(one.heading_deg)
    away = terrain.east_slope * math.cos(heading) - terrain.north_slope * math.sin(
        heading
    )  # rise away from it
    incidence = math.radians(incidence_deg(one.cross_km))
    local = np.clip(incidence - np.arctan(away), math.radians(6), math.radians(89))
    return np.asarray(
        math.sin(incidence) / np.sin(local) * np.sqrt(np.cos(local) / math.cos(incidence)), np.float32
    )


def _season(site: Site, seed: int, cover: Cover, when: dt.datetime) -> npt.NDArray[np.float32]:
    """Change of VV and VH in dB by soil moisture, plants, frost and wet snow, shape (2, rows, columns)."""
    climate, day, codes = site.climate, day_of(when), cover.codes
    rng = generator(seed, site.name, when.date(), "moisture")
    wet = float(rng.normal(-0.8 if climate.symbol[0] == "B" else 0.6, 0.9))
    by_class = np.zeros((2, 256), np.float32)
    by_class[:, [GRASS, CROP, BARE, SHRUB, MOSS]] = wet
    by_class[:, BARE] -= 3.0 if climate.soil == "sand" else 0.0
    by_class[1, GRASS] += 2.0 * (grass(climate, day, site.south) - 0.5)
    change = by_class[:, codes]
    change += 4.5 * smoothstep(cover.ground, -1.5, 2.0) * (codes == BARE)
    leafless = np.float32(1 - leaves(climate, day, site.south))
    if leafless > 0:
        change[1] -= 1.1 * leafless * (1 - cover.conifer) * (codes == TREE)
    tilled = codes == CROP
    table = calendars(climate, day, site.south)[cover.calendar[tilled]]
    green, flood, rows = table[:, 0], table[:, 2] * (1 - table[:, 0]), cover.rows[tilled]
    stalks, upright = (values[cover.calendar[tilled]] for values in _STALKS)
    change[0][tilled] += (upright + 0.3 * stalks) * green + 3.2 * rows - 5 * flood
    change[1][tilled] += 1.5 + stalks * green + 2.6 * rows - 6 * flood
    temperature = weather_c(site, seed, when) - 6.5 * cover.rise_m / 1000
    frost = smoothstep(-temperature, 0.5, 5)
    thaw = smoothstep(temperature, -1, 1.5) * smoothstep(-temperature, -9, -4)
    freezing, melting = np.full(256, 2.0, np.float32), np.zeros(256, np.float32)
    freezing[[TREE, WATER, BUILT]] = 1.4, 0.0, 0.0
    if climate.cold_c < -3 and climate.temperature_c(day, site.south) < 4:
        melting[[SHRUB, GRASS, CROP, BARE, WETLAND, MOSS]] = 3.0
    melting[SNOW] = 7.0
    change -= frost * freezing[codes] + thaw * melting[codes]
    return change


def _walls(seed: int, site: Site, cover: Cover, one: Pass, vv_db: Field, vh_db: Field) -> None:
    """Double bounce in towns: strongest where streets run along the flight, and from single large buildings."""
    built = cover.codes == BUILT
    if not built.any():
        return
    towns = cover.towns
    salt = int(generator(seed, site.name, "walls").integers(2**31))
    turn = np.radians(one.heading_deg) + towns.heading_rad  # the grid's axes against the flight
    facing = np.exp(-((np.abs(np.sin(2 * turn)) / 0.35) ** 2))
    bright = 4.5 * facing + 5.0 * towns.dense + 7.0 * (town_hash(towns.blocks, salt) > 0.9) - 2.5
    bright = bright + 2.6 * cover.grain
    bright = np.where(towns.road, bright - 4.5, bright)
    vv_db[built] += bright[built]
    vh_db[built] += (0.75 * bright - 0.8)[built]


def _water(
    rng: np.random.Generator, site: Site, seed: int, terrain: Terrain, one: Pass, vv_db: Field, vh_db: Field
) -> None:
    """Wind roughens open water (CMOD-like: VV rises with wind, waves need fetch); ice lies on lakes in frost."""
    wind = float(rng.weibull(2.0) * 4.0)  # m/s
    fetch = smoothstep(terrain.shore_m, 0, 220)
    gusts = 0.8 * spectral(rng, terrain.x.shape[0], 2.6, 200, 8)
    rise = np.clip(0.95 * (wind - 3.5) + gusts, -4.5, 7) * (0.25 + 0.75 * fetch)
    frozen = smoothstep(np.full_like(gusts, -weather_c(site, seed, one.when)), 4, 7) * (~terrain.sea)
    here = terrain.water & ~terrain.sea | terrain.sea
    vv_db[here] += (rise * (1 - frozen) + 4.5 * frozen)[here]
    vh_db[here] += (0.25 * rise * (1 - frozen) + 5.0 * frozen)[here]
