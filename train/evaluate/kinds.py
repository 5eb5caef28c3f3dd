"""Kinds of features that every result shows beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from train.evaluate.embed import ALL, embed
from train.evaluate.images import Images, random_like
from train.evaluate.results import MEANS, RANDOM, TRAINED

Floats = npt.NDArray[np.floating]
Features = Mapping[str, Floats]  # by sensor and `all`


def kinds(
    models: Sequence[Any], images: Images, seeds: int, batch_size: int = 128
) -> dict[str, list[Features]]:
    """Features of *images* by kind: of each of the *models*, of as many *seeds* of random weights, of mean bands."""
    first = models[0]
    return {
        TRAINED: [embed(model, images, batch_size) for model in models],
        RANDOM: [embed(random_like(first, seed), images, batch_size) for seed in range(seeds)],
        MEANS: [band_features(images)],
    }


def band_features(images: Images) -> Features:
    """The mean value of each band, by sensor, in physical units."""
    means = images.band_means()
    cuts = np.cumsum([len(sensor.bands) for sensor in images.config.sensors])[:-1]
    parts = np.split(means, cuts, axis=1)
    by_sensor = dict(zip((s.prefix for s in images.config.sensors), parts, strict=True))
    return {**by_sensor, ALL: means}
