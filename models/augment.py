"""Training edits on uint8 RGB images (H x W x 3), one function each.

Every edit takes (img, rng, art) and returns a new image or edits a fresh copy; `art`
holds what is drawn once (sprites, chromes) and a way to draw another pool image.
views.py composes them. They resemble the TRAINED families and none of the held-out.
"""

import cv2
import numpy as np

import synthetic


class Art:
    """Sprites and interfaces drawn once per worker; `other(rng)` gives a pool image."""

    def __init__(self, pool, seed=7, count=250):
        rng = np.random.default_rng([21, seed])
        self.pool = pool
        self.texts = [synthetic.text_sprite(rng) for _ in range(count)]
        self.stickers = [synthetic.sticker_sprite(rng) for _ in range(count)]
        self.chromes = []
        for _ in range(2 * count):
            img, slot = synthetic.chrome(rng)
            self.chromes.append((np.asarray(img), slot))

    def other(self, rng):
        return self.pool[int(rng.integers(0, len(self.pool)))]

    def patch(self, rng, w, h):
        """A random part of a random pool image, at exactly w x h."""
        img = self.other(rng)
        ih, iw = img.shape[:2]
        s = rng.uniform(0.5, 1.0)
        ch, cw = max(8, int(ih * s)), max(8, int(iw * s))
        y, x = int(rng.integers(0, ih - ch + 1)), int(rng.integers(0, iw - cw + 1))
        return fit(img[y:y + ch, x:x + cw], w, h)


def fit(img, w, h):
    """Resize to w x h: area filter when reducing, linear when enlarging."""
    small = img.shape[0] * img.shape[1] > w * h
    return cv2.resize(img, (max(1, int(w)), max(1, int(h))),
                      interpolation=cv2.INTER_AREA if small else cv2.INTER_LINEAR)


def cover(img, rng, w, h):
    """The largest part of the asked shape, anywhere along the longer side, at w x h."""
    ih, iw = img.shape[:2]
    cw, ch = min(iw, max(8, round(ih * w / h))), min(ih, max(8, round(iw * h / w)))
    y, x = int(rng.integers(0, ih - ch + 1)), int(rng.integers(0, iw - cw + 1))
    return fit(img[y:y + ch, x:x + cw], w, h)


def colour(rng):
    u = rng.random()
    if u < 0.3:
        return (0, 0, 0)
    if u < 0.6:
        return (255, 255, 255)
    return tuple(int(v) for v in rng.integers(0, 256, 3))


def crop(img, rng, low, high, aspect=2.0):
    """Part with `low..high` of the area and an aspect changed by up to `aspect`."""
    h, w = img.shape[:2]
    area = rng.uniform(low, high)
    r = np.exp(rng.uniform(-1, 1) * np.log(aspect) * 0.5)
    ch, cw = min(h, int(h * np.sqrt(area) / r)), min(w, int(w * np.sqrt(area) * r))
    ch, cw = max(16, min(h, ch)), max(16, min(w, cw))
    y, x = int(rng.integers(0, h - ch + 1)), int(rng.integers(0, w - cw + 1))
    return img[y:y + ch, x:x + cw]


def warp(img, rng, angle, shake, size, keep):
    """Rotate by `angle` degrees and shake the corners by `shake` of the side, to size x size.

    keep: the whole image stays visible and corners are filled; else it is zoomed.
    """
    h, w = img.shape[:2]
    a = np.deg2rad(angle)
    c, s = np.cos(a), np.sin(a)
    bw, bh = (abs(w * c) + abs(h * s), abs(w * s) + abs(h * c)) if keep else (w, h)
    out = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32) * (bw / 2, bh / 2)
    src = (out @ np.array([[c, s], [-s, c]]) + (w / 2, h / 2)).astype(np.float32)
    if shake:
        src += (rng.uniform(-shake, shake, (4, 2)) * (w, h)).astype(np.float32)
    dst = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float32)
    if max(bw, bh) > 1.7 * size:  # avoid aliasing
        f = size * 1.3 / max(bw, bh)
        img = fit(img, w * f, h * f)
        src *= np.array([img.shape[1] / w, img.shape[0] / h], np.float32)
    m = cv2.getPerspectiveTransform(src, dst)
    u = rng.random()
    mode = cv2.BORDER_CONSTANT if u < 0.75 else (cv2.BORDER_REPLICATE if u < 0.85 else cv2.BORDER_REFLECT)
    return cv2.warpPerspective(img, m, (size, size), flags=cv2.INTER_LINEAR,
                               borderMode=mode, borderValue=colour(rng))


