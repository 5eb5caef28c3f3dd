"""Which real passes a site's archive holds."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np

from curate.archives.simulated import orbits
from curate.archives.simulated.keys import generator
from curate.archives.simulated.orbits import UTC, Pass
from curate.archives.simulated.places import Site

START, END = dt.datetime(2021, 6, 1, tzinfo=UTC), dt.datetime(2022, 6, 1, tzinfo=UTC)
BASELINE_04 = dt.datetime(2022, 1, 25, tzinfo=UTC)  # from then on Sentinel-2 carries the offset
PARTNER = dt.timedelta(days=2.9)
LONELY = dt.timedelta(days=3.3)
LOWEST_SUN_DEG = 9.0
_WANTED = ((7, 15, 2021), (10, 5, 2021), (12, 18, 2021), (2, 27, 2022), (5, 8, 2022))


@dataclass(frozen=True)
class Acquisition:
    """One scene to simulate."""

    sensor: str  # collection
    one: Pass
    cloud: float = 0.0  # share under cloud that is aimed at
    cirrus: float = 0.0
    corner: bool = False  # the swath's edge cuts a corner


def plan(site: Site, seed: int) -> list[Acquisition]:
    """The acquisitions of a site between June 2021 and May 2022, all on passes that the satellites flew.

    Five Sentinel-2 dates through the seasons, two of them after the baseline change; three or four have a
    Sentinel-1 scene within 2.9 days, the others none within 3.3; one Sentinel-1 scene stands alone; one
    date has a descending GRD scene too; one or two Landsat dates.
    """
    rng = generator(seed, site.name, "dates")
    views = [
        p
        for p in orbits.sentinel_2(site.lon, site.lat, START, END)
        if orbits.sun(p.when, site.lon, site.lat)[0] >= LOWEST_SUN_DEG
    ]
    radar = orbits.sentinel_1(site.lon, site.lat, START - PARTNER, END + PARTNER)
    sky = _skies(rng, site.overcast)
    lonely = {max(range(5), key=lambda number: sky[number])}  # the cloudiest: what is paired can be seen
    if rng.random() < 0.25:
        lonely.add(int(rng.integers(5)))
    optical: list[Pass] = []
    scenes: list[Acquisition] = []
    for number, (month, day, year) in enumerate(_WANTED):
        target = dt.datetime(year, month, day, 11, tzinfo=UTC) + dt.timedelta(
            days=float(rng.uniform(-10, 10))
        )
        after = number >= 3
        free = [
            p
            for p in views
            if (p.when >= BASELINE_04) == after
            and all(abs(p.when - q.when) > 2 * LONELY for q in optical)
            and (number in lonely or _near(p, radar))
        ]
        if not free:
            continue
        chosen = min(free, key=lambda p: (abs(p.when - target), p.platform))
        optical.append(chosen)
        cloud, cirrus = sky[number]
        scenes.append(Acquisition("sentinel-2-l2a", chosen, cloud, cirrus, bool(rng.random() < 0.18)))
        if number not in lonely:
            near = _near(chosen, radar)
            rising = [p for p in near if p.ascending]
            pool = rising if rising and rng.random() < 0.75 else near
            partner = pool[int(rng.integers(len(pool)))]
            scenes.append(Acquisition("sentinel-1-rtc", partner, corner=bool(rng.random() < 0.18)))
    scenes += _alone(radar, optical, rng)
    scenes += _ground_range(radar, scenes)
    land = orbits.landsat_8(site.lon, site.lat, START, END)
    bright = [p for p in land if orbits.sun(p.when, site.lon, site.lat)[0] > 20]
    summer = [p for p in bright if (p.when.month in (5, 6, 7, 8)) != site.south]
    for _ in range(1 + int(rng.random() < 0.35)):
        pool = [p for p in summer or bright if all(p != s.one for s in scenes)]
        if pool:
            cloud = float(rng.choice([0.0, 0.0, 0.12]))
            scenes.append(Acquisition("landsat-c2-l2", pool[int(rng.integers(len(pool)))], cloud))
    return scenes


def _skies(rng: np.random.Generator, overcast: bool) -> list[tuple[float, float]]:
    """Cloud and cirrus aimed at on the five dates: two clear, two with some, one with much, in random order."""
    skies = [
        (0.0, 0.0),
        (0.0 if rng.random() < 0.5 else 0.015, 0.0),
        (float(rng.uniform(0.03, 0.12)), 0.0),
        (float(rng.uniform(0.08, 0.22)), 0.12 * float(rng.random() < 0.5)),
        (1.0, 0.0) if overcast else (float(rng.uniform(0.4, 0.85)), 0.1),
    ]
    return [skies[i] for i in rng.permutation(5)]


def _near(view: Pass, radar: list[Pass]) -> list[Pass]:
    return [p for p in radar if abs(p.when - view.when) <= PARTNER and START <= p.when < END]


def _alone(radar: list[Pass], optical: list[Pass], rng: np.random.Generator) -> list[Acquisition]:
    """A Sentinel-1 scene with no Sentinel-2 scene within three days."""
    free = [p for p in radar if START <= p.when < END and all(abs(p.when - q.when) > LONELY for q in optical)]
    return [Acquisition("sentinel-1-rtc", free[int(rng.integers(len(free)))])] if free else []


def _ground_range(radar: list[Pass], scenes: list[Acquisition]) -> list[Acquisition]:
    """A descending GRD scene near the first Sentinel-2 date that has a partner and such a pass."""
    taken = [s.one for s in scenes if s.sensor == "sentinel-1-rtc"]
    views = [s.one for s in scenes if s.sensor == "sentinel-2-l2a"]
    for view in views:
        if any(abs(view.when - p.when) <= PARTNER for p in taken):
            falling = [p for p in _near(view, radar) if not p.ascending]
            if falling:
                return [Acquisition("sentinel-1-grd", falling[0])]
    return []
