"""Train the descriptor by a wall-clock budget or a number of views; resumes from its own checkpoint.

    python train.py --budget-min 90 --run runs/t
    python train.py --init doppel-t.safetensors --budget-min 80 --run runs/t2
    python train.py --views 80000 --processes 1 --run runs/base

Everything (learning rate, entropy weight, resolution, mix) follows the elapsed share of
the budget, so a busy machine only lowers the number of views. With --views it follows the
share of the views instead, so that runs can be compared on any machine; look-alikes are
mined at fixed shares, and one process that is not interrupted repeats a run bit by bit
with the same seed and libraries. The folder of the run
holds last.pt, log.jsonl and neighbours.npy (look-alikes of each pool image, found by the
averaged network itself and mined as hard negatives); an optional mix.json there
overrides views.MIX while training runs. With --init training goes on from exported weights
on a schedule of its own: large inputs and the full entropy weight from the start.
"""

import argparse
import json
import math
import os
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F

import folders
import optimizer
import parallel
from batches import Loader, Sampler
from loss import contrastive
from network import ARCHS, DIM, Network, frozen_front, normalise_pixels
from pool import REAL, ImagePool, load
from unfold import unfold
from views import finish



class Schedule(NamedTuple):
    phases: tuple   # (progress up to, input size, pairs a batch)
    lr: float       # peak rate
    warm: float     # progress at which the peak is reached
    ramp: float     # progress at which the entropy term has its full weight; 0: from the start
    maturity: float # progress that the mix of the batches starts at (see batches.shares)


COLD = Schedule(((0.60, 96, 128), (0.92, 128, 128), (1.01, 160, 96)), 2e-3, 0.03, 0.2, 0.0)
WARM = Schedule(((0.50, 128, 128), (1.01, 160, 96)), 1e-3, 0.02, 0.0, 0.2)


def schedule_of(args):
    """The schedule that the arguments ask for."""
    schedule = WARM if args.init else COLD
    if args.size:
        pairs = next((pairs for _, size, pairs in schedule.phases if size >= args.size), schedule.phases[-1][2])
        schedule = schedule._replace(phases=((1.01, args.size, pairs),))
    return schedule


def phase(schedule, progress):
    return next((size, pairs) for end, size, pairs in schedule.phases if progress < end)


def rate(progress, warm, floor=0.01):
    if progress < warm:
        return max(0.02, progress / warm)
    x = min(1.0, (progress - warm) / (1 - warm))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * x))


@torch.no_grad()
def mine(net, pool, path, size=96):
    """Write the nearest real images of each real image by the averaged network; returns the mean nearest cosine."""
    net.eval()
    ids = pool.by_kind[REAL]
    rng = np.random.default_rng(0)
    z = torch.empty(len(ids), DIM)
    for s in range(0, len(ids), 256):
        batch = np.stack([finish(np.ascontiguousarray(pool[i]), rng, size) for i in ids[s:s + 256]])
        with torch.autocast("cpu", torch.bfloat16):
            z[s:s + 256] = net(normalise_pixels(batch))
    return write_neighbours(z, pool, path)


def write_neighbours(z, pool, path, keep=10, ceiling=0.9):
    """neighbours.npy from the embeddings of the pool's real images (-1 pads); returns the mean nearest cosine."""
    ids = pool.by_kind[REAL]
    table = np.full((len(pool), keep), -1, np.int64)
    top1 = []
    for s in range(0, len(ids), 2048):
        sim = z[s:s + 2048] @ z.T
        sim[range(len(sim)), range(s, s + len(sim))] = -2
        top1.append(sim.max(1).values)
        sim[sim > ceiling] = -2  # may be true copies: never use them as negatives
        value, near = sim.topk(keep, 1)
        near = np.where(value.cpu().numpy() > 0.1, ids[near.cpu().numpy()], -1)
        table[ids[s:s + 2048]] = near
    tmp = path.with_suffix(".tmp.npy")
    np.save(tmp, table)
    os.replace(tmp, path)
    return float(torch.cat(top1).mean())


