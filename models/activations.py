"""Measure how large each layer's activations get: activations.json, the steps of the network in eight bits.

    python activations.py
    python activations.py --weights doppel-s/doppel-s.safetensors --out doppel-s/activations.json

The largest output of every convolution over 512 pictures of the training pool (photographs, procedural and synthetic ones,
40 % edited, as the background bank has them). Nothing of it comes from evaluation data.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file

import background
import folders
from network import normalise_pixels
from pool import load as load_pool

COUNT = 512
SIZE = 160


def layers(blocks):
    """Names of the convolutions in the order of their use."""
    for stage, count in enumerate(blocks, 1):
        yield f"stage{stage}.down"
        yield from (f"stage{stage}.block{i}" for i in range(count))


@torch.no_grad()
def largest(tensors, blocks, images):
    """Largest activation of each convolution over uint8 N x H x W x 3: dict of name -> float."""
    top = {}
    for start in range(0, len(images), 128):
        x = normalise_pixels(np.ascontiguousarray(images[start:start + 128]))
        for name in ("stem", *layers(blocks), "head"):
            w = tensors[f"{name}.weight"].float()
            stride = 2 if name == "stem" or name.endswith("down") else 1
            y = F.conv2d(x, w, tensors[f"{name}.bias"].float(), stride, w.shape[-1] // 2)
            x = F.relu(y + x if "block" in name else y)
            top[name] = max(top.get(name, 0.0), float(x.max()))
    return top


def main():
    here = Path(__file__).resolve().parent
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--weights", type=Path, default=here / "doppel-t.safetensors")
    p.add_argument("--out", type=Path, default=here / "activations.json")
    p.add_argument("--data", default=folders.TRAIN)
    p.add_argument("--cache", default="runs/pool")
    args = p.parse_args()
    with safe_open(args.weights, "pt") as f:
        blocks = json.loads(f.metadata()["blocks"])
    pictures = background.pictures(load_pool(args.data, args.cache), SIZE)
    chosen = pictures[np.random.default_rng(1).choice(len(pictures), COUNT, replace=False)]
    top = largest(load_file(args.weights), blocks, chosen)
    out = {"model_sha256": hashlib.sha256(args.weights.read_bytes()).hexdigest(),
           "largest": {name: round(value, 3) for name, value in top.items()}}
    args.out.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
