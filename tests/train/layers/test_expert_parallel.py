"""Experts over two ranks compute what one rank computes."""

import socket
import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.device_mesh import init_device_mesh

from train.layers.expert_parallel import divide_experts
from train.layers.hierarchical import HierarchicalMoE, Pools, router_losses
from train.layers.routing import Routing

RANKS = 2


def layer():
    torch.manual_seed(0)
    made = HierarchicalMoE(16, 32, Pools({"a": 4, "b": 2}, 4, 1), Routing(), Routing(2, "renormalised"))
    for router in made.routers.values():
        torch.nn.init.normal_(router.weight)
    return made


def images():
    generator = torch.Generator().manual_seed(1)
    return {s: torch.randn(4, 6, 16, generator=generator) for s in "ab"}


def loss_of(made, rows, group=None):
    x = images()
    part = torch.cat([x["a"][rows], x["b"][rows]])
    y, stats = made(part, [("a", len(part) // 2), ("b", len(part) // 2)])
    balance, z = router_losses([stats], group)
    return y, y.square().mean() + 0.1 * balance + 0.01 * z


def on_rank(rank, port, results):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=RANKS)
    torch.set_num_threads(1)
    made = layer()
    divided = divide_experts(made, init_device_mesh("cpu", (RANKS,)))
    y, loss = loss_of(made, slice(2 * rank, 2 * rank + 2), dist.group.WORLD)
    loss.backward()
    grads = {}
    for name, p in made.named_parameters():
        if p in divided:
            assert len(p.to_local()) == len(p) // RANKS
            grads[name] = p.grad.full_tensor().numpy()
        else:
            dist.all_reduce(p.grad)
            grads[name] = (p.grad / RANKS).numpy()
    results.put((rank, y.detach().numpy(), loss.item(), grads))
    dist.barrier()
    dist.destroy_process_group()


def test_two_ranks_are_one():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.get_context("fork" if sys.platform == "linux" else "spawn")
    results = context.SimpleQueue()
    ranks = [context.Process(target=on_rank, args=(rank, port, results)) for rank in range(RANKS)]
    for process in ranks:
        process.start()
    found = sorted(results.get() for _ in ranks)
    for process in ranks:
        process.join(60)
        assert process.exitcode == 0

    made = layer()
    y, loss = loss_of(made, slice(0, 4))
    loss.backward()
    for sensor in range(2):
        for rank, part, _, _ in found:
            whole = y[4 * sensor + 2 * rank : 4 * sensor + 2 * rank + 2]
            torch.testing.assert_close(torch.from_numpy(part)[2 * sensor : 2 * sensor + 2], whole.detach())
    assert abs(sum(each for _, _, each, _ in found) / RANKS - loss.item()) < 1e-5

    for name, p in made.named_parameters():
        for *_, grads in found:
            torch.testing.assert_close(torch.from_numpy(grads[name]), p.grad, atol=1e-6, rtol=1e-4)