def warm_start(arch, init, args, views=384, size=128):
    """The exported network `init`, widened when `arch` is wider, with statistics of training views."""
    batch = np.empty((views, size, size, 3), np.uint8)
    Sampler(ImagePool(args.cache), args.run, [args.seed, 0]).fill(batch, size, 1.0)
    return unfold(init, arch, normalise_pixels(batch), args.seed)


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


def left(until):
    """Seconds from now to the next HH:MM."""
    now = datetime.now()
    end = datetime.combine(now.date(), datetime.strptime(until, "%H:%M").time())
    return (end - now).total_seconds() % 86400


def arguments(given=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", default=folders.TRAIN, help="folder of train-*.tar")
    p.add_argument("--cache", default="runs/pool")
    p.add_argument("--run", type=Path, default=Path("runs/t"))
    p.add_argument("--arch", default="doppel-t", choices=ARCHS)
    p.add_argument("--budget-min", type=float, default=90)
    p.add_argument("--until", help="HH:MM at which to be done, instead of the budget: time lost to a pause shortens the rest")
    p.add_argument("--views", type=int, help="end after so many views and schedule by them, instead of by the clock")
    p.add_argument("--max-steps", type=int, default=0, help="stop early, for trials")
    p.add_argument("--init", type=Path, help="exported weights to go on from")
    p.add_argument("--lr", type=float, help="peak rate; default by schedule")
    p.add_argument("--wd", type=float, default=0.05)
    p.add_argument("--entropy", type=float, default=4.0, help="weight of the entropy term")
    p.add_argument("--size", type=int, choices=(96, 128, 160), help="this input size throughout; default by schedule")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--processes", type=int, default=2, help="one thread and one loader each")
    p.add_argument("--mine-min", type=float, default=10, help="minutes between minings")
    p.add_argument("--mine-share", type=float, default=0.1, help="with --views: share of them between minings; 1: none")
    p.add_argument("--save-min", type=float, default=5)
    p.add_argument("--freeze", action="store_true", help="keep stem and stage1 as they are: a third more views")
    p.add_argument("--compile", action="store_true", help="compile the network, once a phase")
    args = p.parse_args(given)
    if args.views and args.until:
        p.error("--views and --until exclude one another")
    return args


def run(rank, exchange, args):
    """One training process. Rank 0 keeps the average, the log and the checkpoints."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)  # before it is used and forked: its threads would be missing in the loader
    torch.manual_seed(args.seed)
    first = rank == 0
    last = args.run / "last.pt"
    net = Network(args.arch).to(memory_format=torch.channels_last)
    ema = Network(args.arch).to(memory_format=torch.channels_last)
    if args.init and not last.exists():
        net.load_state_dict(warm_start(args.arch, args.init, args).state_dict())
    ema.load_state_dict(net.state_dict())
    schedule = schedule_of(args)
    opt = optimizer.build(net, args.lr or schedule.lr, args.wd)
    elapsed, step, seen = 0.0, 0, 0
    if last.exists():
        state = torch.load(last, weights_only=True)
        net.load_state_dict(state["net"])
        ema.load_state_dict(state["ema"])
        opt.load_state_dict(state["optimizer"])
        elapsed, step, seen = state["elapsed"], state["step"], state["views"]
        print(f"rank {rank} resumed at {elapsed / 60:.1f} min, step {step}", flush=True)
    budget, mined = args.budget_min * 60, elapsed
    end = time.monotonic() + left(args.until) if args.until else None
    if end:
        budget = elapsed + left(args.until)
    loader = Loader(args.cache, args.run, [args.seed, step, rank])
    front = None
    if args.freeze:  # go on from the average; the first layers stay as they are there
        net.load_state_dict(ema.state_dict())
        front = frozen_front(net)
        for p in [*net.stem.parameters(), *net.stage1.parameters()]:
            p.requires_grad_(False)
    fast = net.rest if front else net.features
    if args.compile:
        fast = torch.compile(fast, dynamic=False)
    params = [p for p in net.parameters() if p.requires_grad]
    log = open(args.run / "log.jsonl", "a", buffering=1) if first else None
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))  # save, then leave

    def checkpoint():
        save(last, arch=args.arch, seed=args.seed, net=net.state_dict(), ema=ema.state_dict(),
             optimizer=opt.state_dict(), elapsed=elapsed, step=step, views=seen, budget=budget)

    progress = seen / args.views if args.views else elapsed / budget
    before = progress
    clock = saved = marked = time.monotonic()
    sums, waited, counted, since = {}, 0.0, 0, seen
    while True:
        size, pairs = phase(schedule, progress)
        begin = time.monotonic()
        # a table mined after the last step is complete for every rank only after this one's meeting
        state = int(before / args.mine_share) if args.views else step // 20
        before = progress
        batch = loader.next(size, pairs // exchange.world, max(progress, schedule.maturity), state)
        waited += time.monotonic() - begin
        net.train()
        if front:  # their statistics stay too
            net.stem.eval()
            net.stage1.eval()
        with torch.autocast("cpu", torch.bfloat16):
            z = F.normalize(fast(front(batch) if front else normalise_pixels(batch)), dim=1)
        every, leaf = exchange.gather(rank, z)
        loss, figures = contrastive(every, 0.05, args.entropy * (min(1.0, progress / schedule.ramp) if schedule.ramp else 1.0))
        (grad,) = torch.autograd.grad(loss, leaf)
        opt.zero_grad(set_to_none=True)
        z.backward(grad)
        if first:  # the other ranks read this after the next meeting
            now = time.monotonic()
            elapsed += min(now - clock, 60.0)  # a suspended process does not lose its schedule
            clock = now
            if end:
                budget = elapsed + max(1.0, end - now)
            reached = (seen + len(every)) / args.views if args.views else elapsed / budget
            exchange.control[0] = reached
            exchange.control[1] = bool(stop or reached >= 1 or (end and now >= end) or step + 1 == args.max_steps)
        exchange.sum_gradients(rank, params)
        norm = torch.nn.utils.clip_grad_norm_(params, 5.0)
        if not torch.isfinite(norm):
            raise RuntimeError("gradient is not finite")
        for g in opt.param_groups:
            g["lr"] = g["peak"] * rate(progress, schedule.warm)
        opt.step()
        progress, stopping = exchange.control.tolist()
        step += 1
        seen += len(every)
        if not first:
            if stopping:
                return loader.close()
            continue
        average(ema, net, min(0.998, (1 + step) / (20 + step)))
        counted += 1
        for k, v in figures.items():
            sums[k] = sums.get(k, 0.0) + v
        if step % 50 == 0:
            span = time.monotonic() - marked
            row = {"min": round(elapsed / 60, 2), "step": step, "views": seen, "size": size,
                   **{k: round(v / counted, 4) for k, v in sums.items()}, "grad": round(float(norm), 2),
                   "views_s": round((seen - since) / span), "wait_s": round(waited, 1), "lr": round(rate(progress, schedule.warm), 4)}
            print(json.dumps(row), flush=True)
            log.write(json.dumps(row) + "\n")
            sums, waited, counted, since, marked = {}, 0.0, 0, seen, time.monotonic()
        if stopping or time.monotonic() - saved > args.save_min * 60:
            checkpoint()
            saved = time.monotonic()
        if stopping:
            print(f"stopped: {step} steps, {seen} views, {elapsed / 60:.1f} min", flush=True)
            return loader.close()
        due = int(progress / args.mine_share) > int(before / args.mine_share) if args.views else elapsed - mined > args.mine_min * 60
        if due:
            t = time.monotonic()
            cos = mine(ema, ImagePool(args.cache), args.run / "neighbours.npy")
            mined = elapsed
            print(f"mined look-alikes in {time.monotonic() - t:.0f} s, mean nearest cosine {cos:.3f}", flush=True)


def main():
    args = arguments()
    args.run.mkdir(parents=True, exist_ok=True)
    load(args.data, args.cache)  # builds the cache on first use
    rows = 2 * max(pairs for _, _, pairs in COLD.phases + WARM.phases) // args.processes
    weights = sum(p.numel() for p in Network(args.arch).parameters())
    parallel.launch(run, args.processes, rows, DIM, weights, args)


if __name__ == "__main__":
    main()
