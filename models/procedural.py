"""Procedural pictures: dead leaves, coloured noise, fractals, gratings.

`image(rng)` -> uint8, SIZE x SIZE x 3. They carry no licence but ours and teach
edges, textures and occlusion that the photographs of the pool do not cover.
"""

import cv2
import numpy as np

SIZE = 176


def palette(rng, n):
    """n related colours (n x 3, uint8): a base hue with spread, or unrelated ones."""
    if rng.random() < 0.3:
        return rng.integers(0, 256, (n, 3)).astype(np.uint8)
    hsv = np.stack([(rng.integers(0, 180) + rng.normal(0, rng.uniform(3, 40), n)) % 180,
                    rng.normal(rng.uniform(20, 200), 40, n).clip(0, 255),
                    rng.normal(rng.uniform(70, 200), 55, n).clip(0, 255)], -1)
    return cv2.cvtColor(hsv[None].astype(np.uint8), cv2.COLOR_HSV2RGB)[0]


def noise(rng, size=SIZE):
    """1/f^a noise with correlated channels."""
    alpha = rng.uniform(0.6, 2.2)
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    f[0, 0] = 1.0
    spectrum = rng.normal(size=(3, size, size // 2 + 1)) + 1j * rng.normal(size=(3, size, size // 2 + 1))
    x = np.fft.irfft2(spectrum / f ** alpha, s=(size, size))
    x /= x.std((1, 2), keepdims=True)
    mix = rng.normal(size=(3, 3)) * rng.uniform(0.1, 0.6) + 1.0
    x = np.einsum("ij,jhw->hwi", mix, x)
    x = (x - x.mean((0, 1))) / x.std() * rng.uniform(30, 70) + rng.uniform(60, 190, 3)
    return x.clip(0, 255).astype(np.uint8)


def leaves(rng, size=SIZE):
    """Dead leaves: occluding shapes with power-law sizes, some textured."""
    n = int(rng.integers(25, 160))
    colours = palette(rng, n)
    img = np.full((size, size, 3), colours[0], np.uint8)
    texture = noise(rng, size) if rng.random() < 0.35 else None
    shape = int(rng.integers(0, 5))
    r_min = rng.uniform(2, 8)
    for c in colours:
        r = min(r_min / (rng.random() + 0.01) ** 0.7, size * 0.4)
        x, y = rng.integers(-10, size + 10, 2)
        kind = shape if shape < 4 else int(rng.integers(0, 4))
        colour = tuple(int(v) for v in c)
        if texture is not None and rng.random() < 0.3:
            mask = np.zeros((size, size), np.uint8)
            cv2.circle(mask, (int(x), int(y)), int(r), 255, -1)
            img[mask > 0] = texture[mask > 0]
        elif kind == 0:
            cv2.circle(img, (int(x), int(y)), int(r), colour, -1, cv2.LINE_AA)
        elif kind == 1:
            box = cv2.boxPoints(((float(x), float(y)), (2 * r, 2 * r * rng.uniform(0.2, 1)),
                                 rng.uniform(0, 180)))
            cv2.fillConvexPoly(img, box.astype(np.int32), colour, cv2.LINE_AA)
        elif kind == 2:
            a = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
            d = r * rng.uniform(0.4, 1.2, len(a))
            pts = np.stack([x + d * np.cos(a), y + d * np.sin(a)], -1).astype(np.int32)
            cv2.fillPoly(img, [pts], colour, cv2.LINE_AA)
        else:
            cv2.ellipse(img, (int(x), int(y)), (int(r), int(r * rng.uniform(0.15, 1))),
                        rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
    if rng.random() < 0.3:
        light = noise(rng, size)[..., :1].astype(np.float32) / 255 + 0.5
        img = (img * light).clip(0, 255).astype(np.uint8)
    return img


def fractal(rng, size=SIZE):
    """An iterated function system drawn by the chaos game, coloured by map."""
    k = int(rng.integers(2, 6))
    maps = rng.uniform(-1, 1, (k, 2, 3))
    for m in maps:  # contractive
        s = np.linalg.norm(m[:, :2], 2)
        m[:, :2] *= min(1.0, 0.85 / s)
    walkers, steps = 4000, 18
    p = rng.uniform(-1, 1, (walkers, 2))
    colours = palette(rng, k).astype(np.float32)
    acc = np.zeros((size * size, 3), np.float32)
    hits = np.zeros(size * size, np.float32)
    shade = np.zeros((walkers, 3), np.float32)
    scale = None
    for step in range(steps):
        which = rng.integers(0, k, walkers)
        m = maps[which]
        p = np.einsum("nij,nj->ni", m[:, :, :2], p) + m[:, :, 2]
        shade = 0.5 * shade + 0.5 * colours[which]
        if step < 5:
            continue
        if scale is None:
            lo, hi = np.percentile(p, [1, 99], axis=0)
            scale = (size - 1) / np.maximum(hi - lo, 1e-3)
        q = ((p - lo) * scale).astype(int)
        ok = ((q >= 0) & (q < size)).all(1)
        flat = q[ok, 1] * size + q[ok, 0]
        np.add.at(hits, flat, 1.0)
        np.add.at(acc, flat, shade[ok])
    img = np.full((size * size, 3), palette(rng, 1)[0], np.float32)
    on = hits > 0
    img[on] = acc[on] / hits[on, None] * np.minimum(1.0, 0.5 + 0.2 * np.log1p(hits[on, None]))
    img = img.reshape(size, size, 3).clip(0, 255).astype(np.uint8)
    return cv2.GaussianBlur(img, (0, 0), 0.8)


def julia(rng, size=SIZE):
    """Escape times of a Julia set through a random palette."""
    c = rng.uniform(0.6, 0.85) * np.exp(1j * rng.uniform(0, 2 * np.pi))
    zoom = rng.uniform(0.3, 1.5)
    g = np.linspace(-zoom, zoom, size, dtype=np.float32)
    z = (g[None] + 1j * g[:, None] + complex(*rng.uniform(-0.5, 0.5, 2))).astype(np.complex64)
    t = np.zeros((size, size), np.float32)
    for _ in range(24):
        inside = (z.real ** 2 + z.imag ** 2) < 4
        z = np.where(inside, z * z + c, z)
        t += inside
    colours = palette(rng, 25)
    colours = colours[np.argsort(colours.sum(1))] if rng.random() < 0.6 else colours
    return colours[t.astype(int)]


def grating(rng, size=SIZE):
    """A few overlaid gratings and checks with a light gradient."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    img = np.zeros((size, size, 3), np.float32)
    for c in palette(rng, int(rng.integers(2, 5))).astype(np.float32):
        a, f = rng.uniform(0, np.pi), rng.uniform(2, 25)
        wave = np.sin(2 * np.pi * f * (x * np.cos(a) + y * np.sin(a)) + rng.uniform(0, 6))
        if rng.random() < 0.5:
            wave = np.sign(wave)
        img += (wave[..., None] * 0.5 + 0.5) * c
    img *= rng.uniform(0.5, 1) * (0.6 + 0.8 * x[..., None])
    return img.clip(0, 255).astype(np.uint8)


def image(rng):
    while True:
        draw = (leaves, leaves, leaves, noise, fractal, julia, grating)[int(rng.integers(0, 7))]
        img = draw(rng)
        if img[::4, ::4].std((0, 1)).max() > 20 and img.std() > 16:  # not near-uniform
            return img
