"""A trained encoder for use elsewhere: what `train export` writes.

    model.safetensors      the encoder's weights; bands, units, statistics and licence in its metadata
    config.json            shape, sensors with bands in order, units and statistics; what transformers reads
    modeling_csmoe.py      the encoder in plain PyTorch (`train/export_modeling.py`, copied)
    modeling_csmoe_hf.py   the same for transformers, AutoModel.from_pretrained(folder, trust_remote_code=True)
    torchgeo_weights.py    an entry as torchgeo's models have them
    README.md              the model's card
    encoder.onnx           with --onnx: one sensor's features, or all sensors'

Weights are taken in physical units: whoever uses them needs no catalog, and raw digital numbers are refused.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
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
from train.models import CSMoE

CONFIG, WEIGHTS, MODELING, CARD, ONNX = (
    "config.json", "model.safetensors", "modeling_csmoe.py", "README.md", "encoder.onnx",
)  # fmt: skip
SAME = 1e-5  # largest difference between features here and as exported
TRANSFORMERS = '''"""The exported encoder: transformers.AutoModel.from_pretrained(folder, trust_remote_code=True)."""

from transformers import PretrainedConfig, PreTrainedModel

from .modeling_csmoe import Encoder


class CSMoEConfig(PretrainedConfig):
    model_type = "csmoe"


class CSMoEModel(PreTrainedModel):
    config_class = CSMoEConfig
    base_model_prefix = "encoder"
    main_input_name = "images"

    def __init__(self, config):
        super().__init__(config)
        self.encoder = Encoder({name: getattr(config, name) for name in ("model", "mixtures", "sensors")})
        self.post_init()

    def forward(self, images):
        """Features [B, D] by sensor of physical values [B, bands, H, W] by sensor."""
        return self.encoder(images)

    def _init_weights(self, module):
        """Nothing to do: weights are loaded; what is left of a module's own are its fixed statistics."""
        if isinstance(module, Encoder):
            module.set_statistics()
'''
TORCHGEO = '''"""Weights as torchgeo's models have them: an enumeration of torchvision's WeightsEnum."""

from pathlib import Path

from torchvision.models._api import Weights, WeightsEnum

FOLDER = Path(__file__).parent


class {name}_Weights(WeightsEnum):
    """One entry for each sensor: `in_chans` bands in the order of `bands`, physical values in `units`."""

{entries}

def {function}(weights=None, features_only=False):
    """The encoder of one sensor: maps [B, bands, H, W] to features [B, D], or to a pyramid of maps."""
    from modeling_csmoe import load

    weights = weights or next(iter({name}_Weights))
    sensor, folder = weights.meta["sensor"], Path(weights.url.removeprefix("file://"))
    model = load(folder, features_only=features_only, sensor=sensor)
    if features_only:
        return model

    import torch

    class OneSensor(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = model

        def forward(self, x):
            return self.encoder({{sensor: x}})[sensor]

    return OneSensor().eval()
'''


def export(
    weights: Path,
    out: Path,
    licence: str = LICENCE,
    onnx: bool = False,
    name: str | None = None,
    say: Callable[[object], None] = print,
) -> Path:
    """Write the encoder of *weights* to folder *out*; features are compared before it is done.

    Raises:
        InputError: the model is of a kind that has no modelling file, or *out* is a file.
        RunError: the exported encoder gives other features.
    """
    model, data = load_model(weights)
    if not isinstance(model, CSMoE):
        raise InputError(
            f"A {type(model).__name__} cannot be exported yet",
            "the modelling file knows CSMoE and CSMAE only",
        )
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file", "an export needs a folder", "Choose another with --out")
    card = model_card(model, data, weights, licence)
    title = name or card["run"]
    out.mkdir(parents=True, exist_ok=True)
    config = exported_config(model, data, card)
    tensors = {
        f"encoder.{key}": value.contiguous().cpu()
        for key, value in model.state_dict().items()
        if not key.startswith("decoder")
    }
    metadata = {"format": "pt", "card": json.dumps(card)}
    with atomic(out / WEIGHTS) as part:
        save_file(tensors, part, metadata=metadata)
    write_text(out / CONFIG, json.dumps(config, indent=1) + "\n")
    write_text(out / MODELING, Path(export_modeling.__file__).read_text(encoding="utf-8"))
    write_text(out / "modeling_csmoe_hf.py", TRANSFORMERS)
    write_text(out / "torchgeo_weights.py", torchgeo_entry(out, data, card))
    write_text(out / CARD, card_text(card, title))
    images = examples(data)
    say(f"exported {out}; features differ by at most {check_same(model, data, out, images):.1e}")
    if onnx:
        say(f"exported {out / ONNX}; features differ by at most {to_onnx(out, images):.1e}")
    return out


def exported_config(model: CSMoE, data: DataConfig, card: dict[str, Any]) -> dict[str, Any]:
    """config.json: shape, sensors and where transformers finds the classes."""
    c = model.config
    shape = (
        "embed_dim", "num_heads", "specific_depth", "shared_depth", "mlp_ratio", "patch_size", "image_size", "pool",
    )  # fmt: skip
    sensors = [
        {"prefix": s.prefix, "name": s.name, "bands": s.bands, "unit": s.unit, "mean": s.mean, "std": s.std}
        for s in data.sensors
    ]
    return {
        "architectures": ["CSMoEModel"],
        "auto_map": {
            "AutoConfig": "modeling_csmoe_hf.CSMoEConfig",
            "AutoModel": "modeling_csmoe_hf.CSMoEModel",
        },
        "model_type": "csmoe",
        "model": {name: getattr(c, name) for name in shape},
        "mixtures": [c.mixture(block) for block in range(c.specific_depth + c.shared_depth)],
        "sensors": sensors,
        "resolution_m": data.resolution_m,
        "simulated": data.simulated,
        "licence": card["licence"],
        "card": {key: value for key, value in card.items() if key != "data"},
    }


def torchgeo_entry(out: Path, data: DataConfig, card: dict[str, Any]) -> str:
    """The file with torchgeo's entries."""
    entries = []
    for s in data.sensors:
        meta = {
            "sensor": s.prefix, "in_chans": len(s.bands), "bands": list(s.bands), "units": s.unit,
            "model": "csmoe", "license": card["licence"], "dataset": data.region, "chip_px": data.chip_px,
        }  # fmt: skip
        entries.append(
            f"    {s.prefix.upper()} = Weights(\n        url=FOLDER.resolve().as_uri(),\n        transforms=None,\n"
            f"        meta={meta!r},\n    )\n"
        )
    return TORCHGEO.format(name="CSMoE", function="csmoe", entries="".join(entries))


def examples(data: DataConfig, count: int = 3) -> dict[str, torch.Tensor]:
    """Random images in physical units, for comparing."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for s in data.sensors:
        noise = torch.randn(count, len(s.bands), data.chip_px, data.chip_px, generator=generator)
        found[s.prefix] = noise * torch.tensor(s.std).view(-1, 1, 1) + torch.tensor(s.mean).view(-1, 1, 1)
    return found


@torch.inference_mode()
def check_same(model: CSMoE, data: DataConfig, folder: Path, images: dict[str, torch.Tensor]) -> float:
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
