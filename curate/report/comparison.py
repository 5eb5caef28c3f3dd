"""Two catalogs side by side: where they are, what they show, how diverse they are, where their recipes differ."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import __version__
from curate.catalog.files import digest, write_text
from curate.catalog.page import render
from curate.catalog.page.charts import interval
from curate.console import HEADINGS
from curate.recipe import stable_hash
from curate.report import figures, frame
from curate.report.diversity import MEASURES, said
from curate.report.page import HERE, SIMULATED, Written, facts, rings, write_drawings
from curate.report.subject import Subject
from curate.sampling import strata
from curate.sampling.arrays import numbers
from curate.sampling.measures import Yardstick, reach_km

FIRST, SECOND = "--accent", "--val"


def write_comparison(
    first: Path, second: Path, out: Path | None = None, figures_folder: Path | None = None
) -> Written:
    """Write a page on two catalogs to *out* (None: beside the first, ``FIRST-SECOND.html``).

    Args:
        figures_folder: write the charts as SVG there, too.

    Raises:
        InputError: one is no catalog, or empty.
    """
    target = out or first.with_name(f"{first.stem}-{second.stem}.html")
    subjects = [Subject.open(first), Subject.open(second)]
    key = stable_hash([__version__, digest(first), digest(second)])
    content = _content(*subjects)
    write_text(target, render(HERE, "comparison.html", key=key, **content))
    if figures_folder is not None:
        groups = {"map": content["maps"], "mix": content["matrices"], "distribution": content["histograms"]}
        write_drawings(figures_folder, groups)
    return Written(target, target.stat().st_size)


def _content(a: Subject, b: Subject) -> dict[str, Any]:
    names = _names(a, b)
    tables = [a.catalog.table, b.catalog.table]
    named = list(zip(names, tables, (FIRST, SECOND), strict=True))
    around = frame.Frame.around(*(np.concatenate(v) for v in zip(*map(frame.places, tables), strict=True)))
    land = rings(frame.coast(around))
    legend = list({**a.catalog.meta.landcover, **b.catalog.meta.landcover}.values())
    simulated = [name for name, subject in zip(names, (a, b), strict=True) if subject.catalog.meta.simulated]
    sections = [
        ("facts", "Both"),
        ("maps", "Maps"),
        ("mix", "Climate and land cover"),
        ("measures", "Measures"),
    ]
    sections += [("distributions", "Time, orbits, clouds"), ("bands", "Bands"), ("recipes", "Recipes")]
    return {
        "title": f"{names[0]} and {names[1]}",
        "kind": "Two catalogs side by side",
        "simulated": f"{' and '.join(simulated)}: {SIMULATED}" if simulated else "",
        "lede": f"{a.rows:,} chips of {a.chip_m:,.0f} m beside {b.rows:,} of {b.chip_m:,.0f} m.",
        "facts": [],
        "sections": sections,
        "footer": f"Made by curate {__version__} from {a.catalog.path.name} and {b.catalog.path.name}.",
        "names": list(zip(names, (FIRST, SECOND), strict=True)),
        "sides": _paired(facts(a), facts(b)),
        "shared": _shared(*tables),
        "maps": [
            (name, figures.split_map(around, land, table, f"window-{i}"))
            for i, (name, table, _) in enumerate(named)
        ],
        "matrices": figures.matrices(named, legend),
        "measures": _measures(a, b),
        "histograms": figures.histograms(named, a if len(a.partners) <= len(b.partners) else b),
        "bands": _bands(a, b),
        "differences": _differences(a.catalog.meta.recipe, b.catalog.meta.recipe),
    }


def _names(a: Subject, b: Subject) -> tuple[str, str]:
    """The catalogs' file names, with as many of their folders as tell them apart."""
    first, second = (subject.catalog.path.resolve().with_suffix("").parts for subject in (a, b))
    for number in range(1, max(len(first), len(second)) + 1):
        names = "/".join(first[-number:]), "/".join(second[-number:])
        if names[0] != names[1]:
            return names
    return f"{first[-1]} (first)", f"{second[-1]} (second)"


def _paired(a: list[tuple[str, str]], b: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    other = dict(b)
    return [(name, value, other.get(name, "–")) for name, value in a]


def _shared(a: pa.Table, b: pa.Table) -> list[tuple[str, str]]:
    """What both have."""
    found = []
    for column, name in (("chip_id", "chips"), ("place", "places"), ("cell", "grid cells")):
        here = pc.unique(a[column])
        number = pc.sum(pc.is_in(here, pc.unique(b[column]))).as_py() or 0
        found.append((f"{name} in both", f"{number:,}"))
    return found


def _measures(a: Subject, b: Subject) -> list[tuple[str, str, list[str], Any]]:
    """Each catalog's own measures, without its pool."""
    both = []
    for subject in (a, b):
        table = subject.catalog.table
        rows = np.flatnonzero(strata.described(table)).astype(np.int64)
        presence = subject.recipe.sampling.presence
        yardstick = Yardstick(table, rows, presence, reach_km(subject.chip_m))
        both.append(asdict(yardstick.measure(rows, numbers(table["weight"], np.float64)[rows])))
    shown = []
    for measure in MEASURES:
        if measure in (
            "coverage",
            "rare_recall",
            "kl_pool",
            "kl_uniform",
        ):  # say something only beside a pool
            continue
        values = [float(found[measure]) for found in both]
        if not np.isfinite(values).all():
            continue
        low, high = min(*values, 0.0), max(values)
        heading, meaning = HEADINGS[measure]
        marks = [(value, None, colour) for value, colour in zip(values, (FIRST, SECOND), strict=True)]
        shown.append(
            (heading, meaning, [said(value, None)[0] for value in values], interval(low, high, marks))
        )
    return shown


def _bands(a: Subject, b: Subject) -> list[tuple[str, str, str, str]]:
    """Mean ± standard deviation of bands that both have."""
    found = []
    ours, theirs = a.statistics, b.statistics
    for prefix in (p for p in ours if p in theirs):
        for band in ours[prefix].bands:
            if band in theirs[prefix].bands:
                pair = []
                for of in (ours[prefix], theirs[prefix]):
                    i = of.bands.index(band)
                    pair.append(f"{of.mean[i]:.3f} ± {of.std[i]:.3f}")
                found.append((f"{prefix} {band}", pair[0], pair[1], ours[prefix].unit))
    return found


def _differences(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[tuple[str, str, str]]:
    """Dotted keys whose values differ, and both values."""
    found: list[tuple[str, str, str]] = []
    for key in dict.fromkeys([*a, *b]):
        one, other = a.get(key), b.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += _differences(one, other, f"{prefix}{key}.")
        elif one != other:
            found.append((prefix + key, str(one), str(other)))
    return found
