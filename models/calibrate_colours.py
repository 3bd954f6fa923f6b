"""What the colours of two pictures say about one being a copy of the other (the odds of src/dedup/colours.rs).

    python benches/folders.py plant IMAGES FOLDER --originals 1250 --edits --one
    doppel embed FOLDER -o vectors.npy
    python models/calibrate_colours.py vectors.npy FOLDER

Copies are the pairs of one original by the list beside the folder; others are the three nearest of each image, by their
embeddings, of another original. Only pairs below a cosine are asked: of those above, the promise is not in question. A
few of the others are copies that the images had before anything was planted: the ratios are a little too small.
Palettes are those of src/vision/palette.rs, of previews of the same size.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, STEP, PARTS, LEAST_SHARE, PREVIEW = 16, 4, 64, 0.2, 400
HELD = [0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3, 0.5, 1.01]
COLOURS = [1, 2, 4, 8, 14, 257]
NEAREST = 3


def places():
    difference = np.arange(256) - 128.0
    bent = np.copysign(np.sqrt(np.abs(difference)), difference) * 0.9375
    place = np.maximum(bent + (SIDE - 1) / 2, 0) * PARTS
    return np.minimum(place.astype(int), (SIDE - 1) * PARTS - 1)


def palette(path, place=places()):
    """Shares of 256 colours."""
    with Image.open(path) as image:
        image = image.convert("RGB")
        image.thumbnail((PREVIEW, PREVIEW), Image.Resampling.BOX)
    first = [min(STEP // 2, side - 1) for side in (image.height, image.width)]
    rgb = np.asarray(image).astype(int)[first[0] :: STEP, first[1] :: STEP].reshape(-1, 3)
    blueness, redness = rgb @ [-43, -85, 128] >> 8, rgb @ [128, -107, -21] >> 8
    (x, right), (y, below) = (np.divmod(place[c + 128], PARTS) for c in (blueness, redness))
    bins = np.zeros((SIDE, SIDE))
    for dx, dy in np.ndindex(2, 2):
        weight = (right if dx else PARTS - right) * (below if dy else PARTS - below)
        np.add.at(bins, (y + dy, x + dx), weight)
    kept = np.round(np.sqrt(bins.ravel() / bins.sum()) * 255) ** 2
    return kept / kept.sum()


def shared(one, other):
    """Share whose colours the other picture has room for, and how many colours the picture that fits better has."""
    here, there = (np.minimum(p, q / LEAST_SHARE).sum() for p, q in ((one, other), (other, one)))
    inner = one if here >= there else other
    return max(here, there), 1 / np.square(inner).sum()


def pairs(vectors, source, below):
    """Index pairs of copies, and of others, that are less alike than `below`."""
    copies, others = [], []
    original = np.unique(source, return_inverse=True)[1]
    for i, vector in enumerate(vectors):
        alike = vectors @ vector
        same = original == original[i]
        copies += [(i, j) for j in np.flatnonzero(same & (alike < below)) if j > i]
        alike[same] = -1
        others += [(i, j) for j in np.argsort(-alike)[:NEAREST] if alike[j] < below]
    return copies, others


def shares(values, edges):
    return np.histogram(values, edges)[0] / max(len(values), 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("vectors", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--below", type=float, default=0.6, help="cosine")
    how = parser.parse_args()
    vectors = np.load(how.vectors)
    paths = how.vectors.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    truth = dict(line.split("\t")[:2] for line in (how.folder / "truth.tsv").read_text(encoding="utf-8").splitlines())
    source = [truth.get(Path(path).name, path) for path in paths]
    kinds = pairs(vectors, source, how.below)
    wanted = sorted({i for kind in kinds for pair in kind for i in pair})
    palettes = {i: palette(paths[i]) for i in wanted}
    copies, others = (np.array([shared(palettes[i], palettes[j]) for i, j in kind]) for kind in kinds)
    print(f"{len(copies)} copies, {len(others)} others below a cosine of {how.below}")
    print("colours that the other lacks   copies  others  ratio")
    rows = zip(HELD, HELD[1:], *(shares(1 - kind[:, 0], HELD) for kind in (copies, others)))
    for low, high, of_copies, of_others in rows:
        print(f"{low:5.2f} to {high:4.2f}                  {of_copies:.3f}   {of_others:.3f}   {of_copies / max(of_others, 1e-9):.2f}")
    print("colours of a picture that is held to 99 %: ratio")
    for low, high in zip(COLOURS, COLOURS[1:]):
        held = [k[(k[:, 1] >= low) & (k[:, 1] < high), 0] > 0.99 for k in (copies, others)]
        if all(len(k) for k in held):
            print(f"{low} to {high}: {held[0].mean() / max(held[1].mean(), 1e-9):.1f}  ({held[0].sum()} copies)")


if __name__ == "__main__":
    main()
