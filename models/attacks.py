"""The attack families of the frozen evaluation set (see families.py).

`apply(name, img, strength, rng, others)`: uint8 RGB H x W x 3 in and out, strength 0..2,
`others` a list of images that are no reference. Written apart from the training edits;
the held-out families live in attacks_held_out.py and exist nowhere in training.
"""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONTS = Path("/usr/share/fonts/truetype/liberation")  # training uses another family
WORDS = ("sale today only the best of summer when you finally see it nobody expected this "
         "breaking news photo credit limited offer visit our page follow for more weekend").split()


@lru_cache(maxsize=128)
def font(k, size):
    files = sorted(FONTS.glob("*.ttf"))
    if not files:
        return ImageFont.load_default(size)
    return ImageFont.truetype(str(files[k % len(files)]), size)


def phrase(rng, n):
    return " ".join(WORDS[i] for i in rng.integers(0, len(WORDS), n)).title()


def some_colour(rng):
    return tuple(int(v) for v in rng.integers(0, 256, 3))


def resize(img, w, h):
    w, h = max(1, int(round(w))), max(1, int(round(h)))
    down = w * h < img.shape[0] * img.shape[1]
    return cv2.resize(img, (w, h), interpolation=cv2.INTER_AREA if down else cv2.INTER_CUBIC)


def cover(img, w, h):
    """Scale and cut so that the image fills w x h without distortion."""
    f = max(w / img.shape[1], h / img.shape[0])
    img = resize(img, np.ceil(img.shape[1] * f), np.ceil(img.shape[0] * f))
    y, x = (img.shape[0] - h) // 2, (img.shape[1] - w) // 2
    return img[y:y + h, x:x + w]


def pick(others, rng):
    return others[int(rng.integers(0, len(others)))]


def encode(img, quality):
    ok, data = cv2.imencode(".jpg", img[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, int(quality)))
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def recompress(img, k, rng, others):
    return encode(img, (60, 25, 8)[k])


def downscale(img, k, rng, others):
    h, w = img.shape[:2]
    f = (128, 64, 32)[k] / max(h, w)
    return resize(resize(img, w * f, h * f), w, h) if f < 1 else img


def aspect(img, k, rng, others):
    f = (1.15, 1.4, 1.9)[k]
    h, w = img.shape[:2]
    return resize(img, w * f, h) if rng.random() < 0.5 else resize(img, w, h * f)


def mirror(img, k, rng, others):
    return encode(np.ascontiguousarray(img[:, ::-1]), (90, 60, 30)[k])


def rotate90(img, k, rng, others):
    return encode(np.ascontiguousarray(np.rot90(img, int(rng.integers(1, 4)))), (90, 60, 30)[k])


def rotated(img, angle, fill):
    h, w = img.shape[:2]
    m = cv2.getRotationMatrix2D((w / 2, h / 2), angle, 1.0)
    c, s = abs(m[0, 0]), abs(m[0, 1])
    W, H = int(h * s + w * c), int(h * c + w * s)
    m[:, 2] += ((W - w) / 2, (H - h) / 2)
    return cv2.warpAffine(img, m, (W, H), flags=cv2.INTER_CUBIC, borderValue=fill)


def fill_colour(rng):
    return ((0, 0, 0), (255, 255, 255), some_colour(rng))[int(rng.integers(0, 3))]


def rotate_small(img, k, rng, others):
    return rotated(img, (4, 9, 15)[k] * rng.choice((-1, 1)), fill_colour(rng))


def rotate_any(img, k, rng, others):
    return rotated(img, (25, 60, 120)[k] * rng.choice((-1, 1)) * rng.uniform(0.85, 1.15), fill_colour(rng))


def perspective(img, k, rng, others):
    h, w = img.shape[:2]
    s = (0.08, 0.16, 0.26)[k]
    src = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    inward = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    dst = src + (inward * rng.uniform(0, s, (4, 2)) * (w, h)).astype(np.float32)
    m = cv2.getPerspectiveTransform(src, dst.astype(np.float32))
    return cv2.warpPerspective(img, m, (w, h), flags=cv2.INTER_CUBIC, borderValue=fill_colour(rng))


def crop(img, k, rng, others):
    h, w = img.shape[:2]
    f = np.sqrt((0.70, 0.45, 0.25)[k])
    ch, cw = int(h * f), int(w * f)
    y, x = int(rng.integers(0, h - ch + 1)), int(rng.integers(0, w - cw + 1))
    return img[y:y + ch, x:x + cw]


def crop_thin(img, k, rng, others):
    h, w = img.shape[:2]
    f = (0.60, 0.45, 0.33)[k]
    if rng.random() < 0.5:
        cw = int(w * f)
        x = int(rng.integers(0, w - cw + 1))
        return img[:, x:x + cw]
    ch = int(h * f)
    y = int(rng.integers(0, h - ch + 1))
    return img[y:y + ch]


