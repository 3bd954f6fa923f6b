"""The image pool: ragged uint8 RGB images behind one memory map.

Files in the cache folder: pool.bin (pixels, H x W x 3 one after another),
index.npy (int64, rows of offset, height, width, kind, group).
kind: 0 real, 1 procedural, 2 synthetic. group: images with equal group >= 0 are
siblings (same template, other content); -1 elsewhere.
"""

import io
import tarfile
from multiprocessing import Pool as Processes
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import procedural
import synthetic

REAL, PROCEDURAL, SYNTHETIC = 0, 1, 2
SHORT_SIDE = 192  # px; larger images are reduced with an area filter
SIBLINGS = 3
PROCEDURAL_COUNT, TEMPLATE_COUNT = 4000, 1300


def shrink(img, short_side=SHORT_SIDE):
    h, w = img.shape[:2]
    scale = short_side / min(h, w)
    if scale >= 1.0:
        return img
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    return cv2.resize(img, size, interpolation=cv2.INTER_AREA)


def _real(data):
    img = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    h, w = img.shape[:2]
    if max(h, w) > 3 * min(h, w):  # keep memory bounded: centre part of very long images
        m = 3 * min(h, w)
        y, x = max(0, (h - m) // 2), max(0, (w - m) // 2)
        img = img[y:y + m, x:x + m]
    return shrink(img)


def _procedural(seed):
    return procedural.image(np.random.default_rng([11, seed]))


def _synthetic(args):
    template, content = args
    return synthetic.image(np.random.default_rng([12, template]),
                           np.random.default_rng([13, template, content]))


def _init():
    cv2.setNumThreads(1)


def build(train_dir, cache, procedural_count=PROCEDURAL_COUNT, template_count=TEMPLATE_COUNT, processes=2):
    """Decode the training tars, draw the rest, write the cache."""
    cache, tars = Path(cache), sorted(Path(train_dir).glob("train-*.tar"))
    if not tars:
        raise SystemExit(f"no train-*.tar in {train_dir}: name their folder with --data")
    cache.mkdir(parents=True, exist_ok=True)
    blobs = []
    for tar in tars:
        with tarfile.open(tar) as f:
            members = sorted((m for m in f.getmembers() if m.isfile()), key=lambda m: m.name)
            blobs += [f.extractfile(m).read() for m in members]
    jobs = [(t, c) for t in range(template_count) for c in range(SIBLINGS)]
    rows, offset = [], 0
    with Processes(processes, _init) as workers, open(cache / "pool.tmp", "wb") as out:
        parts = ((REAL, workers.imap(_real, blobs, 64)),
                 (PROCEDURAL, workers.imap(_procedural, range(procedural_count), 32)),
                 (SYNTHETIC, workers.imap(_synthetic, jobs, 32)))
        for kind, images in parts:
            for i, img in enumerate(images):
                h, w = img.shape[:2]
                group = i // SIBLINGS if kind == SYNTHETIC else -1
                rows.append((offset, h, w, kind, group))
                out.write(np.ascontiguousarray(img).tobytes())
                offset += h * w * 3
            print(f"kind {kind}: {i + 1} images", flush=True)
    np.save(cache / "index.npy", np.array(rows, np.int64))
    (cache / "pool.tmp").rename(cache / "pool.bin")


class ImagePool:
    """Read-only access; `pool[i]` is a view (H x W x 3, uint8) into the map."""

    def __init__(self, cache):
        self.index = np.load(Path(cache) / "index.npy")
        self.data = np.memmap(Path(cache) / "pool.bin", np.uint8, "r")
        self.kind = self.index[:, 3]
        self.group = self.index[:, 4]
        self.by_kind = [np.flatnonzero(self.kind == k) for k in range(3)]

    def __len__(self):
        return len(self.index)

    def __getitem__(self, i):
        offset, h, w = self.index[i, :3]
        return self.data[offset:offset + h * w * 3].reshape(h, w, 3)


def load(train_dir, cache, *counts):
    """The pool in `cache`, drawn first where it is missing: `counts` as for build."""
    if not (Path(cache) / "pool.bin").exists():
        build(train_dir, cache, *counts)
    return ImagePool(cache)
