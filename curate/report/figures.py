"""The charts of a catalog's page: matrices, histograms, bars and the map of splits, each a name and a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.catalog.page.charts import (
    WIDTH,
    Series,
    Svg,
    bars,
    box,
    histogram,
    key,
    line,
    matrix,
    svg,
    text,
    ticks,
)
from curate.catalog.schema import SEASONS, SPLITS
from curate.catalog.statistics import BandStatistics
from curate.grid import Floats
from curate.legends import KOPPEN_SYMBOLS
from curate.report.frame import Frame, places, points
from curate.report.subject import Subject, texts
from curate.sampling.arrays import numbers
from curate.sphere import kilometres, unit_vectors

Charts = list[tuple[str, Svg]]
POOL, SAMPLE, CHANCE = "--pool", "--accent", "--chance"
_BINS = 24
_MOST_ORBITS = 10
_DOTS = 4000


def shares_of(table: pa.Table, rows: Sequence[str], columns: Sequence[str]) -> Floats:
    """Share of a table's chips in each climate (rows) × dominant land cover (columns)."""
    climate = pc.index_in(texts(table, "koppen_symbol"), pa.array(rows, pa.string())).to_numpy()
    cover = pc.index_in(texts(table, "lc_dominant_name"), pa.array(columns, pa.string())).to_numpy()
    count = np.bincount(climate * len(columns) + cover, minlength=len(rows) * len(columns))
    shares: Floats = count.reshape(len(rows), len(columns)) / max(1, table.num_rows)
    return shares


def axes(tables: Sequence[pa.Table], legend: Sequence[str]) -> tuple[list[str], list[str]]:
    """Climates and land covers that occur in any of *tables*, in the order of their maps."""
    found = [
        {name for table in tables for name in pc.unique(texts(table, column)).to_pylist()}
        for column in ("koppen_symbol", "lc_dominant_name")
    ]
    climates = [name for name in (*KOPPEN_SYMBOLS, *sorted(found[0])) if name in found[0]]
    covers = [name for name in (*legend, *sorted(found[1])) if name in found[1]]
    return list(dict.fromkeys(climates)), list(dict.fromkeys(covers))


def matrices(named: Sequence[tuple[str, pa.Table, str]], legend: Sequence[str]) -> Charts:
    """A matrix climate × land cover for each (name, table, colour), all with one scale."""
    rows, columns = axes([table for _, table, _ in named], legend)
    every = [shares_of(table, rows, columns) for _, table, _ in named]
    most = max(float(shares.max()) for shares in every)
    return [
        (name, matrix(f"Climate × land cover, {name}", rows, columns, shares, most, colour))
        for (name, _, colour), shares in zip(named, every, strict=True)
    ]


def histograms(named: Sequence[tuple[str, pa.Table, str]], subject: Subject) -> Charts:
    """Time differences, orbits, clouds and seasons of each (name, table, colour)."""
    charts: Charts = []
    anchor, *_ = (info.prefix for info in subject.catalog.meta.sensors)
    for prefix in subject.partners:
        charts += _spread(
            f"Hours from {anchor.upper()} to {prefix.upper()}", f"{prefix}_dt_hours", "hours", named
        )
    charts += _counted("Seasons", "season", SEASONS, named)
    charts += _months(f"Months of {anchor.upper()}", f"{anchor}_datetime", named)
    charts += _orbits(anchor, named)
    charts += _spread("Cloud cover of the scene", f"{anchor}_cloud_cover", "percent", named, (0, 100))
    for prefix in subject.partners:
        charts += _orbits(prefix, named)
    charts += _spread("Cloud and shadow in the chip", f"{anchor}_cloud", "share of the chip", named, (0, 1))
    return charts


def _spread(
    title: str,
    column: str,
    unit: str,
    named: Sequence[tuple[str, pa.Table, str]],
    ends: tuple[float, float] | None = None,
) -> Charts:
    values = [
        (name, numbers(table[column].drop_null(), np.float64), colour)
        for name, table, colour in named
        if column in table.column_names
    ]
    values = [(name, found, colour) for name, found, colour in values if len(found)]
    if not values:
        return []
    low, high = ends or (min(float(v.min()) for _, v, _ in values), max(float(v.max()) for _, v, _ in values))
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    series = [
        Series(name, (np.histogram(found, edges)[0] / len(found)).tolist(), colour)
        for name, found, colour in values
    ]
    return [(title, histogram(title, edges, series, unit))]


def _counted(
    title: str, column: str, order: Sequence[str], named: Sequence[tuple[str, pa.Table, str]]
) -> Charts:
    series = []
    for name, table, colour in named:
        where = pc.index_in(texts(table, column), pa.array(order, pa.string()))
        count = np.bincount(where.drop_null().to_numpy(), minlength=len(order)) / max(1, table.num_rows)
        series.append(Series(name, count.tolist(), colour))
    return [(title, bars(title, order, series))]


