"""The attack families never trained on. Only evaluation imports this file.

Each function: (uint8 RGB H x W x 3, strength 0..2, rng, others) -> uint8 RGB.
"""

import cv2
import numpy as np
from PIL import Image, ImageDraw

BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16.0


def halftone(img, k, rng, others):
    """Ordered dither to 8 / 4 / 2 levels a channel, cells of 1-2 px."""
    h, w = img.shape[:2]
    n = (7, 3, 1)[k]
    cell = np.kron(BAYER, np.ones((1 + k, 1 + k)))
    t = np.tile(cell, (h // len(cell) + 1, w // len(cell) + 1))[:h, :w, None]
    return (np.floor(img / 255.0 * n + t).clip(0, n) * (255.0 / n)).astype(np.uint8)


def remap(img, x, y):
    return cv2.remap(img, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_REFLECT)


def wave(img, k, rng, others):
    h, w = img.shape[:2]
    a = (0.015, 0.03, 0.05)[k]
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    fx, fy = rng.uniform(2, 5, 2)
    return remap(img, x + a * w * np.sin(2 * np.pi * fy * y / h + rng.uniform(0, 6)),
                 y + a * h * np.sin(2 * np.pi * fx * x / w + rng.uniform(0, 6)))


def fisheye(img, k, rng, others):
    h, w = img.shape[:2]
    b = (0.25, 0.6, 1.2)[k]
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    u, v = 2 * x / w - 1, 2 * y / h - 1
    s = (1 + b * (u * u + v * v)) / (1 + b)
    return remap(img, (u * s + 1) * w / 2, (v * s + 1) * h / 2)


def moire(img, k, rng, others):
    """A photograph of a screen: tilted, a fine grid beating with the pixels, a cast, glare."""
    h, w = img.shape[:2]
    s = (0.03, 0.06, 0.10)[k]
    src = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    dst = (src + rng.uniform(-s, s, (4, 2)) * (w, h)).astype(np.float32)
    out = cv2.warpPerspective(img, cv2.getPerspectiveTransform(src, dst), (w, h),
                              flags=cv2.INTER_LINEAR, borderValue=(15, 15, 18)).astype(np.float32)
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    depth = (0.12, 0.25, 0.4)[k]
    for _ in range(2):
        a, f = rng.uniform(0, np.pi), rng.uniform(0.3, 0.48)
        bend = 1 + 0.02 * np.sin(2 * np.pi * (x / w + y / h) * rng.uniform(0.5, 2))
        out *= 1 - depth * (0.5 + 0.5 * np.sin(2 * np.pi * f * (x * np.cos(a) + y * np.sin(a)) * bend))[..., None]
    out = out * (1.35, 1.45, 1.6)[k] * rng.uniform(0.85, 1.1, 3)
    cx, cy = rng.uniform(0, w), rng.uniform(0, h)
    glare = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (0.15 * w * h))[..., None]
    out += (20, 45, 90)[k] * glare
    return out.clip(0, 255).astype(np.uint8)


def cartoon(img, k, rng, others):
    out = img
    for _ in range(1 + k):
        out = cv2.bilateralFilter(out, 7, 40 + 30 * k, 7)
    n = (12, 7, 4)[k]
    out = (np.round(out / 255.0 * n) * (255.0 / n)).astype(np.uint8)
    g = cv2.medianBlur(cv2.cvtColor(img, cv2.COLOR_RGB2GRAY), 5)
    edge = cv2.adaptiveThreshold(g, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 9, (9, 6, 4)[k])
    return cv2.bitwise_and(out, out, mask=edge)


def watermark(img, k, rng, others):
    from attacks import font, phrase
    h, w = img.shape[:2]
    n = int(1.5 * max(h, w))
    size = max(10, int(min(h, w) * (0.06, 0.09, 0.12)[k]))
    layer = Image.new("L", (n, n), 0)
    d = ImageDraw.Draw(layer)
    t, f = phrase(rng, 2), font(int(rng.integers(0, 12)), size)
    step = d.textlength(t, f) + size * 2
    for i, y in enumerate(range(0, n, int(size * 2.4))):
        x = -step * (i % 2) / 2
        while x < n:
            d.text((x, y), t, 255, f)
            x += step
    layer = layer.rotate(rng.uniform(20, 40)).crop(((n - w) // 2, (n - h) // 2, (n - w) // 2 + w, (n - h) // 2 + h))
    a = np.asarray(layer)[..., None] / 255.0 * (0.3, 0.5, 0.75)[k]
    ink = 255.0 if rng.random() < 0.7 else 30.0
    return (img * (1 - a) + ink * a).astype(np.uint8)


def weather(img, k, rng, others):
    h, w = img.shape[:2]
    layer = np.zeros((h, w), np.uint8)
    n = (150, 400, 900)[k] * h * w // (320 * 480)
    rain = rng.random() < 0.5
    slope = rng.uniform(-0.4, 0.4)
    for x, y, s in zip(rng.uniform(0, w, n), rng.uniform(0, h, n), rng.uniform(0.4, 1, n)):
        if rain:
            m = 0.06 * h * s
            cv2.line(layer, (int(x), int(y)), (int(x + slope * m), int(y + m)), int(255 * s), 1, cv2.LINE_AA)
        else:
            cv2.circle(layer, (int(x), int(y)), max(1, int(0.009 * h * s)), int(255 * s), -1, cv2.LINE_AA)
    a = layer[..., None] / 255.0 * (0.6 if rain else 0.9)
    haze = (0.1, 0.25, 0.4)[k]
    out = img * (1 - haze) + 200.0 * haze
    return (out * (1 - a) + 235.0 * a).astype(np.uint8)


def middle_cut(img, k, rng, others):
    h, w = img.shape[:2]
    n = int(w * (0.10, 0.22, 0.35)[k])
    x = int((w - n) * rng.uniform(0.3, 0.7))
    return np.concatenate([img[:, :x], img[:, x + n:]], 1)