def tone(img, rng, strength=1.0):
    """Brightness, contrast, saturation and hue as one 3 x 4 matrix, sometimes gamma."""
    k = 0.6 * strength
    contrast, bright = 1 + rng.uniform(-k, k), rng.uniform(-k, k) * 70
    sat, hue = max(0.0, 1 + rng.uniform(-k, k)), rng.uniform(-0.15, 0.15) * strength * 2 * np.pi
    if rng.random() < 0.04 * strength:
        hue = rng.uniform(0, 2 * np.pi)
    grey = np.full((3, 3), 1 / 3)
    c, s = np.cos(hue), np.sin(hue)
    q = np.sqrt(1 / 3)
    rot = c * np.eye(3) + s * q * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) + (1 - c) * grey
    m = contrast * (sat * rot + (1 - sat) * np.full((3, 3), (0.3, 0.59, 0.11)))
    m = np.concatenate([m, np.full((3, 1), 128 * (1 - contrast) + bright)], 1).astype(np.float32)
    if rng.random() < 0.15:
        m[:, 3] += rng.uniform(-30, 30, 3)
    img = cv2.transform(img, m)
    if rng.random() < 0.15:
        lut = (np.linspace(0, 1, 256) ** np.exp(rng.uniform(-0.8, 0.8) * strength) * 255).astype(np.uint8)
        img = cv2.LUT(img, lut)
    return img


def grey_filter(img, rng, art=None):
    u = rng.random()
    g = cv2.cvtColor(img, cv2.COLOR_RGB2GRAY)
    if u < 0.55:
        return cv2.cvtColor(g, cv2.COLOR_GRAY2RGB)
    if u < 0.75:  # two-tone or sepia
        lo, hi = rng.integers(0, 90, 3), rng.integers(150, 256, 3)
        if u < 0.65:
            lo, hi = np.array([20, 10, 0]), np.array([255, 235, 200])
        lut = (lo + (hi - lo) * np.linspace(0, 1, 256)[:, None]).astype(np.uint8)[:, None]
        return cv2.LUT(cv2.cvtColor(g, cv2.COLOR_GRAY2RGB), lut)
    levels = int(rng.integers(2, 7))
    lut = (np.round(np.linspace(0, levels, 256)) * (255 / levels)).astype(np.uint8)
    return cv2.LUT(img, lut)


def blur(img, rng, art=None):
    s = rng.uniform(0.004, 0.035) * min(img.shape[:2])
    if rng.random() < 0.2:
        k = max(2, int(3 * s))
        return cv2.blur(img, (k, 1) if rng.random() < 0.5 else (1, k))
    return cv2.GaussianBlur(img, (0, 0), s)


def sharpen(img, rng, art=None):
    soft = cv2.GaussianBlur(img, (0, 0), 1.0)
    k = rng.uniform(0.5, 3.0)
    return cv2.addWeighted(img, 1 + k, soft, -k, 0)


def jpeg(img, rng, low, high):
    ok, data = cv2.imencode(".jpg", img, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(low, high + 1))))
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def down_up(img, rng, art=None):
    h, w = img.shape[:2]
    n = rng.uniform(24, 80)
    f = min(1.0, n / max(h, w))
    small = fit(img, max(8, w * f), max(8, h * f))
    how = cv2.INTER_NEAREST if rng.random() < 0.35 else cv2.INTER_LINEAR
    return cv2.resize(small, (w, h), interpolation=how)


def noise(img, rng, art=None):
    sigma = rng.uniform(5, 60)
    n = np.empty(img.shape, np.int16)
    cv2.setRNGSeed(int(rng.integers(1, 2**31 - 1)))
    cv2.randn(n, 0, sigma)
    if rng.random() < 0.2:  # salt and pepper
        n[np.abs(n) < 2 * sigma] = 0
        n *= 6
    return cv2.add(img, n, dtype=cv2.CV_8U)


def blend_sprite(img, alpha, rgb, x, y):
    """Draw a constant colour or RGB sprite through alpha (0..255) at (x, y), clipped."""
    h, w = img.shape[:2]
    y0, x0 = max(0, y), max(0, x)
    y1, x1 = min(h, y + alpha.shape[0]), min(w, x + alpha.shape[1])
    if y1 <= y0 or x1 <= x0:
        return
    a = alpha[y0 - y:y1 - y, x0 - x:x1 - x, None].astype(np.int32)
    part = img[y0:y1, x0:x1]
    if rgb.ndim == 3:
        rgb = rgb[y0 - y:y1 - y, x0 - x:x1 - x]
    part[:] = (part + ((rgb.astype(np.int32) - part) * a >> 8)).astype(np.uint8)


def text(img, rng, art):
    img = img.copy()
    h, w = img.shape[:2]
    for _ in range(int(rng.integers(1, 4))):
        mask = art.texts[int(rng.integers(0, len(art.texts)))]
        f = rng.uniform(0.25, 1.1) * w / mask.shape[1]
        f = min(f, 0.5 * h / mask.shape[0])
        mask = fit(mask, max(6, mask.shape[1] * f), max(4, mask.shape[0] * f))
        mask = (mask * rng.uniform(0.5, 1.0)).astype(np.uint8)
        x = int(rng.uniform(-0.1 * w, max(1, w - 0.8 * mask.shape[1])))
        y = int(rng.uniform(0, max(1, h - mask.shape[0])))
        blend_sprite(img, mask, np.array(colour(rng)), x, y)
    return img


