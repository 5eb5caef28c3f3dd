"""Season phase: where in the local year a chip was taken, and how high the sun stood."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate.catalog.schema import DescriptorInfo
from curate.descriptors.candidates import Candidates
from curate.grid import Floats
from curate.recipe import Recipe
from curate.workspace import Workspace

YEAR_DAYS = 365.2425  # of the Gregorian calendar
_DAY = np.timedelta64(86_400_000_000, "us")
_J2000 = np.datetime64("2000-01-01T12:00:00", "us")

COLUMNS = (
    DescriptorInfo("season_sin", "Sine of the time of the local year; positive in spring."),
    DescriptorInfo("season_cos", "Cosine of the time of the local year; positive in winter."),
    DescriptorInfo("sun_elevation_deg", "Elevation of the sun's centre at acquisition.", "degrees"),
)


@dataclass(frozen=True)
class Season:
    """Season phase and sun elevation."""

    columns: tuple[DescriptorInfo, ...] = COLUMNS

    def describe(self, candidates: Candidates) -> dict[str, Floats]:
        """See `phase` and `sun_elevation`."""
        lon, lat = candidates.places.lon[candidates.place], candidates.places.lat[candidates.place]
        sine, cosine = phase(candidates.time, lat)
        return {
            "season_sin": sine,
            "season_cos": cosine,
            "sun_elevation_deg": sun_elevation(candidates.time, lon, lat),
        }


def open_descriptor(recipe: Recipe, workspace: Workspace) -> Season:
    """The descriptor; it needs no settings."""
    return Season()


def phase(time: npt.NDArray[np.datetime64], lat: Floats) -> tuple[Floats, Floats]:
    """Sine and cosine of 2π d / 365.2425, d days since the year's beginning; NaN without a time.

    South of the equator half a year is added, as for the column ``season``, so that midwinter has a cosine near 1
    everywhere. Near the equator seasons of this kind mean little.
    """
    time = time.astype("datetime64[us]")
    days = (time - time.astype("datetime64[Y]")) / _DAY
    turn = 2 * np.pi * (days / YEAR_DAYS + np.where(lat < 0, 0.5, 0.0))
    return np.sin(turn), np.cos(turn)


def sun_elevation(time: npt.NDArray[np.datetime64], lon: Floats, lat: Floats) -> Floats:
    """Elevation of the sun's centre over the horizon, degrees, without refraction; NaN without a time.

    The Astronomical Almanac's low-precision formulas as in Michalsky 1988, Solar Energy 40(3)
    (doi 10.1016/0038-092X(88)90045-X): within 0.01° from 1950 to 2050.
    """
    time = time.astype("datetime64[us]")
    n = (time - _J2000) / _DAY  # days since J2000.0, UT
    mean_longitude = np.radians(280.460 + 0.9856474 * n)
    anomaly = np.radians(357.528 + 0.9856003 * n)
    ecliptic = mean_longitude + np.radians(1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly))
    obliquity = np.radians(23.439 - 0.0000004 * n)
    ascension = np.arctan2(np.cos(obliquity) * np.sin(ecliptic), np.cos(ecliptic))
    declination = np.arcsin(np.sin(obliquity) * np.sin(ecliptic))
    hours = (time - time.astype("datetime64[D]")) / np.timedelta64(3_600_000_000, "us")
    sidereal = np.radians(15 * (6.697375 + 0.0657098242 * n + hours) + lon)
    hour_angle = sidereal - ascension
    phi = np.radians(lat)
    sine = np.sin(declination) * np.sin(phi) + np.cos(declination) * np.cos(phi) * np.cos(hour_angle)
    elevation: Floats = np.degrees(np.arcsin(np.clip(sine, -1.0, 1.0)))
    return elevation
