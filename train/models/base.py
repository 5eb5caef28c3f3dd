"""What every model offers, so that its weights can be stored, loaded, judged and used whatever it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn


class Config(Protocol):
    """Everything that decides a model's shape; stored with its weights."""

    @property
    def sensors(self) -> dict[str, tuple[str, ...]]:
        """Names of bands by sensor, in the order of the channels."""

    @property
    def image_size(self) -> int:
        """Pixels along a side."""

    @property
    def patch_size(self) -> int:
        """Pixels along a side."""

    @property
    def tokens(self) -> int:
        """Patches of an image."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, of which the configuration can be made again."""


class Model(nn.Module):
    """An encoder of several sensors' images, made from a configuration alone."""

    kind: str  # under which `train.kinds` knows how to make it
    config: Any  # a Config
    sensors: tuple[str, ...]

    def encode(self, images: Mapping[str, Tensor], stretch: bool = False) -> dict[str, Tensor]:
        """Pooled features [B, D] of whole images [B, c, H, W], by sensor; any subset of the sensors will do."""
        raise NotImplementedError

    def encode_tokens(self, images: Mapping[str, Tensor], stretch: bool = False) -> dict[str, Tensor]:
        """Patch tokens [B, N, D] of whole images in raster order, by sensor, for dense tasks."""
        raise NotImplementedError
