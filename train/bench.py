"""How fast models run: encoding, a model's training step alone, the whole step, and the loader alone.

Inputs are random; speed does not depend on what pixels show. `model` is forward and backward on normalised images that
are on the device already. `step` is what the training loop does for a batch: stored integers are moved and normalised,
masks are drawn, gradients clipped, and AdamW steps. MFU is the FLOPs of `train.flops`, as run, over the time and the
fastest square product of matrices that the device does in the same precision in the same session.
"""

from __future__ import annotations

import gc
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from train.buffers import Buffers
from train.data import Chips, DataConfig, Sensor, open_catalog
from train.execution import Execution
from train.flops import cost
from train.kinds import Kind, Rows, of_any_kind
from train.layers.linear import affine
from train.loader import Loader
from train.models.base import Config
from train.optimise import TrainConfig, optimiser_for, set_lr
from train.presets import PAIR

LEAST_REPEATS = 3
CLEAR_PEAK, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Timing:
    """What one part of the work takes."""

    pairs_per_s: float  # at the middle repeat
    best_pairs_per_s: float
    images_per_s: float  # images of one sensor
    tokens_per_s: float  # patches of whole images, whether hidden or not
    mfu: float  # share of the device's measured peak
    peak_memory_gb: float
    repeats: int


@dataclass(frozen=True)
class Row:
    """One preset at one patch size."""

    preset: str
    image_px: int
    patch_px: int
    tokens: int  # of one image
    backbone_parameters: int
    decoder_parameters: int
    encode_gflop: float  # of a pair
    step_gflop: float  # of a pair, as run
    timings: dict[str, Timing]  # encode, model, and step where that was asked for

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Setting:
    """Where and how all rows of a table are measured."""

    device: torch.device
    execution: Execution
    batch: int  # pairs
    seconds: float = 3.0  # at least, for each number
    image_px: int = 120
    whole_step: bool = True  # False leaves it out, and with it the optimiser's memory


def bench(
    presets: Sequence[str], patches: Sequence[int | None], setting: Setting, peak: float
) -> Iterator[Row]:
    """Rows of all *presets* at all *patches*, one at a time; None is the preset's own patch.

    Args:
        peak: FLOP/s that MFU is a share of.

    Raises:
        InputError: no such preset, or a patch that does not divide the image.
    """
    kinds = [(name, *of_any_kind(name)) for name in presets]
    configs = [
        (name, kind, preset.model(PAIR, setting.image_px, patch))
        for name, kind, preset in kinds
        for patch in patches
    ]
    for name, kind, config in configs:
        yield measure(name, kind, config, setting, peak)
        gc.collect()


def measure(name: str, kind: Kind, config: Config, setting: Setting, peak: float) -> Row:
    """One row; *peak* in FLOP/s."""
    device, execution, batch = setting.device, setting.execution, setting.batch
    counted = cost(config)
    model = kind.untrained(config, 0).to(device)
    execution.prepare(model)
    data = synthetic(config)
    train = TrainConfig(steps=1000, batch_size=batch, lr=1e-5, **kind.defaults)
    side = config.image_size
    stored = {
        s: torch.randint(1, 5000, (batch, len(b), side, side)).short() for s, b in config.sensors.items()
    }
    if device.type == "cuda":  # as the loader's are
        stored = {s: values.pin_memory() for s, values in stored.items()}
    images = data.images({s: values.to(device) for s, values in stored.items()})
    learning, rows = kind.pretraining(model, train), Rows(0, 0, batch, batch)
    masks = {sensor: mask.to(device) for sensor, mask in learning.masks(rows).items()}

    def encode() -> None:
        with torch.inference_mode(), execution.autocast(device):
            model.encode(images)

    def forward_backward() -> None:
        with execution.autocast(device):
            loss = model(images, masks).losses["total"]
        loss.backward()
        model.zero_grad()

    timings = {}
    for part, work, flops in (
        ("encode", encode, counted.encode_total),
        ("model", forward_backward, counted.step),
    ):
        timings[part] = timed(work, flops, config, setting, peak)
    optimiser, count = optimiser_for(model, train), 0

    def step() -> None:
        nonlocal count
        count += 1
        set_lr(optimiser, train.lr_at(count % train.steps))
        fresh = data.images({s: values.to(device, non_blocking=True) for s, values in stored.items()})
        with execution.autocast(device):
            loss = learning(fresh, {}, Rows(count, 0, batch, batch))["total"]
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), train.clip)
        optimiser.step()
        optimiser.zero_grad()

    if setting.whole_step:
        timings["step"] = timed(step, counted.step, config, setting, peak)
    return Row(
        name,
        side,
        config.patch_size,
        config.tokens,
        counted.backbone,
        counted.decoders,
        counted.encode_total / 1e9,
        counted.step / 1e9,
        timings,
    )


