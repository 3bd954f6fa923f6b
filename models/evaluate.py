"""Evaluate a network on the frozen attacked set, beside hashes and random weights.

    python evaluate.py                                # the exported doppel-t.safetensors
    python evaluate.py --checkpoint runs/t/last.pt    # a checkpoint's averaged network

Scores: cosine (raw); normalised with the bank; fused with PDQ:
raw or normalised + clip((90 - d) / 90, 0, 1), d the smallest of 8 dihedral distances.
The numbers of the normalised score (`normalisation.py`) are chosen on half A of the set (by source image); figures of
either half and of the whole set are reported.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import background
import evalset
import export
import folders
import hashes
import normalisation
from families import HELD_OUT, TRAINED
from metrics import figures, interval, muap_interval
from network import ARCHS, forward_folded
from pool import load as load_pool

NO_MATCH = ("no_match", "same_goods", "disjoint", "same_form")


class Evaluation:
    """Truth, groups and halves of the queries, with hash scores computed once."""

    def __init__(self, dev, cache):
        self.meta, self.arrays = evalset.load(dev, cache)
        rows = self.meta["queries"]
        self.truth = np.array([r["truth"] for r in rows])
        self.group = np.array([r["group"] for r in rows])
        self.strength = np.array([r["edits"][0][1] if r["edits"] and r["edits"] != "mild" else -1 for r in rows])
        source = [str(r.get("image", r.get("form"))) for r in rows]
        self.half_a = np.array([hashlib.sha256(s.encode()).digest()[0] < 128 for s in source])
        self.main = self.group != "mild"  # the mild block is reported apart
        a = self.arrays
        q = np.asarray(a["query_pdq"])
        self.pdq = np.min([hashes.hamming(q[:, v], a["reference_pdq"]) for v in range(8)], 0)
        self.phash = hashes.hamming(np.asarray(a["query_phash"]), np.asarray(a["reference_phash"]))

    def bonus(self):
        return np.clip((90 - self.pdq) / 90, 0, 1)


def report(ev, scores, rng, intervals=True):
    """All figures of one score matrix, as plain data."""
    m = ev.main
    out = figures(scores[m], ev.truth[m])
    out["half_a"] = figures(scores[m & ev.half_a], ev.truth[m & ev.half_a])
    out["half_b"] = figures(scores[m & ~ev.half_a], ev.truth[m & ~ev.half_a])
    hit = scores.argmax(1) == ev.truth
    has = ev.truth >= 0
    out["mild_recall_at_1"] = float(hit[ev.group == "mild"].mean())
    mild = (ev.group == "mild") | ~has
    out["mild_muap"] = figures(scores[mild], ev.truth[mild])["muap"]
    for name, members in (("trained", TRAINED), ("held_out", HELD_OUT)):
        sel = np.isin(ev.group, members)
        out[f"{name}_recall_at_1"] = float(hit[sel].mean())
        sel = sel | ~has
        out[f"{name}_muap"] = figures(scores[sel], ev.truth[sel])["muap"]
    if intervals:
        out["muap_interval"] = muap_interval(scores[m], ev.truth[m], rng)
        out["recall_at_1_interval"] = interval(hit[m & has], rng)
        families = {}
        for g in list(TRAINED) + list(HELD_OUT) + ["chain_1", "chain_2", "chain_3"]:
            sel = ev.group == g
            families[g] = {"recall_at_1": float(hit[sel].mean()), "interval": interval(hit[sel], rng),
                           "by_strength": [float(hit[sel & (ev.strength == k)].mean()) for k in range(3)]
                           if not g.startswith("chain") else None, "held_out": g in HELD_OUT, "queries": int(sel.sum())}
        out["families"] = families
    # what the false pairs above the precision-.90 threshold are
    t = out["threshold_at_p90"]
    if t is not None:
        wrong = scores.copy()
        wrong[np.arange(len(wrong))[has], ev.truth[has]] = -np.inf
        false = wrong.max(1) >= t
        out["false_at_p90"] = {str(g): int((false & m & (ev.group == g)).sum()) for g in NO_MATCH}
        out["false_at_p90"]["wrong_reference"] = int((false & m & has).sum())
    return out


def evaluate(ev, network, pool, size, rng, intervals=True, recipe=normalisation.BANKS["doppel-t"]):
    """All figures, the vectors that they are of, and the normalised score that half A chose."""
    q = background.embed(network, ev.arrays[f"query_{size}"])
    r = background.embed(network, ev.arrays[f"reference_{size}"])
    z = background.embed(network, background.pictures(pool, size, count=recipe.count, edited=recipe.edited))
    codes, scale = background.quantise(z)
    bank = codes.astype(np.float32) * scale[:, None]
    sim = q @ r.T
    score, table = normalisation.choose(ev, sim, q, r, bank, recipe.formula)
    norm = score(sim, *(normalisation.nearness(z, bank, score.top_k) for z in (q, r)))
    out = {"score": {"formula": score.formula, **score._asdict()}, "normalisation_on_half_a": table,
           "raw": report(ev, sim, rng, intervals), "normalised": report(ev, norm, rng, intervals),
           "fused_raw": report(ev, sim + ev.bonus(), rng, intervals),
           "fused_normalised": report(ev, norm + ev.bonus(), rng, intervals)}
    return out, {"query": q, "reference": r, "bank": bank}, score


def baselines(ev, pool, size, folder):
    """PDQ-8, pHash and random weights on the same set; kept beside it, they do not change."""
    path = folder / f"baselines-{evalset.VERSION}-{size}.json"
    if not path.exists():
        rng = np.random.default_rng(8)
        out = {"PDQ-8": report(ev, -ev.pdq, rng), "pHash-256": report(ev, -ev.phash, rng)}
        net = export.random_network("doppel-t", 1)
        rand, *_ = evaluate(ev, lambda x: torch.autocast("cpu", torch.bfloat16)(net)(x).float(), pool, size, rng)
        out |= {"random weights, raw": rand["raw"], "random weights, normalised": rand["normalised"]}
        path.write_text(json.dumps(out))
    return json.loads(path.read_text())


def text_table(results):
    lines = ["| | muAP | 95 % | R@P.90 | R@P.99 | recall@1 | trained | held out | mild R@1 | mild muAP |", "|---|" + "---|" * 9]
    for name, r in results.items():
        ci = "–".join(f"{v:.3f}" for v in r["muap_interval"]) if "muap_interval" in r else ""
        cells = [r["muap"], r["recall_at_p90"], r["recall_at_p99"], r["recall_at_1"], r["trained_recall_at_1"],
                 r["held_out_recall_at_1"], r["mild_recall_at_1"], r["mild_muap"]]
        c = [f"{v:.3f}" for v in cells]
        lines.append(f"| {name} | {c[0]} | {ci} | " + " | ".join(c[1:]) + " |")
    return "\n".join(lines)


def family_table(results, names):
    lines = ["| family | " + " | ".join(names) + " | by strength (" + names[0] + ") |", "|---|" + "---|" * (len(names) + 1)]
    for g, row in results[names[0]]["families"].items():
        cells = []
        for n in names:
            f = results[n]["families"][g]
            cells.append(f"{f['recall_at_1']:.2f} [{f['interval'][0]:.2f}, {f['interval'][1]:.2f}]")
        by = " / ".join(f"{v:.2f}" for v in row["by_strength"]) if row["by_strength"] else ""
        lines.append(f"| {g}{' (held out)' if row['held_out'] else ''} | " + " | ".join(cells) + f" | {by} |")
    return "\n".join(lines)


def exported(path):
    """The folded network of an exported file as a callable, and its architecture."""
    tensors = load_file(path)
    with safe_open(path, "pt") as f:
        said = f.metadata()
    return lambda x: forward_folded(tensors, x, json.loads(said["blocks"])), said["arch"]


def checkpoint(path):
    net = export.load_network(path)[0]
    return net, net.arch


def main():
    here = Path(__file__).resolve().parent
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--weights", type=Path, default=here / "doppel-t.safetensors")
    p.add_argument("--checkpoint", type=Path)
    p.add_argument("--dev", type=Path, default=folders.DEV)
    p.add_argument("--data", default=folders.TRAIN)
    p.add_argument("--cache", default="runs/pool")
    p.add_argument("--set-cache", type=Path, default=Path("runs/evalset"))
    p.add_argument("--size", type=int, default=160, choices=evalset.SIZES)
    p.add_argument("--quick", action="store_true", help="the network alone, without intervals")
    p.add_argument("--out", type=Path, default=Path("runs/evaluation.json"))
    p.add_argument("--bank", choices=normalisation.BANKS, help="bank and score of which network (default: its own)")
    p.add_argument("--write-bank", action="store_true", help="write bank.safetensors beside the weights")
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(9)
    ev = Evaluation(args.dev, args.set_cache)
    pool = load_pool(args.data, args.cache)
    net, arch = checkpoint(args.checkpoint) if args.checkpoint else exported(args.weights)
    recipe = normalisation.BANKS[args.bank or arch]
    if args.quick:  # half precision is close enough to watch a run
        full, net = net, lambda x: torch.autocast("cpu", torch.bfloat16)(full)(x).float()
    out, vectors, score = evaluate(ev, net, pool, args.size, rng, not args.quick, recipe)
    if args.write_bank:
        digest = hashlib.sha256(args.weights.read_bytes()).hexdigest()
        background.write(args.weights.parent / "bank.safetensors", vectors["bank"], score, digest)
    results = {k: out[k] for k in ("raw", "normalised", "fused_raw", "fused_normalised")}
    if not args.quick:
        results |= baselines(ev, pool, args.size, args.set_cache)
    counts = {g: int((ev.group == g).sum()) for g in NO_MATCH}
    summary = {"size": args.size, "references": len(ev.arrays["reference_160"]), "queries_with_match": int(((ev.truth >= 0) & ev.main).sum()),
               "queries_without": counts, "score": out["score"], "size_of_bank": len(vectors["bank"]),
               "normalisation_on_half_a": out["normalisation_on_half_a"], "results": results}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(summary, indent=1))
    np.savez(args.out.with_suffix(".vectors.npz"), **vectors)
    lines = [f"{summary['references']} references, {summary['queries_with_match']} queries with a match, "
             f"without {counts}; input {args.size} px, {score}", "", text_table(results), ""]
    if not args.quick:
        lines += [family_table(results, ["raw", "fused_normalised", "PDQ-8"]), ""]
    lines += [f"false pairs at P.90, {n}: {results[n].get('false_at_p90')}" for n in ("raw", "normalised", "fused_normalised")]
    lines += [f"{n}, half A and B, muAP, R@P.90, R@P.99: " + "; ".join(
        " ".join(f"{results[n][h][f]:.4f}" for f in ("muap", "recall_at_p90", "recall_at_p99")) for h in ("half_a", "half_b"))
        for n in ("raw", "normalised", "fused_raw", "fused_normalised")]
    lines += [f"muAP on half A: {out['normalisation_on_half_a']}"]
    args.out.with_suffix(".txt").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
