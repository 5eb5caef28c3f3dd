"""The progress of a training run on standard error; silent where that is no terminal."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType

from rich.progress import TextColumn

from train.terminal import bar, counted

APART = ("lr", "pairs_per_s", "data_wait", "grad_norm")  # what is no loss


class Bar:
    """Steps done, and the latest losses, learning rate and speed."""

    def __init__(self, done: int, steps: int, shown: bool = True) -> None:
        self._shown, self._stack = shown, ExitStack()
        self._progress = bar("training", TextColumn("{task.fields[losses]}"), shown=shown)
        self._task = self._progress.add_task("training", total=steps, completed=done, losses="")

    def show(self, values: Mapping[str, float]) -> None:
        losses = " ".join(f"{name} {value:.3f}" for name, value in values.items() if name not in APART)
        speed = f"lr {values['lr']:.1e} {values['pairs_per_s']:.0f} pairs/s"
        self._progress.update(self._task, losses=f"{losses} {speed}")

    def advance(self) -> None:
        self._progress.advance(self._task)

    def __enter__(self) -> Bar:
        self._stack.enter_context(counted(self._shown))
        self._stack.enter_context(self._progress)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
