"""Write doppel-t.safetensors (BN folded, fp16) and parity.safetensors.

    python export.py --checkpoint runs/t/last.pt      # a trained EMA network
    python export.py --random                         # BN-calibrated random weights

parity.safetensors holds `input_96`, `input_160` (fp16, 1 x 3 x N x N, already
normalised) and `embedding_96`, `embedding_160` (float32, 1 x 256): what the folded
network computes in float32 from the fp16-rounded weights and inputs.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import folders
import pool
import whiten
from network import (ARCHS, DIM, GEM_P, MEAN, STD, Network, folded, forward_folded,
                     normalise_pixels)

HERE = Path(__file__).resolve().parent
INPUT_SIZE = 160
FORMAT_VERSION = "1"
LICENCE_NOTE = ("Trained from scratch by this project; the training pool mixes permissive "
                "images with research-only ones (see MODEL_CARD.md).")


def parity_image(size, seed):
    """A fixed smooth-plus-blocks test picture (uint8, size x size x 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    img = np.stack([127 + 100 * np.sin(6.0 * x * (c + 1) + 4.0 * y + c) for c in range(3)], -1)
    for _ in range(12):
        x0, y0 = rng.integers(0, size - 8, 2)
        w, h = rng.integers(6, size // 3, 2)
        img[y0:y0 + h, x0:x0 + w] = rng.integers(0, 256, 3)
    img += rng.normal(0, 6, img.shape)
    return img.clip(0, 255).astype(np.uint8)


def random_network(arch, seed):
    """Random weights whose BN statistics are measured on parity pictures."""
    torch.manual_seed(seed)
    net = Network(arch).train()
    batch = normalise_pixels(np.stack([parity_image(INPUT_SIZE, s) for s in range(32)]))
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = None
        for _ in range(2):
            net(batch)
    return net.eval()


def load_network(path):
    """The EMA network of a checkpoint, in eval mode, and the checkpoint's settings."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    net = Network(state["arch"])
    net.load_state_dict(state["ema"])
    return net.eval(), state


def write_weights(net, path, seed, tensors, alpha, input_size=INPUT_SIZE):
    """fp16 file with the metadata that other runtimes read."""
    tensors = {k: v.half().contiguous() for k, v in tensors.items()}
    channels, blocks = ARCHS[net.arch]
    metadata = {
        "format_version": FORMAT_VERSION,
        "arch": net.arch,
        "input_size": str(input_size),
        "mean": json.dumps([MEAN] * 3),
        "std": json.dumps([STD] * 3),
        "gem_p": str(GEM_P),
        "dim": str(DIM),
        "channels": json.dumps(list(channels)),
        "blocks": json.dumps(list(blocks)),
        "licence_note": LICENCE_NOTE,
        "seed": str(seed),
        "whitening": str(alpha),
    }
    save_file(tensors, path, metadata=metadata)
    return tensors


def write_parity(tensors, path, blocks):
    out = {}
    for size in (96, 160):
        x = normalise_pixels(parity_image(size, seed=size)[None]).half().contiguous()
        with torch.no_grad():
            e = forward_folded(tensors, x.float(), blocks)
        out[f"input_{size}"] = x.contiguous(memory_format=torch.contiguous_format)
        out[f"embedding_{size}"] = e.float().contiguous()
    save_file(out, path, metadata={"format_version": FORMAT_VERSION,
                                   "layout": "NCHW, already normalised"})


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--checkpoint", type=Path)
    p.add_argument("--random", action="store_true", help="write random weights instead")
    p.add_argument("--arch", default="doppel-t", choices=ARCHS)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--whiten", type=float, help="alpha of whiten.py; without it the layer stays as trained")
    p.add_argument("--data", default=folders.TRAIN, help="pool for whitening")
    p.add_argument("--cache", default="runs/pool")
    p.add_argument("--out", type=Path, default=HERE)
    args = p.parse_args()
    if args.random == bool(args.checkpoint):
        p.error("give --checkpoint or --random")
    if args.random:
        net, seed = random_network(args.arch, args.seed), args.seed
    else:
        net, state = load_network(args.checkpoint)
        seed = state["seed"]
    weights = args.out / f"{net.arch}.safetensors"
    exact = folded(net)
    if args.whiten is not None:
        exact = whiten.fold(exact, net, pool.load(args.data, args.cache), args.whiten, INPUT_SIZE)
    write_weights(net, weights, seed, exact, args.whiten)
    tensors = load_file(weights)
    write_parity(tensors, args.out / "parity.safetensors", ARCHS[net.arch][1])
    x = normalise_pixels(np.stack([parity_image(160, s) for s in range(4)]))
    with torch.no_grad():
        blocks = ARCHS[net.arch][1]
        gap = (forward_folded(tensors, x, blocks) - forward_folded(exact, x, blocks)).abs().max()
    print(f"{weights.name}: {sum(t.numel() for t in tensors.values())} weights, "
          f"sha256 {hashlib.sha256(weights.read_bytes()).hexdigest()}, "
          f"largest change by fp16 {gap:.2e}")


if __name__ == "__main__":
    main()
