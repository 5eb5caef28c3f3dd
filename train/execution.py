"""How a model is run, as opposed to what it computes: precision, compilation, activation memory."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass

import torch
from torch import nn

from curate.catalog import InputError
from train.layers import BLOCKS
from train.layers.hierarchical import HierarchicalMoE

PRECISIONS = ("fp32", "bf16")
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h of glibc
SHAPES = 64  # of blocks that are compiled; beyond PyTorch's 8 a Swin of four stages would run as plain Python


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
        masks and losses around them stay plain Python. Code is kept for every shape of block, in training and
        out of it.
        """
        if self.compiled:
            torch._dynamo.config.recompile_limit = SHAPES
        for module in model.modules():
            if hasattr(module, "checkpointing"):  # a stack of blocks, of any kind
                module.checkpointing = self.checkpointing  # type: ignore[assignment]
            if isinstance(module, HierarchicalMoE) and self.compiled:
                # Segments have other lengths at every step.
                module.forward = torch.compiler.disable(module.forward)  # type: ignore[method-assign,no-untyped-call]
            if isinstance(module, BLOCKS) and self.compiled:
                module.compile()

    def autocast(self, device: torch.device | str) -> torch.autocast:
        """The context to run the forward pass in."""
        kind = torch.device(device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16")


def keep_freed_memory() -> None:
    """Keep the memory of freed tensors for the next ones: a training step on a CPU allocates the same again and again.

    By default glibc gives large blocks back to the system, which then hands every page out anew, zeroed: 5 % of a
    step of `csmae-sesd-base`. Other C libraries are left as they are.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):  # see mallopt(3)
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 2**28)):
            library.mallopt(parameter, value)


def choose_device(name: str | None) -> torch.device:
    """The device of that name; by default CUDA where there is one.

    Raises:
        InputError: there is no such device here.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"There is no device {name!r}", do="Choose cpu, cuda or cuda:0") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"Device {name!r} is not supported", do="Choose cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"There is no device {name!r} here",
            f"{torch.cuda.device_count()} CUDA devices",
            "Use --device cpu",
        )
    return device
