"""Choices of how a model runs leave what it computes alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from train.execution import Execution
from train.layers import Blocks, Linear
from train.models import CSMoE
from train.objectives import draw_masks


@pytest.fixture
def built(small_config):
    torch.manual_seed(0)
    config = replace(small_config, decoder_depth=2)
    model = CSMoE(config)
    images = {s: torch.randn(4, len(b), 32, 32) for s, b in config.sensors.items()}
    return model, images, draw_masks("random", model.sensors, 4, config.tokens, 0.5)


def results(model, images, masks, execution=None):
    execution = execution or Execution()
    execution.prepare(model)
    model.zero_grad()
    with execution.autocast("cpu"):
        loss = model(images, masks).losses["total"]
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}


def distance(found, expected) -> float:
    return float((found - expected).detach().norm() / expected.detach().norm())


def test_checkpointing_changes_no_bit(built):
    loss, grads = results(*built)
    again, same = results(*built, Execution(checkpointing=True))
    assert torch.equal(loss, again)
    assert all(torch.equal(grads[name], same[name]) for name in grads)


def test_checkpointing_keeps_less(built):
    model, images, masks = built

    def kept(checkpointing: bool) -> int:
        Execution(checkpointing=checkpointing).prepare(model)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            model(images, masks)
        return sum(sizes)

    assert kept(True) < 0.5 * kept(False)


def test_bfloat16_is_close_and_keeps_losses_and_weights_in_single_precision(built):
    loss, grads = results(*built)
    half, rough = results(*built, Execution(precision="bf16"))
    assert half.dtype == torch.float32
    assert distance(half, loss) < 2e-2
    wide = [name for name in grads if name.endswith(("fc1.weight", "head.weight"))]
    assert all(
        rough[name].dtype == torch.float32 and distance(rough[name], grads[name]) < 5e-2 for name in wide
    )


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.slow
def test_compilation_changes_rounding_only(built):
    loss, grads = results(*built)
    model, *inputs = built
    names = list(model.state_dict())
    fast, close = results(model, *inputs, Execution(compiled=True))
    assert list(model.state_dict()) == names
    assert distance(fast, loss) < 1e-6
    largest = max(float(g.norm()) for g in grads.values())
    assert all(float((close[n] - grads[n]).norm()) < 1e-5 * largest for n in grads)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="fp32 or bf16"):
        Execution(precision="fp8")


@pytest.mark.parametrize("shape", [(4, 65, 48), (130, 48), (1, 2, 48)])
def test_linear_layers_compute_what_pytorchs_do(shape):
    torch.manual_seed(0)
    ours = Linear(48, 40)
    theirs = torch.nn.Linear(48, 40)
    theirs.load_state_dict(ours.state_dict())
    x, y = (torch.randn(shape, requires_grad=True) for _ in "ab")
    y.data.copy_(x.data)
    weight = torch.randn(*shape[:-1], 40)
    (ours(x) * weight).sum().backward()
    (theirs(y) * weight).sum().backward()
    assert distance(ours(x), theirs(x)) < 1e-6
    for found, expected in (
        (x.grad, y.grad),
        *((p.grad, q.grad) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True)),
    ):
        assert distance(found, expected) < 1e-6


def test_linear_layers_take_views_and_no_gradient():
    layer = Linear(48, 40)
    x = torch.randn(48, 8, 65).permute(2, 1, 0)  # not contiguous
    with torch.inference_mode():
        assert distance(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias)) < 1e-6


def test_an_empty_stack_hands_its_tokens_on():
    x, rows = torch.randn(2, 5, 8), torch.tensor([[4, 0], [1, 2]])
    assert torch.equal(Blocks()(x), x)
    assert torch.equal(Blocks()(x, rows), torch.stack([x[0, [4, 0]], x[1, [1, 2]]]))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_not_handed_out_anew() -> None:
    script = (
        "import resource, torch; from train.execution import keep_freed_memory; keep_freed_memory()\n"
        "def fill(): [torch.ones(n * 2**20) for n in (9, 17, 33)]\n"  # 4 MB each
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(5): fill()\n"
        "before = faults(); fill(); print(faults() - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1000  # of 60,000 pages
