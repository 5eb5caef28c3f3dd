"""Find, pair, describe, sample and cut satellite scenes into a training catalog.

In Python the commands are functions of the same names, ``curate.sample(1000)``, loaded when they are first used;
`curate.catalog` and `curate.report` are packages that can be called, too.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

__version__ = "0.1.0"
_COMMANDS = (
    "catalog", "compare", "cut", "describe", "export", "labels", "measure", "pair", "report", "sample", "search",
    "validate",
)  # fmt: skip


class Command(ModuleType):
    """A package that is also the command of its name."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the function of `curate.api` that has the package's name."""
        from curate import api

        return getattr(api, self.__name__.rpartition(".")[2])(*args, **options)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("catalog", "report"):
        return import_module(f"curate.{name}")
    if name in _COMMANDS:
        return getattr(import_module("curate.api"), name)
    raise AttributeError(f"module 'curate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_COMMANDS})
