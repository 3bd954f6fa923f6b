"""The background bank for score normalisation, and the normalised score.

The bank is 2,000 embeddings of training-pool pictures, 40 % of them as an edited view
(an edit adds chrome, borders and tone that queries carry too). Nothing of it comes from
evaluation data. normalised = sim - beta * mean(top-k similarities of the QUERY to the bank);
the mean alone says how indistinct an image is.

bank.safetensors: `bank` int8 2000 x 256, `scale` float32 2000 (row = int8 * scale).
"""

import numpy as np
import torch
from safetensors.torch import save_file

from augment import Art
from network import normalise_pixels
from pool import PROCEDURAL, REAL, SYNTHETIC
from views import finish, focused

COUNT = 2000


def embed(net, images, batch=128):
    """uint8 N x H x W x 3 -> float32 N x 256 on unit length, in float32 arithmetic."""
    out = []
    with torch.no_grad():
        for s in range(0, len(images), batch):
            out.append(net(normalise_pixels(np.ascontiguousarray(images[s:s + batch]))))
    return torch.cat(out).numpy()


def pictures(pool, size, seed=5):
    """COUNT uint8 pictures, size x size: 70 % photographs, 12 % procedural, 18 % synthetic."""
    rng = np.random.default_rng([41, seed])
    art = Art(pool, seed=3, count=60)
    parts = ((REAL, int(COUNT * 0.70)), (PROCEDURAL, int(COUNT * 0.12)), (SYNTHETIC, int(COUNT * 0.18)))
    ids = np.concatenate([rng.choice(pool.by_kind[k], n, replace=False) for k, n in parts])
    out = np.empty((COUNT, size, size, 3), np.uint8)
    for row, i in enumerate(ids):
        img = np.ascontiguousarray(pool[i])
        out[row] = focused(img, rng, art, size) if rng.random() < 0.4 else finish(img, rng, size)
    return out


def quantise(bank):
    scale = np.abs(bank).max(1) / 127.0
    return np.round(bank / scale[:, None]).astype(np.int8), scale.astype(np.float32)


def write(path, bank, beta, top_k, model_sha256):
    q, scale = quantise(bank)
    save_file({"bank": torch.from_numpy(q), "scale": torch.from_numpy(scale)}, path,
              metadata={"format_version": "1", "top_k": str(top_k), "beta": str(beta),
                        "formula": "sim - beta * mean(top_k similarities of the query to the bank)",
                        "model_sha256": model_sha256})
    return q.astype(np.float32) * scale[:, None]


def indistinct(z, bank, k):
    """Mean of the k highest similarities to the bank, per row of z (N)."""
    s = z @ bank.T
    return np.sort(s, 1)[:, -k:].mean(1)
