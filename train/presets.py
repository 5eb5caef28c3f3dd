"""Presets of CSMoE: shapes, and how long and how fast to train them.

The width, heads and depths of `base` are CSMAE's published SESD; the numbers of experts and slots everywhere,
and everything in `tiny`, `small` and `large` but their width and heads, are our own choice: CSMoE's are not
public to us.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from curate.catalog import InputError
from train.models import ModelConfig

MIN_TOKENS = 36  # below this a mask of a half leaves too little to learn from
MAX_TOKENS = 4096  # above this attention costs more than anybody means to pay


@dataclass(frozen=True)
class Preset:
    """One size of model."""

    embed_dim: int
    num_heads: int
    specific_depth: int
    shared_depth: int
    decoder_dim: int
    decoder_depth: int
    decoder_heads: int
    experts: int
    slots: int  # per expert
    patch_size: int  # the largest that `patch_for` may choose, px
    batch_size: int  # pairs
    max_steps: int
    lr: float

    def model(
        self, sensors: dict[str, tuple[str, ...]], chip_px: int, patch_size: int | None = None
    ) -> ModelConfig:
        """The model for these sensors and chips.

        The routing scale starts at sqrt(width): there the logits of random tokens have a standard deviation
        of one, so that about two thirds of the tokens fill a slot; at the paper's 1 routing is uniform.

        Raises:
            InputError: no patch fits the chip, or *patch_size* does not divide it.
        """
        return ModelConfig(
            sensors=sensors,
            image_size=chip_px,
            patch_size=patch_for(chip_px, self.patch_size)
            if patch_size is None
            else check_patch(chip_px, patch_size),
            embed_dim=self.embed_dim,
            num_heads=self.num_heads,
            specific_depth=self.specific_depth,
            shared_depth=self.shared_depth,
            decoder_dim=self.decoder_dim,
            decoder_depth=self.decoder_depth,
            decoder_heads=self.decoder_heads,
            experts=self.experts,
            slots=self.slots,
            scale_init=math.sqrt(self.embed_dim),
        )


PRESETS = {
    # For a CPU: the decoder runs once for each pair of sensors and would be most of the cost, so it is small.
    "tiny": Preset(192, 3, 3, 1, 128, 2, 4, 4, 2, 15, 64, 240, 5e-4),
    "small": Preset(384, 6, 10, 2, 256, 4, 8, 8, 2, 15, 128, 20_000, 5e-4),
    "base": Preset(768, 12, 10, 2, 512, 8, 16, 8, 2, 15, 256, 50_000, 2e-4),
    "large": Preset(1024, 16, 20, 4, 512, 8, 16, 8, 2, 15, 256, 50_000, 1.5e-4),
}


def preset(name: str) -> Preset:
    """The preset called *name*.

    Raises:
        InputError: there is none.
    """
    if name not in PRESETS:
        raise InputError(f"There is no preset {name!r}", do=f"Choose one of: {', '.join(PRESETS)}")
    return PRESETS[name]


def patch_for(chip_px: int, largest: int) -> int:
    """The largest divisor of *chip_px* that is at most *largest* and leaves at least 36 patches, px.

    Raises:
        InputError: there is none that leaves at most 4,096 patches.
    """
    for patch in range(min(largest, chip_px), 0, -1):
        if chip_px % patch == 0 and MIN_TOKENS <= (chip_px // patch) ** 2 <= MAX_TOKENS:
            return patch
    raise InputError(
        f"No patch of at most {largest} px fits chips of {chip_px} px",
        f"it must divide the chip and leave {MIN_TOKENS} to {MAX_TOKENS:,} patches",
        "Cut chips of another size, or give a divisor with --patch-size",
    )


def check_patch(chip_px: int, patch: int) -> int:
    """*patch*, if it divides the chip into at least four patches.

    Raises:
        InputError: it does not.
    """
    if patch < 1 or chip_px % patch or (chip_px // patch) ** 2 < 4:
        divisors = [str(p) for p in range(2, chip_px // 2 + 1) if chip_px % p == 0]
        raise InputError(
            f"--patch-size {patch} does not divide chips of {chip_px} px into at least four patches",
            do=f"Choose one of: {', '.join(divisors)}" if divisors else "Cut chips of another size",
        )
    return patch
