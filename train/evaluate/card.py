"""A model's card: what it is, what it reads, what it was trained on, and what it may be used for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from curate.catalog.files import digest
from train import __version__
from train.checkpoint import WEIGHTS
from train.data import DataConfig

LICENCE = "Apache-2.0"


def weights_file(path: Path) -> Path:
    """The file of weights at *path*, which may be a run's folder."""
    return path / WEIGHTS if path.is_dir() else path


def model_card(model: nn.Module, data: DataConfig, path: Path, licence: str = LICENCE) -> dict[str, Any]:
    """The card as JSON: class and size, what was trained how long, sensors with bands, units and statistics."""
    file = weights_file(path)
    return {
        "model": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights": digest(file),
        "run": path.resolve().parent.name if path.is_file() else path.resolve().name,
        "training": _training(file),
        "licence": licence,
        "software": f"curate-and-train {__version__}",
        "simulated": data.simulated,
        "data": data.to_json(),
    }


def _training(file: Path) -> dict[str, Any]:
    """Steps and configuration of the run, from the metadata of the weights."""
    try:
        with safe_open(file, "pt") as opened:
            texts = (opened.metadata() or {}).values()
    except SafetensorError:
        return {}
    for text in texts:
        try:
            about = json.loads(text)
        except ValueError:
            continue
        if isinstance(about, dict) and "train" in about:
            return {"steps": about.get("step"), **about["train"]}
    return {}


def card_text(card: dict[str, Any], name: str) -> str:
    """The card as Markdown, with the head that Hugging Face reads."""
    data = DataConfig.from_json(card["data"])
    rows = [
        f"| `{s.prefix}` | {s.name} | {', '.join(s.bands)} | {s.unit} | {data.resolution_m:g} m |"
        for s in data.sensors
    ]
    steps, seed = card["training"].get("steps"), card["training"].get("seed")
    trained = f" for {steps:,} steps (seed {seed})" if steps is not None else ""
    warning = (
        "\n**Trained on simulated values: these weights know nothing about the Earth.**\n"
        if card["simulated"]
        else ""
    )
    return f"""---
license: {card["licence"].lower()}
library_name: pytorch
tags: [remote-sensing, sentinel-1, sentinel-2, foundation-model]
---
# {name}

{card["model"]} with {card["parameters"]:,} parameters, trained{trained} on a catalog of region
`{data.region}` (recipe `{data.recipe_hash}`).
{warning}
## Input

Images of {data.chip_px} × {data.chip_px} pixels, by sensor. The numbers must be in the unit below and the bands in this
order; `normalise` in the modelling file subtracts the training set's mean and divides by its deviation.

| key | sensor | bands, in order | unit | pixel |
|---|---|---|---|---|
{chr(10).join(rows)}

Sentinel-2 digital numbers become reflectance by × 0.0001, from processing baseline 04.00 on after subtracting 1000.
Sentinel-1 values are decibels: 10 log10(power).

## Output

`encode(images)`: a feature vector by sensor; `encode_tokens(images)`: vectors of the patches, in raster order.

## Licence and origin

Licence: {card["licence"]}. Made with {card["software"]}; digest of the weights {card["weights"]} (BLAKE2b-128).
"""
