"""Do training and evaluation share pictures? The nearest training picture of every development image, to be looked at.

    python separation.py --out nearest.png

Nearest by the exported network, which finds crops and edits that a hash misses. Prints the cosines and draws the
SHOWN nearest pairs, development image left, training picture right.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

import background
import evalset
import evaluate
import folders
from pool import REAL, load

SHOWN, SIDE = 60, 110


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--weights", type=Path, default=Path(__file__).resolve().parent / "doppel-t.safetensors")
    p.add_argument("--dev", type=Path, default=folders.DEV)
    p.add_argument("--data", default=folders.TRAIN)
    p.add_argument("--cache", default="runs/pool")
    p.add_argument("--out", type=Path, default=Path("runs/nearest.png"))
    args = p.parse_args()
    torch.set_num_threads(1)
    pool, net = load(args.data, args.cache), evaluate.exported(args.weights)[0]
    ids = pool.by_kind[REAL]
    parts = [background.embed(net, np.stack([evalset.squash(np.ascontiguousarray(pool[i]), 160) for i in ids[s:s + 128]]))
             for s in range(0, len(ids), 128)]
    files = {n: d for tar in ("originals", "distractors") for n, d in evalset.read_tar(args.dev / f"{tar}.tar").items()}
    images = [evalset.squash(evalset.decode(d), 160) for d in files.values()]
    sim = background.embed(net, np.stack(images)) @ np.concatenate(parts).T
    nearest, cosine = sim.argmax(1), sim.max(1)
    print("nearest training picture, cosine: median %.3f, 99th percentile %.3f, highest %.3f" % (
        *np.percentile(cosine, (50, 99)), cosine.max()))
    shown = np.argsort(-cosine)[:SHOWN]
    pairs = [np.hstack([cv2.resize(np.ascontiguousarray(side), (SIDE, SIDE)) for side in (images[i], pool[ids[nearest[i]]])])
             for i in shown]
    print(", ".join(f"{list(files)[i]} {cosine[i]:.2f}" for i in shown))
    rows = [np.hstack([np.pad(x, ((2, 2), (2, 6), (0, 0))) for x in pairs[k:k + 6]]) for k in range(0, SHOWN, 6)]
    cv2.imwrite(str(args.out), np.vstack(rows)[..., ::-1])


if __name__ == "__main__":
    main()
