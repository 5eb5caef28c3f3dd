"""A trained encoder for use elsewhere: what `train export` writes.

    model.safetensors      the encoder's weights; bands, units, statistics and licence in its metadata
    config.json            shape, sensors with bands in order, units and statistics; what transformers reads
    modeling_KIND.py       the encoder in plain PyTorch (`train/export_modeling.py`, copied); csmoe or ringmoe
    modeling_KIND_hf.py    the same for transformers, AutoModel.from_pretrained(folder, trust_remote_code=True)
    torchgeo_weights.py    an entry as torchgeo's models have them
    README.md              the model's card
    encoder.onnx           with --onnx: one sensor's features, or all sensors'

Weights are taken in physical units: whoever uses them needs no catalog, and raw digital numbers are refused.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from curate.catalog import InputError, RunError
from curate.catalog.files import atomic, write_text
from train import export_modeling
from train.checkpoint import load_model
from train.data import DataConfig
from train.evaluate.card import LICENCE, card_text, model_card
from train.export_templates import TORCHGEO, TRANSFORMERS
from train.models import CSMoE, Model
from train.models.ringmoe import RingMoE
from train.terminal import Say, Shown

CONFIG, WEIGHTS, CARD, ONNX = "config.json", "model.safetensors", "README.md", "encoder.onnx"
NAMES = {"csmoe": "CSMoE", "ringmoe": "RingMoE"}  # of the classes, by the kind that the modelling file knows
LEFT = ("decoder", "heads.", "mask_token")  # parameters that only pretraining needs
SAME = 1e-5  # largest difference between features here and as exported


def export(
    weights: Path,
    out: Path,
    licence: str = LICENCE,
    onnx: bool = False,
    name: str | None = None,
    say: Say = print,
) -> Path:
    """Write the encoder of *weights* to folder *out*; features are compared before it is done.

    Raises:
        InputError: the model is of a kind that has no modelling file, its features depend on what else is in a batch,
            or *out* is a file.
        RunError: the exported encoder gives other features.
    """
    model, data = load_model(weights)
    config = exported_config(model, data)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file", "an export needs a folder", "Choose another with --out")
    card = model_card(model, data, weights, licence)
    title = name or card["run"]
    out.mkdir(parents=True, exist_ok=True)
    kind = config["model_type"]
    config |= {"licence": licence, "card": {key: value for key, value in card.items() if key != "data"}}
    tensors = {
        f"encoder.{key}": value.contiguous().cpu()
        for key, value in model.state_dict().items()
        if not key.startswith(LEFT)
    }
    metadata = {"format": "pt", "card": json.dumps(card)}
    with atomic(out / WEIGHTS) as part:
        save_file(tensors, part, metadata=metadata)
    write_text(out / CONFIG, json.dumps(config, indent=1) + "\n")
    write_text(out / f"modeling_{kind}.py", Path(export_modeling.__file__).read_text(encoding="utf-8"))
    parts = tuple(
        key for key in config if key in ("model_type", "model", "mixtures", "layout", "routing", "sensors")
    )
    wrapper = TRANSFORMERS.format(kind=kind, name=NAMES[kind], parts=parts)
    write_text(out / f"modeling_{kind}_hf.py", wrapper)
    write_text(out / "torchgeo_weights.py", torchgeo_entry(kind, data, card))
    write_text(out / CARD, card_text(card, title))
    images = examples(data)
    apart = {str(out): check_same(model, data, out, images)}
    if onnx:
        apart[str(out / ONNX)] = to_onnx(out, images)
    told = "\n".join(f"exported {each}; features differ by at most {gap:.1e}" for each, gap in apart.items())
    say(Shown(told, {"exported": str(out), "onnx": onnx, "features_differ_by": [*apart.values()]}))
    return out


def exported_config(model: Model, data: DataConfig) -> dict[str, Any]:
    """config.json: shape, sensors and where transformers finds the classes.

    Raises:
        InputError: the modelling file does not know such a model.
    """
    if isinstance(model, CSMoE):
        kind, shape = "csmoe", csmoe_shape(model)
    elif isinstance(model, RingMoE):
        kind, shape = "ringmoe", ringmoe_shape(model)
    else:
        raise InputError(
            f"A {type(model).__name__} cannot be exported",
            "the modelling file knows CSMoE, CSMAE and RingMoE",
        )
    sensors = [
        {"prefix": s.prefix, "name": s.name, "bands": s.bands, "unit": s.unit, "mean": s.mean, "std": s.std}
        for s in data.sensors
    ]
    classes = {"AutoConfig": f"{NAMES[kind]}Config", "AutoModel": f"{NAMES[kind]}Model"}
    return {
        "architectures": [f"{NAMES[kind]}Model"],
        "auto_map": {auto: f"modeling_{kind}_hf.{name}" for auto, name in classes.items()},
        "model_type": kind,
        **shape,
        "sensors": sensors,
        "resolution_m": data.resolution_m,
        "simulated": data.simulated,
    }


def csmoe_shape(model: CSMoE) -> dict[str, Any]:
    """What decides the shape of a CSMoE's encoder."""
    c = model.config
    names = (
        "embed_dim", "num_heads", "specific_depth", "shared_depth", "mlp_ratio", "patch_size", "image_size", "pool",
    )  # fmt: skip
    mixtures = [c.mixture(block) for block in range(c.specific_depth + c.shared_depth)]
    return {"model": {name: getattr(c, name) for name in names}, "mixtures": mixtures}


