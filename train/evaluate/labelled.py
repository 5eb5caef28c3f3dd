"""Labelled images, and what the readers of data sets share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.catalog import InputError
from train.data import DataConfig, Sensor
from train.evaluate.folds import Fold
from train.evaluate.labels import Labels

DN = 1e-4  # reflectance of one digital number of Sentinel-2, before baseline 04.00


@dataclass(frozen=True)
class Labelled:
    """Images, what they show, and the data set's own split into what is learned from and what is judged."""

    images: Any
    labels: Labels
    folds: list[Fold]  # empty: cross-validate


def sensor_of(data: DataConfig, kind: str) -> Sensor:
    found = next((sensor for sensor in data.sensors if kind in sensor.name), None)
    if found is None:
        raise InputError(
            f"The model does not read {kind}", f"it reads {', '.join(s.name for s in data.sensors)}"
        )
    return found


def official(train: npt.NDArray[np.bool_], test: npt.NDArray[np.bool_]) -> list[Fold]:
    bank, queries = np.flatnonzero(train), np.flatnonzero(test)
    return [Fold(bank, queries)] if len(bank) and len(queries) else []
