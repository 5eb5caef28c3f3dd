"""RingMoE: one transformer for many sensors, whose feed-forward layers are hierarchical mixtures of experts.

Arxiv 2504.03166. For sensor m, with images x_m and masks M_m of 32-px cells in the paper's shape:

    t_m = LN( Embed_m(x_m) );  t_m = mask token where M_m         own embedding; one mask token for all
    z = Backbone( [t_1 ; t_2 ; …] )                               sensors side by side on the batch axis
        x = x + LN( attention(x) )                                in shifted windows: sensors never meet there
        x = x + LN( y ),  y = y_m^S + y^C + E_sh(x)               in every block: see `layers.hierarchical`
    x̂_m = depth-to-space( Head_m( LN(z_m) ) )                     one linear map a sensor
    L = Σ_m w_m mean over hidden pixels of error_m(x̂_m, target_m(x_m)) + balance + z

Images of different sensors need not show the same place, nor be equally many: what is learned across sensors is learned
through the weights they share. `objectives.targets` says what is rebuilt: for radar its total power and
the polarimetric ratio.

The public code of the paper does not run as published and was not used; `docs/ringmoe.md` lists what differs.

Shapes: B images, N = h · w tokens of the last stage in raster order, D its width, c bands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from train.layers import PatchEmbed, linear, patch_grid, sincos_positions
from train.layers.hierarchical import HierarchicalMoE, Rows, Stats, router_losses
from train.layers.swin import Swin
from train.layers.vit import MixtureVit
from train.models.base import Model
from train.models.ringmoe_config import RingMoEConfig
from train.objectives.cells import CellMask

Images = Mapping[
    str, Tensor
]  # by sensor, [B, c, H, W], normalised; B and the size may differ between sensors
Present = Mapping[str, Tensor]  # by sensor, True for images [B] that have it


@dataclass
class RingOutput:
    """What a masked forward pass yields; losses are scalars that are still on the device."""

    losses: dict[str, Tensor]  # total, reconstruction (mean over sensors), balance, z
    terms: dict[str, Tensor]  # reconstruction error by sensor
    features: dict[str, Tensor]  # [B, D]
    stats: list[Stats] = field(default_factory=list)  # of each block: what each pool's router did


class RingMoE(Model):
    """The model above."""

    kind = "ringmoe"
    config: RingMoEConfig

    def __init__(self, config: RingMoEConfig) -> None:
        super().__init__()
        self.config, c = config, config
        self.sensors = tuple(config.specs)
        self.embed = nn.ModuleDict(
            {s: PatchEmbed(len(spec.bands), c.patch_size, c.embed_dim) for s, spec in c.specs.items()}
        )
        self.embed_norm = nn.LayerNorm(c.embed_dim)
        self.mask_token = nn.Parameter(0.02 * torch.randn(c.embed_dim))
        grid = c.image_size // c.patch_size
        self.backbone = (
            Swin(c.embed_dim, c.depths, c.heads, c.window, grid, self._mixture, c.cosine)
            if c.backbone == "swin"
            else MixtureVit(c.embed_dim, c.depths[0], c.heads[0], self._mixture)
        )
        self.norm = nn.LayerNorm(c.width)
        self.ranks: Any = None  # the process group among which batches are divided, where there is one
        self.heads = nn.ModuleDict(
            {s: linear(c.width, c.cell**2 * spec.channels) for s, spec in c.specs.items()}
        )

    def _mixture(self, block: int, width: int) -> nn.Module:
        c = self.config
        routings = c.specialised_routing, c.common_routing
        return HierarchicalMoE(width, c.mlp_ratio * width, c.pools(block), *routings)

    def forward(
        self, images: Images, masks: Mapping[str, CellMask], present: Present | None = None
    ) -> RingOutput:
        """Losses of every sensor rebuilt where it was hidden; any subset of the sensors will do.

        Pixels that are not finite are unknown: they enter as 0, the mean, and nothing is asked of them. Where `ranks`
        divide a batch, the mean of their losses is that of the whole batch, however its sensors are spread over them.

        Args:
            present: which images have which sensor. What is in the others' place is never read.
        """
        images, masks = here(images, masks, present or {}, empty=self.ranks is not None)
        known = {s: x.isfinite() for s, x in images.items()}  # [B, c, H, W]
        images = {s: x.nan_to_num(0.0, 0.0, 0.0) for s, x in images.items()}
        encoded, stats = self._encode(images, masks)

        c, zero = self.config, self.mask_token.new_zeros(())
        terms = self._terms({s: self._error(s, z, images[s], known[s], masks[s]) for s, z in encoded.items()})
        balance, z_loss = (zero + loss for loss in router_losses(stats, self.ranks))
        weights = c.sensor_weights or {}
        weighted = sum((weights.get(s, 1.0) * term for s, term in terms.items()), zero)
        losses = {
            "total": weighted + c.balance_weight * balance + c.z_weight * z_loss,
            "reconstruction": sum(terms.values(), zero) / max(len(terms), 1),
            "balance": balance,
            "z": z_loss,
        }
        features = {s: z.flatten(1, 2).mean(1) for s, z in encoded.items()}
        return RingOutput(losses, terms, features, stats)

    def encode(self, images: Images, stretch: bool = False) -> dict[str, Tensor]:
        """Features [B, D] of whole images by sensor, the mean of their tokens; any subset of the sensors will do.

        Args:
            stretch: for the positions of a ViT, as in `CSMoE`; a Swin knows relative positions alone.
        """
        return {s: z.flatten(1, 2).mean(1) for s, z in self._encode(images, stretch=stretch)[0].items()}

    def encode_tokens(self, images: Images, stretch: bool = False) -> dict[str, Tensor]:
        """Tokens [B, N, D] of the last stage in raster order, by sensor, one for each cell."""
        return {s: z.flatten(1, 2) for s, z in self._encode(images, stretch=stretch)[0].items()}

    def routed(self, images: Images) -> list[Stats]:
        """What each block's routers do with whole images."""
        return self._encode(images)[1]

    def pyramid(self, images: Images) -> dict[str, list[Tensor]]:
        """The maps that the stages end with, by sensor: [B, D_i, h_i, w_i], finest first."""
        found: dict[str, list[Tensor]] = {}
        for rows, x in self._embedded(images, None, False):
            for level in self.backbone(x, rows)[0]:
                for (s, _), z in zip(rows, level.split([n for _, n in rows]), strict=True):
                    found.setdefault(s, []).append(z.permute(0, 3, 1, 2))
        return found

    def reconstruct(self, images: Images, masks: Mapping[str, CellMask]) -> dict[str, Tensor]:
        """The predicted targets of whole images by sensor, [B, channels, H, W]."""
        return {s: self._predict(s, z) for s, z in self._encode(images, masks)[0].items()}

    def _encode(
        self, images: Images, masks: Mapping[str, CellMask] | None = None, stretch: bool = False
    ) -> tuple[dict[str, Tensor], list[Stats]]:
        """Maps [B, h, w, D] of the last stage by sensor, and what each block's routers did."""
        encoded: dict[str, Tensor] = {}
        stats: list[Stats] = []
        for rows, x in self._embedded(images, masks, stretch):
            maps, found = self.backbone(x, rows)
            stats += found
            parts = self.norm(maps[-1]).split([n for _, n in rows])
            encoded |= zip((sensor for sensor, _ in rows), parts, strict=True)
        return {s: encoded[s] for s in self.sensors if s in encoded}, stats

    def _embedded(
        self, images: Images, masks: Mapping[str, CellMask] | None, stretch: bool
    ) -> list[tuple[Rows, Tensor]]:
        """Maps of tokens [B, h, w, C], sensors of one size joined, and whose images they are."""
        alike: dict[tuple[int, ...], list[tuple[str, Tensor]]] = {}
        for s in [s for s in self.sensors if s in images]:
            x, mask = images[s], None if masks is None else masks[s]
            if mask is not None and not mask.replace:
                x = x.masked_fill(mask.pixels, 0.0)
            grid = patch_grid(x, self.config.patch_size)  # [B, h, w, c, p, p]
            tokens = self.embed_norm(self.embed[s](grid.flatten(1, 2)))  # [B, h·w, C]
            if mask is not None and mask.replace:
                hidden = mask.tokens(self.config.cell // self.config.patch_size)[:, :, None]
                tokens = torch.where(hidden, self.mask_token.to(tokens.dtype), tokens)
            size = (grid.shape[1], grid.shape[2])
            if self.config.backbone == "vit":
                tokens = tokens + self._positions(size, stretch, tokens)
            alike.setdefault(size, []).append((s, tokens.unflatten(1, size)))
        return [
            ([(s, len(x)) for s, x in parts], torch.cat([x for _, x in parts])) for parts in alike.values()
        ]

    def _positions(self, size: tuple[int, int], stretch: bool, like: Tensor) -> Tensor:
        """Sine-cosine positions [h·w, C] of the tokens."""
        trained_on = self.config.image_size // self.config.patch_size if stretch else None
        return sincos_positions(size, self.config.embed_dim, trained_on, like.device)[1:].to(like.dtype)

    def _predict(self, sensor: str, z: Tensor) -> Tensor:
        """Encoded maps [B, h, w, D] as the sensor's target [B, channels, H, W]."""
        side, channels = self.config.cell, self.config.specs[sensor].channels
        cells = self.heads[sensor](z).unflatten(3, (side, side, channels))  # [B, h, w, py, px, channels]
        batch, high, wide = cells.shape[:3]
        image: Tensor = cells.permute(0, 5, 1, 3, 2, 4).reshape(batch, channels, high * side, wide * side)
        return image

    def _error(
        self, sensor: str, z: Tensor, images: Tensor, known: Tensor, mask: CellMask
    ) -> tuple[Tensor, Tensor]:
        """Sum of the errors over hidden pixels and channels that are known, and how many these are."""
        spec = self.config.specs[sensor]
        truth = spec.truth(images)  # [B, channels, H, W]
        asked = mask.pixels & known.all(1, keepdim=True)
        if spec.target == "power" and len(truth):  # an image of one value has no span to stretch
            asked = asked & (truth.amax((1, 2, 3), keepdim=True) > 0)
        error = spec.error(self._predict(sensor, z), truth)
        weight = asked.to(error.dtype)
        return (error * weight).sum(), weight.sum() * spec.channels

    def _terms(self, sums: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Mean error by sensor, 0 where nothing was asked."""
        if self.ranks is None or not sums:
            return {s: error / count.clamp(min=1.0) for s, (error, count) in sums.items()}
        counts = torch.stack([count for _, count in sums.values()])
        dist.all_reduce(counts, group=self.ranks)
        share = dist.get_world_size(self.ranks) / counts.clamp(min=1.0)
        return {s: error * share[i] for i, (s, (error, _)) in enumerate(sums.items())}

    def encoder_parameters(self) -> int:
        """Parameters of all but the heads."""
        return sum(p.numel() for name, p in self.named_parameters() if not name.startswith("heads."))


def here(
    images: Images, masks: Mapping[str, CellMask], present: Present, empty: bool = False
) -> tuple[dict[str, Tensor], dict[str, CellMask]]:
    """The images that are there and their masks; a sensor that is nowhere there is left out, or with *empty* kept."""
    kept = {s: where.nonzero()[:, 0] for s, where in present.items() if s in images}
    found = {s: x[kept[s]] if s in kept else x for s, x in images.items()}
    found = {s: x for s, x in found.items() if empty or len(x)}
    return found, {s: masks[s][kept[s]] if s in kept else masks[s] for s in found}