def _months(title: str, column: str, named: Sequence[tuple[str, pa.Table, str]]) -> Charts:
    series = []
    for name, table, colour in named:
        month = pc.month(table[column].drop_null()).to_numpy()
        if not len(month):
            return []
        series.append(Series(name, (np.bincount(month, minlength=13)[1:] / len(month)).tolist(), colour))
    return [(title, histogram(title, np.arange(0.5, 13), series, "month"))]


def _orbits(prefix: str, named: Sequence[tuple[str, pa.Table, str]]) -> Charts:
    """The most frequent orbits, and the rest as one bar."""
    state, number = f"{prefix}_orbit_state", f"{prefix}_relative_orbit"
    labelled = []
    for name, table, colour in named:
        arrow = pc.if_else(
            pc.equal(texts(table, state), "ascending"),
            "↑",
            pc.if_else(pc.equal(texts(table, state), "descending"), "↓", ""),
        )
        orbit = pc.fill_null(table[number].cast(pa.string()), "unknown")
        labelled.append((name, pc.binary_join_element_wise(orbit, arrow, " "), colour))
    counts = [
        {c["values"]: c["counts"] for c in pc.value_counts(column).to_pylist()} for _, column, _ in labelled
    ]
    first = counts[-1]
    order = sorted(first, key=lambda label: (-first[label], label))[:_MOST_ORBITS]
    rest = len({label for count in counts for label in count} - set(order))
    series = []
    for (name, column, colour), count in zip(labelled, counts, strict=True):
        values = [count.get(label, 0) / max(1, len(column)) for label in order]
        series.append(Series(name, [*values, 1 - sum(values)] if rest else values, colour))
    title = f"Relative orbits of {prefix.upper()}"
    return [(title, bars(title, [*order, f"{rest} others"] if rest else order, series))]


def split_map(frame: Frame, land: Sequence[Floats], table: pa.Table, window: str = "window") -> Svg:
    """Where the chips of each split are; *land* are rings in the frame's steps, *window* an id of its own."""
    left, top, width, height = frame.to_json()["view"]
    scale = WIDTH / width
    tall = height * scale
    steps_m = frame.side / (1 << 16)
    parts = [box(0, 0, WIDTH, tall, "--sea")]
    for ring in land:
        xy = (ring * steps_m - [left, top]) * scale
        if xy[:, 0].max() < 0 or xy[:, 0].min() > WIDTH or xy[:, 1].max() < 0 or xy[:, 1].min() > tall:
            continue
        keep = np.r_[True, np.abs(np.diff(np.round(xy, 0), axis=0)).sum(1) > 0]
        path = "L".join(f"{a:.0f} {b:.0f}" for a, b in np.clip(xy[keep], -50, max(WIDTH, tall) + 50))
        parts.append(f'<path d="M{path}Z" fill="var(--land)" stroke="var(--coast)" stroke-width=".6"/>')
    split = texts(table, "split")
    for name in SPLITS:
        lon, lat = places(table.filter(pc.equal(split, name)))
        if not len(lon):
            continue
        dots = points(frame, lon, lat, np.zeros(len(lon), np.int64), _DOTS)
        size_m = frame.side / dots.steps
        x = ((dots.x + 0.5) * size_m - left) * scale
        y = ((dots.y + 0.5) * size_m - top) * scale
        near = np.unique(np.round(np.stack([x, y], 1), 0), axis=0)
        side = max(3.4, size_m * scale)
        path = "".join(f"M{a - side / 2:.1f} {b:.1f}h{side:.1f}" for a, b in near)
        parts.append(f'<path d="{path}" stroke="var(--{name})" stroke-width="{side:.1f}" fill="none"/>')
    clip = f'<clipPath id="{window}"><rect width="{WIDTH}" height="{tall:.1f}"/></clipPath>'
    drawing = f'{clip}<g clip-path="url(#{window})">{"".join(parts)}</g>'
    legend = key([Series(name, [], f"--{name}") for name in SPLITS], tall + 18)
    return svg(WIDTH, tall + 24, "Chips by split", [drawing, *legend])


def split_distances(table: pa.Table) -> list[tuple[str, float | None]]:
    """Least distance, km, of chips of two splits; None where one has no chip."""
    from scipy.spatial import cKDTree

    lon, lat = places(table)
    vectors = unit_vectors(lon, lat)
    split = texts(table, "split").to_numpy()
    sides = {name: np.unique(vectors[split == name], axis=0) for name in SPLITS}
    found: list[tuple[str, float | None]] = []
    for i, first in enumerate(SPLITS):
        for second in SPLITS[i + 1 :]:
            few, many = sorted((sides[first], sides[second]), key=len)
            if not len(few):
                found.append((f"{first} – {second}", None))
                continue
            nearest = cKDTree(many, balanced_tree=False, compact_nodes=False).query(few)[0]
            found.append((f"{first} – {second}", float(kilometres(nearest.min()))))
    return found


