"""A catalog's page: one HTML file beside the catalog, made of what is on disk and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from curate import __version__
from curate.catalog.errors import InputError
from curate.catalog.files import digest, write_text
from curate.catalog.page import figure, percent, render, unpacked
from curate.catalog.page.charts import standalone
from curate.console import progress
from curate.grid import Floats
from curate.recipe import Recipe, stable_hash
from curate.report import figures, frame
from curate.report.colours import KOPPEN, NONE, SPLIT_COLOURS, landcovers
from curate.report.diversity import diversity
from curate.report.gallery import Gallery, contact_sheet, gallery
from curate.report.subject import Subject, texts
from curate.sampling.ways.chance import random

HERE = Path(__file__).parent / "templates"
MOST_POINTS = {"pool": 1_000_000, "sample": 1_200_000}
SIMULATED = (
    "This catalog was made from the embedded archive: places, orbits and formats are real, land cover, reflectance and "
    "backscatter are not. Nothing on this page says anything about the Earth."
)
_SIMULATED_SOURCE = "The archive of this catalog says that its values are simulated, not measured."


@dataclass(frozen=True)
class Written:
    """A page that was written, or was there already."""

    path: Path
    bytes: int
    reused: bool = False


def write_report(
    path: Path, out: Path | None = None, figures_folder: Path | None = None, *, again: bool = True
) -> Written:
    """Write the page of the catalog *path* to *out* (None: beside it, as ``.html``).

    Args:
        figures_folder: write the charts as SVG and the gallery as PNG there, too.
        again: write it although the page that is there was made from the same files.

    Raises:
        InputError: no such catalog, an empty one, or shards that cannot be read.
    """
    target = out or path.with_suffix(".html")
    if not path.is_file():
        raise InputError(f"There is no catalog {path}", do="Make one with: make catalog REGION=europe")
    key = _key(path)
    if not again and figures_folder is None and _is_fresh(target, key):
        return Written(target, target.stat().st_size, reused=True)
    with progress("page", 5) as advance:  # read, pictures, measures, charts and map, written
        subject = Subject.open(path)
        advance()
        content = _content(subject, advance)
        page = render(HERE, "report.html", ["map.js", "gallery.js"], key=key, **content)
        write_text(target, page)
        if figures_folder is not None:
            _write_figures(figures_folder, content)
        advance()
    return Written(target, target.stat().st_size)


def _key(path: Path) -> str:
    """Names what a page is made of."""
    beside = path.with_suffix("")
    files = [
        path,
        *(beside / n for n in ("summary.json", "statistics.json", "alignment.json", "comparison.json")),
    ]
    return stable_hash([__version__, *(digest(file) if file.exists() else None for file in files)])


def _is_fresh(page: Path, key: str) -> bool:
    if not page.exists():
        return False
    with page.open(encoding="utf-8") as file:
        return f'name="curate-key" content="{key}"' in file.read(500)


def _content(subject: Subject, advance: Callable[[], None]) -> dict[str, Any]:
    """All that the template is given; calls *advance* after each of its three long parts."""
    catalog, table = subject.catalog, subject.catalog.table
    legend = list(catalog.meta.landcover.values())
    chance = _chance(subject)
    sample = (("sample", table, figures.SAMPLE),)
    pool = (("pool", subject.pool, figures.POOL),) if subject.pool is not None else ()
    drawn = (("random", chance, figures.CHANCE),) if chance is not None else ()
    around = frame.Frame.around(*frame.places(table))
    outline = frame.coast(around)
    statistics = subject.statistics
    shown = gallery(subject)
    advance()
    measured = diversity(subject)
    advance()
    content: dict[str, Any] = {
        "title": _title(subject),
        "kind": "A catalog of paired satellite chips",
        "simulated": (SIMULATED if catalog.meta.source.get("archive") == "simulated" else _SIMULATED_SOURCE)
        if catalog.meta.simulated
        else "",
        "lede": _lede(subject),
        "facts": facts(subject),
        "sections": _sections(subject, bool(statistics)),
        "footer": f"Made by curate {__version__} from {catalog.path.name}. This page holds all that it shows and asks "
        "no network. Outlines of the land derive from Natural Earth.",
        "subject": subject,
        "matrices": figures.matrices([*pool, *sample, *drawn], legend),
        "chance_note": "" if chance is not None else (subject.lacking or "The pool was read in part."),
        "diversity": measured,
        "stages": _stages(subject),
        "histograms": figures.histograms([*pool, *sample], subject),
        "split_map": figures.split_map(around, rings(outline), table),
        "split_rows": figures.split_rows(subject),
        "distances": figures.split_distances(table),
        "statistics": statistics,
        "spectra": figures.spectra(statistics, subject),
        "alignment": subject.beside("alignment.json"),
        "alignment_charts": figures.alignment((subject.beside("alignment.json") or {}).get("sensors", {})),
        "gallery": shown,
        "recipe_text": yaml.safe_dump(catalog.meta.recipe, sort_keys=False, allow_unicode=True),
        "software": list(catalog.meta.software.items()),
        "provenance": _provenance(subject),
        "commands": _commands(subject),
        "map_data": json.dumps(_map(subject, around, outline), separators=(",", ":")),
        "gallery_data": json.dumps(
            {
                "names": shown.names,
                "chips": [{k: v for k, v in c.items() if k != "pictures"} for c in shown.chips],
            },
            separators=(",", ":"),
            ensure_ascii=False,
        ).replace("<", "\\u003c"),
    }
    advance()
    return content


def _chance(subject: Subject) -> pa.Table | None:
    """As many candidates as the sample has, drawn by chance; None without the whole pool."""
    if subject.pool is None or subject.every > 1:
        return None
    rows = random(subject.pool, subject.rows, subject.recipe.sampling.seed)
    return subject.pool.take(pa.array(rows))


def _title(subject: Subject) -> str:
    """The region by its name, where it has one."""
    name = subject.recipe.region
    return (
        name.replace("-", " ").title()
        if name.replace("-", "").isalpha() and len(name) > 3
        else subject.workspace.slug
    )


def _lede(subject: Subject) -> str:
    meta = subject.catalog.meta
    sensors = " and ".join(", ".join(info.sensor for info in meta.sensors).rsplit(", ", 1))
    kind = "simulated chips" if meta.simulated else "chips"
    return (
        f"{subject.rows:,} {kind} of {subject.chip_m:,.0f} m from {sensors}, drawn from {meta.pool_rows:,} candidates "
        f"by {subject.recipe.sampling.chosen_by} sampling over "
        f"{' and '.join(subject.recipe.sampling.levels).replace('landcover', 'land cover')}."
    )


def facts(subject: Subject) -> list[tuple[str, str]]:
    """A catalog in a few figures."""
    table = subject.catalog.table
    climates, covers = (pc.count_distinct(table[n]).as_py() for n in ("koppen_symbol", "lc_dominant_name"))
    facts = [
        ("chips", f"{subject.rows:,}"),
        ("of the pool", percent(subject.rows / max(1, subject.catalog.meta.pool_rows))),
        ("climates", str(climates)),
        ("dominant land covers", str(covers)),
        ("strata", f"{pc.count_distinct(table['stratum']).as_py():,}"),
        ("grid cells", f"{pc.count_distinct(table['cell']).as_py():,}"),
    ]
    for prefix in subject.partners[:1]:
        hours = np.abs(table[f"{prefix}_dt_hours"].drop_null().to_numpy())
        facts.append(("median time difference", f"{figure(float(np.median(hours)))} h"))
    return facts


def _sections(subject: Subject, statistics: bool) -> list[tuple[str, str]]:
    named = [
        ("map", "Map"),
        ("mix", "Climate and land cover"),
        ("measures", "Measures"),
        ("funnel", "Rejections"),
    ]
    named += [("distributions", "Time, orbits, clouds"), ("splits", "Splits"), ("pairs", "Pairs")]
    named += [("bands", "Bands")] if statistics else []
    named += [("alignment", "Alignment")] if subject.beside("alignment.json") else []
    return [*named, ("provenance", "Provenance")]


def _stages(subject: Subject) -> list[dict[str, Any]]:
    """The funnel: what came in, what left, and the reasons for the difference."""
    order = ("search", "pair", "describe", "sample", "cut")
    shown = []
    for name in order:
        stage = subject.stages.get(name)
        if stage is None or (name == "sample" and "cut" in subject.stages):
            continue
        shown.append({**stage, "share": stage["left"] / max(1, stage["came_in"])})
    return shown


def _map(subject: Subject, around: frame.Frame, outline: dict[str, Any]) -> dict[str, Any]:
    """The map's data for its script."""
    table = subject.catalog.table
    partner = next(iter(subject.partners), None)
    orbit = f"{partner or subject.catalog.meta.sensors[0].prefix}_orbit_state"
    layers = {}
    for name, of, split in (("pool", subject.pool, None), ("sample", table, "split")):
        if of is None:
            continue
        columns = [texts(of, c) for c in ("koppen_symbol", "lc_dominant_name", orbit, "season")]
        columns.append(texts(of, split) if split else pa.chunked_array([pa.array([""] * of.num_rows)]))
        kind, kinds = frame.kinds(columns)
        gathered = frame.points(around, *frame.places(of), kind, MOST_POINTS[name])
        layers[name] = {
            **gathered.to_json(),
            "kinds": kinds,
            "rows": of.num_rows,
            "every": gathered.every * (subject.every if name == "pool" else 1),
        }
    climates, covers = figures.axes(
        [t for t in (subject.pool, table) if t is not None], list(subject.catalog.meta.landcover.values())
    )
    return {
        "frame": around.to_json(),
        "chip_m": subject.chip_m,
        "coast": outline,
        "graticule": frame.graticule(around),
        "cells": frame.cells(around, *frame.places(table), subject.recipe.chips.cell_km),
        "layers": layers,
        "climates": [[name, KOPPEN.get(name, NONE)] for name in climates],
        "covers": [[name, colour] for name, colour in landcovers(covers).items()],
        "splits": [[name, colour] for name, colour in SPLIT_COLOURS.items()],
        "orbit_of": (partner or "").upper(),
    }