def stickers(img, rng, art):
    img = img.copy()
    h, w = img.shape[:2]
    for _ in range(int(rng.integers(1, 8))):
        s = art.stickers[int(rng.integers(0, len(art.stickers)))]
        n = max(8, int(min(h, w) * rng.uniform(0.12, 0.42)))
        s = cv2.resize(s, (n, n), interpolation=cv2.INTER_AREA)
        blend_sprite(img, s[..., 3], s[..., :3], int(rng.integers(-n // 3, w - n // 2)),
                     int(rng.integers(-n // 3, h - n // 2)))
    return img


def stripes(img, rng, art=None):
    """Opaque parallel stripes at a multiple of 90 degrees or any angle."""
    h, w = img.shape[:2]
    share, period = rng.uniform(0.1, 0.48), rng.uniform(0.04, 0.3) * max(h, w)
    a = rng.choice([0.0, np.pi / 2]) if rng.random() < 0.6 else rng.uniform(0, np.pi)
    y, x = np.ogrid[0:h, 0:w]
    phase = (x * np.cos(a) + y * np.sin(a) + rng.uniform(0, period)) % period
    out = img.copy()
    out[phase < share * period] = colour(rng)
    return out


def border(img, rng, art):
    """Padding on some sides or a caption band, up to 38 % of a side; flat, blurred or patch."""
    h, w = img.shape[:2]
    if rng.random() < 0.45:  # caption band above and/or below
        t, b = (int(rng.uniform(0.08, 0.42) * h) for _ in range(2))
        which = rng.random()
        t, b, l, r = (t, 0, 0, 0) if which < 0.4 else (0, b, 0, 0) if which < 0.7 else (t // 2, b // 2, 0, 0)
    else:
        p = rng.uniform(0.03, 0.38)
        t = b = int(p * h)
        l = r = int(p * w)
        u = rng.random()
        if u < 0.2:
            t = b = 0
        elif u < 0.4:
            l = r = 0
        elif u < 0.55:
            t, b, l, r = (int(v * rng.uniform(0, 1)) for v in (t, b, l, r))
    H, W = h + t + b, w + l + r
    u = rng.random()
    if u < 0.65:
        out = np.empty((H, W, 3), np.uint8)
        out[:] = colour(rng)
    elif u < 0.85:
        out = cv2.resize(cv2.blur(fit(img, 24, 24), (5, 5)), (W, H))
    else:
        out = art.patch(rng, W, H).copy()
    out[t:t + h, l:l + w] = img
    if max(t, b) > 12 and rng.random() < 0.7:  # a caption
        mask = art.texts[int(rng.integers(0, len(art.texts)))]
        band = t if t >= b else b
        f = min(W * rng.uniform(0.5, 0.95) / mask.shape[1], band * rng.uniform(0.5, 0.9) / mask.shape[0])
        mask = fit(mask, max(6, mask.shape[1] * f), max(4, mask.shape[0] * f))
        y = int((band - mask.shape[0]) / 2) + (0 if t >= b else H - b)
        dark = out[max(0, y), W // 2].sum() > 380
        blend_sprite(out, mask, np.array((0, 0, 0) if dark else (255, 255, 255)),
                     max(0, (W - mask.shape[1]) // 2), y)
    return out


def erase(img, rng, art):
    """A rectangle or a half replaced by flat colour, noise or another image."""
    h, w = img.shape[:2]
    out = img.copy()
    if rng.random() < 0.5:  # from one side
        s = rng.uniform(0.15, 0.5)
        side = int(rng.integers(0, 4))
        y0, y1, x0, x1 = ((0, int(h * s), 0, w), (int(h * (1 - s)), h, 0, w),
                          (0, h, 0, int(w * s)), (0, h, int(w * (1 - s)), w))[side]
    else:
        s = np.sqrt(rng.uniform(0.05, 0.4))
        r = np.exp(rng.uniform(-0.5, 0.5))
        bh, bw = int(min(h * 0.9, h * s * r)), int(min(w * 0.9, w * s / r))
        y0, x0 = int(rng.integers(0, h - bh + 1)), int(rng.integers(0, w - bw + 1))
        y1, x1 = y0 + bh, x0 + bw
    if y1 - y0 < 2 or x1 - x0 < 2:
        return out
    u = rng.random()
    if u < 0.6:
        out[y0:y1, x0:x1] = art.patch(rng, x1 - x0, y1 - y0)
    elif u < 0.8:
        out[y0:y1, x0:x1] = colour(rng)
    else:
        out[y0:y1, x0:x1] = cv2.resize(cv2.blur(fit(img[y0:y1, x0:x1], 12, 12), (3, 3)), (x1 - x0, y1 - y0))
    return out


def mix(img, rng, art):
    a = rng.uniform(0.15, 0.48)
    return cv2.addWeighted(img, 1 - a, art.patch(rng, img.shape[1], img.shape[0]), a, 0)