def padding(img, k, rng, others):
    h, w = img.shape[:2]
    f = (0.08, 0.18, 0.35)[k]
    py, px = int(h * f), int(w * f)
    H, W = h + 2 * py, w + 2 * px
    if rng.random() < 0.3:
        out = cv2.GaussianBlur(resize(img, W, H), (0, 0), 0.05 * W)
    else:
        out = np.empty((H, W, 3), np.uint8)
        out[:] = fill_colour(rng)
    out[py:py + h, px:px + w] = img
    return out


def blur(img, k, rng, others):
    return cv2.GaussianBlur(img, (0, 0), (0.01, 0.02, 0.04)[k] * min(img.shape[:2]))


def noise(img, k, rng, others):
    return (img + rng.normal(0, (12, 28, 55)[k], img.shape)).clip(0, 255).astype(np.uint8)


def tone(img, k, rng, others):
    x = img / 255.0
    s = rng.choice((-1, 1))
    gain, gamma = 1 + s * (0.15, 0.35, 0.6)[k], (1.2, 1.6, 2.2)[k] ** rng.choice((-1, 1))
    x = (x.clip(0, 1) ** gamma - 0.5) * gain + 0.5 + rng.choice((-1, 1)) * (0.03, 0.08, 0.14)[k]
    return (x.clip(0, 1) * 255).astype(np.uint8)


