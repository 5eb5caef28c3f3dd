"""How a model is run, as opposed to what it computes: precision, compilation, activation memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from train.layers import Block, Blocks

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class Execution:
    """Choices that leave the weights' meaning alone.

    Raises:
        ValueError: an unknown precision.
    """

    precision: str = (
        "fp32"  # bf16 is autocast: matrix products in bfloat16, weights, routing and losses in float32
    )
    compiled: bool = False  # fuse what lies between the matrix products; the first steps take a minute longer
    checkpointing: bool = False  # compute activations again instead of keeping them

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"There is no precision {self.precision!r}: choose {' or '.join(PRECISIONS)}")

    def prepare(self, model: nn.Module) -> None:
        """Set *model* up in place; names of parameters stay.

        Blocks are compiled one by one: they are nearly all the work, blocks of one shape share their code, and
        masks and losses around them stay plain Python.
        """
        for module in model.modules():
            if isinstance(module, Blocks):
                module.checkpointing = self.checkpointing
            if isinstance(module, Block) and self.compiled:
                module.compile()

    def autocast(self, device: torch.device | str) -> torch.autocast:
        """The context to run the forward pass in."""
        kind = torch.device(device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16")
