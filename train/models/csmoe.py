"""CSMoE: a cross-sensor masked autoencoder whose encoder blocks hold Soft mixtures of experts.

Hackel, Burgert and Demir, arXiv 2509.14104, on CSMAE (Hackstein et al., arXiv 2401.07782), variant SESD:
sensor-specific encoders, a shared cross-sensor encoder, and one decoder per target sensor. For sensors s:

    t_s = LN_s( Blocks_s( [cls_s ; visible tokens of s] ) )     sensor-specific encoder
    z_s = LN( Blocks( t_s ) )                                   cross-sensor encoder: one for every s
    f_s = LN_f( mean over patches of z_s )                      feature; the class token is left out
    x̂_(s→t) = Decoder_t( z_s, mask tokens where s is hidden )   for every source s and every target t

    UMR = Σ_s   | x̂_(s→s) - x_s |²   where s was hidden          uni-modal reconstruction
    CMR = Σ_s≠t | x̂_(s→t) - x_t |²   where s, the source, was hidden
    MIM = Σ_s<t NT-Xent(f_s, f_t)
    loss = w_umr UMR + w_cmr CMR + w_mim MIM

The tokens of two sensors never meet in one sequence, so either sensor can be encoded alone. With experts = 0
every block has a dense MLP and this class is CSMAE; with experts, the blocks in `moe_blocks` hold a Soft MoE.
CSMoE's own numbers of experts and slots, and their blocks, are not public to us: ours are our own choice.

Shapes: B images, N = g·g patches of p × p pixels in raster order, K of them visible, D width, c bands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, cast

import torch
from torch import Tensor, nn

from train.layers import (
    Block,
    Mlp,
    PatchEmbed,
    SoftMoE,
    patch_grid,
    patch_targets,
    sincos_positions,
    take_patches,
)
from train.layers.attention import linear
from train.objectives import Mask, hidden_error, nt_xent

Images = Mapping[str, Tensor]  # by sensor, [B, c, H, W], normalised, on one pixel grid


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the model's shape and loss; stored with its weights."""

    sensors: dict[str, tuple[str, ...]]  # sensor -> names of its bands, in the order of its channels
    image_size: int  # px
    patch_size: int  # px
    embed_dim: int
    num_heads: int
    specific_depth: int  # blocks of each sensor's own encoder
    shared_depth: int  # blocks of the cross-sensor encoder
    decoder_dim: int
    decoder_depth: int
    decoder_heads: int
    mlp_ratio: int = 4
    experts: int = 0  # per Soft MoE; 0 makes every block dense, and the model CSMAE
    slots: int = 1  # per expert
    scale_init: float = 1.0  # routing scale g at the start
    moe_blocks: tuple[int, ...] | None = None  # of a sensor's path, specific blocks first; None means all
    tau: float = 0.5  # temperature of NT-Xent
    umr_weight: float = 1.0
    cmr_weight: float = 1.0
    mim_weight: float = 1.0

    @property
    def tokens(self) -> int:
        """N, patches of an image."""
        return (self.image_size // self.patch_size) ** 2

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> ModelConfig:
        blocks = fields["moe_blocks"]
        sensors = {sensor: tuple(bands) for sensor, bands in fields["sensors"].items()}
        return cls(**{**fields, "sensors": sensors, "moe_blocks": None if blocks is None else tuple(blocks)})


@dataclass
class Output:
    """What a masked forward pass yields; losses are scalars that are still on the device."""

    losses: dict[
        str, Tensor
    ]  # total, umr, cmr, mim, and reconstruction: the mean over the terms of umr and cmr
    terms: dict[str, Tensor]  # every reconstruction, "s1->s2": error of s2 rebuilt from s1
    features: dict[str, Tensor]  # f_s, [B, D]


class CSMoE(nn.Module):
    """The model above; CSMAE where `config.experts` is 0."""

    positions: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.image_size % config.patch_size:
            raise ValueError(
                f"A patch of {config.patch_size} px does not divide a chip of {config.image_size} px"
            )
        self.config, dim = config, config.embed_dim
        grid = config.image_size // config.patch_size
        self.sensors = tuple(config.sensors)

        self.embed = nn.ModuleDict(
            {s: PatchEmbed(len(bands), config.patch_size, dim) for s, bands in config.sensors.items()}
        )
        self.cls_token = nn.ParameterDict(
            {s: nn.Parameter(0.02 * torch.randn(1, 1, dim)) for s in self.sensors}
        )
        self.register_buffer("positions", sincos_positions(grid, dim), persistent=False)  # [1+N, D]

        own = range(config.specific_depth)
        common = range(config.specific_depth, config.specific_depth + config.shared_depth)
        self.specific = nn.ModuleDict({s: nn.Sequential(*map(self._block, own)) for s in self.sensors})
        self.specific_norm = nn.ModuleDict(
            {s: nn.LayerNorm(dim, 1e-6) if config.specific_depth else nn.Identity() for s in self.sensors}
        )
        self.shared = nn.Sequential(*map(self._block, common))
        self.norm = nn.LayerNorm(dim, 1e-6)
        self.fc_norm = nn.LayerNorm(dim, 1e-6)

        self.decoders = nn.ModuleDict({s: Decoder(config, len(b)) for s, b in config.sensors.items()})

    def _block(self, index: int) -> Block:
        c = self.config
        hidden = c.mlp_ratio * c.embed_dim
        mixed = c.experts > 0 and (c.moe_blocks is None or index in c.moe_blocks)
        mlp = (
            SoftMoE(c.embed_dim, hidden, c.experts, c.slots, c.scale_init)
            if mixed
            else Mlp(c.embed_dim, hidden)
        )
        return Block(c.embed_dim, c.num_heads, mlp, eps=1e-6)

    def forward(self, images: Images, masks: Mapping[str, Mask]) -> Output:
        """Losses of every sensor rebuilt from every sensor, where the source was hidden."""
        tokens = self._encode(images, masks)  # {s: [B, 1+K, D]}
        features = {s: self._pool(z) for s, z in tokens.items()}
        grids = {s: patch_grid(image, self.config.patch_size) for s, image in images.items()}

        terms: dict[str, Tensor] = {}
        for target, states in self._decode(tokens, masks).items():
            head = self._decoder(target).head
            for source, state in states.items():
                hidden = masks[source].masked  # [B, N-K]: the source's, for every target
                prediction = head(take_tokens(state, hidden))  # [B, N-K, p·p·c]
                truth = patch_targets(take_patches(grids[target], hidden))  # [B, N-K, p·p·c]
                terms[f"{source}->{target}"] = hidden_error(prediction, truth)

        zero = self.positions.new_zeros(())
        losses = {
            "umr": sum((terms[f"{s}->{s}"] for s in tokens), zero),
            "cmr": sum((terms[f"{s}->{t}"] for s in tokens for t in tokens if s != t), zero),
            "mim": sum(
                (nt_xent(features[s], features[t], self.config.tau) for s, t in combinations(tokens, 2)), zero
            ),
        }
        weights = {name: getattr(self.config, f"{name}_weight") for name in losses}
        losses["total"] = sum((weights[name] * losses[name] for name in weights), zero)
        losses["reconstruction"] = (losses["umr"] + losses["cmr"]) / len(terms)
        return Output(losses, terms, features)

    def encode(self, images: Images) -> dict[str, Tensor]:
        """Pooled features [B, D] of whole images, by sensor; any subset of the sensors will do."""
        return {s: self._pool(z) for s, z in self._encode(images).items()}

    def encode_tokens(self, images: Images) -> dict[str, Tensor]:
        """Patch tokens [B, N, D] of whole images in raster order, by sensor, for dense tasks."""
        return {s: z[:, 1:] for s, z in self._encode(images).items()}

    def reconstruct(self, images: Images, masks: Mapping[str, Mask]) -> dict[str, Tensor]:
        """Predictions of all patches, "s1->s2": [B, N, p·p·c] in raster order, pixel order (py, px, c)."""
        states = self._decode(self._encode(images, masks), masks)
        return {f"{s}->{t}": self._decoder(t).head(x) for t, by in states.items() for s, x in by.items()}

    def _encode(self, images: Images, masks: Mapping[str, Mask] | None = None) -> dict[str, Tensor]:
        """Encoded [cls ; visible patches] by sensor, [B, 1+K, D]; without masks all N in raster order."""
        tokens: dict[str, Tensor] = {}
        for sensor in [s for s in self.sensors if s in images]:
            grid = patch_grid(images[sensor], self.config.patch_size)  # [B, g, g, c, p, p]
            if masks is None:
                x = self.embed[sensor](grid.flatten(1, 2)) + self.positions[1:]  # [B, N, D]
            else:
                visible = masks[sensor].visible  # [B, K]
                x = self.embed[sensor](take_patches(grid, visible)) + self.positions[1:][visible]
            cls = (self.cls_token[sensor] + self.positions[0]).expand(len(x), -1, -1)  # [B, 1, D]
            x = self.specific[sensor](torch.cat([cls, x], 1))
            tokens[sensor] = self.specific_norm[sensor](x)
        return {s: self.norm(z) for s, z in together(self.shared, tokens).items()}

    def _pool(self, z: Tensor) -> Tensor:
        feature: Tensor = self.fc_norm(z[:, 1:].mean(1))  # [B, D]
        return feature

    def _decode(
        self, tokens: Mapping[str, Tensor], masks: Mapping[str, Mask]
    ) -> dict[str, dict[str, Tensor]]:
        """States of all patches before the head, by target, then by source: [B, N, decoder_dim]."""
        return {
            target: together(
                self._decoder(target),
                {source: self._decoder(target).fill(z, masks[source]) for source, z in tokens.items()},
            )
            for target in tokens
        }

    def _decoder(self, target: str) -> Decoder:
        return cast(Decoder, self.decoders[target])

    def backbone_parameters(self) -> int:
        """Parameters of all but the decoders."""
        return sum(p.numel() for name, p in self.named_parameters() if not name.startswith("decoders."))


class Decoder(nn.Module):
    """Rebuilds one target sensor from the tokens of any source sensor (MAE, arXiv 2111.06377, section 3)."""

    positions: Tensor

    def __init__(self, config: ModelConfig, channels: int) -> None:
        super().__init__()
        dim, heads = config.decoder_dim, config.decoder_heads
        hidden = config.mlp_ratio * dim
        self.embed = linear(config.embed_dim, dim)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        grid = config.image_size // config.patch_size
        self.register_buffer("positions", sincos_positions(grid, dim), persistent=False)  # [1+N, d]
        self.blocks = nn.Sequential(
            *(Block(dim, heads, Mlp(dim, hidden), eps=1e-5) for _ in range(config.decoder_depth))
        )
        self.norm = nn.LayerNorm(dim, 1e-5)
        self.head = linear(dim, config.patch_size**2 * channels)

    def fill(self, z: Tensor, mask: Mask) -> Tensor:
        """Encoded [cls ; visible] [B, 1+K, D] as a whole raster with mask tokens: [B, 1+N, d]."""
        x = self.embed(z)
        batch, hidden = mask.masked.shape
        blanks = self.mask_token.to(x.dtype).expand(batch, hidden, -1)
        patches = take_tokens(torch.cat([x[:, 1:], blanks], 1), mask.restore)  # [B, N, d]
        return torch.cat([x[:, :1], patches], 1) + self.positions

    def forward(self, x: Tensor) -> Tensor:
        """Filled rasters [B, 1+N, d] to states of the patches [B, N, d]; `head` makes pixels of them."""
        states: Tensor = self.norm(self.blocks(x))[:, 1:]
        return states


def take_tokens(x: Tensor, index: Tensor) -> Tensor:
    """Tokens [B, L, d] at *index* [B, K]: [B, K, d]."""
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))


def together(layers: nn.Module, sequences: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """*layers* on sequences [B, L, d] of several sensors, in one batch where their lengths agree.

    Blocks mix nothing across the batch, so this is only faster, not different.
    """
    if len({x.shape[1:] for x in sequences.values()}) > 1:
        return {s: layers(x) for s, x in sequences.items()}
    sizes = [len(x) for x in sequences.values()]
    joined = layers(torch.cat(list(sequences.values())))
    return dict(zip(sequences, joined.split(sizes), strict=True))