def timed(work: Callable[[], None], flops: float, config: Config, setting: Setting, peak: float) -> Timing:
    """Repeat *work*, of *flops* a pair, after one run that is not counted."""
    device = setting.device
    work()
    taken: list[float] = []
    with peak_memory(device) as memory:
        while len(taken) < LEAST_REPEATS or sum(taken) < setting.seconds:
            started = time.perf_counter()
            work()
            wait_for(device)
            taken.append(time.perf_counter() - started)
    middle = setting.batch / statistics.median(taken)
    sensors = len(PAIR)
    return Timing(
        pairs_per_s=middle,
        best_pairs_per_s=setting.batch / min(taken),
        images_per_s=middle * sensors,
        tokens_per_s=middle * len(config.sensors) * config.tokens,
        mfu=middle * flops / peak,
        peak_memory_gb=memory[0] / 1e9,
        repeats=len(taken),
    )


def synthetic(config: Config) -> DataConfig:
    """Data of the model's sensors with plausible storage and statistics."""
    sensors = tuple(
        Sensor(name, name, bands, "reflectance", 1e-4, 0.0, 0, (0.25,) * len(bands), (0.14,) * len(bands))
        for name, bands in config.sensors.items()
    )
    return DataConfig(sensors, config.image_size, 10.0, "none", "", simulated=True)


def matmul_peak(device: torch.device, precision: str) -> float:
    """FLOP/s of the best of several square products of matrices, the roof that MFU is measured against."""
    side = 8192 if device.type == "cuda" else 2048
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device).to(kind) for _ in "ab")
    best, none = float("inf"), torch.zeros(side, device=device, dtype=kind)
    products: list[Callable[[], object]] = [lambda: a @ b, lambda: affine(a, b, none)]
    for product in products * 8:  # their libraries differ, and models use the second
        wait_for(device)
        started = time.perf_counter()
        product()
        wait_for(device)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def wait_for(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def peak_memory(device: torch.device) -> Iterator[list[float]]:
    """A list that holds the peak of memory within the block, in bytes, once it ends.

    On CUDA what tensors took; on a CPU the process's resident memory, since the process began where the system
    cannot start the count anew.
    """
    found = [0.0]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            CLEAR_PEAK.write_text("5")
    yield found
    if device.type == "cuda":
        found[0] = float(torch.cuda.max_memory_allocated(device))
    else:
        found[0] = resident_peak()


def resident_peak() -> float:
    """Peak of the process's resident memory in bytes."""
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM"):
                return float(line.split()[1]) * 1024
    unit = 1 if platform.system() == "Darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


def bench_loader(path: Path, setting: Setting) -> float:
    """Pairs a second that the loader alone makes of a catalog's train split.

    Raises:
        InputError: no catalog, or one without pixels.
    """
    catalog = open_catalog(path)
    chips = Chips(catalog, DataConfig.of(catalog), "train")
    buffers = Buffers(pinned=setting.device.type == "cuda")
    loader = Loader(chips, min(setting.batch, len(chips)), seed=0, buffers=buffers)
    batches = loader.batches(0, 1_000_000_000)
    next(batches)
    done, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < setting.seconds or not done:
        done += len(next(batches).chips)
    return done / passed


def machine(device: torch.device) -> dict[str, Any]:
    """What a figure was measured on."""
    cuda, threads = device.type == "cuda", torch.get_num_threads()
    name = torch.cuda.get_device_name(device) if cuda else f"{threads} cores, CPU"
    return {"device": name, "torch": torch.__version__, "python": platform.python_version()}
