"""Fit P(copy | pair) by logistic regression over what retrieval already knows of a pair.

    python evaluate.py && python calibrate.py

Pairs: for each query of the evaluation set its 10 nearest references by cosine and its
3 nearest by PDQ-8 (the match, where one exists, is added). Features, in this order:

    cosine              similarity of the two embeddings, -1..1
    normalised_low      min(n, -0.1); n = the normalised score of `normalisation.py`
    normalised_high     n held within -0.1..0.1, and a tenth of what is above: there nearly all are copies
    nearness_reference  mean of the reference's top-k bank similarities: what looks like many pictures is
                        less likely the original of one
    pdq_distance        smallest of 8 dihedral Hamming distances / 256
    quality_query       PDQ quality of the query / 100
    quality_reference   PDQ quality of the reference / 100

The shipped coefficients are fitted on half A of the source images and measured on half
B; a second fit on two repositories, measured on the others, shows the shift between
sources. Every pair weighs the same; the share of copies among the pairs is stated, since
a collection with rarer copies needs its intercept lowered (Saerens et al., 2002).
"""

import argparse
import csv
import hashlib
import json
from pathlib import Path

import numpy as np

import folders
import normalisation
from evaluate import Evaluation

LOW, HIGH, LEAK = -0.1, 0.1, 0.1
FEATURES = ("cosine", "normalised_low", "normalised_high", "nearness_reference", "pdq_distance", "quality_query",
            "quality_reference")
BINS = 10


def pairs(ev, vectors, score):
    """features (P x 7), label (P), query row (P)."""
    sim = vectors["query"] @ vectors["reference"].T
    asked, nearness = (normalisation.nearness(vectors[side], vectors["bank"], score.top_k) for side in ("query", "reference"))
    normalised = score(sim, asked, nearness)
    near = np.argsort(-sim, 1)[:, :10]
    hashed = np.argsort(ev.pdq, 1)[:, :3]
    qq, rq = ev.arrays["query_quality"] / 100.0, ev.arrays["reference_quality"] / 100.0
    x, y, rows = [], [], []
    for i, t in enumerate(ev.truth):
        ids = set(near[i]) | set(hashed[i]) | ({t} if t >= 0 else set())
        for j in sorted(ids):
            n = normalised[i, j]
            x.append((sim[i, j], min(n, LOW), min(max(n, LOW), HIGH) + LEAK * max(n - HIGH, 0.0), nearness[j],
                      ev.pdq[i, j] / 256.0, qq[i], rq[j]))
            y.append(j == t)
            rows.append(i)
    return np.array(x, np.float64), np.array(y, np.float64), np.array(rows)


def fit(x, y, ridge=1e-3, rounds=50):
    """Newton's method on standardised features; returns coefficients and intercept in raw units."""
    m, s = x.mean(0), x.std(0) + 1e-9
    a = np.c_[(x - m) / s, np.ones(len(x))]
    w = np.zeros(a.shape[1])
    penalty = ridge * len(x) * np.diag([1.0] * x.shape[1] + [0.0]) / 100
    for _ in range(rounds):
        p = 1 / (1 + np.exp(-a @ w))
        step = np.linalg.solve((a * (p * (1 - p))[:, None]).T @ a + penalty, a.T @ (y - p) - penalty @ w)
        w += step
        if np.abs(step).max() < 1e-8:
            break
    coef = w[:-1] / s
    return coef, w[-1] - coef @ m


def predict(x, coef, intercept):
    return 1 / (1 + np.exp(-(x @ coef + intercept)))


def reliability(p, y):
    """Expected calibration error over equal-width bins, and the bins."""
    which = np.minimum((p * BINS).astype(int), BINS - 1)
    bins, ece = [], 0.0
    for b in range(BINS):
        sel = which == b
        if sel.any():
            gap = abs(p[sel].mean() - y[sel].mean())
            ece += gap * sel.mean()
            bins.append({"from": b / BINS, "pairs": int(sel.sum()), "predicted": float(p[sel].mean()), "observed": float(y[sel].mean())})
    brier = float(((p - y) ** 2).mean())
    return {"ece": float(ece), "brier": brier, "pairs": int(len(y)), "copies": int(y.sum()), "bins": bins}


def repository(dev, row):
    if not _sources:
        for name in ("originals.csv", "distractors.csv"):
            with open(dev / name) as f:
                _sources.update({r["file"]: r["source"] for r in csv.DictReader(f)})
    return _sources.get(row.get("image"), "synthetic")


_sources = {}


def main():
    here = Path(__file__).resolve().parent
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--dev", type=Path, default=folders.DEV)
    p.add_argument("--set-cache", type=Path, default=Path("runs/evalset"))
    p.add_argument("--evaluation", type=Path, default=Path("runs/evaluation.json"))
    p.add_argument("--weights", type=Path, default=here / "doppel-t.safetensors")
    p.add_argument("--out", type=Path, default=here / "calibration.json")
    args = p.parse_args()
    ev = Evaluation(args.dev, args.set_cache)
    chosen = json.loads(args.evaluation.read_text())
    numbers = dict(chosen["score"])
    score = normalisation.FORMULAS[numbers.pop("formula")](**numbers)
    vectors = np.load(args.evaluation.with_suffix(".vectors.npz"))
    x, y, rows = pairs(ev, vectors, score)
    a = ev.half_a[rows]
    coef, intercept = fit(x[a], y[a])
    measured = reliability(predict(x[~a], coef, intercept), y[~a])
    source = np.array([repository(args.dev, r) for r in ev.meta["queries"]])[rows]
    big = np.isin(source, ["github.com/BIDS/BSDS500", "github.com/marcusklasson/GroceryStoreDataset"])
    shifted = reliability(predict(x[~big], *fit(x[big], y[big])), y[~big])
    out = {"format_version": 1, "features": list(FEATURES), "coefficients": [round(float(c), 6) for c in coef],
           "intercept": round(float(intercept), 6), **numbers,
           "copies_share_fitted": float(y[a].mean()),
           "model_sha256": hashlib.sha256(args.weights.read_bytes()).hexdigest(),
           "half_b": measured, "other_repositories": shifted}
    args.out.write_text(json.dumps(out, indent=1) + "\n")
    for name in ("half_b", "other_repositories"):
        r = out[name]
        print(f"{name}: ECE {r['ece']:.4f}, Brier {r['brier']:.4f}, {r['pairs']} pairs, {r['copies']} copies")
        for b in r["bins"]:
            print(f"  {b['from']:.1f}: {b['pairs']:6d} pairs, predicted {b['predicted']:.3f}, observed {b['observed']:.3f}")
    print(dict(zip(FEATURES, out["coefficients"])), out["intercept"])


if __name__ == "__main__":
    main()
