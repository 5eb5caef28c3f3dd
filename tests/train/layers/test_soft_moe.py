import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from train.layers import Mlp, SoftMoE

torch.manual_seed(0)


def layer(dim=8, hidden=16, experts=3, slots=2, scale=5.0) -> SoftMoE:
    made = SoftMoE(dim, hidden, experts, slots, scale).double()
    for parameter in (made.fc1.bias, made.fc2.bias):
        torch.nn.init.normal_(parameter)
    return made


def oracle(moe: SoftMoE, x: Tensor) -> Tensor:
    """The paper's equations with loops over images, experts and slots."""
    _, n, p = moe.phi.shape
    out = torch.empty_like(x)
    for b, tokens in enumerate(x):
        logits = torch.empty(len(tokens), n, p, dtype=x.dtype)
        for i in range(n):
            for j in range(p):
                phi = moe.phi[:, i, j] / (moe.phi[:, i, j].norm() + 1e-6)
                for t, token in enumerate(tokens):
                    logits[t, i, j] = token / (token.norm() + 1e-6) @ (moe.scale * phi)
        dispatch, combine = logits.softmax(0), logits.flatten(1).softmax(1).view_as(logits)
        out[b] = 0
        for i in range(n):
            for j in range(p):
                slot = dispatch[:, i, j] @ tokens
                hidden = F.gelu(moe.fc1.weight[i] @ slot + moe.fc1.bias[i, 0])
                answer = moe.fc2.weight[i] @ hidden + moe.fc2.bias[i, 0]
                out[b] += combine[:, i, j, None] * answer
    return out


@pytest.mark.parametrize("scale", [1.0, 30.0])  # at 1 weights are nearly uniform and hide errors of axes
def test_equals_the_equations(scale):
    moe, x = layer(scale=scale), torch.randn(3, 7, 8, dtype=torch.float64)
    torch.testing.assert_close(moe(x), oracle(moe, x), rtol=1e-12, atol=1e-12)


def test_slots_are_mixtures_of_tokens_and_tokens_of_slots():
    dispatch, combine = layer(scale=20.0).route(torch.randn(4, 9, 8, dtype=torch.float64))
    torch.testing.assert_close(dispatch.sum(1), torch.ones(4, 6, dtype=torch.float64))
    torch.testing.assert_close(combine.sum(2), torch.ones(4, 9, dtype=torch.float64))


def test_permuted_tokens_give_permuted_outputs():
    moe, x = layer(), torch.randn(2, 9, 8, dtype=torch.float64)
    order = torch.randperm(9)
    torch.testing.assert_close(moe(x[:, order]), moe(x)[:, order])


def test_the_order_of_experts_does_not_matter():
    moe, x = layer(experts=4), torch.randn(2, 9, 8, dtype=torch.float64)
    before, order = moe(x), torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        moe.phi.copy_(moe.phi[:, order])
        for part in (*moe.fc1.parameters(), *moe.fc2.parameters()):
            part.copy_(part[order].clone())
    torch.testing.assert_close(moe(x), before)


