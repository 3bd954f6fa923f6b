"""Train the descriptor by a wall-clock budget; resumes from its own checkpoint.

    python train.py --budget-min 90 --run runs/t

Everything (learning rate, entropy weight, resolution, mix) follows the elapsed share of
the budget, so a busy machine only lowers the number of views. The folder of the run
holds last.pt, log.jsonl and neighbours.npy (look-alikes of each pool image, found by the
averaged network itself and mined as hard negatives); an optional mix.json there
overrides views.MIX while training runs.
"""

import argparse
import json
import math
import os
import signal
import time
from pathlib import Path

import numpy as np
import torch

import optimizer
import parallel
from batches import Loader
from loss import contrastive
from network import ARCHS, DIM, Network, normalise_pixels
from pool import REAL, ImagePool, load
from views import finish

# (progress up to, input size, pairs a batch)
PHASES = ((0.60, 96, 128), (0.92, 128, 128), (1.01, 160, 96))
ENTROPY = 4.0


def phase(progress):
    return next((size, pairs) for end, size, pairs in PHASES if progress < end)


def rate(progress, warm=0.03, floor=0.01):
    if progress < warm:
        return max(0.02, progress / warm)
    x = min(1.0, (progress - warm) / (1 - warm))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * x))


@torch.no_grad()
def mine(net, pool, path, keep=10, ceiling=0.9, size=96):
    """Nearest real images of each real image by the averaged network (-1 pads)."""
    net.eval()
    ids = pool.by_kind[REAL]
    rng = np.random.default_rng(0)
    z = torch.empty(len(ids), 256)
    for s in range(0, len(ids), 256):
        batch = np.stack([finish(np.ascontiguousarray(pool[i]), rng, size) for i in ids[s:s + 256]])
        with torch.autocast("cpu", torch.bfloat16):
            z[s:s + 256] = net(normalise_pixels(batch))
    table = np.full((len(pool), keep), -1, np.int64)
    top1 = []
    for s in range(0, len(ids), 2048):
        sim = z[s:s + 2048] @ z.T
        sim[torch.arange(len(sim)), torch.arange(s, s + len(sim))] = -2
        top1.append(sim.max(1).values)
        sim[sim > ceiling] = -2  # may be true copies: never use them as negatives
        value, near = sim.topk(keep, 1)
        near = np.where(value.numpy() > 0.1, ids[near.numpy()], -1)
        table[ids[s:s + 2048]] = near
    tmp = path.with_suffix(".tmp.npy")
    np.save(tmp, table)
    os.replace(tmp, path)
    return float(torch.cat(top1).mean())


def average(ema, net, decay):
    with torch.no_grad():
        for a, b in zip(ema.state_dict().values(), net.state_dict().values()):
            if a.is_floating_point():
                a.lerp_(b, 1 - decay)
            else:
                a.copy_(b)


def save(path, **state):
    tmp = path.with_suffix(".tmp")
    torch.save(state, tmp)
    os.replace(tmp, path)


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", default="../shared/data/train", help="folder of train-*.tar")
    p.add_argument("--cache", default="runs/pool")
    p.add_argument("--run", type=Path, default=Path("runs/t"))
    p.add_argument("--arch", default="doppel-t", choices=ARCHS)
    p.add_argument("--budget-min", type=float, default=90)
    p.add_argument("--max-steps", type=int, default=0, help="stop early, for trials")
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--wd", type=float, default=0.05)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--processes", type=int, default=2, help="one thread and one loader each")
    p.add_argument("--mine-min", type=float, default=10, help="minutes between minings")
    p.add_argument("--save-min", type=float, default=5)
    p.add_argument("--compile", action="store_true", help="compile the network, once a phase")
    return p.parse_args()


