"""Perceptual hashes to compare with: PDQ (256 bits, 8 dihedral variants) and pHash-256.

pdq(rgb) -> (8 x 256 bool, variant 0 is the image as it is; quality 0..100)
phash(rgb) -> 256 bool. Written from the published descriptions.
"""

import cv2
import numpy as np

D16 = np.sqrt(2 / 64) * np.cos(np.pi / 128 * np.arange(1, 17)[:, None] * (2 * np.arange(64)[None] + 1))


def _box(x, window, axis):
    """Mean over `window` samples along an axis, over fewer at the ends."""
    size = [1, 1]
    size[axis] = window
    kernel = dict(ddepth=-1, ksize=(size[1], size[0]), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return cv2.boxFilter(x, **kernel) / cv2.boxFilter(np.ones_like(x), **kernel)


def pdq(rgb):
    h, w = rgb.shape[:2]
    if max(h, w) > 512:
        f = 512 / max(h, w)
        rgb = cv2.resize(rgb, (max(1, round(w * f)), max(1, round(h * f))), interpolation=cv2.INTER_AREA)
        h, w = rgb.shape[:2]
    luma = rgb.astype(np.float32) @ np.float32((0.299, 0.587, 0.114))
    for _ in range(2):
        luma = _box(_box(luma, (w + 127) // 128, 1), (h + 127) // 128, 0)
    ys = ((np.arange(64) + 0.5) * h / 64).astype(int)
    xs = ((np.arange(64) + 0.5) * w / 64).astype(int)
    a = luma[np.ix_(ys, xs)]
    steps = [np.abs(((a[1:] - a[:-1]) * 100 / 255).astype(int)).sum(),
             np.abs(((a[:, 1:] - a[:, :-1]) * 100 / 255).astype(int)).sum()]
    quality = min(100, int(sum(steps) / 90))
    b = D16 @ a @ D16.T
    sign = (-1.0) ** np.arange(1, 17)
    out = []
    for m in (b, b.T):
        for fx in (False, True):
            for fy in (False, True):
                v = m * sign[None] if fx else m
                v = v * sign[:, None] if fy else v
                out.append((v > np.median(v)).ravel())
    return np.stack(out), quality


def phash(rgb):
    g = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (64, 64), interpolation=cv2.INTER_AREA)
    b = cv2.dct(g.astype(np.float64))[:16, :16]
    return (b > np.median(b)).ravel()


def hamming(a, b):
    """Bits that differ: a N x 256, b M x 256 (bool) -> N x M float32."""
    x, y = a.astype(np.float32) * 2 - 1, b.astype(np.float32) * 2 - 1
    return (256 - x @ y.T) / 2
