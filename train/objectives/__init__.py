"""What a model is trained towards: masks and losses."""

from train.objectives.contrastive import discrepancy, nt_xent
from train.objectives.masking import MASKINGS, RECONSTRUCTIONS, Mask, draw_masks, rebuilt
from train.objectives.reconstruction import hidden_error, unit_patches

__all__ = [
    "MASKINGS",
    "RECONSTRUCTIONS",
    "Mask",
    "discrepancy",
    "draw_masks",
    "hidden_error",
    "nt_xent",
    "rebuilt",
    "unit_patches",
]
