"""Clouds, their shadows, and the scene classification that goes with them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate.archives.simulated.fields import Field, block_mean, blur, ranks, smoothstep, spectral
from curate.archives.simulated.keys import generator
from curate.archives.simulated.optics import BANDS, Scene, vegetation_index

NO_DATA, DARK, SHADOW, VEGETATION, BARE, WATER, UNCLEAR, MEDIUM, HIGH, CIRRUS, SNOW = (
    0,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
)
CLOUDY = (MEDIUM, HIGH, CIRRUS)
_WHITE = np.array([0.72, 0.72, 0.71, 0.72, 0.73, 0.74, 0.74, 0.74, 0.48, 0.36], np.float32)  # a thick cloud
_SKYLIGHT = np.array(
    [0.42, 0.36, 0.31, 0.29, 0.26, 0.25, 0.24, 0.23, 0.17, 0.14], np.float32
)  # in its shadow
_VEIL = np.array([1.0, 0.96, 0.93, 0.92, 0.9, 0.9, 0.88, 0.88, 0.55, 0.4], np.float32)


@dataclass(frozen=True)
class Sky:
    """What hangs over a scene, on the 10 m canvas."""

    opacity: Field  # of water clouds, 0 to 1
    cirrus: Field  # opacity of thin cirrus
    shadow: Field  # 1 in the full shadow of a cloud


def make_sky(
    names: tuple[object, ...], size: int, share: float, cirrus: float, sun_deg: tuple[float, float]
) -> Sky:
    """A sky in which about *share* of the scene is under cloud and *cirrus* of it under a thin veil.

    Cloud masks are level sets of a power-law field (exponent near 5/3 in one dimension, 8/3 in two; Cahalan and
    Joseph 1989). Shadows lie away from the sun by height over the tangent of its elevation.
    """
    rng = generator(*names, "sky")
    if share == 0 and cirrus == 0:
        clear = np.zeros((size, size), np.float32)
        return Sky(clear, clear, clear)
    towers = ranks(spectral(rng, size, 3.0, 220 if share < 0.6 else 500, 9))
    edge = 0.06 + 0.08 * share
    level = 1 - share
    opacity = smoothstep(towers, level - edge, level + edge) if share > 0 else np.zeros_like(towers)
    if share > 0.9:
        opacity = np.maximum(opacity, 0.55 + 0.4 * towers)
    opacity = opacity * (0.90 + 0.10 * towers)
    veil = np.zeros_like(towers)
    if cirrus > 0:
        streaks = ranks(blur(spectral(rng, size, 2.4, 400, 4), 3))
        veil = 0.24 * smoothstep(streaks, 1 - cirrus, 1 - cirrus + 0.25) + 0.10 * (streaks > 1 - cirrus)
    height_m = float(rng.uniform(900, 2200))
    away = height_m / math.tan(math.radians(max(sun_deg[0], 8.0))) / 10
    azimuth = math.radians(sun_deg[1] + 180)
    shift = (round(-away * math.cos(azimuth)), round(away * math.sin(azimuth)))
    shadow = np.roll(blur(opacity, 1.5), shift, (0, 1)) * min(1.0, 1.25 - share)
    return Sky(opacity.astype(np.float32), veil.astype(np.float32), np.asarray(shadow, np.float32))


def through(scene: Scene, sky: Sky) -> npt.NDArray[np.float32]:
    """Reflectance as the sensor sees it through *sky*, shape (10, rows, columns)."""
    seen = scene.reflectance.copy()
    if not (sky.opacity.any() or sky.cirrus.any()):
        return seen
    brightness = 0.86 + 0.28 * blur(sky.opacity, 6) * sky.opacity
    for band, white, skylight, veil in zip(seen, _WHITE, _SKYLIGHT, _VEIL, strict=True):
        band *= 1 - (1 - skylight) * sky.shadow
        band += sky.cirrus * (veil * 0.55 - band * 0.6)
        band += sky.opacity * (white * brightness - band)
    return seen


def classify(
    scene: Scene,
    seen: npt.NDArray[np.float32],
    sky: Sky,
    water: npt.NDArray[np.bool_],
    valid: npt.NDArray[np.bool_],
) -> npt.NDArray[np.uint8]:
    """Scene classification at 20 m in the codes of Sen2Cor (ATBD 2.10, table 2); *valid* is at 20 m.

    Clouds and shadows are known, not guessed; the classes of the ground follow Sen2Cor's index rules.
    """
    opacity, veil, shadow = (block_mean(field, 2) for field in (sky.opacity, sky.cirrus, sky.shadow))
    snow, shade = block_mean(scene.snow, 2), block_mean(scene.shade, 2)
    green = block_mean(vegetation_index(seen), 2)
    blue, swir = block_mean(scene.reflectance[0], 2), block_mean(scene.reflectance[BANDS.index("B11")], 2)
    index = (blue - swir) / np.maximum(blue + swir, 1e-3)
    codes = np.where(green > 0.34, VEGETATION, BARE).astype(np.uint8)
    codes[(green > 0.30) & (green <= 0.34)] = UNCLEAR
    codes[(shade < 0.25) & (green < 0.5)] = DARK
    codes[block_mean(water.astype(np.float32), 2) > 0.5] = WATER
    codes[(snow > 0.45) | ((index > 0.42) & (blue > 0.28))] = SNOW
    codes[shadow > 0.45] = SHADOW
    codes[veil > 0.09] = CIRRUS
    codes[opacity > 0.22] = MEDIUM
    codes[opacity > 0.55] = HIGH
    codes[~valid] = NO_DATA
    return codes


def cloud_percent(codes: npt.NDArray[np.uint8]) -> float:
    """Share of medium and high probability cloud and cirrus among pixels with data, percent."""
    data = codes != NO_DATA
    return round(100 * float(np.isin(codes, CLOUDY).sum()) / max(1, int(data.sum())), 4)
