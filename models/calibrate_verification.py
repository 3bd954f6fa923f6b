"""Fit the model of a verified pair (`Calibration::alignment` in src/dedup/calibration.rs).

    cargo bench --bench verify -- FOLDER 8 pairs.tsv
    python models/calibrate_verification.py pairs.tsv [more.tsv ...]

A logistic model with an L2 penalty of 1 on standardised features. Sources (file names) are split in two halves; each
half is judged by the model of the other, and only the last line, the coefficients of all, has seen everything.
Families that are held out (`Family::is_held_out`) are judged and never fitted. Pictures that look alike and are no copies
teach most: run the bench on what `benches/folders.py distinct` makes too, with an EVERY beyond the number of its images,
and give both files.
"""

import sys
import zlib

import numpy as np

from logistic import fit, probability as predicted

FEATURES = 8
MIN_PROBABILITY = 0.8
LEAST_AGREEMENT = 0.35


def read(paths):
    """Kinds, held out, halves and features (n x 8); pairs without a warp have features of NaN."""
    kinds, held_out, halves, features = [], [], [], []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for line in file:
                kind, held, source, _text, *values = line.rstrip("\n").split("\t")
                kinds.append(kind)
                held_out.append(held == "1")
                halves.append(zlib.crc32(source.encode()) & 1)
                features.append([float(v) for v in values] if values else [np.nan] * FEATURES)
    return np.array(kinds), np.array(held_out), np.array(halves), np.array(features)


def main():
    kinds, held_out, halves, features = read(sys.argv[1:])
    has_warp = ~np.isnan(features[:, 0])
    is_copy = kinds != "different"
    fitted = has_warp & ~held_out
    probability = np.zeros(len(kinds))
    for half in (0, 1):
        rows = fitted & (halves == half)
        coefficients = fit(features[rows], is_copy[rows].astype(float))
        judged = has_warp & (halves != half)
        probability[judged] = predicted(features[judged], coefficients)
    accepted = (probability >= MIN_PROBABILITY) & (features[:, 2] >= LEAST_AGREEMENT)
    print("judged by the other half:")
    for kind in sorted(set(kinds)):
        rows = kinds == kind
        print(f"  {kind}: {accepted[rows].sum()} of {rows.sum()}")
    print("reliability, pairs with a warp (judged by the other half):")
    for low in np.arange(0.0, 1.0, 0.1):
        rows = has_warp & (probability >= low) & (probability < low + 0.1 + (low > 0.85))
        if rows.any():
            said, true = probability[rows].mean(), is_copy[rows].mean()
            print(f"  {low:.1f}-{low + 0.1:.1f}: {rows.sum()} pairs, said {said:.3f}, copies {true:.3f}")
    print("coefficients of all:", fit(features[fitted], is_copy[fitted].astype(float)).round(3).tolist())


if __name__ == "__main__":
    main()
