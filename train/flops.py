"""What a model costs, in closed formulas: parameters, and floating-point operations (2 × multiply-add).

Only products of matrices are counted, as torch's counter does with the math kernel of attention; of the fused
kernels of a CPU it counts nothing. With L tokens of width d, s slots in all and an MLP ratio r:

    attention        8 L d² + 4 L² d          q, k, v and the projection; scores and their use
    dense MLP        4 r L d²
    Soft MoE         6 L s d + 4 r s d²        logits, dispatch and combine; experts
    patch embedding  2 N c p² d
    decoder          2 (K+1) D d + blocks at L = N + 1 + 2 R d p² c

and of RingMoE, over stages of width d with N tokens, N' with the windows' padding:

    attention        8 N' d² + 4 N' w² d       windows of w² tokens; a ViT has one window
    experts          4 r N d² a pool and choice, router 2 E N d; the shared one 4 r N d² of its width
    merging          16 N d² into the next stage, of N tokens; d before it
    head             2 N D cell² c

Rows that a capacity leaves empty and Swin V2's network for its bias, once a batch, are not counted.

A training step is three forward passes. "As published" counts what the published code does: every decoding alone, over
all tokens, with pixels of every patch, and images embedded before they are masked. "As run" counts what `CSMoE`
does for the same result; there the gradient of the images, which nobody asks for, is left out of the step. RingMoE has
one way only, and sees every position whatever is hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from train.layers.hierarchical import COLLABORATIVE
from train.models import CSMoE, ModelConfig
from train.models.base import Config
from train.models.ringmoe import RingMoE
from train.models.ringmoe_config import RingMoEConfig

Counts = dict[str, float]


@dataclass(frozen=True)
class Cost:
    """Parameters of a model, and FLOPs of one image of each of its sensors, a pair where it has two."""

    backbone: int  # parameters of all but the decoders
    decoders: int
    encode: Counts  # FLOPs of whole images, by part
    forward: Counts  # of the forward pass of a training step, by part
    step: float  # of forward and backward

    @property
    def encode_total(self) -> float:
        return sum(self.encode.values())


def cost(config: Config, mask_ratio: float = 0.5, published: bool = False, batch: int = 0) -> Cost:
    """What *config* costs a pair, without building any tensor.

    Every sensor hides the same share of its patches, as `random` and `identical` masks do.

    Args:
        published: count what the published code does for the same result.
        batch: images whose features are compared with each other by NT-Xent; its cost is left out where 0.
    """
    if isinstance(config, RingMoEConfig):
        return ring_cost(config)
    assert isinstance(config, ModelConfig)
    with torch.device("meta"):
        model = CSMoE(config)
    backbone = model.backbone_parameters()
    decoders = sum(p.numel() for p in model.parameters()) - backbone

    n = config.tokens
    kept = int(n * (1 - mask_ratio))
    forward = {
        "patch embedding": embedding(config, n if published else kept),
        **encoder(config, kept + 1),
        **decoding(config, kept, published),
    }
    if batch:
        pairs = len(config.cross_pairs(config.sensors))
        forward["contrast"] = (
            pairs * 8 * batch * config.embed_dim
        )  # of (2B)² products, a share for each image
    encode = {"patch embedding": embedding(config, n), **encoder(config, n + 1)}
    step = 3 * sum(forward.values()) - (0 if published else forward["patch embedding"])
    return Cost(backbone, decoders, encode, forward, step)


def ring_cost(config: RingMoEConfig) -> Cost:
    """What a RingMoE costs an image of each of its sensors."""
    with torch.device("meta"):
        model = RingMoE(config)
    encoder = model.encoder_parameters()
    heads = sum(p.numel() for p in model.parameters()) - encoder
    area = config.patch_size**2
    channels = sum(map(len, config.sensors.values()))
    encode = {"patch embedding": 2.0 * config.tokens * channels * area * config.embed_dim, **stages(config)}
    asked = sum(spec.channels for spec in config.specs.values())
    forward = {**encode, "pixels": 2.0 * config.cells * config.width * config.cell**2 * asked}
    return Cost(encoder, heads, encode, forward, 3 * sum(forward.values()) - encode["patch embedding"])


def stages(config: RingMoEConfig) -> Counts:
    """FLOPs of every sensor's way through the stages of a RingMoE."""
    found = {"attention": 0.0, "MLP": 0.0, "experts": 0.0, "routing": 0.0, "merging": 0.0}
    sensors, ratio = len(config.sensors), config.mlp_ratio
    block, last = 0, len(config.depths) - 1
    for stage, depth in enumerate(config.depths):
        d, grid = config.embed_dim * 2**stage, config.image_size // config.patch_size // 2**stage
        n = grid**2
        window = grid if config.backbone == "vit" else min(config.window, grid)
        padded = (-(-grid // window) * window) ** 2
        for _ in range(depth):
            pools = config.pools(block)
            closed = pools.closed or {}
            found["attention"] += sensors * (8.0 * padded * d**2 + 4 * padded * window**2 * d)
            found["MLP"] += sensors * 4 * ratio * n * d**2 * pools.shared
            mixtures = [
                (own, closed.get(sensor, 0), config.specialised_routing.k, 1)
                for sensor, own in pools.specialised.items()
            ]
            common = pools.collaborative, closed.get(COLLABORATIVE, 0), config.common_routing.k, sensors
            for experts, gone, k, seen in [*mixtures, common]:
                if experts:
                    found["experts"] += seen * 4 * ratio * n * d**2 * min(k, experts)
                    found["routing"] += seen * 2 * n * d * (experts + gone)
            block += 1
        if stage < last:
            found["merging"] += sensors * 16.0 * (grid // 2) ** 2 * d**2
    return {name: flops for name, flops in found.items() if flops}


def embedding(config: ModelConfig, tokens: int) -> float:
    """FLOPs of *tokens* patches of every sensor."""
    channels = sum(map(len, config.sensors.values()))
    return 2 * tokens * channels * config.patch_size**2 * config.embed_dim


def encoder(config: ModelConfig, length: int) -> Counts:
    """FLOPs of every sensor's way through its own encoder and the cross-sensor encoder."""
    d, hidden = config.embed_dim, config.mlp_ratio * config.embed_dim
    found = {"attention": 0.0, "MLP": 0.0, "experts": 0.0, "routing": 0.0}
    for block in range(config.specific_depth + config.shared_depth):
        experts, slots = config.mixture(block)
        found["attention"] += attention(length, length, d)
        if experts:
            found["routing"] += 6 * length * experts * slots * d
            found["experts"] += 4 * experts * slots * d * hidden
        else:
            found["MLP"] += 4 * length * d * hidden
    return {name: flops * len(config.sensors) for name, flops in found.items() if flops}


def decoding(config: ModelConfig, kept: int, published: bool) -> Counts:
    """FLOPs of all sensors rebuilt from all, where *kept* patches of every source are visible."""
    d, n, ratio = config.decoder_dim, config.tokens, config.mlp_ratio
    cross = [route for s, t in config.cross_pairs(config.sensors) for route in ((s, t), (t, s))]
    routes = [(s, s) for s in config.sensors] + cross
    filled = len(routes)
    passes = [(s, t, n - kept if s == t or config.reconstruction != "identical" else kept) for s, t in routes]
    trunks = [asked for _, _, asked in passes]
    if config.common_decoder and not published:  # one pass for all targets that ask for the same patches
        filled = len(config.sensors)
        kinds = {(s, "own" if s == t or config.reconstruction == "disjoint" else t) for s, t in routes}
        if config.reconstruction == "identical":
            kinds = {(s, "own" if s == t else "seen") for s, t in routes}
        trunks = [
            n - kept if config.reconstruction != "identical" or kind == "own" else kept for _, kind in kinds
        ]

    found = {"decoder embedding": filled * 2.0 * (kept + 1) * config.embed_dim * d, "decoder blocks": 0.0}
    for asked in trunks:
        length, last = n + 1, n + 1 if published else asked
        whole = attention(length, length, d) + 4 * ratio * length * d**2
        ending = attention(length, last, d) + 4 * ratio * last * d**2
        found["decoder blocks"] += (
            (config.decoder_depth - 1) * whole + ending if config.decoder_depth else 0.0
        )
    area = config.patch_size**2
    found["pixels"] = sum(
        2.0 * (n + 1 if published else asked) * d * area * len(config.sensors[t]) for _, t, asked in passes
    )
    return found


def attention(length: int, asked: int, dim: int) -> float:
    """FLOPs of attention over *length* tokens of which *asked* are wanted: 8 L d² + 4 L² d where all are."""
    keys = 4 * length * dim**2
    queries = 4 * asked * dim**2  # and the projection
    return keys + queries + 4 * asked * length * dim


def measured(config: Config, mask_ratio: float = 0.5, batch: int = 1) -> Sequence[float]:
    """FLOPs of encoding and of a training step of *batch* pairs by torch's counter, for small configurations."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from train.kinds import KINDS, Rows
    from train.optimise import TrainConfig

    kind = KINDS["ringmoe" if isinstance(config, RingMoEConfig) else "csmoe"]
    model = kind.model(config).double()  # the counter knows nothing of oneDNN, which runs float32 alone
    side = config.image_size
    images = {s: torch.randn(batch, len(b), side, side).double() for s, b in config.sensors.items()}
    chosen = {"mask_ratio": mask_ratio, **kind.defaults}
    learning = kind.pretraining(model, TrainConfig(steps=1, batch_size=batch, lr=1e-5, **chosen))
    found = []
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as encode, torch.no_grad():
            model.encode(images)
        found.append(float(encode.get_total_flops()))
        with FlopCounterMode(display=False) as step:
            learning(images, {}, Rows(0, 0, batch, batch))["total"].backward()
        found.append(float(step.get_total_flops()))
    return found
