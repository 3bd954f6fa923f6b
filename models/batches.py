"""Batches of views, drawn by worker processes into shared memory.

A batch of `pairs` instances is uint8, 2 * pairs x size x size x 3: first the moderate
views, then the hard views in the same order. An instance is an image or one of two
disjoint parts of it; parts, template siblings and near neighbours of one image meet in
a batch as hard negatives. Workers never see evaluation data.
"""

import json
import multiprocessing as mp
import queue
import signal
from pathlib import Path

import cv2
import numpy as np

import views
from augment import Art
from pool import PROCEDURAL, REAL, SYNTHETIC, SIBLINGS, ImagePool

AHEAD = 3            # batches that wait beside one in each worker's hands
DISJOINT = 0.12      # share of real instances drawn as two disjoint parts
NEIGHBOURS = 0.45    # share of real instances drawn as groups of look-alikes
GROUP = 4


def shares(progress):
    """(real, procedural, synthetic) share of instances at training progress 0..1."""
    if progress < 0.12:
        return 0.45, 0.40, 0.15
    if progress < 0.8:
        return 0.70, 0.14, 0.16
    return 0.84, 0.0, 0.16


def disjoint_parts(img, rng):
    """Two parts of an image that share no pixel (halves with a random seam and gap)."""
    h, w = img.shape[:2]
    if (w > h) == (rng.random() < 0.75):
        a, b = int(w * rng.uniform(0.38, 0.5)), int(w * rng.uniform(0.5, 0.62))
        return img[:, :a], img[:, b:]
    a, b = int(h * rng.uniform(0.38, 0.5)), int(h * rng.uniform(0.5, 0.62))
    return img[:a], img[b:]


class Sampler:
    def __init__(self, pool, folder, seed):
        self.pool, self.folder = pool, Path(folder)
        self.rng = np.random.default_rng(seed)
        self.art = Art(pool, seed=seed[-1])
        self.mix = dict(views.MIX)
        self.neighbours, self.stamp = None, 0.0

    def refresh(self):
        """Read a newer neighbour table or edit mix when the trainer has left one."""
        path = self.folder / "neighbours.npy"
        if path.exists() and path.stat().st_mtime > self.stamp:
            self.stamp = path.stat().st_mtime
            self.neighbours = np.load(path)
        path = self.folder / "mix.json"
        if path.exists():
            self.mix = {**views.MIX, **json.loads(path.read_text())}

    def instances(self, count, progress):
        """`count` uint8 images, each an instance of its own."""
        rng, pool = self.rng, self.pool
        share = shares(progress)
        n_proc, n_syn = int(count * share[1]), int(count * share[2])
        out = [pool[i] for i in rng.choice(pool.by_kind[PROCEDURAL], n_proc, replace=False)]
        synthetic = pool.by_kind[SYNTHETIC]
        groups = rng.choice(len(synthetic) // SIBLINGS, -(-n_syn // SIBLINGS), replace=False)
        out += [pool[i] for i in synthetic.reshape(-1, SIBLINGS)[groups].ravel()[:n_syn]]
        seen = set()
        while len(out) < count:
            i = int(rng.choice(pool.by_kind[REAL]))
            if i in seen:
                continue
            seen.add(i)
            u = rng.random()
            if u < DISJOINT / 2:
                out += disjoint_parts(pool[i], rng)
                continue
            out.append(pool[i])
            if self.neighbours is not None and u > 1.0 - NEIGHBOURS / GROUP * 1.6:
                near = self.neighbours[i]
                for j in rng.permutation(near[near >= 0])[:GROUP - 1]:
                    if int(j) not in seen:
                        seen.add(int(j))
                        out.append(pool[int(j)])
        return out[:count]

    def fill(self, array, size, progress):
        """array: uint8 2 * pairs x size x size x 3."""
        pairs = len(array) // 2
        for k, img in enumerate(self.instances(pairs, progress)):
            array[k] = views.moderate(img, self.rng, self.art, size)
            array[pairs + k] = views.hard(img, self.rng, self.art, size, self.mix)


def _work(cache, folder, seed, slots, free, ready):
    cv2.setNumThreads(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the trainer handles it by saving
    sampler = Sampler(ImagePool(cache), folder, seed)
    known = None
    while True:
        order = free.get()
        if order is None:
            return
        slot, size, pairs, progress, state = order
        if state != known:
            known = state
            sampler.refresh()
        n = 2 * pairs * size * size * 3
        array = np.frombuffer(slots[slot], np.uint8, n).reshape(2 * pairs, size, size, 3)
        sampler.fill(array, size, progress)
        ready.put((slot, size, pairs))


class Loader:
    """`next(size, pairs, progress, state)` gives a batch; the array is valid until the next call.

    `state` is any number: when it changes, the worker reads the neighbours and the mix again. What a batch
    is drawn with is ordered along with it, so that one worker gives the same batches however fast it is.
    """

    def __init__(self, cache, folder, seed, workers=1, pairs=256, size=160):
        """At most `pairs` of `size` pixels a batch."""
        ctx = mp.get_context("fork")
        self.slots = [mp.RawArray("B", 2 * pairs * size * size * 3) for _ in range(workers + AHEAD)]
        self.free, self.ready = ctx.Queue(), ctx.Queue()
        self.held = None
        self.started = False
        self.processes = [
            ctx.Process(target=_work, daemon=True, args=(
                cache, folder, [31, *seed, k], self.slots, self.free, self.ready))
            for k in range(workers)]

    def close(self):
        for p in self.processes:
            if p.is_alive():
                p.terminate()

    def start(self, *order):
        """Fork the workers; the first `next` does it otherwise."""
        self.started = True
        for p in self.processes:
            p.start()
        for k in range(len(self.slots)):
            self.free.put((k, *order))

    def next(self, size, pairs, progress, state=0):
        order = size, pairs, progress, state
        if not self.started:
            self.start(*order)
        while True:
            if self.held is not None:
                self.free.put((self.held, *order))
                self.held = None
            try:
                slot, got, n = self.ready.get(timeout=20)
            except queue.Empty:  # also after a pause of the whole training
                if not all(p.is_alive() for p in self.processes):
                    raise RuntimeError("a loader process died") from None
                continue
            self.held = slot
            if (got, n) == (size, pairs):
                count = 2 * n * got * got * 3
                return np.frombuffer(self.slots[slot], np.uint8, count).reshape(2 * n, got, got, 3)
