"""What the names of Sentinel products and tiles say: satellite, time, baseline, orbit, place."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache
from typing import Any

_SENTINEL_2 = re.compile(
    r"S2(?P<unit>[A-D])_MSIL(1C|2A)_(?P<day>\d{8})T(?P<clock>\d{5,6})"
    r"(_N(?P<baseline>\d{4})_R(?P<orbit>\d{3})_T(?P<tile>\d\d[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V]))?"
)
_SENTINEL_1 = re.compile(
    r"S1(?P<unit>[A-D])_[A-Z]{2}_[A-Z]{3}[A-Z_]_\d[A-Z]{3}_(?P<day>\d{8})T(?P<clock>\d{6})"
    r"(_\d{8}T\d{6}_(?P<orbit>\d{6})_)?"
)
_TRACKS = 175  # relative orbits of Sentinel-1, flown in 12 days
_CYCLE = dt.timedelta(days=12)
_FIRST_ORBIT = {"A": 73, "B": 27}  # absolute orbit that is relative orbit 1 of some cycle
# Relative orbit 107 of Sentinel-1A began here (orbit 32904); Sentinel-1B flies the same track six days apart.
_NODE = dt.datetime(2020, 6, 7, 0, 27, 16, tzinfo=dt.UTC)
_NODE_TRACK = 107
_PHASE = {"A": dt.timedelta(0), "B": _CYCLE / 2}
_CELL_M = 100_000
_GRID_M = 60  # Sentinel-2 tiles begin on multiples of it
_COLUMNS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_BANDS = "CDEFGHJKLMNPQRSTUVWX"


def product_properties(name: str) -> dict[str, Any] | None:
    """STAC properties that the name of a Sentinel-1 or Sentinel-2 product holds; None where it is none.

    A name may stop after its time, as those of BigEarthNet do; what it then does not hold is left out. The relative
    orbit of Sentinel-1 is computed from the absolute one, or else from the time: the track repeats every 12 days.
    """
    if found := _SENTINEL_2.match(name):
        time = _time(found["day"], found["clock"].zfill(6))
        properties: dict[str, Any] = {"platform": f"sentinel-2{found['unit'].lower()}", "datetime": time}
        if found["baseline"]:
            properties["s2:processing_baseline"] = f"{found['baseline'][:2]}.{found['baseline'][2:]}"
            properties["sat:relative_orbit"] = int(found["orbit"])
            properties["s2:mgrs_tile"] = found["tile"]
        return None if time is None else properties
    if found := _SENTINEL_1.match(name):
        time = _time(found["day"], found["clock"])
        if time is None:
            return None
        track, ascending = _track(found["unit"], dt.datetime.fromisoformat(time), found["orbit"])
        return {
            "platform": f"sentinel-1{found['unit'].lower()}",
            "datetime": time,
            "sat:relative_orbit": track,
            "sat:orbit_state": None if ascending is None else "ascending" if ascending else "descending",
        }
    return None


def _time(day: str, clock: str) -> str | None:
    """ISO 8601 of a day and a clock that may say 60 seconds and more, as a few of BigEarthNet do."""
    try:
        start = dt.datetime.strptime(day, "%Y%m%d").replace(tzinfo=dt.UTC)
    except ValueError:
        return None
    hours, minutes, seconds = int(clock[:2]), int(clock[2:4]), int(clock[4:])
    return (start + dt.timedelta(hours=hours, minutes=minutes, seconds=seconds)).isoformat()


def _track(unit: str, time: dt.datetime, orbit: str | None) -> tuple[int | None, bool | None]:
    """Relative orbit and whether it ascends, of a Sentinel-1 satellite at *time*."""
    if unit not in _PHASE:
        return None, None
    turns = (time - _NODE - _PHASE[unit]) / (_CYCLE / _TRACKS)
    whole = int(turns // 1)
    ascending = not 0.25 <= turns - whole < 0.75
    if orbit is not None:
        return (int(orbit) - _FIRST_ORBIT[unit]) % _TRACKS + 1, ascending
    return (_NODE_TRACK - 1 + whole) % _TRACKS + 1, ascending


@lru_cache(maxsize=4096)
def tile_corner(tile: str) -> tuple[int, int, int]:
    """EPSG code and upper left corner (x, y in metres) of a Sentinel-2 tile, from its MGRS name (``33UUP``).

    Tiles stand on the squares of 100 km of the Military Grid Reference System, widened to multiples of 60 m.

    Raises:
        ValueError: there is no such tile.
    """
    zone, band, column, row = int(tile[:2]), tile[2], tile[3], tile[4]
    if not 1 <= zone <= 60:
        raise ValueError(f"there is no zone {zone}")
    columns = _COLUMNS[(zone - 1) % 3 * 8 :][:8]
    x = (columns.index(column) + 1) * _CELL_M
    low = -80.0 + 8.0 * _BANDS.index(band)
    middle = low + (6.0 if band == "X" else 4.0)
    false = 0 if low >= 0 else 10_000_000
    y = (_ROWS.index(row) - (5 if zone % 2 == 0 else 0)) % len(_ROWS) * _CELL_M  # of the square's lower edge
    expected = false + middle * 10_000_000 / 90  # within 40 km; the letters repeat every 2,000 km
    y += round((expected - y) / 2_000_000) * 2_000_000
    top = y + _CELL_M - false
    epsg = (32600 if low >= 0 else 32700) + zone
    return epsg, x // _GRID_M * _GRID_M, false - (-top // _GRID_M) * _GRID_M
