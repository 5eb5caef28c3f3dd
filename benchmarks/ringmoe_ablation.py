"""What each part of RingMoE is worth: pools on and off, power against pixels, mixture against dense; 3 seeds.

    python benchmarks/ringmoe_ablation.py CATALOG --out ablation [--steps 240] [--seeds 0 1 2] [--only full dense-total]

Every row is `train ringmoe` with one variant, at equal steps and on equal batches. A run that is finished is not made
again and one that was stopped goes on, so the script can be killed and started at any time; `--summary` only reads.
Scores are kNN accuracies of the features of all sensors and of radar alone, mean and range over seeds, beside random
weights and mean-band values of the same probe.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean

VARIANTS = {
    "full": "",
    "no specialised": "+no-specialised",
    "no collaborative": "+no-collaborative",
    "no shared": "+no-shared",
    "pixels of radar": "+pixels",
    "gamma likelihood": "+gamma",
    "dense, equal active size": "+dense-active",
    "dense, equal total size": "+dense-total",
    "as published": "+compat",
}


def run(catalog: Path, folder: Path, preset: str, seed: int, steps: int, batch: int | None) -> None:
    """One training run, unless it is there."""
    if (folder / "summary.json").exists():
        return
    command = [sys.executable, "-m", "train.cli", "ringmoe", "--catalog", str(catalog), "--out", str(folder)]
    if (folder / "checkpoint.pt").exists():
        command += ["--resume"]
    else:
        command += ["--preset", preset, "--seed", str(seed), "--max-steps", str(steps), "--overwrite"]
        command += [] if batch is None else ["--batch-size", str(batch)]
    subprocess.run(command, check=True)


def scores(folder: Path) -> dict[str, float]:
    """kNN accuracies of a finished run, "label, features, sensors"."""
    probes = json.loads((folder / "probe.json").read_text())["probes"]
    return {
        f"{probe['label']}, {result['features']}, {result['sensors']}": result["score"]["accuracy"]["value"]
        for probe in probes
        for result in probe["results"]
    }


def cell(values: list[float]) -> str:
    """Mean and range."""
    return f"{mean(values):.3f} [{min(values):.3f}, {max(values):.3f}]" if values else "-"


def summarise(out: Path, seeds: list[int], names: list[str], radar: str) -> None:
    """Print the table of what is finished."""
    found: dict[str, list[dict[str, float]]] = {}
    for name in names:
        folders = [out / f"{name.replace(' ', '-').replace(',', '')}-s{seed}" for seed in seeds]
        found[name] = [scores(folder) for folder in folders if (folder / "probe.json").exists()]
    labels = sorted({key.split(",")[0] for runs in found.values() for one in runs for key in one})
    columns = [(label, sensors) for label in labels for sensors in ("all", radar)]
    print("| variant | runs | " + " | ".join(f"{label}, {sensors}" for label, sensors in columns) + " |")
    print("|---|---|" + "---|" * len(columns))
    shown = [(name, "trained", name) for name in names]
    shown += [(kind, kind, names[0]) for kind in ("random weights", "mean-band values")]
    for title, kind, name in shown:
        runs = found[name]
        cells = [
            cell([one[f"{label}, {kind}, {sensors}"] for one in runs if f"{label}, {kind}, {sensors}" in one])
            for label, sensors in columns
        ]
        print(f"| {title} | {len(runs)} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("catalog", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="VARIANT"
    )
    parser.add_argument("--radar", default="s1", help="prefix of the radar sensor")
    parser.add_argument("--summary", action="store_true", help="only print what is finished")
    given = parser.parse_args()
    for seed in [] if given.summary else given.seeds:
        for name in given.only:
            folder = given.out / f"{name.replace(' ', '-').replace(',', '')}-s{seed}"
            preset = given.preset + VARIANTS[name]
            run(given.catalog, folder, preset, seed, given.steps, given.batch_size)
    summarise(given.out, given.seeds, given.only, given.radar)


if __name__ == "__main__":
    main()
