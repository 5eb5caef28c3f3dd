"""Trains models at equal cost, or one model on several samples, some seeds each, and probes all on the same chips.

    python benchmarks/trained.py catalogs/eu.parquet --out trained --seeds 3
    python benchmarks/trained.py all.parquet --samples random.parquet diverse.parquet --out trained --seeds 3
    python benchmarks/trained.py all.parquet --shapes --out trained --seeds 3

Without samples: CSMoE, CSMoE with the paper's first routing scale (1), CSMAE with our decoder, and CSMAE as published,
each for the steps that `--steps` steps of CSMoE cost in FLOPs. With `--shapes`: CSMoE with other experts, slots and
decoders, all for the same steps, so that what a shape costs stands beside what it gives. With samples: CSMoE for the
same steps on the training chips of each catalog; draw them from the pool of the first with `curate sample`, which
shares chips out between splits in the same way. Probes: kNN and logistic regression on the first catalog's training
chips, judged on its validation and test chips; beside them random weights, of each seed, and mean band values. What is
finished lies in OUT/results.jsonl and is not done again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from train.checkpoint import load_model
from train.data import Chips, DataConfig, open_catalog
from train.evaluate.embed import embed
from train.evaluate.knn import knn
from train.evaluate.probe import labels_of, standardised
from train.flops import cost
from train.kinds import KINDS
from train.presets import preset
from train.pretrain import pretrain

BATCH, RATE = 32, 5e-4
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "CSMoE": ("tiny", {}),
    "CSMoE, scale 1": ("tiny", {"scale_init": 1.0}),
    "CSMAE, our decoder": ("tiny-dense", {}),
    "CSMAE, published": ("csmae-sesd-tiny", {}),
}
SHAPES: dict[str, dict[str, Any]] = {
    "4 x 2, decoder 2 x 128": {},
    "no experts, decoder 2 x 128": {"experts": 0},
    "8 x 1, decoder 2 x 128": {"experts": 8, "slots": 1},
    "4 x 1, decoder 2 x 128": {"experts": 4, "slots": 1},
    "8 x 4, decoder 2 x 128": {"experts": 8, "slots": 4},
    "4 x 2, decoder 1 x 64": {"decoder_depth": 1, "decoder_dim": 64},
    "4 x 2, decoder 4 x 256": {"decoder_depth": 4, "decoder_dim": 256, "decoder_heads": 8},
}
Features = dict[str, np.ndarray]


class Judge:
    """The same training and held-out chips for every model."""

    def __init__(self, catalog: Path) -> None:
        opened = open_catalog(str(catalog))
        self.data = DataConfig.of(opened)
        self.bank, self.queries = Chips(opened, self.data, "train"), Chips(opened, self.data, "val+test")

    def of_model(self, model: Any) -> dict[str, float]:
        model.eval()
        return self.scores(embed(model, self.bank), embed(model, self.queries))

    def of_means(self) -> dict[str, float]:
        return self.scores({"all": self.bank.band_means()}, {"all": self.queries.band_means()})

    def scores(self, bank: Features, queries: Features) -> dict[str, float]:
        """Accuracy and macro F1 by label, sensor and probe."""
        found = {}
        asked = labels_of(self.queries)
        for label, values in labels_of(self.bank).items():
            known, wanted = (
                pa.array(v, pa.string()).is_valid().to_numpy(False) for v in (values, asked[label])
            )
            votes, truth = values[known].astype(str), asked[label][wanted].astype(str)
            classes, numbers = np.unique(votes, return_inverse=True)
            for sensor in bank:
                inside, outside = standardised(bank[sensor][known], queries[sensor][wanted])
                linear = LogisticRegression(C=0.1, max_iter=1000).fit(inside, votes).predict(outside)
                for name, said in (("kNN", classes[knn(inside, numbers, outside)]), ("linear", linear)):
                    found[f"{label}/{sensor}/{name}/accuracy"] = float((said == truth).mean())
                    found[f"{label}/{sensor}/{name}/macro F1"] = float(f1_score(truth, said, average="macro"))
        return found


def trained(
    catalog: Path, name: str, model: dict[str, Any], steps: int, seed: int, folder: Path
) -> dict[str, Any]:
    """Train one model; its mean loss at the start and at the end."""
    train = {"steps": steps, "batch_size": BATCH, "lr": RATE, "seed": seed, "log_every": 1}
    given = {"catalog": str(catalog), "preset": name, "probe": False, "out": str(folder)}
    pretrain({**given, "model": model, "train": train}, overwrite=True, say=lambda _: None)
    return first_and_last(folder, 10)


def first_and_last(folder: Path, parts: int) -> dict[str, float]:
    """Mean reconstruction loss of the first and of the last of so many *parts* of a run."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    losses = [line["reconstruction"] for line in lines if line["event"] == "train"]
    few = max(1, len(losses) // parts)
    return {"first": float(np.mean(losses[:few])), "last": float(np.mean(losses[-few:]))}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--samples", type=Path, nargs="*", default=[])
    parser.add_argument("--shapes", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=240)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    results = asked.out / "results.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    judge = Judge(asked.catalog)

    def record(name: str, seed: int, steps: int, work: Callable[[], dict[str, Any]]) -> None:
        if not any((row["name"], row["seed"], row["steps"]) == (name, seed, steps) for row in rows):
            rows.append({"name": name, "seed": seed, "steps": steps, **work()})
            with results.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")

    def run(
        name: str, catalog: Path, shape: str, model: dict[str, Any], steps: int, seed: int
    ) -> dict[str, Any]:
        folder = asked.out / f"{name}-s{seed}".replace(" ", "-").replace(",", "")
        loss = trained(catalog, shape, model, steps, seed, folder)
        return {"loss": loss, "scores": judge.of_model(load_model(folder)[0])}

    def configured(shape: str, model: dict[str, Any]) -> Any:
        return replace(preset(shape).model(judge.data.bands, judge.data.chip_px), **model)

    budget = cost(configured("tiny", {})).step * asked.steps
    runs = [(path.stem, path, "tiny", dict[str, Any](), asked.steps) for path in asked.samples]
    if asked.shapes:
        runs = [(name, asked.catalog, "tiny", model, asked.steps) for name, model in SHAPES.items()]
    runs = runs or [
        (name, asked.catalog, shape, model, max(1, round(budget / cost(configured(shape, model)).step)))
        for name, (shape, model) in MODELS.items()
    ]
    record("mean-band values", 0, 0, lambda: {"scores": judge.of_means()})
    for seed in range(asked.seeds):
        model = KINDS["csmoe"].untrained(configured("tiny", {}), seed)
        record("random weights", seed, 0, partial(lambda m: {"scores": judge.of_model(m)}, model))
        for one in runs:
            record(one[0], seed, one[-1], partial(run, *one, seed))
    show(rows)


def show(rows: list[dict[str, Any]]) -> None:
    """Mean and range over seeds, of all sensors together."""
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = [row for row in rows if row["name"] == name]
        print(f"{name}: {len(mine)} seeds, {mine[0]['steps']} steps")
        for key in [key for key in mine[0]["scores"] if "/all/" in key]:
            found = [row["scores"][key] for row in mine]
            print(f"    {key:45} {np.mean(found):.3f}  [{min(found):.3f}, {max(found):.3f}]")


if __name__ == "__main__":
    main()
