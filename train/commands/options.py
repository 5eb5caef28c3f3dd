"""Options that several commands have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

Text: TypeAlias = str | None
Whole: TypeAlias = int | None
Number: TypeAlias = float | None


def _located(text: str) -> Path:
    """A catalog's path; what lies elsewhere is mirrored, which alone needs heavy imports."""
    if "://" not in text:
        return Path(text)
    from train.data import located

    return located(text)


def catalog_option(
    meaning: str = "Catalog with pixels; a path, s3:// or https://.",
) -> typer.models.OptionInfo:
    """The option --catalog, whose value is the path of a catalog, or of its mirror here."""
    option: typer.models.OptionInfo = typer.Option(
        "--catalog", parser=_located, metavar="CATALOG", help=meaning
    )
    return option


# Of commands that train; what is not given is left to the preset or the device.
Catalog = Annotated[Text, typer.Option("--catalog", help="Catalog with pixels; a path, s3:// or https://.")]
Config = Annotated[
    Path | None, typer.Option(help="YAML of settings, such as a run's config.yaml; flags go over it.")
]
Steps = Annotated[Whole, typer.Option(help="Steps; by default the preset's.")]
Epochs = Annotated[Whole, typer.Option(help="Passes over the train split, instead of steps.")]
BatchSize = Annotated[Whole, typer.Option(help="Chips a step, of all ranks; by default the preset's.")]
Accumulate = Annotated[Whole, typer.Option(help="Passes that a batch is divided into.  [default: 1]")]
Rate = Annotated[Number, typer.Option(help="Peak learning rate; by default the preset's.")]
Ema = Annotated[Number, typer.Option(help="Decay of averaged weights, 0.999.  [default: none]")]
Seed = Annotated[Whole, typer.Option(help="Of weights, order, flips and masks.  [default: 0]")]
Out = Annotated[Text, typer.Option(help="Run folder.  [default: runs/KIND-CATALOG-PRESET-sSEED]")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the run's checkpoint.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in that folder.")]
Device = Annotated[Text, typer.Option(help="cpu, cuda or cuda:N; CUDA where there is one.")]
Parallel = Annotated[Text, typer.Option(help="ddp or fsdp, under torchrun.  [default: ddp]")]
Workers = Annotated[Whole, typer.Option(help="Threads that fetch batches.  [default: 1]")]
CacheSize = Annotated[
    Number, typer.Option(help="Of a catalog that lies elsewhere, kept here.  [default: 100]")
]
Precision = Annotated[Text, typer.Option(help="fp32 or bf16; fp32 on a CPU, bf16 on CUDA.")]
Compiled = Annotated[bool, typer.Option("--compile", help="With torch.compile.")]
Checkpointing = Annotated[
    bool, typer.Option("--checkpointing", help="Compute activations again instead of keeping them.")
]
PatchSize = Annotated[Whole, typer.Option(help="Pixels; by default what fits the chips.")]
Sensors = Annotated[Text, typer.Option(help="Prefixes with commas, s2,s1; by default all of the catalog's.")]
ProbeEvery = Annotated[Whole, typer.Option(help="Steps between kNN probes.  [default: at the end]")]
Logger = Annotated[list[str] | None, typer.Option(help="wandb, mlflow or trackio, beside TensorBoard.")]
NoProbe = Annotated[bool, typer.Option("--no-probe", help="No kNN probe at the end.")]
Assign = Annotated[
    list[str] | None, typer.Option("--set", help="Any setting, as model.experts=16 or train.clip=2.")
]

# Where each of them stands in a run's settings.
PLACES = {
    **{
        name: name
        for name in ("catalog", "preset", "epochs", "out", "device", "parallel", "workers", "cache_gb")
    },
    **{name: f"train.{name}" for name in ("batch_size", "accumulate", "lr", "ema", "seed", "probe_every")},
    **{name: f"train.{name}" for name in ("mask_ratio", "masking")},
    **{name: f"execution.{name}" for name in ("precision", "compiled", "checkpointing")},
    "max_steps": "train.steps",
    "patch_size": "model.patch_size",
    "logger": "loggers",
}


def settings(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a person asked of a run: a file of settings, options over it, and --set over both.

    Args:
        given: values by the names of the options; those that are None, False or empty say nothing.

    Raises:
        InputError: the file cannot be read, or a --set is no assignment.
    """
    from train.settings import assignments, merged, read_yaml

    asked = merged(read_yaml(given["config"]), {"kind": kind})
    for name, place in PLACES.items():
        value = given.get(name)
        if value is not None and value is not False and value != []:
            section, _, key = place.rpartition(".")
            asked = merged(asked, {section: {key: value}} if section else {key: value})
    if given["sensors"] is not None:
        asked["sensors"] = [prefix.strip() for prefix in given["sensors"].split(",")]
    if given["no_probe"]:
        asked["probe"] = False
    return merged(asked, assignments(given["assign"] or ()))