def ringmoe_shape(model: RingMoE) -> dict[str, Any]:
    """What decides the shape of a RingMoE's encoder.

    Raises:
        InputError: its experts have a capacity.
    """
    c = model.config
    routing = {"specialised": c.specialised_routing, "common": c.common_routing}
    if any(each.capacity is not None for each in routing.values()):
        raise InputError(
            "A RingMoE whose experts have a capacity cannot be exported",
            "which tokens they drop depends on the other images of a batch",
            "Train it without --compat and --variant capacity",
        )
    names = (
        "backbone", "embed_dim", "depths", "heads", "window", "cosine", "mlp_ratio", "patch_size", "image_size",
    )  # fmt: skip
    return {
        "model": {name: getattr(c, name) for name in names},
        "layout": [c.block_layout(block) for block in range(sum(c.depths))],
        "routing": {name: {"k": each.k, "gate": each.gate} for name, each in routing.items()},
    }


def torchgeo_entry(kind: str, data: DataConfig, card: dict[str, Any]) -> str:
    """The file with torchgeo's entries."""
    entries = []
    for s in data.sensors:
        meta = {
            "sensor": s.prefix, "in_chans": len(s.bands), "bands": list(s.bands), "units": s.unit,
            "model": kind, "license": card["licence"], "dataset": data.region, "chip_px": data.chip_px,
        }  # fmt: skip
        entries.append(
            f"    {s.prefix.upper()} = Weights(\n        url=FOLDER.resolve().as_uri(),\n        transforms=None,\n"
            f"        meta={meta!r},\n    )\n"
        )
    return TORCHGEO.format(name=NAMES[kind], function=kind, entries="".join(entries))


def examples(data: DataConfig, count: int = 3) -> dict[str, torch.Tensor]:
    """Random images in physical units, for comparing."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for s in data.sensors:
        noise = torch.randn(count, len(s.bands), data.chip_px, data.chip_px, generator=generator)
        found[s.prefix] = noise * torch.tensor(s.std).view(-1, 1, 1) + torch.tensor(s.mean).view(-1, 1, 1)
    return found


@torch.inference_mode()
def check_same(model: Model, data: DataConfig, folder: Path, images: dict[str, torch.Tensor]) -> float:
    """The largest difference of features between *model* and the export in *folder*, relative to the largest feature.

    Raises:
        RunError: it is more than `SAME`.
    """
    normalised = {
        s.prefix: (images[s.prefix] - torch.tensor(s.mean).view(-1, 1, 1))
        / torch.tensor(s.std).clamp(min=1e-12).view(-1, 1, 1)
        for s in data.sensors
    }
    here, there = model.encode(normalised), export_modeling.load(folder)(images)
    return _apart([here[s] for s in here], [there[s] for s in here])


def to_onnx(folder: Path, images: dict[str, torch.Tensor]) -> float:
    """Write `encoder.onnx`, an input and an output for each sensor, any batch; how far its features are off.

    Raises:
        InputError: onnx or onnxruntime is missing.
        RunError: features differ by more than `SAME`.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise InputError(
            "ONNX needs the packages onnx and onnxruntime",
            do="Install them with: pip install onnx onnxruntime",
        ) from error
    encoder = export_modeling.load(folder)
    sensors = [*images]

    class Positional(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            found = self.encoder(dict(zip(sensors, inputs, strict=True)))
            return tuple(found[s] for s in sensors)

    outputs = [f"{s}_features" for s in sensors]
    axes = {name: {0: "batch"} for name in (*sensors, *outputs)}
    with atomic(folder / ONNX) as part, warnings.catch_warnings():
        # the exporter that replaces it needs one more package and gives the same graph; shapes are checked below
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Positional().eval(), tuple(images.values()), str(part), input_names=sensors, output_names=outputs,
            dynamic_axes=axes, opset_version=17, dynamo=False,
        )  # fmt: skip
    session = onnxruntime.InferenceSession(str(folder / ONNX), providers=["CPUExecutionProvider"])
    fewer = {s: x[:2] for s, x in images.items()}
    found = session.run(outputs, {s: x.numpy() for s, x in fewer.items()})
    with torch.inference_mode():
        expected = encoder(fewer)
    return _apart([expected[s] for s in sensors], [torch.from_numpy(values) for values in found])


def _apart(here: Sequence[torch.Tensor], there: Sequence[torch.Tensor]) -> float:
    gap = max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(here, there, strict=True))
    if not gap <= SAME:
        raise RunError(f"The exported encoder gives other features: they differ by {gap:.1e}")
    return gap
