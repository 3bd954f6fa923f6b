"""Centring and partial whitening of the descriptor, folded into the last layer.

    python whiten.py --checkpoint runs/t/last.pt      # muAP on half A for several alphas

z' = A (z - mu) with A = diag(w + 0.001 mean(w))^(-alpha / 2) U^T, where w, U are eigenvalues
and eigenvectors of the covariance of training-pool pictures (not of evaluation data).
alpha 0 with mu = 0 leaves the network as trained, 1 whitens fully. alpha is chosen on
half A of the evaluation set and handed to export.py.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import background
import folders
import normalisation
from network import normalise_pixels



def transform(features, alpha):
    """(A, mu) as float32 arrays, from features before L2 (N x D)."""
    mu = features.mean(0)
    w, u = np.linalg.eigh(np.cov((features - mu).T.astype(np.float64)))
    a = (u * (w + 1e-3 * w.mean()) ** (-alpha / 2)).T
    return (a / np.abs(a).max() ** 0.5).astype(np.float32), mu.astype(np.float32)


def features(net, images, batch=128):
    """fc outputs before L2 of an eval-mode network (N x 256), computed in bf16."""
    out = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for s in range(0, len(images), batch):
            x = normalise_pixels(np.ascontiguousarray(images[s:s + batch]))
            out.append(net.features(x).float())
    return torch.cat(out).numpy()


def fold(tensors, net, pool, alpha, size):
    """Replace fc of the folded tensors by the whitened one."""
    a, mu = (torch.from_numpy(v) for v in transform(features(net, background.pictures(pool, size, seed=6)), alpha))
    weight, bias = tensors["fc.weight"], tensors["fc.bias"]
    tensors["fc.weight"], tensors["fc.bias"] = (a @ weight).contiguous(), (a @ (bias - mu)).contiguous()
    return tensors


def main():
    import evaluate
    import export
    from metrics import figures
    from pool import load
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--checkpoint", type=Path, default=Path("runs/t/last.pt"))
    p.add_argument("--dev", type=Path, default=folders.DEV)
    p.add_argument("--data", default=folders.TRAIN)
    p.add_argument("--cache", default="runs/pool")
    p.add_argument("--set-cache", type=Path, default=Path("runs/evalset"))
    p.add_argument("--size", type=int, default=160)
    args = p.parse_args()
    torch.set_num_threads(1)
    net, _ = export.load_network(args.checkpoint)
    ev, pool = evaluate.Evaluation(args.dev, args.set_cache), load(args.data, args.cache)
    raw = {"query": features(net, ev.arrays[f"query_{args.size}"]), "reference": features(net, ev.arrays[f"reference_{args.size}"]),
           "bank": features(net, background.pictures(pool, args.size)), "fit": features(net, background.pictures(pool, args.size, seed=6))}
    sel = ev.main & ev.half_a
    for alpha in (None, 0.0, 0.25, 0.4, 0.5, 0.6, 0.75, 1.0):
        a, mu = transform(raw["fit"], alpha or 0.0)
        q, r, b = ((raw[k] if alpha is None else (raw[k] - mu) @ a.T) for k in ("query", "reference", "bank"))
        q, r, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, r, b))
        sim = q @ r.T
        score, table = normalisation.choose(ev, sim, q, r, b, "linear")
        norm = score(sim, *(normalisation.nearness(x, b, score.top_k) for x in (q, r)))
        fused = figures((norm + ev.bonus())[sel], ev.truth[sel])
        f = figures(sim[sel], ev.truth[sel])
        print(f"alpha {alpha}: half A muAP raw {f['muap']:.3f}, normalised {max(table.values()):.3f} ({score}), "
              f"fused {fused['muap']:.3f}, recall@1 {f['recall_at_1']:.3f}", flush=True)


if __name__ == "__main__":
    main()
