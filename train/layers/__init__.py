"""The parts that models are built from; argument names follow timm."""

from train.layers.attention import Attention, Block, Blocks, Mlp, first, take_tokens
from train.layers.linear import Linear, linear
from train.layers.patches import PatchEmbed, patch_grid, patch_targets, take_patches
from train.layers.positions import sincos_positions
from train.layers.soft_moe import SoftMoE
from train.layers.swin import SwinBlock
from train.layers.vit import MixtureBlock

BLOCKS = (Block, MixtureBlock, SwinBlock)  # what is compiled, or divided over ranks, one by one

__all__ = [
    "BLOCKS",
    "Attention",
    "Block",
    "Blocks",
    "Linear",
    "Mlp",
    "PatchEmbed",
    "SoftMoE",
    "first",
    "linear",
    "patch_grid",
    "patch_targets",
    "sincos_positions",
    "take_patches",
    "take_tokens",
]