def run(rank, exchange, args):
    """One training process. Rank 0 keeps the average, the log and the checkpoints."""
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    first = rank == 0
    last = args.run / "last.pt"
    net = Network(args.arch).to(memory_format=torch.channels_last)
    ema = Network(args.arch).to(memory_format=torch.channels_last)
    ema.load_state_dict(net.state_dict())
    opt = optimizer.build(net, args.lr, args.wd)
    elapsed, step, seen = 0.0, 0, 0
    if last.exists():
        state = torch.load(last, weights_only=True)
        net.load_state_dict(state["net"])
        ema.load_state_dict(state["ema"])
        opt.load_state_dict(state["optimizer"])
        elapsed, step, seen = state["elapsed"], state["step"], state["views"]
        print(f"rank {rank} resumed at {elapsed / 60:.1f} min, step {step}", flush=True)
    budget, mined = args.budget_min * 60, elapsed
    loader = Loader(args.cache, args.run, [args.seed, step, rank])
    fast = torch.compile(net, dynamic=False) if args.compile else net
    params = list(net.parameters())
    log = open(args.run / "log.jsonl", "a", buffering=1) if first else None
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))  # save, then leave

    def checkpoint():
        save(last, arch=args.arch, seed=args.seed, net=net.state_dict(), ema=ema.state_dict(),
             optimizer=opt.state_dict(), elapsed=elapsed, step=step, views=seen, budget=budget)

    progress = elapsed / budget
    clock = saved = marked = time.monotonic()
    sums, waited, counted, since = {}, 0.0, 0, seen
    while True:
        size, pairs = phase(progress)
        begin = time.monotonic()
        batch = loader.next(size, pairs // exchange.world, progress)
        waited += time.monotonic() - begin
        net.train()
        with torch.autocast("cpu", torch.bfloat16):
            z = fast(normalise_pixels(batch))
        every, leaf = exchange.gather(rank, z)
        loss, figures = contrastive(every, 0.05, ENTROPY * min(1.0, progress / 0.2))
        (grad,) = torch.autograd.grad(loss, leaf)
        opt.zero_grad(set_to_none=True)
        z.backward(grad)
        if first:  # the other ranks read this after the next meeting
            now = time.monotonic()
            elapsed += min(now - clock, 60.0)  # a suspended process does not lose its schedule
            clock = now
            exchange.control[0] = elapsed / budget
            exchange.control[1] = bool(stop or elapsed >= budget or step + 1 == args.max_steps)
        exchange.sum_gradients(rank, params)
        norm = torch.nn.utils.clip_grad_norm_(params, 5.0)
        if not torch.isfinite(norm):
            raise RuntimeError("gradient is not finite")
        for g in opt.param_groups:
            g["lr"] = g["peak"] * rate(progress)
        opt.step()
        progress, stopping = exchange.control.tolist()
        step += 1
        seen += len(every)
        if not first:
            if stopping:
                return
            continue
        average(ema, net, min(0.998, (1 + step) / (20 + step)))
        counted += 1
        for k, v in figures.items():
            sums[k] = sums.get(k, 0.0) + v
        if step % 50 == 0:
            span = time.monotonic() - marked
            row = {"min": round(elapsed / 60, 2), "step": step, "views": seen, "size": size,
                   **{k: round(v / counted, 4) for k, v in sums.items()}, "grad": round(float(norm), 2),
                   "views_s": round((seen - since) / span), "wait_s": round(waited, 1), "lr": round(rate(progress), 4)}
            print(json.dumps(row), flush=True)
            log.write(json.dumps(row) + "\n")
            sums, waited, counted, since, marked = {}, 0.0, 0, seen, time.monotonic()
        if stopping or time.monotonic() - saved > args.save_min * 60:
            checkpoint()
            saved = time.monotonic()
        if stopping:
            print(f"stopped: {step} steps, {seen} views, {elapsed / 60:.1f} min", flush=True)
            return
        if elapsed - mined > args.mine_min * 60:
            t = time.monotonic()
            cos = mine(ema, ImagePool(args.cache), args.run / "neighbours.npy")
            mined = elapsed
            print(f"mined look-alikes in {time.monotonic() - t:.0f} s, mean nearest cosine {cos:.3f}", flush=True)


def main():
    args = arguments()
    args.run.mkdir(parents=True, exist_ok=True)
    load(args.data, args.cache)  # builds the cache on first use
    rows = 2 * max(pairs for _, _, pairs in PHASES) // args.processes
    weights = sum(p.numel() for p in Network(args.arch).parameters())
    parallel.launch(run, args.processes, rows, DIM, weights, args)


if __name__ == "__main__":
    main()
