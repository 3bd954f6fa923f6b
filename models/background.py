"""The background bank for score normalisation (`normalisation.py` has the scores).

Embeddings of 6,000 training-pool pictures, none of them edited: 70 % photographs, 12 % procedural, 18 % synthetic. Nothing
of it comes from evaluation data.

bank.safetensors: `bank` int8 N x 256, `scale` float32 N (row = int8 * scale).
"""

import numpy as np
import torch
from safetensors.torch import save_file

from augment import Art
from network import normalise_pixels
from pool import PROCEDURAL, REAL, SYNTHETIC
from views import finish, focused


def embed(net, images, batch=128):
    """uint8 N x H x W x 3 -> float32 N x 256 on unit length, in float32 arithmetic."""
    out = []
    with torch.no_grad():
        for s in range(0, len(images), batch):
            out.append(net(normalise_pixels(np.ascontiguousarray(images[s:s + batch]))))
    return torch.cat(out).numpy()


def pictures(pool, size, seed=5, count=2000, edited=0.4):
    """uint8 pictures, size x size: 70 % photographs, 12 % procedural, 18 % synthetic; a share of edited views."""
    rng = np.random.default_rng([41, seed])
    art = Art(pool, seed=3, count=60)
    parts = ((REAL, int(count * 0.70)), (PROCEDURAL, int(count * 0.12)), (SYNTHETIC, int(count * 0.18)))
    ids = np.concatenate([rng.choice(pool.by_kind[k], n, replace=False) for k, n in parts])
    out = np.empty((len(ids), size, size, 3), np.uint8)
    for row, i in enumerate(ids):
        img = np.ascontiguousarray(pool[i])
        out[row] = focused(img, rng, art, size) if rng.random() < edited else finish(img, rng, size)
    return out


def quantise(bank):
    scale = np.abs(bank).max(1) / 127.0
    return np.round(bank / scale[:, None]).astype(np.int8), scale.astype(np.float32)


def write(path, bank, score, model_sha256):
    """The file; that of a linear score is as it always was."""
    q, scale = quantise(bank)
    linear = score.formula == "linear"
    numbers = {name: str(value) for name, value in score._asdict().items()}
    said = {"format_version": "1", "formula": "sim - beta * mean(top_k similarities of the query to the bank)"} if linear \
        else {"format_version": "2", "formula": score.formula}
    save_file({"bank": torch.from_numpy(q), "scale": torch.from_numpy(scale)}, path,
              metadata=said | numbers | {"model_sha256": model_sha256})
