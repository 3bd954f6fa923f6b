"""Train networks on a GPU by wall clock, all of them on the same views; resumes from its own checkpoints.

    python train_gpu.py --init doppel-t.safetensors --seconds 540 --total 900
    python train_gpu.py --init doppel-t.safetensors --seconds 540 --total 900     # again, to the end

The views are those of train.py, drawn by a process a core: a small network on a large GPU takes
them as fast as 16 cores draw them, and a second network beside it costs next to nothing. Rate,
input size and mix follow the elapsed share of --total, over as many commands of --seconds as it
takes. The folder of the run holds <arch>.pt (what export.py takes), log.jsonl and neighbours.npy.
"""

import argparse
import json
import os
import queue
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open

import folders
import optimizer
import pool
import train
from batches import Loader
from loss import contrastive
from network import ARCHS, Network, normalise_pixels
from views import finish

MATURITY = 0.2      # progress that the mix of the batches starts at (see batches.shares)
WARM = 0.02         # share of the schedule until the peak rate
DECAY = 0.998       # of the average, a step
CLIP = 5.0          # largest norm of a gradient
MINING_SIZE = 128


def start_of(arch, paths):
    """The exported weights that `arch` goes on from: those of its own architecture, otherwise the first, to be widened."""
    def holds(path):
        with safe_open(path, "pt") as f:
            return f.metadata()["arch"] == arch
    return next(filter(holds, paths), paths[0])


def divergence(z, teacher, tau=0.05):
    """KL of the likenesses of each row to all others, softened by `tau`, from those of the teacher."""
    eye = torch.eye(len(z), dtype=torch.bool, device=z.device)
    said, wanted = (F.log_softmax((v @ v.T).masked_fill(eye, -1e4) / tau, 1) for v in (z, teacher))
    return F.kl_div(said, wanted, reduction="batchmean", log_target=True)


class Trainee:
    """A network, its average and its optimiser."""

    def __init__(self, arch, args, device, state=None):
        """state: the checkpoint to go on from; without it --init, without that random weights."""
        self.arch, self.path = arch, args.run / f"{arch}.pt"
        self.net = train.warm_start(arch, start_of(arch, args.init), args) if args.init and not state else Network(arch)
        if state:
            self.net.load_state_dict(state["net"])
        self.net = self.net.to(device, memory_format=torch.channels_last).train()
        self.ema = Network(arch).to(device, memory_format=torch.channels_last).eval()
        self.ema.load_state_dict(state["ema"] if state else self.net.state_dict())
        self.opt = optimizer.build(self.net, args.lr, args.wd)
        if state:
            self.opt.load_state_dict(state["optimizer"])

    def step(self, x, share, entropy, count, teacher=None, weight=0.0):
        """One step at `share` of the peak rate; returns the figures of the loss.

        teacher: embeddings of the same views by a better network; their likenesses are learned with `weight`.
        """
        with torch.autocast(x.device.type, torch.bfloat16):
            z = F.normalize(self.net.features(x), dim=1)
        loss, figures = contrastive(z, 0.05, entropy)
        if teacher is not None:
            apart = divergence(z, teacher)
            loss = loss + weight * apart
            figures["apart"] = apart.item()
        self.opt.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
        if not torch.isfinite(norm):
            raise RuntimeError(f"{self.arch}: gradient is not finite")
        for group in self.opt.param_groups:
            group["lr"] = group["peak"] * share
        self.opt.step()
        train.average(self.ema, self.net, min(DECAY, (1 + count) / (20 + count)))
        return {**figures, "grad": float(norm)}

    @torch.no_grad()
    def embed(self, x):
        """Unit embeddings of `x` by the average."""
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.ema(x).float()

    def save(self, **state):
        train.save(self.path, arch=self.arch, net=self.net.state_dict(), ema=self.ema.state_dict(),
                   optimizer=self.opt.state_dict(), **state)


def feed(loader, order, device):
    """A function that gives the next batch on the device; the copy to pinned memory runs beside the training."""
    pin, ready = device.type == "cuda", queue.Queue(2)

    def work():
        try:
            while True:
                batch = torch.from_numpy(loader.next(*order()))
                ready.put(batch.pin_memory() if pin else batch.clone())
        except Exception as e:  # shown by the trainer
            ready.put(e)

    threading.Thread(target=work, daemon=True).start()

    def next_batch():
        batch = ready.get()
        if isinstance(batch, Exception):
            raise batch
        return normalise_pixels(batch.to(device, non_blocking=True))

    return next_batch


