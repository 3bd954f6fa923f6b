"""Fit the model of a pair that no single warp explains (`Calibration::unwarped` in src/dedup/calibration.rs).

    doppel bench accuracy FOLDER [--without-match OTHER] --queries 12 --cascade --pairs pairs.tsv
    python models/calibrate_unwarped.py pairs.tsv [more.tsv ...]

A logistic model with an L2 penalty of 1 on standardised features, of the pairs that were held back for want of a warp.
Images (the files that queries were made of) are split in two halves: the coefficients are fitted on half A, without the
families of edits that are held out, and judged on half B of each file, beside what the descriptors alone say.
"""

import sys
import zlib

import numpy as np

from logistic import fit, probability

GATE = "no single warp"


def read(path):
    """Of the pairs without a warp: held out, in half B, copies, features (n x 14)."""
    held_out, half_b, copies, features = [], [], [], []
    with open(path, encoding="utf-8") as file:
        for line in file:
            _edits, held, query, _, is_copy, _class, gate, _probability, *values = line.rstrip("\n").split("\t")
            if gate.startswith(GATE):
                held_out.append(held == "1")
                half_b.append(bool(zlib.crc32(query.rsplit("/", 1)[-1].encode()) & 1))
                copies.append(is_copy == "1")
                features.append([float(value) for value in values])
    return np.array(held_out), np.array(half_b), np.array(copies), np.array(features)


def judged(p, copies):
    """Average precision, log loss and expected calibration error over ten bins."""
    right = copies[np.argsort(-p, kind="stable")]
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    loss = -np.where(copies, np.log(clipped), np.log(1 - clipped)).mean()
    bins = np.minimum((p * 10).astype(int), 9)
    error = sum(abs(p[bins == b].mean() - copies[bins == b].mean()) * (bins == b).mean() for b in set(bins))
    return f"average precision {(precision * right).sum() / right.sum():.3f}, log loss {loss:.4f}, calibration error {error:.4f}"


def main():
    files = {path: read(path) for path in sys.argv[1:]}
    fitted = [(x[~held & ~half], y[~held & ~half]) for held, half, y, x in files.values()]
    coefficients = fit(np.concatenate([x for x, _ in fitted]), np.concatenate([y for _, y in fitted]).astype(float))
    for path, (_, half, copies, features) in files.items():
        x, y = features[half], copies[half]
        print(f"{path}, half B: {len(y)} pairs without a warp, {y.sum()} copies")
        print("  descriptors alone:", judged(1 / (1 + np.exp(-x[:, 1])), y))
        print("  with verification:", judged(probability(x, coefficients), y))
    print("coefficients:", coefficients.round(3).tolist())


if __name__ == "__main__":
    main()
