"""Models; each file reads like its paper."""

from train.models.config import ModelConfig
from train.models.csmoe import CSMoE, Output

__all__ = ["CSMoE", "ModelConfig", "Output"]
