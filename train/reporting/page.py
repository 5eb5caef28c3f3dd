"""A run's page, from the files of its folder, its weights and chips of its catalog."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from curate.catalog import InputError
from curate.catalog.files import write_text
from curate.catalog.page import figure, render
from train import __version__
from train.reporting.experts import Use, experts, short, use_of_run
from train.reporting.judged import RETRIEVAL, probe_tables, results_in
from train.reporting.log import OF_TIME, Event, by_layer, curves, last, read_log
from train.reporting.reconstructions import Rebuilt, reconstructions
from train.reporting.subject import Subject, open_subject
from train.runfolder import CONFIG, ORIGIN, PROBE, SUMMARY

HERE = Path(__file__).parent / "templates"
SIMULATED = "This run was trained on a simulated catalog: nothing here says anything about the Earth."


@dataclass(frozen=True)
class Files:
    """What a run wrote down of itself; empty where a file is not there."""

    folder: Path
    events: list[Event]
    config: dict[str, Any]
    summary: dict[str, Any]
    probe: dict[str, Any]
    starts: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> Files:
        events = read_log(folder / "log.jsonl")
        named = (_read(folder / name) for name in (CONFIG, SUMMARY, PROBE, ORIGIN))
        config, summary, probe, starts = named
        return cls(folder, events, _mapping(config), _mapping(summary), _mapping(probe), starts or [])

    @property
    def catalog(self) -> str:
        return str(self.config.get("catalog") or "")


def write_run(folder: Path, out: Path | None = None, catalog: Path | str | None = None) -> Path:
    """Write the page of the run in *folder* to *out* (None: ``report.html`` in the folder).

    Args:
        catalog: whose held-out chips are shown; by default that of the run. Where it or the weights cannot be
            read, the page says so instead of reconstructions and use of the experts.

    Raises:
        InputError: the folder holds no run.
    """
    files = Files.read(folder)
    subject, why = _subject(files, catalog)
    content = _content(files, subject, why)
    target = out or folder / "report.html"
    write_text(target, render(HERE, "run.html", key="", **content))
    return target


def _subject(files: Files, catalog: Path | str | None) -> tuple[Subject | None, str]:
    asked = catalog or files.catalog
    if not asked:
        return None, "the run does not name its catalog: give it with --catalog"
    try:
        return open_subject(files.folder, asked), ""
    except (InputError, OSError) as error:
        return None, " ".join(str(error).split())


def _content(files: Files, subject: Subject | None, why: str) -> dict[str, Any]:
    simulated = files.summary.get("simulated") or files.probe.get("simulated")
    simulated = simulated or bool(subject and subject.data.simulated)
    rebuilt: Rebuilt | str = reconstructions(subject) if subject else why
    used: Use | str = experts(subject) if subject else why
    use_rows, use_note = use_of_run(files.folder)
    measured = results_in(files.folder)
    events, probes = files.events, probe_tables(files.probe.get("probes", []))
    sections = [
        ("losses", "Losses"), ("speed", "Learning rate and speed"), ("rebuilt", "Reconstructions"),
        ("experts", "Experts"), ("probes", "Probes"), ("retrieval", "Retrieval"), ("card", "Model card"),
    ]  # fmt: skip
    return {
        "title": files.folder.resolve().name,
        "kind": "A training run",
        "simulated": SIMULATED if simulated else "",
        "lede": _lede(files, subject),
        "facts": _facts(files, subject),
        "sections": sections,
        "footer": f"Made by train {__version__}. This page holds all that it shows and asks no network.",
        "stopped": _stopped(files),
        "losses": curves(events, ("train", "val"), lambda name: name not in OF_TIME),
        "speed": curves(events, ("train",), lambda name: name in OF_TIME),
        "layers": by_layer(events),
        "watched": curves(events, ("knn",), lambda name: True),
        "rebuilt": rebuilt if isinstance(rebuilt, Rebuilt) else None,
        "rebuilt_not": rebuilt if isinstance(rebuilt, str) else "",
        "used": used if isinstance(used, Use) else None,
        "used_not": used if isinstance(used, str) else "",
        "use_rows": use_rows,
        "use_note": use_note,
        "routing": _routing(last(events, "routing").get("layers") or {}),
        "probes": probes,
        "judged": [table for table in measured if table["task"] != RETRIEVAL],
        "retrieved": [table for table in measured if table["task"] == RETRIEVAL],
        "card": _card(files, subject),
        "sensors": subject.data.sensors if subject else (),
        "settings": list(_flat(files.config)),
    }


def _lede(files: Files, subject: Subject | None) -> str:
    kind, preset = files.config.get("kind", ""), files.config.get("preset") or ""
    model = f"{kind} {preset}".strip() or "A model"
    on = f"trained on {files.catalog}" if files.catalog else "trained on a catalog that the run does not name"
    if subject is None:
        return f"{model}, {on}."
    sensors = " and ".join(f"{s.prefix} ({len(s.bands)} bands, {s.unit})" for s in subject.data.sensors)
    return f"{model}, {on}: {sensors}, chips of {subject.data.chip_px} × {subject.data.chip_px} pixels."


def _facts(files: Files, subject: Subject | None) -> list[tuple[str, str]]:
    steps = max((int(event.get("step", 0)) for event in files.events), default=0)
    asked = subject.training.get("steps") if subject else None
    facts = [("steps", f"{steps:,}")]
    if not files.summary and asked:
        facts.append(("not finished", f"{steps:,} logged"))
    if subject:
        facts.append(("parameters", f"{subject.card['parameters'] / 1e6:.1f} M"))
    for name, found in files.summary.items():
        if isinstance(found, dict) and "fall" in found:
            facts.append((f"{name} loss fell by", f"{found['fall']:.0%}"))
    speeds = sorted(e["pairs_per_s"] for e in files.events if "pairs_per_s" in e)
    if speeds:
        facts.append(("pairs a second", figure(float(speeds[len(speeds) // 2]))))
    if len(files.starts) > 1:
        facts.append(("starts", str(len(files.starts))))
    return facts


def _stopped(files: Files) -> str:
    event = last(files.events, "not_finite")
    if not event:
        return ""
    return f"At step {event.get('step', 0):,} {' and '.join(event.get('losses', []))} became not finite."


def _routing(layers: dict[str, dict[str, float]]) -> dict[str, list[tuple[str, ...]]]:
    """How sharply each layer routes, as columns and rows; empty where the log does not say."""
    if not layers:
        return {}
    names = list(next(iter(layers.values())))
    rows = [(short(name), *(figure(float(found[n])) for n in names)) for name, found in layers.items()]
    return {"columns": [("mixture", *(name.replace("_", " ") for name in names))], "rows": rows}


def _card(files: Files, subject: Subject | None) -> list[tuple[str, str]]:
    start: dict[str, Any] = files.starts[-1] if files.starts else {}
    pairs: list[tuple[str, Any]] = []
    if subject:
        card, training = subject.card, subject.training
        pairs += [
            ("model", f"{card['model']}, {card['parameters']:,} parameters"),
            (
                "trained",
                f"{training.get('steps')} steps of {training.get('batch_size')}, seed {training.get('seed')}",
            ),
            ("region", subject.data.region),
            ("recipe of the catalog", subject.data.recipe_hash),
            ("licence", card["licence"]),
            ("weights (BLAKE2b-128)", card["weights"]),
            ("software", card["software"]),
        ]
    pairs += [("command", _bare(start.get("command"))), ("started", start.get("time"))]
    pairs += [("device", start.get("device")), ("processes", start.get("ranks"))]
    pairs += [(f"version of {name}", v) for name, v in (start.get("versions") or {}).items()]
    return [(name, str(value)) for name, value in pairs if value not in (None, "")]


def _bare(command: str | None) -> str | None:
    """A command without the folder that its program lies in."""
    program, space, rest = (command or "").partition(" ")
    return Path(program).name + space + rest if program else None


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _mapping(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _flat(found: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in found.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield prefix + key, str(value)
