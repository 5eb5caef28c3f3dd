"""What a stage did: how many came in, how many left, and how many were rejected for which reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from curate.catalog.files import write_text


@dataclass(frozen=True)
class Summary:
    """The account of one stage; nothing is dropped in silence."""

    stage: str
    unit: str  # what is counted: scenes, pairs, chips
    came_in: int
    left: int
    rejected: dict[str, int] = field(default_factory=dict)  # reason -> how many
    notes: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    reused: bool = False  # the stage's table was there already, made from the same input


def count(reasons: Iterable[str]) -> dict[str, int]:
    """How often each reason occurs, most frequent first, ties by name."""
    return dict(sorted(Counter(reasons).items(), key=lambda item: (-item[1], item[0])))


def add(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    """Two counts by reason as one."""
    total = Counter(first) + Counter(second)
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def store(path: Path, summary: Summary) -> None:
    """Keep *summary* in the JSON file *path*, beside those of the other stages."""
    stages = load(path)
    stages[summary.stage] = asdict(summary)
    write_text(path, json.dumps(stages, indent=1) + "\n")


def load(path: Path) -> dict[str, dict[str, Any]]:
    """Summaries by stage; empty where there are none."""
    if not path.exists():
        return {}
    stages: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return stages