def rings(outline: dict[str, Any]) -> list[Floats]:
    """Outlines as `frame.coast` packs them, each of shape (vertices, 2) in steps."""
    places = unpacked(outline["places"]).reshape(-1, 2).astype(np.float64)
    lengths = unpacked(outline["lengths"])
    return np.split(places, np.cumsum(lengths)[:-1]) if len(lengths) else []


def _provenance(subject: Subject) -> list[tuple[str, str]]:
    meta = subject.catalog.meta
    return [
        ("catalog", str(meta.region)),
        ("recipe", meta.recipe_hash),
        ("archive", str(meta.source.get("archive", ""))),
        ("land cover", str(meta.source.get("landcover", ""))),
        ("climate", str(meta.source.get("climate", ""))),
        ("contract", f"version {meta.schema_version}"),
        ("budget", subject.recipe.sampling.budget),
        ("seed", str(subject.recipe.sampling.seed)),
    ]


def _commands(subject: Subject) -> str:
    """Commands that make the same catalog, from its folder."""
    slug = subject.workspace.slug
    changed = _changed(Recipe().model_dump(mode="json"), subject.catalog.meta.recipe)
    lines = [f"curate catalog --recipe {slug}/recipe.yaml"]
    if changed:
        options = " ".join(f"--set {quote(f'{key}={json.dumps(value)}')}" for key, value in changed.items())
        lines += ["", "# or, with what differs from the defaults", f"curate catalog {options}"]
    return "\n".join([*lines, "", "# this page", f"curate report {subject.catalog.path.name}"])


def _changed(default: dict[str, Any], given: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys whose values differ."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, dict) and isinstance(default.get(key), dict) and default[key]:
            found |= _changed(default[key], value, f"{prefix}{key}.")
        elif value != default.get(key):
            found[prefix + key] = value
    return found


def _write_figures(folder: Path, content: dict[str, Any]) -> None:
    """The charts as SVG files and the gallery's pictures as one PNG."""
    groups = {"mix": content["matrices"], "distribution": content["histograms"], "bands": content["spectra"]}
    write_drawings(folder, {**groups, "splits": [("map", content["split_map"])]})
    shown: Gallery = content["gallery"]
    if shown.chips:
        contact_sheet(shown, folder / "pairs.png")


def write_drawings(folder: Path, groups: dict[str, figures.Charts]) -> None:
    """Charts as SVG files, ``GROUP-NAME.svg``."""
    for group, drawings in groups.items():
        for name, drawing in drawings:
            plain = "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
            write_text(folder / f"{group}-{plain}.svg", standalone(drawing))