def test_an_image_does_not_depend_on_its_batch():
    moe, x = layer(), torch.randn(5, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(moe(x)[2:3], moe(x[2:3]))


def test_one_slot_answers_every_token_alike():
    out = layer(experts=1, slots=1)(torch.randn(2, 9, 8, dtype=torch.float64))
    torch.testing.assert_close(out, out[:, :1].expand_as(out))


def test_identity_routing_is_the_dense_mlp():
    """With one slot aimed at each of m orthogonal tokens and equal experts, mixing disappears."""
    dim = 8
    dense = Mlp(dim, 16).double()
    moe = SoftMoE(dim, 16, experts=4, slots=2, scale_init=1000.0).double()
    tokens = 2 * torch.eye(dim, dtype=torch.float64)[torch.randperm(dim)]
    with torch.no_grad():
        # Sums of sixteenths, then of one term each, do not depend on the order in which a kernel adds.
        dense.fc1.weight.copy_((dense.fc1.weight * 16).round() / 16)
        dense.fc2.weight.zero_()[torch.arange(dim), torch.randperm(16)[:dim]] = torch.randn(dim).double()
        moe.phi.copy_(tokens.T.reshape(dim, 4, 2))
        for experts, linear in ((moe.fc1, dense.fc1), (moe.fc2, dense.fc2)):
            experts.weight.copy_(linear.weight.expand_as(experts.weight))
            experts.bias.copy_(linear.bias.expand_as(experts.bias))
    dispatch, combine = moe.route(tokens[None])
    assert torch.equal(dispatch[0], torch.eye(dim, dtype=torch.float64))
    assert torch.equal(combine, dispatch)
    assert torch.equal(moe(tokens[None])[0], dense(tokens))


def test_equals_the_equations_as_four_einsums():
    """Section 2 of the paper, with none of the layer's own reshaping."""
    moe, x = layer(scale=12.0), torch.randn(3, 7, 8, dtype=torch.float64)
    phi = moe.phi / (moe.phi.norm(dim=0) + 1e-6)
    logits = moe.scale * torch.einsum("bmd,dnp->bmnp", x / (x.norm(dim=2, keepdim=True) + 1e-6), phi)
    dispatch = logits.exp() / logits.exp().sum(1, keepdim=True)
    combine = logits.exp() / logits.exp().sum((2, 3), keepdim=True)
    slots = torch.einsum("bmnp,bmd->bnpd", dispatch, x)
    hidden = F.gelu(torch.einsum("bnpd,nhd->bnph", slots, moe.fc1.weight) + moe.fc1.bias[None])
    answers = torch.einsum("bnph,ndh->bnpd", hidden, moe.fc2.weight) + moe.fc2.bias[None]
    expected = torch.einsum("bmnp,bnpd->bmd", combine, answers)
    torch.testing.assert_close(moe(x), expected, rtol=1e-12, atol=1e-12)


def test_runs_at_any_number_of_tokens():
    moe = layer()
    assert [moe(torch.randn(1, m, 8, dtype=torch.float64)).shape[1] for m in (1, 33, 65)] == [1, 33, 65]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_all_zero_tokens_stay_finite(dtype):
    moe = SoftMoE(8, 16, 3, 2, 10.0).to(dtype)
    x = torch.zeros(2, 5, 8, dtype=dtype, requires_grad=True)
    out = moe(x)
    out.sum().backward()
    assert out.isfinite().all()
    assert all(t.grad is not None and t.grad.isfinite().all() for t in (x, *moe.parameters()))


def test_gradients_are_those_of_the_function():
    moe = layer(dim=8, hidden=6, experts=2, slots=2)
    x = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    names, values = zip(*moe.named_parameters(), strict=True)

    def run(tokens: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(moe, dict(zip(names, parameters, strict=True)), (tokens,))

    assert torch.autograd.gradcheck(run, (x, *values))


def test_routing_stays_precise_under_bfloat16():
    moe = SoftMoE(64, 128, 4, 2, 8.0)
    x = torch.randn(2, 33, 64)
    with torch.autocast("cpu", torch.bfloat16):
        dispatch, combine = moe.route(x.bfloat16())
        out = moe(x)
    assert dispatch.dtype == combine.dtype == torch.float32
    assert (dispatch.sum(1) - 1).abs().max() < 1e-6
    exact = moe.double()(x.double())
    assert (out.double() - exact).norm() / exact.norm() < 1e-2


def test_routing_is_uniform_at_the_papers_scale_and_sharp_at_a_large_one():
    x = torch.randn(4, 65, 256)
    soft = SoftMoE(256, 16, 8, 4, 1.0).routing(x)
    sharp = SoftMoE(256, 16, 8, 4, 1000.0).routing(x)
    assert soft.tokens_per_slot > 64
    assert soft.slots_per_token > 31
    assert sharp.tokens_per_slot < 2
    assert sharp.slots_per_token < 2
    assert (soft.scale, sharp.scale) == (1.0, 1000.0)


def test_size_follows_the_formula():
    d, n, p = 48, 5, 3
    assert (
        sum(w.numel() for w in SoftMoE(d, 4 * d, n, p).parameters())
        == n * (8 * d * d + 5 * d) + d * n * p + 1
    )