def squashed(images, device, size=MINING_SIZE):
    """The pool's real images as the network sees them: uint8 N x size x size x 3 on the device."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.stack([finish(np.ascontiguousarray(images[i]), rng, size)
                                      for i in images.by_kind[pool.REAL]])).to(device)


@torch.no_grad()
def mine(net, real, images, path):
    """train.mine on the device."""
    with torch.autocast(real.device.type, torch.bfloat16):
        z = torch.cat([net(normalise_pixels(real[s:s + 1024])).float() for s in range(0, len(real), 1024)])
    return train.write_neighbours(z, images, path)


def arguments(given=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", default=folders.TRAIN, help="folder of train-*.tar")
    p.add_argument("--cache", default="runs/pool")
    p.add_argument("--procedural", type=int, default=pool.PROCEDURAL_COUNT, help="pictures of a cache that is not there yet")
    p.add_argument("--templates", type=int, default=pool.TEMPLATE_COUNT, help="of synthetic pictures, likewise")
    p.add_argument("--run", type=Path, default=Path("runs/gpu"))
    p.add_argument("--archs", nargs="+", default=list(ARCHS), choices=ARCHS)
    p.add_argument("--init", type=Path, nargs="+", help="exported weights to go on from, each network from its own; one without is widened from the first")
    p.add_argument("--seconds", type=float, default=540, help="of this command")
    p.add_argument("--total", type=float, help="seconds of the whole schedule; default: this command's")
    p.add_argument("--pairs", type=int, default=1024)
    p.add_argument("--sizes", type=json.loads, default=[[1.0, 160]], help="[[progress up to, input size], ...]")
    p.add_argument("--lr", type=float, default=2e-3, help="peak rate")
    p.add_argument("--wd", type=float, default=0.05)
    p.add_argument("--entropy", type=float, default=8.0, help="weight of the entropy term")
    p.add_argument("--distil", type=float, default=0.0, help="weight of what the others learn from the average of the last network")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that draw views")
    p.add_argument("--mine-s", type=float, default=60, help="seconds between minings")
    p.add_argument("--save-s", type=float, default=60)
    p.add_argument("--device", default="cuda")
    return p.parse_args(given)


def run(args):
    started = time.monotonic()
    cv2.setNumThreads(1)  # before it is used and forked
    torch.manual_seed(args.seed)
    torch.backends.cudnn.benchmark = True
    device = torch.device(args.device)
    args.run.mkdir(parents=True, exist_ok=True)
    images = pool.load(args.data, args.cache, args.procedural, args.templates, args.workers)
    states = {arch: torch.load(args.run / f"{arch}.pt", weights_only=True, map_location="cpu")
              for arch in args.archs if (args.run / f"{arch}.pt").exists()}
    step, seen, spent = next(((s["step"], s["views"], s["elapsed"]) for s in states.values()), (0, 0, 0.0))
    total = args.total or args.seconds
    progress = lambda: min(1.0, (spent + time.monotonic() - started) / total)
    size = lambda: next((size for end, size in args.sizes if progress() < end), args.sizes[-1][1])
    minings = 0
    order = lambda: (size(), args.pairs, max(MATURITY, progress()), minings)
    loader = Loader(args.cache, args.run, [args.seed, step, 0], args.workers, args.pairs,
                    max(size for _, size in args.sizes))
    loader.start(*order())  # forks, so before the device is touched
    trainees = [Trainee(arch, args, device, states.get(arch)) for arch in args.archs]
    next_batch = feed(loader, order, device)
    real = squashed(images, device)
    log = open(args.run / "log.jsonl", "a", buffering=1)
    saved = mined = marked = time.monotonic()
    sums, counted, waited, since = {}, 0, 0.0, seen

    def checkpoint():
        for t in trainees:
            t.save(seed=args.seed, step=step, views=seen, elapsed=spent + time.monotonic() - started)

    while True:
        begin = time.monotonic()
        x = next_batch()
        waited += time.monotonic() - begin
        share = train.rate(progress(), WARM)
        teacher = trainees[-1].embed(x) if args.distil else None
        for t in trainees:
            taught = teacher if t is not trainees[-1] else None
            for k, v in t.step(x, share, args.entropy, step, taught, args.distil).items():
                name = f"{t.arch[-1]}_{k}"
                sums[name] = sums.get(name, 0.0) + v
        step += 1
        counted += 1
        seen += len(x)
        now = time.monotonic()
        stopping = progress() >= 1.0 or now - started >= args.seconds
        if step % 50 == 0 or stopping:
            row = {"s": round(spent + now - started, 1), "step": step, "views": seen, "size": x.shape[-1],
                   **{k: round(v / counted, 4) for k, v in sums.items()}, "wait_s": round(waited, 1),
                   "views_s": round((seen - since) / (now - marked)), "lr": round(share, 4)}
            print(json.dumps(row), flush=True)
            log.write(json.dumps(row) + "\n")
            sums, counted, waited, since, marked = {}, 0, 0.0, seen, now
        if stopping or now - saved > args.save_s:
            checkpoint()
            saved = time.monotonic()
        if stopping:
            print(f"stopped: {step} steps, {seen} views, progress {progress():.3f}", flush=True)
            return loader.close()
        if now - mined > args.mine_s:
            cosine = mine(trainees[-1].ema, real, images, args.run / "neighbours.npy")
            minings += 1
            mined = time.monotonic()
            print(f"mined look-alikes in {mined - now:.1f} s, mean nearest cosine {cosine:.3f}", flush=True)


if __name__ == "__main__":
    run(arguments())
