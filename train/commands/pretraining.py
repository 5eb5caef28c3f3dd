"""The commands that train a model on a catalog: one for each kind, all with the same options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

app = typer.Typer()

KINDS = {
    "csmoe": "Train CSMoE on a catalog, save its weights under runs/, and probe its features.",
    "csmae": "Train CSMAE, CSMoE without experts in the published shapes, in the same way.",
}
Text: TypeAlias = str | None
Whole: TypeAlias = int | None
Number: TypeAlias = float | None


def _command(kind: str, meaning: str) -> None:
    def command(
        catalog: Annotated[Text, typer.Option(help="Catalog with pixels; a path, s3:// or https://.")] = None,
        config: Annotated[
            Path | None, typer.Option(help="YAML of settings, such as a run's config.yaml; flags go over it.")
        ] = None,
        preset: Annotated[Text, typer.Option(help="Size; a small one on a CPU, base on CUDA.")] = None,
        max_steps: Annotated[Whole, typer.Option(help="Steps; by default the preset's.")] = None,
        epochs: Annotated[Whole, typer.Option(help="Passes over the train split, instead of steps.")] = None,
        batch_size: Annotated[
            Whole, typer.Option(help="Pairs a step, of all ranks; by default the preset's.")
        ] = None,
        accumulate: Annotated[
            Whole, typer.Option(help="Passes that a batch is divided into.  [default: 1]")
        ] = None,
        lr: Annotated[Number, typer.Option(help="Peak learning rate; by default the preset's.")] = None,
        ema: Annotated[
            Number, typer.Option(help="Decay of averaged weights, 0.999.  [default: none]")
        ] = None,
        seed: Annotated[Whole, typer.Option(help="Of weights, order, flips and masks.  [default: 0]")] = None,
        out: Annotated[
            Text, typer.Option(help="Run folder.  [default: runs/KIND-CATALOG-PRESET-sSEED]")
        ] = None,
        resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's checkpoint.")] = False,
        overwrite: Annotated[
            bool, typer.Option("--overwrite", help="Replace the run in that folder.")
        ] = False,
        device: Annotated[Text, typer.Option(help="cpu, cuda or cuda:N; CUDA where there is one.")] = None,
        parallel: Annotated[Text, typer.Option(help="ddp or fsdp, under torchrun.  [default: ddp]")] = None,
        workers: Annotated[Whole, typer.Option(help="Threads that fetch batches.  [default: 1]")] = None,
        cache_gb: Annotated[
            Number, typer.Option(help="Of a catalog that lies elsewhere, kept here.  [default: 100]")
        ] = None,
        precision: Annotated[Text, typer.Option(help="fp32 or bf16; fp32 on a CPU, bf16 on CUDA.")] = None,
        compiled: Annotated[bool, typer.Option("--compile", help="With torch.compile.")] = False,
        checkpointing: Annotated[
            bool, typer.Option("--checkpointing", help="Compute activations again instead of keeping them.")
        ] = False,
        mask_ratio: Annotated[Number, typer.Option(help="Share of hidden patches.  [default: 0.5]")] = None,
        masking: Annotated[
            Text, typer.Option(help="random, identical or disjoint over sensors.  [default: random]")
        ] = None,
        patch_size: Annotated[Whole, typer.Option(help="Pixels; by default what fits the chips.")] = None,
        sensors: Annotated[
            Text, typer.Option(help="Prefixes with commas, s2,s1; by default all of the catalog's.")
        ] = None,
        probe_every: Annotated[
            Whole, typer.Option(help="Steps between kNN probes.  [default: at the end]")
        ] = None,
        logger: Annotated[
            list[str] | None, typer.Option(help="wandb, mlflow or trackio, beside TensorBoard.")
        ] = None,
        no_probe: Annotated[bool, typer.Option("--no-probe", help="No kNN probe at the end.")] = False,
        assign: Annotated[
            list[str] | None, typer.Option("--set", help="Any setting, as model.experts=16 or train.clip=2.")
        ] = None,
    ) -> None:
        from rich.console import Console

        from train.pretrain import pretrain
        from train.settings import assignments, merged, read_yaml, without_none

        flags: dict[str, Any] = {
            "kind": kind,
            "catalog": catalog,
            "preset": preset,
            "epochs": epochs,
            "out": out,
            "device": device,
            "parallel": parallel,
            "workers": workers,
            "cache_gb": cache_gb,
            "sensors": None if sensors is None else [part.strip() for part in sensors.split(",")],
            "loggers": logger or None,
            "probe": False if no_probe else None,
            "train": {
                "steps": max_steps,
                "batch_size": batch_size,
                "accumulate": accumulate,
                "lr": lr,
                "ema": ema,
                "seed": seed,
                "mask_ratio": mask_ratio,
                "masking": masking,
                "probe_every": probe_every,
            },
            "model": {"patch_size": patch_size},
            "execution": {
                "precision": precision,
                "compiled": compiled or None,
                "checkpointing": checkpointing or None,
            },
        }
        console = Console(highlight=False, markup=False, soft_wrap=True)
        given = merged(merged(read_yaml(config), without_none(flags)), assignments(assign or ()))
        pretrain(given, resume, overwrite, console.print)

    app.command(name=kind, help=meaning)(command)


for _kind, _meaning in KINDS.items():
    _command(_kind, _meaning)
