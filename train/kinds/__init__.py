"""The kinds of models: one entry each, which the trainer, the weights and the command line find by its name."""

from __future__ import annotations

from curate.catalog import InputError
from train.kinds.base import Kind, Pretraining, Rows
from train.kinds.csmoe import CSMAE, CSMOE
from train.kinds.ringmoe import RINGMOE

KINDS: dict[str, Kind] = {kind.name: kind for kind in (CSMOE, CSMAE, RINGMOE)}

__all__ = ["KINDS", "Kind", "Pretraining", "Rows", "kind_of"]


def kind_of(name: str) -> Kind:
    """The kind called *name*.

    Raises:
        InputError: there is none.
    """
    if name not in KINDS:
        raise InputError(f"There is no kind of model {name!r}", do=f"Choose one of: {', '.join(KINDS)}")
    return KINDS[name]
