"""`train export`: an encoder for use elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def export(
    weights: Annotated[Path, typer.Argument(help="Run folder, or weights.safetensors.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    licence: Annotated[str, typer.Option(help="SPDX name of the weights' licence.")] = "Apache-2.0",
    name: Annotated[str | None, typer.Option(help="Title of the card.  [default: the run's name]")] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="encoder.onnx too, checked with onnxruntime.")] = False,
) -> None:
    """Write the encoder for plain PyTorch, timm style, Hugging Face, torchgeo and ONNX; no network is used."""
    from train.export import export as write
    from train.terminal import printer

    write(weights, out, licence, onnx, name, printer())
