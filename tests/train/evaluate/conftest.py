"""Weights of a small model, as a run leaves them."""

from __future__ import annotations

from pathlib import Path

import pytest

from train.checkpoint import save_weights
from train.data import DataConfig, open_catalog
from train.kinds import KINDS
from train.optimise import TrainConfig


@pytest.fixture(autouse=True)
def short_timing(monkeypatch):
    monkeypatch.setattr("train.evaluate.cost.SECONDS", 0.02)


@pytest.fixture(scope="session")
def weights(toy, small_config, tmp_path_factory) -> Path:
    """A run's folder with random weights for the toy catalog."""
    folder = tmp_path_factory.mktemp("run")
    data = DataConfig.of(open_catalog(toy))
    save_weights(folder, KINDS["csmoe"].untrained(small_config, 3), data, TrainConfig(10, 8, 1e-3), 10)
    return folder
