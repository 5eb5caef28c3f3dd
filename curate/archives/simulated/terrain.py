"""Relief and waters of a site."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from curate.archives.simulated.fields import Field, blur, curve_distance, ranks, smoothstep, spectral
from curate.archives.simulated.keys import generator
from curate.archives.simulated.places import Site


@dataclass(frozen=True)
class Terrain:
    """The ground of a site on its 10 m canvas; x east, y north in metres from the canvas's centre."""

    x: Field
    y: Field
    elevation_m: Field
    east_slope: Field  # rise per metre eastwards
    north_slope: Field
    valley: Field  # 0 on ridges to 1 in valley floors, by place in the local relief
    water: npt.NDArray[np.bool_]
    sea: npt.NDArray[np.bool_]
    shore_m: Field  # roughly, how far into the water; negative on land
    river_m: Field  # distance from the river's middle; large where there is none

    @property
    def slope(self) -> Field:
        """Rise over run."""
        return np.hypot(self.east_slope, self.north_slope)


def far_from(line: npt.NDArray[np.bool_]) -> Field:
    """Distance from the nearest pixel of *line*, metres; worked out at 40 m."""
    if not line.any():
        return np.full(line.shape, 1e5, np.float32)
    size = line.shape[0]
    coarse = -(-size // 4)
    padded = np.zeros((coarse * 4, coarse * 4), bool)
    padded[:size, :size] = line
    hit = padded.reshape(coarse, 4, coarse, 4).any((1, 3))
    distance = ndimage.distance_transform_edt(~hit).astype(np.float32) * 40
    fine = ndimage.zoom(distance, 4, order=1, grid_mode=True, mode="nearest")
    return blur(fine[:size, :size], 2)


def raise_terrain(site: Site, seed: int, size: int) -> Terrain:
    """The terrain of *site* on a square canvas of *size* pixels of 10 m.

    A power-law surface (exponent 3 to 4; Turcotte 1997), sharpened into ridges where relief is high (ridged
    noise; Musgrave, Kolb and Mace 1989), with a river that cut its valley, lakes in the lows, or a coast.
    """
    rng = generator(seed, site.name, "terrain")
    axis = ((np.arange(size) + 0.5) * 10 - size * 5).astype(np.float32)
    x, y = np.meshgrid(axis, -axis)
    rough = spectral(rng, size, 3.8, 700, 8)
    ridges = 1 - np.abs(spectral(rng, size, 4.0, 420, 14)) / 1.6
    ridges += 0.22 * (1 - np.abs(spectral(rng, size, 3.6, 110, 9)) / 1.6) * np.clip(ridges, 0, 1)
    steep = float(np.clip((site.relief_m - 80) / 700, 0, 1))
    shape = ranks(rough) * (1 - 0.75 * steep) + 0.75 * steep * ranks(ridges.astype(np.float32))
    shape += (0.02 - 0.012 * steep) * spectral(rng, size, 3.2, 60, 9) * (0.4 + 0.6 * shape)
    height: Field = shape * site.relief_m

    far = np.full_like(x, 1e6)
    river, shore, sea = far, -far, np.zeros(x.shape, bool)
    direction = rng.uniform(0, math.pi)
    through = tuple(rng.uniform(-1500, 1500, 2))
    if site.water in ("river", "lake"):
        sway = 700 / (1 + 2 * steep)
        wiggle = 1.15 if steep > 0.3 else 1.0
        across, along = curve_distance(rng, x, y, through, direction, sway, 5200, wiggle)
        side = tuple(np.array(through) + rng.uniform(-1800, 1800, 2))
        branch, _ = curve_distance(rng, x, y, side, direction + rng.uniform(0.9, 2.0), 350, 3300, 0.9)
        breadth_m = (28 if site.water == "river" else 10) + 70 * float(rng.beta(1.2, 4)) * (1 - steep)
        width = np.float32(breadth_m) * (1 + 0.25 * np.sin(along / 900)).astype(np.float32)
        floor = 250 + 900 * (1 - steep)
        far, near = far_from(np.abs(across) < 25), far_from(np.abs(branch) < 25)
        carve = (1 - 0.95 * np.exp(-((far / floor) ** 2))) * (
            1 - 0.45 * np.exp(-((near / (floor * 0.6)) ** 2))
        )
        height = height * carve + 0.0012 * along * min(1.0, site.relief_m / 100)
        river = np.minimum(far, near + 25)
        shore = np.maximum(width - np.abs(across), 7 - np.abs(branch)).astype(np.float32)
    if site.water == "lake":
        bowl = ranks(
            spectral(rng, size, 3.8, 170, 14) - 1.2 * blur(height, 6) / max(1.0, float(height.std()))
        )
        level = 1 - (0.025 + 0.06 * float(rng.random()))
        shore = np.maximum(shore, (bowl - level) * 6000).astype(np.float32)
    if site.water == "coast":
        inland = (x - through[0]) * math.cos(direction) + (y - through[1]) * math.sin(direction)
        inland = (inland + 900 * spectral(rng, size, 3.0, 420, 3) + 900).astype(np.float32)
        height = height * (1 - np.exp(-np.maximum(inland, 0) / (500 + 1200 * (1 - steep)))) + 1.5
        shore, sea = -inland, inland < 0
    water = shore > 0
    height = height - np.median(height[~water]) if not sea.any() else height
    elevation = (height + (0 if sea.any() else site.elevation_m)).astype(np.float32)
    if water.any() and not sea.any():
        lying = np.where(water, elevation, 0)
        weight = blur(water.astype(np.float32), 20)
        level_m = blur(lying, 20) / np.maximum(weight, 1e-3)
        elevation = np.where(water, level_m, elevation).astype(np.float32)
    elevation[sea] = 0
    smooth = blur(elevation, 2.5)
    north, east = np.gradient(smooth, 10.0)
    above = elevation - blur(elevation, 45)
    local = above / (3 + blur(np.abs(above), 45))
    return Terrain(
        x,
        y,
        elevation,
        np.asarray(east, np.float32),
        np.asarray(-north, np.float32),
        1 - smoothstep(local.astype(np.float32), -1.4, 1.4),
        water,
        sea,
        np.asarray(shore, np.float32),
        np.asarray(river, np.float32),
    )
