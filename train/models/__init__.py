"""Models; each file reads like its paper."""

from train.models.base import Model
from train.models.config import ModelConfig
from train.models.csmoe import CSMoE, Output

__all__ = ["CSMoE", "Model", "ModelConfig", "Output"]
