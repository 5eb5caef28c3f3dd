"""The page of a run, from the files that a run leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.catalog import InputError
from train.reporting import write_run


def leave_run(folder: Path) -> None:
    lines = [
        json.dumps(
            {"event": "train", "step": s, "total": 3 / s, "umr": 1 / s, "lr": 1e-3, "pairs_per_s": 50.0}
        )
        for s in (10, 20, 30)
    ]
    lines += [json.dumps({"event": "val", "step": 30, "total": 0.2})]
    lines += [json.dumps({"event": "routing", "step": 30, "layers": {"shared.0": {"tokens_per_slot": 4.5}}})]
    (folder / "log.jsonl").write_text("\n".join([*lines, '{"torn": ']))
    (folder / "config.json").write_text(json.dumps({"train": {"lr": 0.001}, "catalog": "eu.parquet"}))
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


def test_a_run_is_shown_with_what_it_left_behind(tmp_path: Path) -> None:
    leave_run(tmp_path)
    text = write_run(tmp_path).read_text(encoding="utf-8")
    assert text.index("Simulated.") < text.index("<h1>")
    for said in ("fell by", "50%", "0.700 [0.600, 0.800]", "Not made: too few chips", "tokens per slot 4.50"):
        assert said in text, said
    for name in ("total", "umr", "lr", "pairs per s"):
        assert f"<figcaption>{name}</figcaption>" in text
    assert "train.lr" in text and "eu.parquet" in text


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        write_run(tmp_path)
