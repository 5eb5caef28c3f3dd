"""Fields and towns: what people lay over the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate.archives.simulated.fields import Field, curve_distance, spectral
from curate.archives.simulated.keys import generator
from curate.archives.simulated.places import Site
from curate.archives.simulated.terrain import Terrain

Ids = npt.NDArray[np.uint32]  # (rows, columns)


@dataclass(frozen=True)
class Parcels:
    """A site cut into fields; a hash number per field decides what grows there."""

    ids: Ids
    round_: npt.NDArray[np.bool_]  # inside the circle of a centre-pivot, where there is one
    edge: Field  # 1 along a field's border, 0 inside


@dataclass(frozen=True)
class Towns:
    """Built-up ground of a site."""

    built: npt.NDArray[np.bool_]
    road: npt.NDArray[np.bool_]
    dense: Field  # 0 at the outskirts to 1 in the centre
    heading_rad: Field  # of the street grid
    blocks: Ids


def hashed(ids: Ids, salt: int) -> Field:
    """A number in [0, 1) for every id: the finaliser of MurmurHash3."""
    h = ids ^ np.uint32(salt & 0xFFFFFFFF)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
    return ((h ^ (h >> np.uint32(16))) >> np.uint32(8)).astype(np.float32) / np.float32(2**24)


def cut_parcels(site: Site, seed: int, terrain: Terrain) -> Parcels:
    """Rows of rectangular fields; districts of about 2 km have each their own direction and field size.

    Widths are lognormal about the climate's typical width; in deserts fields are irrigated circles of one
    radius.
    """
    rng = generator(seed, site.name, "parcels")
    field_m = site.climate.field_m * float(rng.uniform(0.85, 1.2))
    pivots = site.climate.symbol.startswith("BW")
    size = terrain.x.shape[0]
    bend = 350 * spectral(rng, size, 3.0, 200, 40)
    count = 1 if pivots else 22
    span = size * 5.0
    spots = rng.uniform(-span, span, (count, 2)).astype(np.float32)
    district = np.zeros(terrain.x.shape, np.uint8)
    nearest = np.full(terrain.x.shape, np.inf, np.float32)
    for number, (east, north) in enumerate(spots):
        distance = np.hypot(terrain.x + bend - east, terrain.y + 0.7 * bend - north)
        closer = distance < nearest
        district[closer], nearest[closer] = number, distance[closer]
    base = rng.uniform(0, math.pi)
    headings = np.zeros(count) if pivots else base + rng.normal(0, 0.35, count)
    widths = np.full(count, field_m) if pivots else field_m * np.exp(rng.normal(0, 0.28, count))
    lengths = widths * (1.0 if pivots else rng.uniform(1.4, 2.6, count))
    cos, sin = np.cos(headings).astype(np.float32)[district], np.sin(headings).astype(np.float32)[district]
    u, v = terrain.x * cos + terrain.y * sin, terrain.y * cos - terrain.x * sin
    if not pivots:  # old field borders follow the ground a little
        u = u + 18 * spectral(rng, size, 2.5, 80, 8)
        v = v + 18 * spectral(rng, size, 2.5, 80, 8)
    row_m = lengths.astype(np.float32)[district]
    row = np.floor(v / row_m)
    row_key = (row.astype(np.int32) + 4096).astype(np.uint32) + district.astype(np.uint32) * np.uint32(8192)
    salt = int(rng.integers(2**31))
    column_m = widths.astype(np.float32)[district]
    if not pivots:
        column_m = column_m * (0.7 + 0.8 * hashed(row_key, salt))
        u = u + hashed(row_key, salt + 1) * column_m
    column = np.floor(u / column_m)
    ids = row_key * np.uint32(4096) + (column.astype(np.int32) + 2048).astype(np.uint32)
    du, dv = u / column_m - column - 0.5, v / row_m - row - 0.5
    round_ = np.hypot(du, dv) < 0.47 if pivots else np.ones(ids.shape, bool)
    rim = np.minimum((0.5 - np.abs(du)) * column_m, (0.5 - np.abs(dv)) * row_m)
    return Parcels(ids, round_, np.clip(1.5 - rim / 8, 0, 1).astype(np.float32))


def build_towns(site: Site, seed: int, terrain: Terrain) -> Towns:
    """Towns on flat dry ground near water, with a street grid each, and the roads that join them.

    The number of towns and their radii follow the place's rank: 0 none, 1 hamlets, 2 a small town, 3 a city's edge.
    """
    rng = generator(seed, site.name, "towns")
    size = terrain.x.shape[0]
    span = size * 5.0
    radii = {
        0: [],
        1: [420, 260, 200, 180],
        2: [1100, 480, 350, 260, 240, 200],
        3: [2300, 800, 520, 400, 300, 280],
    }
    candidates = rng.uniform(-0.8 * span, 0.8 * span, (200, 2))
    column = np.clip((candidates[:, 0] / 10 + size / 2).astype(int), 0, size - 1)
    row = np.clip((size / 2 - candidates[:, 1] / 10).astype(int), 0, size - 1)
    cost = 25 * terrain.slope[row, column] + np.minimum(terrain.river_m[row, column], 3000) / 1500
    cost += 50 * terrain.water[row, column] + np.abs(terrain.shore_m[row, column] + 250).clip(0, 4000) / 4000
    cost += rng.uniform(0, 0.8, len(cost))
    ragged = spectral(rng, size, 2.4, 120, 4)
    dense = np.zeros(terrain.x.shape, np.float32)
    heading = np.zeros(terrain.x.shape, np.float32)
    centres: list[tuple[float, float]] = []
    for radius in radii[site.built]:
        order = cost.copy()
        for east, north in centres:
            order += 3 * np.exp(-(((candidates - (east, north)) ** 2).sum(1)) / 1800**2)
        east, north = candidates[int(np.argmin(order))]
        if cost[int(np.argmin(order))] > 20:
            break
        centres.append((float(east), float(north)))
        distance = np.hypot(terrain.x - east, terrain.y - north)
        here = np.exp(-((distance / radius) ** 2)) * np.clip(1 + 0.45 * ragged, 0, 1.6)
        heading = np.where(here > dense, np.float32(rng.uniform(0, math.pi)), heading)
        dense = np.maximum(dense, here)
    road = np.zeros(dense.shape, bool)
    for number, centre in enumerate(centres[:3]):
        way, _ = curve_distance(rng, terrain.x, terrain.y, centre, rng.uniform(0, math.pi), 260, 6000, 1.6)
        road |= np.abs(way) < (11 if number == 0 else 7)
    cos, sin = np.cos(heading), np.sin(heading)
    u, v = terrain.x * cos + terrain.y * sin, terrain.y * cos - terrain.x * sin
    block_u, block_v = np.floor(u / 130), np.floor(v / 90)
    blocks = ((block_u.astype(np.int32) + 4096).astype(np.uint32) * np.uint32(8192)) + (
        block_v.astype(np.int32) + 4096
    ).astype(np.uint32)
    inside = (dense > 0.36) & (terrain.slope < 0.25)
    park = hashed(blocks, int(rng.integers(2**31))) < 0.10
    street = (np.abs(u / 130 - block_u - 0.5) > 0.45) | (np.abs(v / 90 - block_v - 0.5) > 0.43)
    built = inside & (~park | street) & ~terrain.water
    road = (road & (terrain.slope < 0.35) & (~terrain.water | (terrain.shore_m < 120)) & ~terrain.sea) | (
        street & built
    )
    return Towns(built | (road & ~terrain.water), road, dense, heading, blocks)
