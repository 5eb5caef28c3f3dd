"""The commands that train CSMoE and CSMAE on a catalog, with the same options."""

from __future__ import annotations

from typing import Annotated

import typer

from train.commands import options as o

app = typer.Typer()

KINDS = {
    "csmoe": "Train CSMoE on a catalog, save its weights under runs/, and probe its features.",
    "csmae": "Train CSMAE, CSMoE without experts in the published shapes, in the same way.",
}


def _command(kind: str, meaning: str) -> None:
    def command(
        catalog: o.Catalog = None,
        config: o.Config = None,
        preset: Annotated[o.Text, typer.Option(help="Size; a small one on a CPU, base on CUDA.")] = None,
        max_steps: o.Steps = None,
        epochs: o.Epochs = None,
        batch_size: o.BatchSize = None,
        accumulate: o.Accumulate = None,
        lr: o.Rate = None,
        ema: o.Ema = None,
        seed: o.Seed = None,
        out: o.Out = None,
        resume: o.Resume = False,
        overwrite: o.Overwrite = False,
        device: o.Device = None,
        parallel: o.Parallel = None,
        workers: o.Workers = None,
        cache_gb: o.CacheSize = None,
        precision: o.Precision = None,
        compiled: o.Compiled = False,
        checkpointing: o.Checkpointing = False,
        mask_ratio: Annotated[o.Number, typer.Option(help="Share of hidden patches.  [default: 0.5]")] = None,
        masking: Annotated[
            o.Text, typer.Option(help="random, identical or disjoint over sensors.  [default: random]")
        ] = None,
        patch_size: o.PatchSize = None,
        sensors: o.Sensors = None,
        probe_every: o.ProbeEvery = None,
        logger: o.Logger = None,
        no_probe: o.NoProbe = False,
        assign: o.Assign = None,
    ) -> None:
        asked = o.settings(kind, locals())
        from train.pretrain import pretrain
        from train.terminal import printer

        pretrain(asked, resume, overwrite, printer())

    app.command(name=kind, help=meaning)(command)


for _kind, _meaning in KINDS.items():
    _command(_kind, _meaning)