def colour(img, k, rng, others):
    hsv = cv2.cvtColor(img, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + (8, 20, 45)[k] * rng.choice((-1, 1))) % 180
    hsv[..., 1] *= (1.3, 1.7, 2.4)[k] ** rng.choice((-1, 1))
    return cv2.cvtColor(hsv.clip(0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB)


def grey_filter(img, k, rng, others):
    g = cv2.cvtColor(img, cv2.COLOR_RGB2GRAY)
    if k == 0:
        return cv2.cvtColor(g, cv2.COLOR_GRAY2RGB)
    if k == 1:
        return (g[..., None] / 255.0 * (255, 225, 180)).astype(np.uint8)
    return (img // 85 * 127).clip(0, 255).astype(np.uint8)


def text(img, k, rng, others):
    h, w = img.shape[:2]
    pil = Image.fromarray(img)
    d = ImageDraw.Draw(pil)
    target, covered = (0.06, 0.15, 0.30)[k] * h * w, 0.0
    size = max(10, int(h * (0.07, 0.09, 0.12)[k]))
    while covered < target:
        f = font(int(rng.integers(0, 12)), size)
        t = phrase(rng, int(rng.integers(2, 5)))
        x, y = rng.uniform(-0.05, 0.4) * w, rng.uniform(0, 0.92) * h
        d.text((x, y), t, some_colour(rng), f)
        covered += min(w - x, d.textlength(t, f)) * size * 0.7
    return np.asarray(pil)


def stickers(img, k, rng, others):
    pil = Image.fromarray(img)
    d = ImageDraw.Draw(pil)
    h, w = img.shape[:2]
    for _ in range((2, 5, 10)[k]):
        r = rng.uniform(0.07, 0.14) * min(h, w)
        x, y = rng.uniform(0.1, 0.9) * w, rng.uniform(0.1, 0.9) * h
        c = some_colour(rng)
        if rng.random() < 0.5:
            d.ellipse((x - r, y - r, x + r, y + r), (250, 210, 50), (90, 60, 0), 2)
            for s in (-0.4, 0.4):
                d.ellipse((x + s * r - r / 7, y - r / 2, x + s * r + r / 7, y - r / 5), (50, 30, 0))
            d.chord((x - r / 2, y - r / 4, x + r / 2, y + 0.6 * r), 0, 180, (150, 30, 30))
        else:
            a = np.arange(10) * np.pi / 5 + rng.uniform(0, 3)
            q = np.where(np.arange(10) % 2, 0.45, 1.15) * r
            d.polygon(list(zip(x + q * np.cos(a), y + q * np.sin(a))), c, (255, 255, 255))
    return np.asarray(pil)


def meme_band(img, k, rng, others):
    h, w = img.shape[:2]
    band = int(h * (0.12, 0.22, 0.38)[k])
    both = rng.random() < 0.4
    ground = 255 if rng.random() < 0.6 else 0
    out = np.full((h + band * (1 + both), w, 3), ground, np.uint8)
    top = both or rng.random() < 0.5
    out[band * top:band * top + h] = img
    pil = Image.fromarray(out)
    d = ImageDraw.Draw(pil)
    size = max(8, int(band * 0.5))
    for y in ([0] if top else []) + ([out.shape[0] - band] if both or not top else []):
        d.text((w * 0.05, y + band * 0.2), phrase(rng, max(1, int(w / size / 3))), (255 - ground,) * 3,
               font(int(rng.integers(0, 12)), size))
    return np.asarray(pil)


def half_replaced(img, k, rng, others):
    h, w = img.shape[:2]
    f = (0.20, 0.35, 0.50)[k]
    out = img.copy()
    side = int(rng.integers(0, 4))
    if side < 2:
        n = int(w * f)
        x = 0 if side == 0 else w - n
        out[:, x:x + n] = cover(pick(others, rng), n, h)
    else:
        n = int(h * f)
        y = 0 if side == 2 else h - n
        out[y:y + n] = cover(pick(others, rng), w, n)
    return out


def stripes(img, k, rng, others):
    h, w = img.shape[:2]
    n, f = int(rng.integers(4, 12)), (0.12, 0.25, 0.40)[k]
    out = img.copy()
    y, x = np.mgrid[0:h, 0:w]
    a = (x / w, y / h, (x + y) / (w + h))[int(rng.integers(0, 3))]
    out[(a * n) % 1.0 < f] = fill_colour(rng)
    return out


def pixelate(img, k, rng, others):
    h, w = img.shape[:2]
    f = (64, 40, 24)[k] / max(h, w)
    return cv2.resize(resize(img, w * f, h * f), (w, h), interpolation=cv2.INTER_NEAREST)


def blend(img, k, rng, others):
    a = (0.20, 0.33, 0.45)[k]
    other = cover(pick(others, rng), img.shape[1], img.shape[0])
    return cv2.addWeighted(img, 1 - a, other, a, 0)


def paste(img, k, rng, others):
    """The image covers 50 / 25 / 12 % of another picture."""
    H, W = 480, int(480 * rng.choice((0.75, 1.0, 1.333, 1.6)))
    out = cover(pick(others, rng), W, H).copy()
    area = (0.50, 0.25, 0.12)[k] * H * W
    r = np.sqrt(img.shape[1] / img.shape[0])
    w, h = min(W, np.sqrt(area) * r), min(H, np.sqrt(area) / r)
    part = resize(img, w, h)
    h, w = part.shape[:2]
    y, x = int(rng.integers(0, H - h + 1)), int(rng.integers(0, W - w + 1))
    out[y:y + h, x:x + w] = part
    return out


def screenshot(img, k, rng, others):
    """A drawn browser or phone screen that shows the image at 60 / 35 / 18 % of its area."""
    share = (0.60, 0.35, 0.18)[k]
    h, w = img.shape[:2]
    phone = rng.random() < 0.5
    ratio = (rng.uniform(1.3, 2.0) if phone else rng.uniform(0.55, 0.8))
    w = 300
    h = max(20, int(300 * img.shape[0] / img.shape[1]))
    area = w * h / share
    W = max(w, int(np.sqrt(area / ratio)))
    H = max(h, int(area / W))
    dark = rng.random() < 0.4
    pil = Image.new("RGB", (W, H), tuple(int(v) for v in (rng.integers(10, 50, 3) if dark else rng.integers(235, 256, 3))))
    d = ImageDraw.Draw(pil)
    ink = (215, 215, 215) if dark else (60, 60, 60)
    x, y = int(rng.integers(0, W - w + 1)), int(rng.uniform(0.2, 0.8) * (H - h))
    bar = max(10, int(0.05 * H))
    d.rectangle((0, 0, W, bar), some_colour(rng))
    size = max(9, int(W * rng.uniform(0.022, 0.035)))
    yy = bar + 6
    while yy < H - size:
        d.text((rng.uniform(4, 20), yy), phrase(rng, int(rng.integers(3, max(4, W // size // 3 + 1)))), ink,
               font(int(rng.integers(0, 12)), size))
        yy += size * int(rng.integers(1, 4))
        if rng.random() < 0.2:
            d.rounded_rectangle((8, yy, 8 + W * 0.3, yy + 2 * size), 5, some_colour(rng))
            yy += 3 * size
    out = np.array(pil)
    out[y:y + h, x:x + w] = resize(img, w, h)
    return out


def collage(img, k, rng, others):
    rows, cols = ((1, 2), (2, 2), (2, 3))[k]
    if rng.random() < 0.5:
        rows, cols = cols, rows
    cw, ch = 240, int(rng.integers(170, 260))
    gap = int(rng.integers(0, 9))
    out = np.full((rows * ch, cols * cw, 3), 255, np.uint8)
    mine = int(rng.integers(0, rows * cols))
    for i in range(rows * cols):
        y, x = i // cols * ch, i % cols * cw
        cell = img if i == mine else pick(others, rng)
        out[y:y + ch - gap, x:x + cw - gap] = cover(cell, cw - gap, ch - gap)
    return out


def apply(name, img, strength, rng, others):
    import attacks_held_out
    edit = globals().get(name) or getattr(attacks_held_out, name)
    return np.ascontiguousarray(edit(img, strength, rng, others))
