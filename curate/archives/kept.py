"""Answers kept on disk while a search runs, so that the next one asks only for what this one did not get."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from curate import __version__
from curate.archives.found import Answer, Limits
from curate.catalog.files import atomic
from curate.recipe import stable_hash
from curate.scenes import Rejected
from curate.sensors import Sensor
from curate.signing import unsigned

_FRESH_S = 7 * 86_400.0  # answers of a search that was begun longer ago are asked for again
_SAID = b"answer"


@dataclass(frozen=True)
class Kept:
    """A folder of answers, each under a name made from the question."""

    folder: Path

    def recall(self, question: Any, ask: Callable[[], Answer]) -> Answer:
        """The answer to *question*: the one that is kept, or that of *ask*, kept from now on if it is whole."""
        path = self.folder / f"{stable_hash([__version__, question])}.parquet"
        answer = self._load(path)
        if answer is None:
            answer = ask()
            if not answer.missing:
                self._store(path, answer)
        return answer

    def clear(self) -> None:
        """Forget all answers."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _load(self, path: Path) -> Answer | None:
        try:
            if time.time() - path.stat().st_mtime > _FRESH_S:
                return None
            table = pq.read_table(path, memory_map=False)
            said = json.loads(table.schema.metadata[_SAID])
        except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
            return None  # absent, or torn on a disk that was full
        rejected = [Rejected(*pair) for pair in said["rejected"]]
        batches = table.replace_schema_metadata(None).to_batches()
        return Answer(batches, rejected, simulated=said["simulated"])

    def _store(self, path: Path, answer: Answer) -> None:
        rejected = [[one.id, one.reason] for one in answer.rejected]
        said = json.dumps({"rejected": rejected, "simulated": answer.simulated})
        with atomic(path) as part:
            pq.write_table(answer.table.replace_schema_metadata({_SAID: said}), part, compression="zstd")


def question_of(
    href: str, collection: str, limits: Limits, sensor: Sensor, bands: tuple[str, ...], more: Any = None
) -> list[Any]:
    """All that decides an answer, as JSON would have it."""
    area = stable_hash(shapely.to_wkb(shapely.normalize(limits.area)).hex())
    period = limits.period.model_dump(mode="json")
    return [
        unsigned(href),
        collection,
        area,
        period,
        limits.max_cloud_percent,
        repr(sensor),
        list(bands),
        more,
    ]
