"""What each part of RingMoE is worth: pools on and off, power against pixels, mixture against dense; 3 seeds.

    python benchmarks/ringmoe_ablation.py catalogs/eu.parquet --out ablation

Every run is `train ringmoe` with one variant of a preset, at equal steps and on equal batches. Probes, on the same
chips for all: kNN and logistic regression on training chips, judged on validation and test chips, on features of all
sensors and of each alone; beside them random weights, of each seed, and mean band values. What is finished lies in
OUT/results.jsonl and is not done again, so the script can be killed and started at any time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from trained import Judge, first_and_last

from train.checkpoint import load_model
from train.flops import cost
from train.kinds import KINDS
from train.models.ringmoe_presets import ring_preset
from train.pretrain import pretrain

VARIANTS = {
    "all pools": "",
    "without specialised": "+no-specialised",
    "without collaborative": "+no-collaborative",
    "without shared": "+no-shared",
    "power alone as radar's target": "+log-power",
    "pixels as targets": "+pixels",
    "decorrelated bands as targets": "+decorrelated",
    "indices as targets, too": "+indices",
    "dense, equal active size": "+dense-active",
    "dense, equal total size": "+dense-total",
}
MOST = 600  # training chips that vote, a seeded draw


def trained(catalog: Path, folder: Path, preset: str, train: dict[str, Any]) -> dict[str, Any]:
    """Train one variant; its mean loss at the start and at the end."""
    given = {"kind": "ringmoe", "catalog": str(catalog), "preset": preset, "probe": False, "out": str(folder)}
    pretrain({**given, "train": {**train, "log_every": 1}}, overwrite=True, say=lambda _: None)
    return first_and_last(folder, 6)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--summary", action="store_true", help="only show what is finished")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    results = asked.out / "results.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    judge = Judge(asked.catalog)
    judge.bank = judge.bank.some(MOST, 0)

    def record(name: str, seed: int, work: Callable[[], dict[str, Any]]) -> None:
        if not any((row["name"], row["seed"]) == (name, seed) for row in rows):
            rows.append({"name": name, "seed": seed, "steps": asked.steps, **work()})
            with results.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")

    def untrained(seed: int) -> dict[str, Any]:
        config = ring_preset(asked.preset).model(judge.data.bands, judge.data.chip_px)
        return {"scores": judge.of_model(KINDS["ringmoe"].untrained(config, seed))}

    def run(name: str, seed: int) -> dict[str, Any]:
        folder = asked.out / f"{name}-s{seed}".replace(" ", "-").replace(",", "").replace("'", "")
        train = {"steps": asked.steps, "batch_size": asked.batch_size, "seed": seed}
        loss = trained(asked.catalog, folder, asked.preset + VARIANTS[name], train)
        model = load_model(folder)[0]
        counted = cost(model.config)
        size = {"encoder": counted.backbone, "encode": counted.encode_total, "step": counted.step}
        return {"loss": loss, "scores": judge.of_model(model), **size}

    if not asked.summary:
        record("mean-band values", 0, lambda: {"scores": judge.of_means()})
        for seed in range(asked.seeds):
            record("random weights", seed, partial(untrained, seed))
            for name in VARIANTS:
                record(name, seed, partial(run, name, seed))
    show(rows)


def show(rows: list[dict[str, Any]]) -> None:
    """A table: cost, fall of the loss, and mean [least, largest] over seeds of the probes of all sensors together."""
    columns = [
        (f"{label}/all/{probe}/accuracy", f"{probe}, {label}")
        for label in ("dominant land cover", "Köppen main class")
        for probe in ("kNN", "linear")
    ]
    print("| variant | seeds | M parameters | GFLOP a step | loss falls to |", end="")
    print("".join(f" {title} |" for _, title in columns))
    print("|---|" + "---|" * (4 + len(columns)))
    for name in [*VARIANTS, "random weights", "mean-band values"]:
        mine = [row for row in rows if row["name"] == name]
        if not mine:
            continue
        sized = "encoder" in mine[0]
        cost = f"{mine[0]['encoder'] / 1e6:.2f} | {mine[0]['step'] / 1e9:.2f}" if sized else " | "
        falls = [row["loss"]["last"] / row["loss"]["first"] for row in mine] if sized else []
        cells = [spread([row["scores"][key] for row in mine]) for key, _ in columns]
        print(f"| {name} | {len(mine)} | {cost} | {spread(falls)} | " + " | ".join(cells) + " |")


def spread(values: list[float]) -> str:
    """Mean and range."""
    return f"{np.mean(values):.2f} [{min(values):.2f}, {max(values):.2f}]" if values else ""


if __name__ == "__main__":
    main()
