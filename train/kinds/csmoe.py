"""CSMoE and CSMAE: every sensor rebuilt from every sensor, under masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from train.evaluate.routing import routing_scales
from train.kinds.base import Kind, Pretraining, Rows
from train.models import CSMoE, ModelConfig
from train.objectives import MASKINGS, Mask, draw_masks
from train.optimise import TrainConfig
from train.presets import preset


class CrossSensor(Pretraining):
    """Masked reconstruction within and across sensors, and agreement of their features."""

    model: CSMoE
    names: tuple[str, ...] = ("total", "reconstruction", "umr", "cmr", "mim")
    followed = "reconstruction"

    def __init__(self, model: CSMoE, config: TrainConfig) -> None:
        super().__init__(model, config)
        if model.config.mde_weight:
            self.names = (*self.names, "mde")
        meeting = model.config.cross_pairs(model.config.sensors)
        self.sparse = not meeting  # nothing asks for features then, and `fc_norm` has no gradient

    def forward(
        self, images: Mapping[str, Tensor], present: Mapping[str, Tensor], rows: Rows
    ) -> dict[str, Tensor]:
        device = next(iter(images.values())).device
        masks = {
            sensor: mask.rows(rows.start, rows.stop).to(device) for sensor, mask in self.masks(rows).items()
        }
        losses: dict[str, Tensor] = self.model(images, masks, present or None).losses
        return losses

    def masks(self, rows: Rows) -> dict[str, Mask]:
        """Masks of the whole batch by sensor, on the CPU."""
        masking, ratio = self.train_config.masking, self.train_config.mask_ratio
        model = self.model
        generator = self.generator(rows.step)
        return draw_masks(masking, model.sensors, rows.batch, model.config.tokens, ratio, generator)

    def describe(self) -> str:
        c = self.model.config
        experts = " and ".join(f"{n} experts × {p} slots" for n, p in c.mixtures)
        return f"{experts or 'no experts'}, patch {c.patch_size} px, {c.tokens} tokens"

    def observe(self) -> dict[str, dict[str, float]]:
        scales = routing_scales(self.model)
        return {"routing_scale": scales} if scales else {}


CSMOE = Kind(
    name="csmoe",
    config=ModelConfig.from_json,
    model=CSMoE,
    pretraining=CrossSensor,
    preset=preset,
    default_preset=lambda cuda: "base" if cuda else "tiny",
    maskings=MASKINGS,
    least_sensors=2,
)
CSMAE = replace(
    CSMOE, name="csmae", default_preset=lambda cuda: f"csmae-sesd-{'base' if cuda else 'tiny'}"
)  # one class: a CSMoE without experts
