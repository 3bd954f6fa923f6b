"""Data-parallel training by processes that share memory: one thread each, two meetings a step.

On a machine that compiles beside the training, two one-thread processes do about twice the
work of one two-thread process per CPU second: an intra-op barrier waits whenever either
thread is descheduled, this one only once per forward and once per backward pass.
"""

import os
import signal

import torch
import torch.multiprocessing as mp


class Exchange:
    """Shared tensors of all ranks. Made by the parent, then passed to every rank."""

    def __init__(self, world, rows, dim, weights, context):
        self.world = world
        self.barrier = context.Barrier(world)
        self.z = torch.zeros(world, rows, dim).share_memory_()
        self.grad = torch.zeros(world, weights).share_memory_()
        self.control = torch.zeros(2, dtype=torch.float64).share_memory_()  # progress, stop

    def gather(self, rank, z):
        """Embeddings of all ranks: views x instances, own rows carry a gradient.

        z: 2n x D, n moderate then n hard views. Returns 2 * world * n x D in that order,
        and the leaf whose gradient belongs to z.
        """
        leaf = z.detach().clone().requires_grad_(True)
        self.z[rank, :len(z)] = z.detach()
        self.barrier.wait()
        parts = [leaf if r == rank else self.z[r, :len(z)].clone() for r in range(self.world)]
        n = len(z) // 2
        return torch.cat([p[:n] for p in parts] + [p[n:] for p in parts]), leaf

    def sum_gradients(self, rank, params):
        """Replace every gradient by the sum over ranks."""
        flat = torch.cat([p.grad.reshape(-1) for p in params])
        self.grad[rank, :len(flat)] = flat
        self.barrier.wait()
        total = self.grad[:, :len(flat)].sum(0)
        at = 0
        for p in params:
            p.grad.copy_(total[at:at + p.numel()].view_as(p))
            at += p.numel()


def launch(function, world, rows, dim, weights, *args):
    """Run function(rank, exchange, *args) in `world` processes; raises when one fails."""
    context = mp.get_context("spawn")
    exchange = Exchange(world, rows, dim, weights, context)
    ranks = mp.spawn(function, (exchange, *args), nprocs=world, join=False)
    signal.signal(signal.SIGTERM, lambda *_: [os.kill(p.pid, signal.SIGTERM) for p in ranks.processes])
    while not ranks.join():
        pass
