"""Time: which acquisitions lie near each other, and in which season."""

from __future__ import annotations

from typing import Any

import numpy as np

from curate.grid import Floats, Ints
from curate.pairing.places import Meetings, Scenes
from curate.running import running


def partners_in_time(
    anchors: Scenes, met: Meetings, partners: Scenes, partners_met: Meetings, max_hours: float
) -> tuple[Ints, Ints]:
    """All partners of each of the anchor's meetings within *max_hours*, limits inclusive; static ones at any time.

    Returns:
        Positions in *met* and in *partners_met*, of equal length, sorted by the first.
    """
    if partners.static:
        low = np.searchsorted(partners_met.cell, met.cell, side="left")
        high = np.searchsorted(partners_met.cell, met.cell, side="right")
    else:
        when, limit = _micros(anchors.hours[met.scene]), _micros(max_hours)
        partner_when = _micros(partners.hours[partners_met.scene])
        low = _search(partners_met.cell, partner_when, met.cell, when - limit, "left")
        high = _search(partners_met.cell, partner_when, met.cell, when + limit, "right")
    number = np.maximum(high - low, 0)
    anchor = np.repeat(np.arange(len(number)), number)
    return anchor, running(number) + np.repeat(low, number)


def seasons(hours: Floats, lat: Floats) -> Ints:
    """Local meteorological seasons of times (hours since 1970) at latitudes, as positions in `SEASONS`.

    The southern year is shifted by half a year.
    """
    months = (hours * 3600).astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
    quarter = (months + 1) % 12 // 3  # of months since January 1970: December begins the winter
    number: Ints = np.where(lat >= 0, quarter, (quarter + 2) % 4)
    return number


def _micros(hours: Any) -> Any:
    """Hours as whole microseconds, in which limits are exact: 72.0 h apart is within 3 days."""
    return np.rint(hours * 3.6e9)


def _search(cell: Ints, when: Floats, wanted_cell: Ints, wanted_when: Floats, side: str) -> Ints:
    """`np.searchsorted` on (cell, time), both levels sorted."""
    times, rank = np.unique(when, return_inverse=True)
    key = cell * (len(times) + 1) + rank
    wanted_rank = np.searchsorted(times, wanted_when, side="left" if side == "left" else "right")
    found: Ints = np.searchsorted(key, wanted_cell * (len(times) + 1) + wanted_rank, side="left")
    return found
