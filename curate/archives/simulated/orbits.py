"""Where the satellites really flew: ground tracks, times of passing and the sun.

A circular orbit over a turning Earth: a satellite at argument of latitude *u* (from the ascending node) is at
latitude asin(sin i · sin u), and west of its node by the Earth's turn since. Track numbers and times of passing
are anchored at real products, named beside each constellation.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

EARTH_KM = 6371.0
DEGREE_KM = 111.32
UTC = dt.UTC


@dataclass(frozen=True)
class Orbit:
    """A repeating orbit, shared by the satellites of a constellation."""

    inclination_deg: float
    revolutions: int  # per cycle; also the count of relative orbits
    cycle_days: float
    node_deg: float  # longitude of the ascending node of relative orbit 1
    altitude_km: float
    anchor: dt.datetime  # a satellite's passing of `anchor_lat` ...
    anchor_track: int  # ... on this relative orbit
    anchor_lat: float
    anchor_ascending: bool

    @property
    def shift_deg(self) -> float:
        """How far west of it the next revolution crosses the equator."""
        return 360 * self.cycle_days / self.revolutions

    @property
    def revolution(self) -> dt.timedelta:
        return dt.timedelta(days=self.cycle_days / self.revolutions)

    def argument(self, lat: float, ascending: bool) -> float:
        """Argument of latitude at *lat*, degrees; poleward of the orbit's reach, that of its summit."""
        sine = math.sin(math.radians(lat)) / math.sin(math.radians(self.inclination_deg))
        u = math.degrees(math.asin(max(-1.0, min(1.0, sine))))
        return u if ascending else 180 - u

    def track_lon(self, track: int, lat: float, ascending: bool) -> float:
        """Longitude of the point under the satellite at *lat* on relative orbit *track*, degrees."""
        u_deg = self.argument(lat, ascending)
        u, i = math.radians(u_deg), math.radians(self.inclination_deg)
        east = math.degrees(math.atan2(math.cos(i) * math.sin(u), math.cos(u)))
        return wrap(self.node_deg - (track - 1) * self.shift_deg + east - u_deg / 360 * self.shift_deg)

    def heading_deg(self, lat: float, ascending: bool) -> float:
        """Direction of flight over ground, degrees clockwise from north (the Earth's turn left out)."""
        sine = math.cos(math.radians(self.inclination_deg)) / max(0.15, math.cos(math.radians(lat)))
        azimuth = math.degrees(math.asin(max(-1.0, min(1.0, sine))))
        return azimuth % 360 if ascending else (180 - azimuth) % 360

    def cross_track_km(self, track: int, lon: float, lat: float, ascending: bool) -> float:
        """Distance of a place from the ground track, positive to the right of the flight."""
        east = wrap(lon - self.track_lon(track, lat, ascending)) * DEGREE_KM * math.cos(math.radians(lat))
        return east * math.cos(math.radians(self.heading_deg(lat, ascending)))

    def passing(self, track: int, lat: float, ascending: bool) -> dt.datetime:
        """One time at which the anchor's satellite passes *lat* on *track*; others are whole cycles away."""
        turns = self.argument(lat, ascending) - self.argument(self.anchor_lat, self.anchor_ascending)
        revolutions = track - self.anchor_track + turns / 360
        return self.anchor + revolutions * self.revolution


# Nodes fitted to footprints of real products: full Sentinel-1 frames of tracks 21, 51 and 80 agree to 0.1 deg.
SENTINEL_1 = Orbit(  # anchor: S1A_IW_GRDH_1SDV_20170613T165043, absolute orbit 17018
    98.18, 175, 12, 0.0, 693, dt.datetime(2017, 6, 13, 16, 50, 43, tzinfo=UTC), 146, 48.2, True
)
SENTINEL_2 = Orbit(  # anchor: S2B_MSIL2A_20200604T054639_R048_T43RCP, sensed at 06:00:41
    98.62, 143, 10, 0.6, 786, dt.datetime(2020, 6, 4, 6, 0, 41, tzinfo=UTC), 48, 30.46, False
)
LANDSAT = Orbit(  # anchor: LC08_044034_20140318; tracks count revolutions after that of path 44 (WRS-2)
    98.2, 233, 16, 0.0, 705, dt.datetime(2014, 3, 18, 18, 46, tzinfo=UTC), 1, 37.5, False
)
SENTINEL_1A_ORBIT = 17018  # absolute orbit at the anchor
SENTINEL_1B_LOST = dt.datetime(2021, 12, 23, tzinfo=UTC)  # end of Sentinel-1B's data


@dataclass(frozen=True)
class Pass:
    """One satellite passing one place."""

    when: dt.datetime
    platform: str  # sentinel-1a, ...
    track: int
    ascending: bool
    cross_km: float  # distance right of the ground track
    heading_deg: float

    @property
    def orbit_state(self) -> str:
        return "ascending" if self.ascending else "descending"


def wrap(lon: float) -> float:
    """Longitude brought to [-180, 180)."""
    return (lon + 180) % 360 - 180


