"""Presets: shapes of models, and how long and how fast to train them.

- `tiny`, `small`, `base`, `large` are CSMoE. The widths and heads of all, and the depths of `small` and `base`, are
  those of CSMAE's published SESD. The numbers of experts and slots, the decoders, and all else are our own choice:
  CSMoE's are not public to us. docs/models.md shows what was weighed.
- `tiny-dense` and so on are the same shapes without experts.
- `csmae-sesd-base` and so on are CSMAE as published: four variants, four widths, decoders of 8 × 512. Where a variant's
  name says that the encoder is common, it is, which the published configurations of CECD and CESD forgot.
- `vit-base` and so on, for comparing costs, are a masked autoencoder of one plain ViT over the bands of all sensors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product

from curate.catalog import InputError
from train.models import ModelConfig

PAIR = {  # the default recipe's sensors, for counting and timing without a catalog
    "s2": ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
    "s1": ("VV", "VH"),
}
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
    common_decoder: bool = False
    stacked: bool = False  # all sensors' bands as one image, as a plain ViT reads them

    def model(
        self, sensors: dict[str, tuple[str, ...]], chip_px: int, patch_size: int | None = None
    ) -> ModelConfig:
        """The model for these sensors and chips.

        The routing scale of a model with experts starts at sqrt(width): there the logits of random tokens have
        a standard deviation of one, so that about two thirds of the tokens fill a slot; at the paper's 1
        routing is uniform.

        Raises:
            InputError: no patch fits the chip, or *patch_size* does not divide it.
        """
        if self.stacked:
            sensors = {"+".join(sensors): tuple(f"{s} {band}" for s in sensors for band in sensors[s])}
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
            common_decoder=self.common_decoder,
        )


CSMOE = {
    # For a CPU: the decoder runs once for each pair of sensors and would be most of the cost, so it is small.
    "tiny": Preset(192, 3, 3, 1, 128, 2, 4, 4, 2, 15, 64, 240, 5e-4),
    "small": Preset(384, 6, 10, 2, 256, 4, 8, 8, 1, 15, 128, 20_000, 5e-4),
    # At 120 px and 15 px patches 43 % of the FLOPs of csmae-sesd-base to encode and 47 % for a training step.
    "base": Preset(768, 12, 10, 2, 384, 6, 12, 8, 1, 15, 256, 50_000, 2e-4),
    "large": Preset(1024, 16, 20, 4, 512, 6, 16, 4, 2, 15, 256, 50_000, 1.5e-4),
}
WIDTHS = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12), "large": (1024, 16)}  # and heads
VARIANTS = ("sesd", "secd", "cesd", "cecd")  # specific or common encoder, specific or common decoder


def _csmae(variant: str, width: str) -> Preset:
    """CSMAE as published: 10 + 2 blocks, or 0 + 12 where the encoder is common; batch 128, rate 1e-4."""
    own, common = (10, 2) if variant.startswith("s") else (0, 12)
    common_decoder = variant.endswith("cd")
    return Preset(
        *WIDTHS[width], own, common, 512, 8, 16, 0, 1, 15, 128, 50_000, 1e-4, common_decoder=common_decoder
    )


PRESETS = {
    **CSMOE,
    **{f"{name}-dense": replace(size, experts=0, slots=1) for name, size in CSMOE.items()},
    **{f"csmae-{variant}-{width}": _csmae(variant, width) for variant, width in product(VARIANTS, WIDTHS)},
}
VITS = {  # with one sensor there is nothing to learn across: for comparing costs only
    f"vit-{width}": replace(_csmae("cesd", width), stacked=True) for width in WIDTHS
}


def preset(name: str) -> Preset:
    """The preset called *name*, one that can be trained.

    Raises:
        InputError: there is none.
    """
    return _known(name, PRESETS)


def shape(name: str) -> Preset:
    """The preset called *name*, also one that is there to be compared with.

    Raises:
        InputError: there is none.
    """
    return _known(name, {**PRESETS, **VITS})


def _known(name: str, presets: dict[str, Preset]) -> Preset:
    if name not in presets:
        raise InputError(f"There is no preset {name!r}", do=f"Choose one of: {', '.join(presets)}")
    return presets[name]


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
