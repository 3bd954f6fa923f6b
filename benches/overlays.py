"""Fits the score by which `src/vision/lineage/overlay.rs` tells what was drawn over a picture from a part of a picture.

    python benches/overlays.py IMAGES [--count 600] [--seed 3]

IMAGES are photographs and pages that are not evaluated on. Each gets letters, a face or a logo as `folders.py` draws them, and as often
a patch of another image, which is what a picture looks like from which a thing was taken away. Features are measured on
previews as the scan has them (at most 400 pixels, JPEG 85), on the image with the harder rim. Prints weights, the share of right sides,
and how many of each kind score above 0 when the constant lets one patch in twenty through (five folds).
"""

import argparse
import io

import numpy as np
from folders import blob, font, images_in, opened, with_face, with_logo, with_words
from PIL import Image, ImageDraw

NAMES = ("rim", "colour", "veil", "two", "thin", "ends")
SIDE = 400


def with_grey_words(image, rng):
    """Letters in black, white or grey, as captions and watermarks have them."""
    image = image.copy()
    size = np.sqrt(rng.uniform(0.005, 0.03) * image.width * image.height)
    at = (int(rng.uniform(0, 0.5) * image.width), int(rng.uniform(0, 0.9) * image.height))
    level = int(rng.choice([0, 255, rng.integers(0, 256)]))
    ImageDraw.Draw(image).text(at, "words over it", font=font(size), fill=(level,) * 3)
    return image


def with_patch(image, other, rng):
    image = image.copy()
    image.paste(other.resize(image.size, Image.LANCZOS), mask=blob(image.size, rng, rng.uniform(0.03, 0.18)))
    return image


def recompressed(image, quality):
    held = io.BytesIO()
    image.save(held, "JPEG", quality=quality)
    return Image.open(io.BytesIO(held.getvalue())).convert("RGB")


def preview(image):
    share = SIDE / max(image.size)
    if share < 1:
        image = image.resize([max(1, round(side * share)) for side in image.size], Image.BOX)
    return np.asarray(recompressed(image, 85)).astype(float)


def around(marks):
    height, width = marks.shape
    padded = np.pad(marks.astype(int), 1)
    return sum(padded[y : y + height, x : x + width] for y in range(3) for x in range(3))


def luma(image):
    return image @ [0.299, 0.587, 0.114]


def mask_of(a, b):
    x, y = luma(a), luma(b)
    fits = np.ones_like(x, bool)
    for _ in range(3):
        v, w = x[fits], y[fits]
        gain = ((v - v.mean()) * (w - w.mean())).mean() / max(v.var(), 1e-6)
        offset = w.mean() - gain * v.mean()
        left = np.abs(y - gain * x - offset)
        fits = left <= max(6, np.quantile(left, 0.6))
    mask = np.abs(b - gain * a - offset).max(2) > 28
    mask &= around(mask) >= 5
    return mask if 40 <= mask.sum() <= 0.5 * mask.size else None


def rim(image, mask):
    steps = []
    for axis in (0, 1):
        for way in (1, -1):
            outside = [np.roll(mask, way * k, axis) for k in (2, 3)]
            on = mask & ~outside[0] & ~outside[1]
            edge = slice(0, 3) if way > 0 else slice(-3, None)
            on[edge if axis == 0 else slice(None), edge if axis == 1 else slice(None)] = False
            steps.append(np.abs(image - np.roll(image, way * 3, axis)).max(2)[on])
    steps = np.concatenate(steps)
    return steps.mean() if len(steps) > 10 else None


def features(a, b):
    """Whether `a` has the harder rim, and the features of the image that has it."""
    mask = mask_of(a, b)
    rims = mask is not None and (rim(a, mask), rim(b, mask))
    if not rims or None in rims:
        return None
    difference = (rims[0] - rims[1]) / (sum(rims) + 8)
    drawn, clean = ((a, b) if difference > 0 else (b, a))
    pixels, under = drawn[mask], clean[mask]
    shades = np.unique((pixels // 24).astype(int), axis=0, return_counts=True)[1]
    left = spread = 20.0
    for channel in range(3):
        v, w = pixels[:, channel], under[:, channel]
        shared = ((v - v.mean()) * (w - w.mean())).mean()
        gain = np.clip(shared / max(w.var(), 1e-6), 0, 1)
        left += v.var() - 2 * gain * shared + gain * gain * w.var()
        spread += v.var()
    found = [
        abs(difference),
        (pixels.max(1) - pixels.min(1)).mean() / 100,
        np.log(left / spread),
        np.sort(shades)[-2:].sum() / len(pixels),
        (around(mask) < 9)[mask].mean(),
        ((pixels <= 10) | (pixels >= 245)).mean(),
    ]
    return difference > 0, found


def fitted(rows, wanted):
    weights, constant = np.zeros(rows.shape[1]), 0.0
    for _ in range(5000):
        miss = wanted - 1 / (1 + np.exp(-(rows @ weights + constant)))
        weights += 0.3 * (miss @ rows / len(rows) - 1e-3 * weights)
        constant += 0.3 * miss.mean()
    return weights, constant


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    paths = images_in(args.images)
    draws = {"words": with_words, "grey words": with_grey_words, "face": with_face, "logo": with_logo}
    kinds, rows, right = [], [], []
    for number, at in enumerate(rng.choice(len(paths), min(args.count, len(paths)), replace=False)):
        image = opened(paths[at])
        other = opened(paths[int(rng.integers(len(paths)))])
        kind = list(draws)[number % len(draws)]
        for name, edited in ((kind, draws[kind](image, rng)), ("patch", with_patch(image, other, rng))):
            found = features(preview(recompressed(edited, int(rng.integers(75, 95)))), preview(image))
            if found:
                kinds.append(name)
                right.append(found[0])
                rows.append(found[1])
    kinds, rows, right = np.array(kinds), np.array(rows), np.array(right)
    wanted = (kinds != "patch").astype(float)
    mean, spread = rows.mean(0), rows.std(0)
    scaled = (rows - mean) / spread
    fold, score = rng.integers(0, 5, len(rows)), np.zeros(len(rows))
    for part in range(5):
        weights, constant = fitted(scaled[fold != part], wanted[fold != part])
        score[fold == part] = scaled[fold == part] @ weights + constant
    limit = np.quantile(score[kinds == "patch"], 0.95)
    for name in [*draws, "patch"]:
        mine = kinds == name
        print(f"{name:<12} {mine.sum()}  right side {right[mine].mean():.3f}  drawn {(score[mine] > limit).mean():.3f}")
    weights, constant = fitted(scaled, wanted)
    print("weights", dict(zip(NAMES, (weights / spread).round(2).tolist())))
    print("constant", round(float(constant - (weights * mean / spread).sum() - limit), 2))


if __name__ == "__main__":
    main()