def sentinel_1(lon: float, lat: float, start: dt.datetime, end: dt.datetime) -> list[Pass]:
    """Passes whose IW swath (incidence 31 to 46 deg, right of the flight) holds the place, in time order."""
    orbit = SENTINEL_1
    passes = []
    for ascending in (True, False):
        for track in range(1, orbit.revolutions + 1):
            cross = orbit.cross_track_km(track, lon, lat, ascending)
            if 370 <= cross <= 615:
                for platform, days in (("sentinel-1a", 0), ("sentinel-1b", 6)):
                    first = orbit.passing(track, lat, ascending) + dt.timedelta(days=days)
                    last = min(end, SENTINEL_1B_LOST) if platform == "sentinel-1b" else end
                    passes += _repeat(orbit, first, start, last, platform, track, ascending, cross, lat)
    return sorted(passes, key=lambda p: (p.when, p.platform))


def sentinel_2(lon: float, lat: float, start: dt.datetime, end: dt.datetime) -> list[Pass]:
    """Descending passes whose 290 km swath holds the place, in time order."""
    orbit = SENTINEL_2
    passes = []
    for track in range(1, orbit.revolutions + 1):
        cross = orbit.cross_track_km(track, lon, lat, ascending=False)
        if abs(cross) <= 140:
            for platform, days in (("sentinel-2b", 0), ("sentinel-2a", 5)):
                first = orbit.passing(track, lat, ascending=False) + dt.timedelta(days=days)
                passes += _repeat(orbit, first, start, end, platform, track, False, cross, lat)
    return sorted(passes, key=lambda p: (p.when, p.platform))


def landsat_8(lon: float, lat: float, start: dt.datetime, end: dt.datetime) -> list[Pass]:
    """Descending passes on the nearest WRS-2 path, which takes the place of the track number.

    Path p crosses the equator southwards at 64.6 W - (p - 1) · 360/233 deg (USGS WRS-2); a revolution later
    the satellite is 16 paths further west.
    """
    orbit = LANDSAT
    descending_node = orbit.track_lon(1, 0.0, ascending=False)
    from_node = orbit.track_lon(1, lat, ascending=False) - descending_node
    path = round((-64.6 - (lon - from_node)) * 233 / 360) % 233 + 1
    revolutions = (path - 44) * 102 % 233  # 16 · 102 = 1 (mod 233)
    first = orbit.passing(1 + revolutions, lat, ascending=False)
    return _repeat(orbit, first, start, end, "landsat-8", path, False, 0.0, lat)


def wrs_row(lat: float) -> int:
    """WRS-2 row of the descending pass at *lat*: row 60 lies on the equator, 248 rows make a revolution."""
    return round(60 + (LANDSAT.argument(lat, ascending=False) - 180) * 248 / 360)


def incidence_deg(cross_km: float) -> float:
    """Incidence angle on the ellipsoid at a distance from Sentinel-1's ground track."""
    angle = abs(cross_km) / EARTH_KM
    height = EARTH_KM + SENTINEL_1.altitude_km
    look = math.atan2(EARTH_KM * math.sin(angle), height - EARTH_KM * math.cos(angle))
    return math.degrees(look + angle)


def absolute_orbit(one: Pass) -> int:
    """Absolute orbit number of a Sentinel-1 pass: (orbit - 73) mod 175 + 1 is 1A's track, - 27 for 1B."""
    shift = 73 if one.platform == "sentinel-1a" else 27
    days = (one.when - SENTINEL_1.anchor).total_seconds() / 86400
    estimate = SENTINEL_1A_ORBIT + days * 175 / 12 - (0 if shift == 73 else 10_985)
    turn = round((estimate - shift - (one.track - 1)) / 175)
    return turn * 175 + shift + one.track - 1


def _repeat(
    orbit: Orbit,
    first: dt.datetime,
    start: dt.datetime,
    end: dt.datetime,
    platform: str,
    track: int,
    ascending: bool,
    cross_km: float,
    lat: float,
) -> list[Pass]:
    cycle = dt.timedelta(days=orbit.cycle_days)
    when = first + math.ceil((start - first) / cycle) * cycle
    heading = orbit.heading_deg(lat, ascending)
    passes = []
    while when < end:
        passes.append(Pass(when.replace(microsecond=24_000), platform, track, ascending, cross_km, heading))
        when += cycle
    return passes


def sun(when: dt.datetime, lon: float, lat: float) -> tuple[float, float]:
    """Elevation and azimuth (clockwise from north) of the sun, degrees; good to 0.1 deg.

    Spencer's Fourier series (1971) for declination and equation of time.
    """
    hours = when.hour + when.minute / 60 + when.second / 3600
    g = 2 * math.pi / 365 * (when.timetuple().tm_yday - 1 + (hours - 12) / 24)
    declination = (
        0.006918
        - 0.399912 * math.cos(g)
        + 0.070257 * math.sin(g)
        - 0.006758 * math.cos(2 * g)
        + 0.000907 * math.sin(2 * g)
        - 0.002697 * math.cos(3 * g)
        + 0.00148 * math.sin(3 * g)
    )
    minutes = 229.18 * (
        0.000075
        + 0.001868 * math.cos(g)
        - 0.032077 * math.sin(g)
        - 0.014615 * math.cos(2 * g)
        - 0.040849 * math.sin(2 * g)
    )
    hour_angle = math.radians((hours * 60 + minutes + 4 * lon) / 4 - 180)
    phi = math.radians(lat)
    sine = math.sin(phi) * math.sin(declination)
    sine += math.cos(phi) * math.cos(declination) * math.cos(hour_angle)
    east = -math.cos(declination) * math.sin(hour_angle)
    north = math.cos(phi) * math.sin(declination)
    north -= math.sin(phi) * math.cos(declination) * math.cos(hour_angle)
    return math.degrees(math.asin(sine)), math.degrees(math.atan2(east, north)) % 360