def split_rows(subject: Subject) -> list[dict[str, Any]]:
    """What each split holds."""
    table = subject.catalog.table
    split = texts(table, "split")
    rows = []
    for name in SPLITS:
        of = table.filter(pc.equal(split, name))
        climates = pc.count_distinct(texts(of, "koppen_symbol")).as_py()
        rows.append(
            {
                "split": name,
                "chips": of.num_rows,
                "share": of.num_rows / table.num_rows,
                "cells": pc.count_distinct(of["cell"]).as_py(),
                "climates": climates,
                "covers": pc.count_distinct(texts(of, "lc_dominant_name")).as_py(),
            }
        )
    return rows


def spectra(statistics: dict[str, BandStatistics], subject: Subject) -> Charts:
    """Mean and standard deviation of every band, a chart a sensor; with the bands' histograms where they were kept."""
    kept = subject.beside("statistics.json") or {}
    return [
        _bands(found, f"{subject.catalog.sensors[prefix].sensor}, {found.unit}", kept.get(prefix, {}))
        for prefix, found in statistics.items()
    ]


def _bands(found: BandStatistics, title: str, kept: dict[str, Any]) -> tuple[str, Svg]:
    """A row a band: its distribution, the range of a standard deviation, and its mean."""
    mean, std = np.array(found.mean), np.array(found.std)
    deviations = 1 if found.unit == "reflectance" else 2  # below the mean: no reflectance is negative
    least, most = float((mean - deviations * std).min()), float((mean + 2 * std).max())
    row, left = 24.0, 52.0

    def at(value: Any) -> Any:
        return left + (np.clip(value, least, most) - least) / ((most - least) or 1) * (WIDTH - left - 52)

    tall = row * len(found.bands)
    parts = []
    for value in ticks(least, most, 5):
        parts += [
            line(at(value), 8, at(value), tall + 4),
            text(at(value), tall + 18, f"{value:g}", "middle", 10),
        ]
    for i, band in enumerate(found.bands):
        y = row * (i + 1)
        if kept.get("histogram"):
            edges, counts = np.array(kept["edges"][i]), np.array(kept["histogram"][i], np.float64)
            inside = (edges[:-1] >= least) & (edges[1:] <= most)
            x, up = (
                at((edges[:-1] + edges[1:]) / 2)[inside],
                (y - (row - 4) * counts / max(1.0, counts.max()))[inside],
            )
            if len(x):
                path = "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, up, strict=True))
                parts.append(
                    f'<path d="M{x[0]:.1f} {y:.1f}L{path}L{x[-1]:.1f} {y:.1f}Z" fill="var(--pool)"/>'
                )
        else:
            parts.append(line(left, y, WIDTH - 52, y, "--pool"))
        parts.append(text(left - 10, y, band, "end", ink="--ink"))
        low, high = at(mean[i] - std[i]), at(mean[i] + std[i])
        parts.append(box(low, y - 1, high - low, 2, "--accent"))
        parts.append(f'<circle cx="{at(mean[i]):.1f}" cy="{y:.1f}" r="3.4" fill="var(--accent)"/>')
        parts.append(text(WIDTH - 46, y + 1, f"{mean[i]:.{3 if abs(most) < 10 else 1}f}", size=10))
    parts.append(text(WIDTH, tall + 18, "mean", "end", 10))
    return title, svg(WIDTH, tall + 24, f"Mean ± standard deviation: {title}", parts)


def alignment(found: dict[str, Any]) -> Charts:
    """How far each sensor lies from the anchor, in pixels, on a cross of ± 2 pixels."""
    charts: Charts = []
    half, reach = 100.0, 2.0
    for name, one in found.items():
        parts = [line(0, half, 2 * half, half), line(half, 0, half, 2 * half)]
        for pixels in (1, 2):
            side = half * pixels / reach
            parts.append(
                f'<rect x="{half - side:.1f}" y="{half - side:.1f}" width="{2 * side:.1f}" height="{2 * side:.1f}" '
                'fill="none" stroke="var(--line)"/>'
            )
            parts.append(text(half + side - 2, half - 4, f"{pixels} px", "end", 10))
        median, spread, together = (one.get(k) for k in ("median_px", "spread_px", "together_px"))
        if median and spread:
            (down, right), (sy, sx) = median, spread
            parts.append(
                f'<ellipse cx="{half + right / reach * half:.1f}" cy="{half + down / reach * half:.1f}" '
                f'rx="{sx / reach * half:.1f}" ry="{sy / reach * half:.1f}" fill="var(--accent)" fill-opacity=".25"/>'
            )
        if together:
            down, right = together
            parts.append(
                f'<circle cx="{half + right / reach * half:.1f}" cy="{half + down / reach * half:.1f}" r="4" '
                'fill="var(--accent)"/>'
            )
        charts.append((name, svg(2 * half, 2 * half, f"Shift of {name} from the anchor", parts)))
    return charts
