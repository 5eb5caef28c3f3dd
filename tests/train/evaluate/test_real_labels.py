"""The real labelled chips: EuroSAT with 13 bands, and BigEarthNet's pairs."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from train.checkpoint import save_weights
from train.data import DataConfig
from train.evaluate.judging import probe_models
from train.kinds import KINDS
from train.models import ModelConfig
from train.optimise import TrainConfig

pytestmark = pytest.mark.real

S2 = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")


def quiet(_: object) -> None:
    pass


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Random weights with the statistics of real scenes, roughly."""
    sensors = [
        {"prefix": "s2", "name": "sentinel-2-l2a", "bands": S2, "unit": "reflectance", "scale": 1e-4, "offset": 0.0,
         "nodata": 0, "mean": [0.1] * 4 + [0.2] * 5 + [0.15], "std": [0.08] * 10},
        {"prefix": "s1", "name": "sentinel-1-rtc", "bands": ("VV", "VH"), "unit": "dB", "scale": 0.01, "offset": 0.0,
         "nodata": -32768, "mean": [-12.0, -19.0], "std": [5.0, 5.0]},
    ]  # fmt: skip
    fields = {"chip_px": 60, "resolution_m": 10.0, "region": "x", "recipe_hash": "0" * 32, "simulated": False}
    data = DataConfig.from_json({"sensors": sensors, **fields})
    config = ModelConfig(
        sensors=data.bands, image_size=60, patch_size=10, embed_dim=48, num_heads=3, specific_depth=1,
        shared_depth=1, decoder_dim=16, decoder_depth=1, decoder_heads=2,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("real")
    save_weights(folder, KINDS["csmoe"].untrained(config, 0), data, TrainConfig(1, 8, 1e-3), 1)
    return folder


@pytest.mark.slow
def test_eurosat(run, real_data):
    results = probe_models([run], dataset=f"eurosat:{real_data / 'labelled' / 'eurosat_ms'}", say=quiet)
    assert results.about["sizes"] == {"images": 70}
    means = results.find(method="knn", features="mean-band values", metric="accuracy")[0]
    shares = results.find(features="shares of classes", metric="accuracy")[0]
    assert means.estimate.low > shares.estimate.high  # 8A is found where EuroSAT puts it, in reflectance
    assert len(means.seeds) == 2


@pytest.mark.slow
def test_bigearthnets_pairs(run, real_data, tmp_path):
    archive = real_data / "archive"
    with (real_data / "labelled" / "bigearthnet_labels.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["s1_item"]]
    lines = ["patch,labels"]
    for prefix in ("s2", "s1"):
        (tmp_path / prefix).mkdir()
    for row in rows:
        (tmp_path / "s2" / row["s2_item"]).symlink_to(archive / "sentinel-2-l2a" / row["s2_item"])
        (tmp_path / "s1" / row["s2_item"]).symlink_to(archive / "sentinel-1-grd" / row["s1_item"])
        lines.append(f'{row["s2_item"]},"{row["labels"]}"')
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    (tmp_path / "s2" / "sensor.json").write_text(json.dumps({"scale": 1e-4}))
    results = probe_models([run], dataset=f"folder:{tmp_path}", say=quiet)
    assert results.about["sizes"] == {"images": 4}
    assert {row.sensors for row in results.find(method="linear")} == {"all", "s2", "s1"}
    assert np.isfinite([row.estimate.value for row in results.rows]).all()
