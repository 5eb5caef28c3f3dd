"""Models; each file reads like its paper."""

from train.models.csmoe import CSMoE, ModelConfig, Output

__all__ = ["CSMoE", "ModelConfig", "Output"]
