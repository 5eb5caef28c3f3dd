"""A run's folder with weights, log, probe and results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from train.checkpoint import save_weights
from train.data import DataConfig, open_catalog
from train.evaluate.evidence import Evidence
from train.evaluate.results import Results
from train.kinds import KINDS
from train.models import ModelConfig
from train.optimise import TrainConfig


@pytest.fixture(scope="session")
def run_folder(toy: Path, small_config: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `train csmoe` and `train retrieve --out` leave it, with random weights."""
    folder = tmp_path_factory.mktemp("runs") / "toy-run"
    folder.mkdir()
    data = DataConfig.of(open_catalog(toy))
    save_weights(folder, KINDS["csmoe"].untrained(small_config, 3), data, TrainConfig(30, 8, 1e-3), 30)
    leave_files(folder, str(toy))
    places = np.array([f"{i}" for i in range(8)])
    found = Results({"task": "retrieval", "models": "toy-run"})
    found.add(
        "retrieve",
        "land covers",
        "exact, top 3",
        "s2 -> s1",
        "trained",
        "mAP",
        [Evidence.mean(np.linspace(0, 1, 8), places)],
    )
    found.save(folder / "retrieval.json")
    Image.fromarray(np.full((40, 120, 3), 90, np.uint8)).save(folder / "retrieval-landcovers-s2-s1-best.png")
    return folder


def leave_files(folder: Path, catalog: str) -> None:
    lines = [
        {"event": "train", "step": s, "total": 3 / s, "umr": 1 / s, "lr": 1e-3, "pairs_per_s": 50.0}
        for s in (10, 20, 30)
    ]
    lines += [{"event": "val", "step": s, "total": 0.2, "chips": 64} for s in (10, 30)]
    lines += [{"event": "knn", "step": s, "land_cover/accuracy": 0.4} for s in (10, 30)]
    lines += [
        {"event": "routing_scale", "step": s, "layers": {"shared.0.mlp": 14.0, "shared.1.mlp": 15.0}}
        for s in (10, 30)
    ]
    lines += [{"event": "routing", "step": 30, "layers": {"shared.0.mlp": {"tokens_per_slot": 4.5}}}]
    (folder / "log.jsonl").write_text("\n".join([*map(json.dumps, lines), '{"torn": ']))
    config = {"catalog": catalog, "kind": "csmoe", "preset": "tiny", "train": {"lr": 0.001}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    start = {
        "step": 0,
        "command": "train csmoe --catalog toy.parquet",
        "versions": {"torch": "2.9"},
        "ranks": 1,
    }
    (folder / "origin.json").write_text(json.dumps([start]))
    summary = {"steps": 30, "simulated": True, "reconstruction": {"first": 2.0, "last": 1.0, "fall": 0.5}}
    (folder / "summary.json").write_text(json.dumps(summary))
    score = {"accuracy": {"value": 0.7, "low": 0.6, "high": 0.8}}
    result = {"features": "trained", "sensors": "all", "score": score}
    probe = {
        "label": "land cover",
        "bank": 5,
        "queries": 4,
        "queried_split": "test",
        "majority": 0.4,
        "skipped": "",
    }
    skipped = {**probe, "label": "climate", "skipped": "too few chips", "results": []}
    (folder / "probe.json").write_text(json.dumps({"probes": [{**probe, "results": [result]}, skipped]}))
