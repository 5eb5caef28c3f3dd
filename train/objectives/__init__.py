"""What a model is trained towards: masks and losses."""

from train.objectives.contrastive import nt_xent
from train.objectives.masking import MASKINGS, Mask, draw_masks
from train.objectives.reconstruction import hidden_error

__all__ = ["MASKINGS", "Mask", "draw_masks", "hidden_error", "nt_xent"]
