"""The encoder of an exported CSMoE or CSMAE in plain PyTorch: this file and the weights beside it are all it takes.

    from modeling_csmoe import load
    model = load("folder")                       # reads config.json and model.safetensors
    features = model({"s2": x})                  # {"s2": [B, D]}; x [B, bands, H, W] in the unit of config.json
    tokens = model.encode_tokens({"s2": x})      # {"s2": [B, N, D]}, patches in raster order
    pyramid = load("folder", features_only=True, sensor="s2")
    maps = pyramid(x)                            # 4 maps [B, D, H / reduction, W / reduction], as timm's backbones give

Any subset of the sensors will do. Numbers must be physical values, bands in the order of config.json; values that
cannot be in that unit are refused. Pixels without data are NaN. H and W are multiples of the patch size.
"""

import json
import struct
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FAR = 10.0  # standard deviations from which on a mean cannot be in the model's unit
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}


class SoftMoE(nn.Module):
    """Soft mixture of experts (arXiv 2308.00951)."""

    def __init__(self, dim: int, hidden: int, experts: int, slots: int) -> None:
        super().__init__()
        self.phi = nn.Parameter(torch.zeros(dim, experts, slots))
        self.scale = nn.Parameter(torch.ones(()))
        self.fc1, self.fc2 = Experts(experts, dim, hidden), Experts(experts, hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, m, d] to the same."""
        dim, experts, slots = self.phi.shape
        keys = (self.scale * unit(self.phi, 0)).flatten(1)  # [d, n·p]
        logits = unit(x, -1) @ keys  # [B, m, n·p]
        filled = logits.softmax(1).transpose(1, 2) @ x  # [B, n·p, d]
        filled = filled.reshape(-1, experts, slots, dim).transpose(0, 1).reshape(experts, -1, dim)
        answers = self.fc2(F.gelu(self.fc1(filled))).reshape(experts, -1, slots, dim)
        out: Tensor = logits.softmax(2) @ answers.transpose(0, 1).reshape(-1, experts * slots, dim)
        return out


class Experts(nn.Module):
    def __init__(self, experts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(experts, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(experts, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.transpose(1, 2) + self.bias


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.num_heads, dim // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)  # [B, heads, L, d / heads]
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, length, dim))
        return out


class Block(nn.Module):
    def __init__(self, dim: int, num_heads: int, mlp: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, 1e-6), nn.LayerNorm(dim, 1e-6)
        self.attn, self.mlp = Attention(dim, num_heads), mlp

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PatchEmbed(nn.Module):
    def __init__(self, channels: int, patch: int, dim: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Linear(channels * patch * patch, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, c, H, W] to [B, N, d]."""
        batch, channels, height, width = x.shape
        p = self.patch
        grid = x.reshape(batch, channels, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
        out: Tensor = self.proj(grid.reshape(batch, -1, channels * p * p))
        return out


class Encoder(nn.Module):
    """The encoders of all sensors, and the cross-sensor encoder; *config* is the content of config.json."""

    def __init__(self, config: dict) -> None:  # type: ignore[type-arg]
        super().__init__()
        self.config, c = config, config["model"]
        dim, heads = c["embed_dim"], c["num_heads"]
        self.pool, self.patch_size = c["pool"], c["patch_size"]
        self.sensors = {s["prefix"]: s for s in config["sensors"]}
        names, own, depth = [*self.sensors], c["specific_depth"], c["specific_depth"] + c["shared_depth"]

        def blocks(numbers: range) -> nn.Sequential:
            return nn.Sequential(*(Block(dim, heads, mlp(*config["mixtures"][i])) for i in numbers))

        def mlp(experts: int, slots: int) -> nn.Module:
            hidden = c["mlp_ratio"] * dim
            return SoftMoE(dim, hidden, experts, slots) if experts else Mlp(dim, hidden)

        def norm(there: bool) -> nn.Module:
            return nn.LayerNorm(dim, 1e-6) if there else nn.Identity()

        bands = {name: len(s["bands"]) for name, s in self.sensors.items()}
        self.embed = nn.ModuleDict({s: PatchEmbed(bands[s], self.patch_size, dim) for s in names})
        self.cls_token = nn.ParameterDict({s: nn.Parameter(torch.zeros(1, 1, dim)) for s in names})
        self.specific = nn.ModuleDict({s: blocks(range(own)) for s in names})
        self.specific_norm = nn.ModuleDict({s: norm(own > 0) for s in names})
        self.shared, self.norm = blocks(range(own, depth)), norm(True)
        self.fc_norm = norm(self.pool == "avg")
        for name, count in bands.items():
            for key in ("mean", "std"):
                self.register_buffer(f"{key}_{name}", torch.zeros(count, 1, 1), persistent=False)
        self.set_statistics()

    def set_statistics(self) -> None:
        """Take mean and deviation from the configuration."""
        for name, s in self.sensors.items():
            for key, least in (("mean", None), ("std", 1e-12)):
                values = torch.tensor(s[key]).view(-1, 1, 1)
                buffer = getattr(self, f"{key}_{name}")
                if not buffer.is_meta:
                    buffer.copy_(values if least is None else values.clamp(min=least))

    def forward(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        """Features [B, D] by sensor of physical values [B, bands, H, W] by sensor."""
        return {s: self._pool(z) for s, z in self._encode(images).items()}

    encode = forward

    def encode_tokens(self, images: dict[str, Tensor]) -> dict[str, Tensor]:
        """Patch tokens [B, N, D] by sensor, in raster order."""
        return {s: z[:, 1:] for s, z in self._encode(images).items()}

    def normalise(self, sensor: str, x: Tensor) -> Tensor:
        """Physical values as zero mean and unit deviation; NaN becomes 0.

        Raises:
            ValueError: wrong number of bands, a size that patches do not divide, or numbers in another unit.
        """
        about = self.sensors[sensor]
        if x.shape[1] != len(about["bands"]):
            raise ValueError(
                f"{sensor} has {x.shape[1]} bands; the model reads {', '.join(about['bands'])}, in order"
            )
        if x.shape[2] % self.patch_size or x.shape[3] % self.patch_size:
            raise ValueError(f"{tuple(x.shape[2:])} px is no multiple of the patch, {self.patch_size} px")
        z: Tensor = ((x - getattr(self, f"mean_{sensor}")) / getattr(self, f"std_{sensor}")).nan_to_num()
        traced = torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()
        if not traced and float(z.mean((0, 2, 3)).abs().max()) > FAR:
            raise ValueError(f"Values of {sensor} are not in {about['unit']}: convert digital numbers first")
        return z

    def _encode(self, images: dict[str, Tensor], taken: list | None = None) -> dict[str, Tensor]:  # type: ignore[type-arg]
        found = {}
        for sensor, x in images.items():
            x = self.normalise(sensor, x)
            rows, columns = x.shape[2] // self.patch_size, x.shape[3] // self.patch_size
            tokens = self.embed[sensor](x)
            tokens = tokens + positions(rows, columns, tokens.shape[2]).to(tokens)
            cls = self.cls_token[sensor].expand(x.shape[0], -1, -1)
            z = torch.cat([cls, tokens], 1)
            for block in [*self.specific[sensor].children()]:
                z = block(z)
                if taken is not None:
                    taken.append(z)
            z = self.specific_norm[sensor](z)
            for block in self.shared:
                z = block(z)
                if taken is not None:
                    taken.append(z)
            found[sensor] = self.norm(z)
        return found

    def _pool(self, z: Tensor) -> Tensor:
        out: Tensor = self.fc_norm(z[:, 1:].mean(1) if self.pool == "avg" else z[:, 0])
        return out


class FeaturePyramid(nn.Module):
    """Maps of one sensor from blocks of the encoder, resampled to a pyramid; timm's `features_only` in use.

    A plain transformer has one resolution; as in ViTDet (arXiv 2203.16527) the levels are made from it.
    """

    def __init__(self, encoder: Encoder, sensor: str, out_indices: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.encoder, self.sensor = encoder, sensor
        depth = len(encoder.specific[sensor]) + len(encoder.shared)  # type: ignore[arg-type]
        self.out_indices = out_indices or tuple(round((i + 1) * depth / 4) - 1 for i in range(4))
        self.factors = [2.0 ** (1 - i) * 2 for i in range(len(self.out_indices))]  # 4, 2, 1, 1/2, ...
        p, dim = encoder.patch_size, encoder.config["model"]["embed_dim"]
        self.feature_info = [
            {"num_chs": dim, "reduction": p / f, "module": f"block{i}"}
            for i, f in zip(self.out_indices, self.factors, strict=True)
        ]

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, bands, H, W] to a list of maps [B, D, h, w], finest first."""
        taken: list[Tensor] = []
        self.encoder._encode({self.sensor: x}, taken)
        rows, columns = (n // self.encoder.patch_size for n in x.shape[2:])
        maps = []
        for index, factor in zip(self.out_indices, self.factors, strict=True):
            z = taken[index][:, 1:].transpose(1, 2).reshape(len(x), -1, rows, columns)
            size = [max(1, round(n * factor)) for n in (rows, columns)]
            maps.append(F.interpolate(z, size, mode="bilinear", align_corners=False))
        return maps


def unit(x: Tensor, dim: int) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=dim, keepdim=True)
    return x / (length + 1e-6)


def positions(rows: int, columns: int, dim: int) -> Tensor:
    """Fixed sine-cosine positions [rows·columns, dim]: columns in the first half of it, rows in the second."""
    w = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))

    def axis(n: int) -> Tensor:
        angle = torch.arange(n, dtype=torch.float64)[:, None] * w
        return torch.cat([angle.sin(), angle.cos()], 1)

    x, y = axis(columns)[None].expand(rows, -1, -1), axis(rows)[:, None].expand(-1, columns, -1)
    return torch.cat([x, y], 2).reshape(rows * columns, dim).float()


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, without the package of that name."""
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    found = {}
    for name, about in header.items():
        if name != "__metadata__":
            start, stop = (8 + length + n for n in about["data_offsets"])
            flat = torch.frombuffer(data[start:stop], dtype=DTYPES[about["dtype"]])
            found[name] = flat.reshape(about["shape"]).clone()
    return found


def load(
    folder: str | Path,
    features_only: bool = False,
    sensor: str = "",
    out_indices: tuple[int, ...] | None = None,
) -> nn.Module:
    """The encoder in *folder*, in evaluation mode; with *features_only* its pyramid for one *sensor*."""
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    encoder = Encoder(config)
    weights = read_safetensors(folder / "model.safetensors")
    encoder.load_state_dict({name.removeprefix("encoder."): value for name, value in weights.items()})
    encoder.eval()
    if not features_only:
        return encoder
    return FeaturePyramid(encoder, sensor or next(iter(encoder.sensors)), out_indices).eval()
