"""Season phase and sun elevation against the calendar, known positions of the sun, and real products."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from curate.descriptors.season import phase, sun_elevation


def times(*texts: str) -> np.ndarray:
    return np.array(texts, "datetime64[us]")


def test_the_phase_runs_through_the_year_and_not_over_its_end() -> None:
    sine, cosine = phase(
        times("2021-01-01", "2021-04-02T06", "2021-07-02T12", "2021-12-31T23"), np.full(4, 50.0)
    )
    np.testing.assert_allclose(sine, [0, 1, 0, 0], atol=0.02)
    np.testing.assert_allclose(cosine, [1, 0, -1, 1], atol=0.02)
    year = np.arange("2020-01-01", "2023-01-01", dtype="datetime64[D]")
    sine, cosine = phase(year, np.full(len(year), 50.0))
    assert np.hypot(np.diff(sine), np.diff(cosine)).max() < 0.03  # about 2π / 365 a day, over New Year too


def test_the_southern_year_is_half_a_year_later() -> None:
    day = times("2021-01-15", "2021-05-20")
    north, south = phase(day, np.full(2, 40.0)), phase(day, np.full(2, -40.0))
    np.testing.assert_allclose(south, -np.array(north), atol=1e-12)


def test_without_a_time_nothing_is_known() -> None:
    none = times("NaT")
    assert np.isnan(phase(none, np.zeros(1))).all()
    assert np.isnan(sun_elevation(none, np.zeros(1), np.zeros(1))).all()


@pytest.mark.parametrize(
    ("time", "lon", "lat", "expected"),
    [
        ("2020-03-20T12:07:25", 0.0, 0.0, 90.0),  # equinox of 2020 at 03:50 UT, noon 7 min 25 s late
        ("2020-06-20T12:01:45", 0.0, 23.44, 90.0),  # solstice: in the zenith of the tropic
        ("2020-06-20T00:01:45", 0.0, 90.0, 23.44),
        ("2020-12-21T12:00:00", 0.0, 90.0, -23.44),
    ],
)
def test_the_sun_stands_where_it_must(time: str, lon: float, lat: float, expected: float) -> None:
    found = sun_elevation(times(time), np.array([lon]), np.array([lat]))
    assert found[0] == pytest.approx(expected, abs=0.15)


@pytest.mark.real
def test_real_products_say_the_same(real_data: Path) -> None:
    """Tiles with a sun elevation of their own, at the middle of their footprint, and with their own time.

    Items that carry the start of the datatake instead (its stamps end on 24 or 25 ms) are up to 20 minutes off.
    """
    lines = (real_data / "stac" / "sentinel_items.ndjson").read_text(encoding="utf-8").splitlines()
    rows = []
    for item in map(json.loads, lines):
        said, box = item["properties"], item.get("bbox")
        when = said.get("datetime") or ""
        across = not box or box[0] > box[2]
        if "view:sun_elevation" in said and not across and ".024" not in when and ".025" not in when:
            middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            rows.append((when.rstrip("Z"), *middle, said["view:sun_elevation"]))
    time = np.array([row[0] for row in rows], "datetime64[us]")
    lon, lat, said = (np.array([row[i] for row in rows], float) for i in (1, 2, 3))
    apart = np.abs(sun_elevation(time, lon, lat) - said)
    assert len(rows) > 20
    assert np.median(apart) < 0.2  # a tile is 1° wide, and the mean is over its valid part
    assert apart.max() < 0.6
