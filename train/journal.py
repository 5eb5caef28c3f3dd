"""The record of a run: losses by step, checked, averaged over windows, written as JSON lines and to trackers."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from curate.catalog import RunError
from curate.catalog.files import append_line, write_text
from train.distributed import Ranks
from train.loggers import Logger, numbers

LOG = "log.jsonl"
ENDS = 20  # steps at the start and at the end whose mean loss is compared
NAMED = 32  # chips that an error names; the log has them all


class Journal:
    """Keeps what each step yields on the device and reads it out *every* so many steps.

    Reading a number waits for the device, so a GPU is asked once a window; a CPU has nothing to wait for and
    is asked at every step. All ranks read together, and see the mean over all; rank 0 writes.
    """

    def __init__(self, folder: Path, every: int, names: Sequence[str], followed: str, among: Ranks) -> None:
        self.names, self.followed, self.ranks = tuple(names), followed, among
        self.path, self.every = folder / LOG, every
        self.eager = among.device.type == "cpu"
        self.loggers: Sequence[Logger] = ()
        self.first: list[float] = []  # the followed loss of the first steps
        self.last: list[float] = []  # and of the last
        self.latest: dict[str, float] = {}  # means of the last window written
        self._pending: list[tuple[int, Sequence[str], Tensor]] = []
        self._window: list[list[float]] = []
        self._pairs, self._waited_s, self._since = 0, 0.0, time.perf_counter()

    def add(self, step: int, chip_ids: Sequence[str], values: Tensor, lr: float, waited_s: float) -> bool:
        """Take the step's numbers, in the order of `names`; True where a line was written.

        Args:
            chip_ids: of this rank's share of the batch.

        Raises:
            RunError: a loss is not finite.
        """
        self._pending.append((step, chip_ids, values.detach()))
        self._pairs += len(chip_ids) * self.ranks.world
        self._waited_s += waited_s
        if self.eager:
            self._read()
        if (step + 1) % self.every:
            return False
        self.flush(step, lr)
        return True

    def flush(self, step: int, lr: float) -> None:
        """Write the mean of what has come since the last line; nothing where nothing has."""
        self._read()
        if not self._window:
            return
        means = [sum(column) / len(self._window) for column in zip(*self._window, strict=True)]
        passed_s = max(time.perf_counter() - self._since, 1e-9)
        self.latest = {
            **dict(zip(self.names, means, strict=True)),
            "lr": lr,
            "pairs_per_s": self._pairs / passed_s,
            "data_wait": self._waited_s / passed_s,  # share of the time in which no batch was ready
        }
        self.write("train", step=step + 1, **self.latest)
        self._window = []
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave what is not training, such as validation, out of the next window's speed."""
        self._pairs, self._waited_s, self._since = 0, 0.0, time.perf_counter()

    def write(self, event: str, step: int, **fields: Any) -> None:
        """Append one line, and pass its numbers on to the trackers."""
        if not self.ranks.writes:
            return
        append_line(self.path, json.dumps({"event": event, "step": step, **fields}))
        for logger in self.loggers:
            logger.log({f"{event}/{name}": value for name, value in numbers(fields).items()}, step)

    def forget_after(self, step: int) -> None:
        """Drop lines of steps that a killed run took after its last checkpoint: they are taken again."""
        if not self.ranks.writes or not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line).get("step", 0) <= step:
                    kept.append(line)
            except json.JSONDecodeError:
                continue  # torn by the kill
        write_text(self.path, "".join(line + "\n" for line in kept))

    def close(self) -> None:
        """Close the trackers."""
        for logger in self.loggers:
            logger.close()

    def _read(self) -> None:
        if not self._pending:
            return
        own = torch.stack([values for *_, values in self._pending]).double()
        rows: list[list[float]] = self.ranks.mean(own.clone()).cpu().tolist()
        for (step, chip_ids, _), row, mine in zip(self._pending, rows, own, strict=True):
            wrong = [name for name, value in zip(self.names, row, strict=True) if not math.isfinite(value)]
            if wrong:
                self._stop(step, wrong, chip_ids, mine)
            followed = row[self.names.index(self.followed)]
            if len(self.first) < ENDS:
                self.first.append(followed)
            self.last = [*self.last[1 - ENDS :], followed]
        self._window += rows
        self._pending = []

    def _stop(self, step: int, wrong: Sequence[str], chip_ids: Sequence[str], mine: Tensor) -> None:
        """End the run over a loss that is not finite, naming the chips of the ranks where it is not."""
        here = not bool(
            mine[: self.names.index("grad_norm")].isfinite().all()
        )  # the norm is that of all ranks
        shares = self.ranks.gathered((here, [str(chip) for chip in chip_ids]))
        guilty = any(found for found, _ in shares)
        chips = [chip for found, share in shares if found or not guilty for chip in share]
        self.write("not_finite", step=step + 1, losses=list(wrong), chips=chips)
        more = f", and {len(chips) - NAMED:,} more, all in {self.path}" if len(chips) > NAMED else ""
        self._pending = []
        raise RunError(
            f"Training stopped at step {step + 1}: {' and '.join(wrong)} not finite. "
            "Lower --lr, or look at the chips of that batch: " + ", ".join(chips[:NAMED]) + more
        )

    def to_json(self) -> dict[str, list[float]]:
        return {"first": self.first, "last": self.last}

    def resume(self, fields: dict[str, list[float]]) -> None:
        self.first, self.last = list(fields["first"]), list(fields["last"])
