"""Swin blocks: windows, shifts, padding, both attentions."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from train.layers.swin import (
    PatchMerging,
    Swin,
    SwinBlock,
    WindowAttention,
    log_offsets,
    regions_apart,
    relative_positions,
)


class Nothing(nn.Module):
    def forward(self, x, rows):
        return torch.zeros_like(x), {}


def block(window=4, shift=0, cosine=False):
    torch.manual_seed(0)
    made = SwinBlock(16, 2, window, shift, Nothing(), cosine)
    nn.init.zeros_(made.norm2.bias)
    return made


def reached(made, size, source):
    """Tokens that change with the one at *source*."""
    x = torch.randn(1, *size, 16)
    y, _ = made(x, [("a", 1)])
    x[0, source[0], source[1]] += 1
    z, _ = made(x, [("a", 1)])
    return {tuple(place) for place in ((y - z)[0].abs().amax(2) > 1e-6).nonzero().tolist()}


@pytest.mark.parametrize("cosine", [False, True])
def test_tokens_meet_within_their_window_alone(cosine):
    assert reached(block(4, 0, cosine), (8, 8), (5, 1)) == {(y, x) for y in range(4, 8) for x in range(4)}


@pytest.mark.parametrize("cosine", [False, True])
def test_shifted_windows_do_not_wrap_around(cosine):
    made = block(4, 2, cosine)
    assert reached(made, (8, 8), (3, 3)) == {(y, x) for y in range(2, 6) for x in range(2, 6)}
    assert reached(made, (8, 8), (0, 0)) == {(y, x) for y in range(2) for x in range(2)}
    assert reached(made, (8, 8), (7, 3)) == {(y, x) for y in range(6, 8) for x in range(2, 6)}


@pytest.mark.parametrize("shift", [0, 2])
def test_padding_tells_nothing(shift):
    made = block(4, shift)
    x = torch.randn(1, 6, 7, 16)
    y, _ = made(x, [("a", 1)])
    assert y.shape == x.shape
    assert y.isfinite().all()
    made.attn.qkv.bias.data.fill_(3.0)  # padding would answer with its biases now
    corner = x[:, 4:, 4:].clone()
    if not shift:
        alone = SwinBlock(16, 2, 4, 0, Nothing())
        alone.load_state_dict(made.state_dict())
        torch.testing.assert_close(
            made(x, [("a", 1)])[0][:, 4:, 4:],
            alone(torch.cat([corner, torch.randn(1, 2, 1, 16)], 2)[:, :, :3], [("a", 1)])[0],
        )


def test_a_map_of_one_window_is_not_shifted():
    made = block(4, 2)
    assert len(reached(made, (4, 4), (0, 0))) == 16


def test_attention_is_its_formula():
    torch.manual_seed(0)
    made = WindowAttention(8, 2, 3)
    x = torch.randn(1, 1, 9, 8)
    q, k, v = made.qkv(x[0, 0]).reshape(9, 3, 2, 4).permute(1, 2, 0, 3)
    bias = torch.empty(2, 9, 9)
    for i in range(9):
        for j in range(9):
            offset = (i // 3 - j // 3 + 2) * 5 + i % 3 - j % 3 + 2
            bias[:, i, j] = made.bias_table[offset]
    weights = (q @ k.transpose(1, 2) / 2 + bias).softmax(2)
    expected = made.proj((weights @ v).transpose(0, 1).reshape(9, 8))
    torch.testing.assert_close(made(x, None)[0, 0], expected)


def test_cosine_attention_does_not_depend_on_the_length_of_its_queries():
    torch.manual_seed(0)
    made = WindowAttention(8, 2, 3, cosine=True)
    x = torch.randn(1, 1, 9, 8)
    before = made(x, None)
    made.qkv.weight.data[:16] *= 7
    torch.testing.assert_close(made(x, None), before)


def test_offsets():
    assert relative_positions(2).tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    assert log_offsets(12).abs().max() == pytest.approx(torch.log2(torch.tensor(9.0)).item() / 3)
    assert regions_apart(8, 8, 4, 0) is None


def test_merging_joins_neighbours():
    torch.manual_seed(0)
    made = PatchMerging(4)
    x = torch.randn(1, 4, 6, 4)
    y = made(x)
    assert y.shape == (1, 2, 3, 8)
    corner = torch.cat([x[0, 2, 4], x[0, 3, 4], x[0, 2, 5], x[0, 3, 5]])
    torch.testing.assert_close(y[0, 1, 2], made.norm(made.reduction(corner)))
    assert made(torch.randn(1, 3, 5, 4)).shape == (1, 2, 3, 8)


@pytest.mark.parametrize("cosine", [False, True])
def test_checkpointing_changes_no_gradient(cosine):
    torch.manual_seed(0)
    swin = Swin(8, (1, 2), (1, 2), 4, 8, lambda i, width: Dense(width), cosine)
    x = torch.randn(2, 8, 8, 8)
    grads = []
    for swin.checkpointing in (False, True):
        swin.zero_grad()
        swin(x, [("a", 2)])[0][-1].square().sum().backward()
        grads.append([p.grad.clone() for p in swin.parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("cosine", [False, True])
def test_what_inference_keeps_does_for_training(cosine):
    regions_apart.cache_clear()
    log_offsets.cache_clear()
    made = block(4, 2, cosine)
    x = torch.randn(1, 8, 8, 16)
    with torch.inference_mode():
        made(x, [("a", 1)])
    made(x, [("a", 1)])[0].sum().backward()
    assert made.attn.qkv.weight.grad is not None


class Dense(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x, rows):
        return F.gelu(self.fc(x)), {}
