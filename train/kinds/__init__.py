"""The kinds of models: one entry each, which the trainer, the weights and the command line find by its name."""

from __future__ import annotations

from curate.catalog import InputError
from train.kinds.base import Kind, Pretraining, Rows, Sized
from train.kinds.csmoe import CSMAE, CSMOE
from train.kinds.ringmoe import RINGMOE
from train.models.ringmoe_presets import ring_preset
from train.presets import shape

KINDS: dict[str, Kind] = {kind.name: kind for kind in (CSMOE, CSMAE, RINGMOE)}

RING = f"{RINGMOE.name}-"  # what a preset's name begins with, where kinds stand beside each other

__all__ = ["KINDS", "Kind", "Pretraining", "Rows", "kind_of", "of_any_kind"]


def kind_of(name: str) -> Kind:
    """The kind called *name*.

    Raises:
        InputError: there is none.
    """
    if name not in KINDS:
        raise InputError(f"There is no kind of model {name!r}", do=f"Choose one of: {', '.join(KINDS)}")
    return KINDS[name]


def of_any_kind(name: str) -> tuple[Kind, Sized]:
    """A preset of any kind, `base`, `csmae-sesd-base` or `ringmoe-tiny+top2`, also one only to be compared with.

    Raises:
        InputError: there is none.
    """
    if name.startswith(RING):
        return RINGMOE, ring_preset(name.removeprefix(RING))
    return CSMOE, shape(name)
