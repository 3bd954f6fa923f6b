"""Retrieval figures over a score matrix (queries x references).

`truth[q]` is the index of the matching reference, or -1 for a query without a match.
"""

import numpy as np

TOP = 20  # candidates of a query that enter the ranking


def candidates(scores, truth):
    """The top candidates of each query: values and labels (1 match, 0 not), Q x TOP."""
    top = min(TOP, scores.shape[1])
    cand = np.argpartition(-scores, top - 1, axis=1)[:, :top]
    return np.take_along_axis(scores, cand, 1), cand == truth[:, None]


def figures_of(value, label, total):
    """muAP and recall at precision .90 and .99 of candidates; total: queries with a match."""
    order = np.argsort(-value.ravel(), kind="stable")
    value, label = value.ravel()[order], label.ravel()[order]
    hits = np.cumsum(label)
    precision = hits / np.arange(1, len(label) + 1)
    out = {"muap": float((precision * label).sum() / total)}
    for p in (0.90, 0.99):
        ok = np.flatnonzero((precision >= p) & (hits >= 20))
        out[f"recall_at_p{round(p * 100)}"] = float(hits[ok[-1]] / total) if len(ok) else 0.0
        out[f"threshold_at_p{round(p * 100)}"] = float(value[ok[-1]]) if len(ok) else None
    return out


def figures(scores, truth):
    """muAP, recall at precision .90 and .99, recall@1. Every denominator: queries with a match."""
    has = truth >= 0
    out = figures_of(*candidates(scores, truth), max(1, int(has.sum())))
    out["recall_at_1"] = float((scores[has].argmax(1) == truth[has]).mean()) if has.any() else 0.0
    return out


def interval(values, rng, rounds=500):
    """95 % bootstrap interval of a mean."""
    values = np.asarray(values, float)
    means = values[rng.integers(0, len(values), (rounds, len(values)))].mean(1)
    return [float(v) for v in np.percentile(means, (2.5, 97.5))]


def muap_interval(scores, truth, rng, rounds=200):
    """95 % bootstrap interval of muAP, queries drawn anew."""
    value, label = candidates(scores, truth)
    has = truth >= 0
    out = []
    for _ in range(rounds):
        pick = rng.integers(0, len(truth), len(truth))
        out.append(figures_of(value[pick], label[pick], max(1, int(has[pick].sum())))["muap"])
    return [float(v) for v in np.percentile(out, (2.5, 97.5))]
