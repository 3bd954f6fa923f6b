"""The normalised score of a pair, and how its numbers are chosen on half A of the evaluation set.

A cosine is worth less where images are near many pictures of the background bank. nearness = mean of an image's top_k
similarities to the bank.

    linear        cosine - beta * nearness(query)
    logarithmic   offset + weight * (-ln(max(1 - cosine, FLOOR)) - beta * nearness(query) - gamma * nearness(reference))

The logarithmic score compares distances by their ratio: a nearness multiplies the distance 1 - cosine by
exp(beta * nearness), so that it weighs much among middling cosines, where look-alikes are, and next to nothing near 1,
where only copies are. Subtracting from the cosine itself puts distinct look-alikes above ordinary-looking copies, and
costs recall at high precision. `weight` and `offset` leave the order as it is: the first sets what a PDQ bonus is worth
beside it, the second puts precision .90 on half A at 0. top_k is 20: the steps of distinctiveness that the gallery names are those of a
mean over 20, and neither 5 nor 50 differs from it by more than .003.
"""

from typing import NamedTuple

import numpy as np

from metrics import figures

FLOOR = 1e-3  # distances below it are equal: copies
MILD_FLOOR = 0.995  # muAP of mild edits that normalisation must keep


class Bank(NamedTuple):
    """What a network's bank is drawn from, and the score that is used with it."""
    count: int
    edited: float  # share of its pictures that are edited views
    formula: str


# by architecture
BANKS = {"doppel-t": Bank(6000, 0.0, "logarithmic"), "doppel-s": Bank(6000, 0.0, "logarithmic")}


class Linear(NamedTuple):
    beta: float
    top_k: int
    formula = "linear"

    def __call__(self, sim, query, reference):
        """Scores of all pairs: sim Q x R, nearness of each query (Q) and reference (R)."""
        return sim - self.beta * query[:, None]

    @staticmethod
    def grid():
        return [Linear(b, k) for k in (1, 3, 5, 10) for b in (0.0, 0.5, 1.0, 1.5, 1.75, 2.0, 2.5)]

    def is_raw(self):
        return self.beta == 0.0


class Logarithmic(NamedTuple):
    beta: float
    gamma: float
    top_k: int
    weight: float = 1.0
    offset: float = 0.0
    formula = "logarithmic"

    def __call__(self, sim, query, reference):
        shift = self.beta * query[:, None] + self.gamma * reference[None]
        return self.offset + self.weight * (-np.log(np.maximum(1.0 - sim, FLOOR)) - shift)

    @staticmethod
    def grid():
        return [Logarithmic(float(b), float(g), 20) for b in range(0, 13) for g in range(0, 7)]

    def is_raw(self):
        return self.beta == self.gamma == 0.0


FORMULAS = {"linear": Linear, "logarithmic": Logarithmic}
WEIGHTS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.7)


def nearness(z, bank, k):
    """Mean of the k highest similarities to the bank, per row of z (N); a list of them for a tuple of k."""
    ks = k if isinstance(k, tuple) else (k,)
    out = []
    for s in range(0, len(z), 512):
        sim = z[s:s + 512] @ bank.T
        best = np.sort(np.partition(sim, sim.shape[1] - max(ks), 1)[:, -max(ks):], 1)
        out.append([best[:, -n:].mean(1) for n in ks])
    means = [np.concatenate(part) for part in zip(*out)]
    return means if isinstance(k, tuple) else means[0]


def choose(ev, sim, q, r, bank, formula):
    """The score with the greatest muAP + recall@1 on half A that keeps mild edits there, and the muAP of all that were tried.

    A query's own nearness moves all of its pairs alike, the reference's can push the original from the first place: hence
    recall@1 beside muAP.
    """
    grid = FORMULAS[formula].grid()
    ks = tuple(sorted({s.top_k for s in grid}))
    near = {k: pair for k, *pair in zip(ks, nearness(q, bank, ks), nearness(r, bank, ks))}
    sel = ev.main & ev.half_a
    mild = ev.half_a & ((ev.group == "mild") | (ev.truth < 0))
    score = lambda s, rows: s(sim[rows], near[s.top_k][0][rows], near[s.top_k][1])
    tried = {s: figures(score(s, sel), ev.truth[sel]) for s in grid}
    worth = {s: f["muap"] + f["recall_at_1"] for s, f in tried.items()}
    keeps = lambda s: s.is_raw() or figures(score(s, mild), ev.truth[mild])["muap"] >= MILD_FLOOR
    best = next(s for s in sorted(grid, key=worth.get, reverse=True) if keeps(s))
    if formula == "logarithmic":
        bonus = ev.bonus()[sel]
        fused = lambda w: figures(score(best._replace(weight=w), sel) + bonus, ev.truth[sel])["muap"]
        best = best._replace(weight=max(WEIGHTS, key=fused))
        at = figures(score(best, sel), ev.truth[sel])["threshold_at_p90"]
        best = best._replace(offset=round(-at, 2)) if at is not None else best
    named = lambda s: " ".join(f"{n} {v}" for n, v in s._asdict().items() if n not in ("weight", "offset"))
    return best, {named(s): round(f["muap"], 4) for s, f in tried.items()}
