"""What a climate does through the year: temperature, greenness of plants, work on the fields, snow."""

from __future__ import annotations

import csv
import datetime as dt
import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

LAPSE_C_PER_KM = 6.5  # International Standard Atmosphere

LATE = 11  # steps of three days by which fields differ: -15 to 15 days
CROPS = ("winter cereal", "summer crop", "meadow", "orchard", "fallow", "rice")


@dataclass(frozen=True)
class Climate:
    """A Köppen-Geiger class as the simulation needs it: one row of climates.csv.

    Temperatures are typical of the class's definition (Kottek et al. 2006, table 1: A over 18 degC in the coldest
    month, C over -3, D under -3, E under 10 in the warmest); cover shares are rounded from the mean shares of
    land-cover classes per climate that global land-cover maps show, and drive the layout, not the exact areas.
    """

    symbol: str
    warm_c: float  # mean of the warmest month
    cold_c: float  # mean of the coldest month
    green: str  # when plants are green: ever, wet (rainy summer), winter, spring, summer, short, none
    tree: float  # shares of natural cover, percent of each other
    shrub: float
    grass: float
    bare: float
    wetland: float
    crop: float  # percent of the land that is tilled where it is flat
    conifer: float  # share of trees that keep needles
    field_m: float  # typical width of a field
    soil: str  # sand, loam, dark, red, rock, lava

    def temperature_c(self, day: int, south: bool, rise_m: float = 0.0) -> float:
        """Mean temperature on a day of the year, *rise_m* above the place the class was read at."""
        phase = math.cos(2 * math.pi * (northern(day, south) - 205) / 365)
        middle, swing = (self.warm_c + self.cold_c) / 2, (self.warm_c - self.cold_c) / 2
        return middle + swing * phase - LAPSE_C_PER_KM * rise_m / 1000


@lru_cache(maxsize=1)
def climates() -> dict[str, Climate]:
    """All classes by symbol."""
    table = {}
    with files(__package__).joinpath("climates.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            words = {name: row.pop(name) for name in ("symbol", "green", "soil")}
            numbers = {name: float(value) for name, value in row.items()}
            table[words["symbol"]] = Climate(**words, **numbers)  # type: ignore[arg-type]
    return table


def northern(day: int, south: bool) -> float:
    """Day of the year, moved by half a year in the south: 205 is high summer in both."""
    return (day + 182.5) % 365 if south else day


def day_of(when: dt.datetime) -> int:
    return when.timetuple().tm_yday


def rise_and_fall(day: float, start: float, full: float, wane: float, end: float) -> float:
    """0 to 1 and back: a double logistic in the day of the year (Beck et al. 2006, eq. 1), wrapping at new year."""
    best = 0.0
    for turn in (-365, 0, 365):
        d = day + turn
        up = 1 / (1 + math.exp(-9 * (d - (start + full) / 2) / max(1.0, full - start)))
        down = 1 / (1 + math.exp(9 * (d - (wane + end) / 2) / max(1.0, end - wane)))
        best = max(best, up * down)
    return best


_GRASS = {  # start and full of green-up, start and end of yellowing; days of a northern year
    "wet": (160, 215, 285, 350),
    "winter": (290, 345, 480, 530),
    "spring": (70, 120, 160, 205),
    "summer": (75, 125, 275, 345),
    "short": (140, 175, 235, 270),
}
_LEAVES = {
    "wet": (140, 190, 320, 380),
    "winter": (80, 120, 300, 340),
    "spring": (100, 135, 270, 305),
    "summer": (95, 135, 275, 315),
    "short": (135, 165, 245, 270),
}


def leaves(climate: Climate, day: int, south: bool) -> float:
    """Share of their leaves that deciduous trees carry."""
    if climate.green in ("ever", "none"):
        return 1.0
    bare = 0.45 if climate.green in ("wet", "winter") else 0.0  # evergreen broadleaves among them
    return bare + (1 - bare) * rise_and_fall(northern(day, south), *_LEAVES[climate.green])


def grass(climate: Climate, day: int, south: bool) -> float:
    """Share of a closed sward that is green."""
    if climate.green == "ever":
        return 0.9
    if climate.green == "none":
        return 0.1
    low, high = {"wet": (0.1, 0.9), "winter": (0.1, 0.85), "spring": (0.1, 0.7)}.get(
        climate.green, (0.4, 0.95)
    )
    if climate.green == "short":
        low = 0.15
    return low + (high - low) * rise_and_fall(northern(day, south), *_GRASS[climate.green])


def calendars(climate: Climate, day: int, south: bool) -> npt.NDArray[np.float32]:
    """`field` for every crop and lateness, shape (crops x LATE, 3)."""
    rows = [
        field(crop, climate, day, south, 3.0 * (step - LATE // 2))
        for crop in range(len(CROPS))
        for step in range(LATE)
    ]
    return np.array(rows, np.float32)


def field(crop: int, climate: Climate, day: int, south: bool, late_days: float) -> tuple[float, float, float]:
    """Shares of green leaves, of straw and of standing water on a field; the rest is soil.

    Sowing and harvest follow the crop calendars of MIRCA2000 (Portmann et al. 2010) in broad lines.
    """
    if climate.green == "ever":  # two or three harvests a year, each field on its own
        d = (day + 9 * late_days) % 365
    elif climate.green == "wet":
        d = northern(day, south) - 35
    elif climate.warm_c - climate.cold_c > 24 or climate.warm_c < 17:  # a short, late season
        d = northern(day, south) - 14
    elif climate.green == "winter":
        d = northern(day, south) + 30
    else:
        d = northern(day, south)
    d = (d - late_days) % 365
    name = CROPS[crop]
    if name == "winter cereal":
        green = 0.95 * rise_and_fall(d, 75, 125, 165, 190) + 0.28 * rise_and_fall(d, 285, 325, 435, 450)
        return min(green, 0.95), 0.75 * rise_and_fall(d, 165, 185, 225, 262), 0.0
    if name == "summer crop":
        return 0.92 * rise_and_fall(d, 135, 185, 240, 275), 0.6 * rise_and_fall(d, 245, 275, 300, 345), 0.0
    if name == "meadow":
        return 0.35 + 0.6 * grass(climate, day, south) * (0.65 if 165 < d % 365 < 180 else 1.0), 0.1, 0.0
    if name == "orchard":
        return 0.32 + 0.12 * rise_and_fall(d, 80, 120, 270, 310), 0.12, 0.0
    if name == "rice":
        return (
            0.92 * rise_and_fall(d, 160, 205, 255, 285),
            0.4 * rise_and_fall(d, 255, 285, 330, 360),
            0.85 * (rise_and_fall(d, 135, 145, 165, 200)),
        )
    return 0.12 + 0.2 * grass(climate, day, south), 0.35, 0.0
