"""What a run's page is about: its model, and chips that the model was not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.catalog import Catalog, InputError
from train.checkpoint import load_model
from train.data import Chips, DataConfig, open_catalog
from train.evaluate.card import model_card

if TYPE_CHECKING:
    from train.models import Model

MOST = 256  # chips that are measured


@dataclass(frozen=True)
class Subject:
    """A trained model with held-out chips that have all of its sensors."""

    model: Model
    data: DataConfig
    card: Mapping[str, Any]
    chips: Chips
    split: str

    @property
    def training(self) -> Mapping[str, Any]:
        """The configuration of the training, as the weights have it."""
        found: Mapping[str, Any] = self.card["training"]
        return found


def open_subject(folder: Path, catalog: Path | str) -> Subject:
    """The model of the run in *folder* and at most `MOST` chips of the test split, or of val where test is empty.

    Raises:
        InputError: there are no weights, or no catalog that fits them, or no chip was held out.
    """
    model, data = load_model(folder)
    opened = open_catalog(catalog)
    split, chips = _held_out(opened, data.on(opened))
    return Subject(model, data, model_card(model, data, folder), chips, split)


def _held_out(catalog: Catalog, data: DataConfig) -> tuple[str, Chips]:
    for split in ("test", "val"):
        chips = Chips(catalog, data, split)
        whole = np.ones(len(chips), bool)
        for there in chips.present(np.arange(len(chips))).values() if len(chips) else ():
            whole &= there
        if whole.any():
            return split, chips.take(np.flatnonzero(whole)).some(MOST, 0)
    raise InputError(f"Catalog {catalog.path} has no chip in test or val", "nothing was held out")
