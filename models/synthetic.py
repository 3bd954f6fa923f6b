"""Synthetic documents, receipts, chats, screens, tables and charts.

`image(template_rng, content_rng)` -> uint8 H x W x 3. Equal template and different
content give siblings: the same form filled in differently, which are NOT copies of
each other and serve as hard negatives. `chrome(rng)` draws a user interface with an
empty slot, for the screenshot edit; `sprites(rng)` draws text and sticker overlays.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LETTERS = "eeeetttaaaooinnshrrdlucmfwypvbgk"
FONT_DIR = Path("/usr/share/fonts/truetype/dejavu")  # else Pillow's own font


@lru_cache(maxsize=256)
def font(face, size):
    files = sorted(FONT_DIR.glob("*.ttf"))
    if not files:
        return ImageFont.load_default(size)
    return ImageFont.truetype(str(files[face % len(files)]), size)


def word(rng):
    n = int(rng.integers(1, 10))
    return "".join(LETTERS[i] for i in rng.integers(0, len(LETTERS), n))


def words(rng, n):
    text = " ".join(word(rng) for _ in range(n))
    return text.capitalize() if rng.random() < 0.5 else text


def number(rng):
    return f"{rng.integers(0, 3000)}.{rng.integers(0, 100):02d}"


def ink(rng, dark=True):
    return tuple(int(v) for v in (rng.integers(0, 90, 3) if dark else rng.integers(150, 256, 3)))


def paper(rng):
    if rng.random() < 0.6:
        return tuple([int(rng.integers(235, 256))] * 3)
    return tuple(int(v) for v in rng.integers(205, 256, 3))


def lines(draw, rng, box, face, size, gap, colour, fill=(0.3, 1.0)):
    """Random words in a box (x0, y0, x1, y1), line by line."""
    x0, y0, x1, y1 = box
    y = y0
    while y + size <= y1:
        width = (x1 - x0) * rng.uniform(*fill)
        draw.text((x0, y), words(rng, max(1, int(width / (size * 3.1)))), colour, font(face, size))
        y += gap
    return y


def document(t, c):
    w, h = 192, int(t.choice([192, 224, 256, 272]))
    img = Image.new("RGB", (w, h), paper(t))
    d = ImageDraw.Draw(img)
    face, size, margin = int(t.integers(0, 20)), int(t.integers(5, 10)), int(t.integers(8, 28))
    colour, columns = ink(t), int(t.choice([1, 1, 1, 2, 3]))
    d.text((margin, margin), words(c, int(t.integers(2, 5))), colour, font(face, size + int(t.integers(3, 9))))
    top = margin + int(t.integers(18, 40))
    rule = t.random() < 0.4
    if rule:
        d.line((margin, top - 4, w - margin, top - 4), colour)
    step = (w - 2 * margin) / columns
    for k in range(columns):
        x, y = margin + k * step, top
        while y < h - margin - size:
            stop = min(h - margin, y + int(c.integers(2, 9)) * (size + 2))
            if c.random() < 0.13:
                shade = tuple(int(v) for v in c.integers(60, 230, 3))
                d.rectangle((x, y, x + step - 8, max(y + 6, stop - 4)), shade)
            else:
                lines(d, c, (x, y, x + step - 6, stop), face, size, size + 2, colour)
            y = stop + size
    return img


def receipt(t, c):
    w, h = int(t.integers(110, 170)), int(t.integers(190, 290))
    img = Image.new("RGB", (w, h), paper(t))
    d = ImageDraw.Draw(img)
    face, size, colour = int(t.integers(0, 20)), int(t.integers(7, 11)), ink(t)
    head = words(t, 2)
    d.text((w * 0.2, 6), head.upper(), colour, font(face, size + 4))
    y = 26
    lines(d, t, (w * 0.15, y, w * 0.9, y + size + 2), face, size, size + 2, colour)
    y += 2 * size + 6
    for _ in range(int(c.integers(3, 14))):
        if y > h - 40:
            break
        d.text((6, y), words(c, int(c.integers(1, 3)))[:14], colour, font(face, size))
        value = number(c)
        d.text((w - 6 - size * 0.62 * len(value), y), value, colour, font(face, size))
        y += size + 3
    d.line((6, y + 2, w - 6, y + 2), colour)
    d.text((6, y + 5), "TOTAL  " + number(c), colour, font(face, size + 2))
    if t.random() < 0.4:  # bar code
        x = 10
        while x < w - 12:
            bar = int(c.integers(1, 4))
            d.rectangle((x, h - 24, x + bar - 1, h - 8), colour)
            x += bar + int(c.integers(1, 4))
    return img


def chat(t, c):
    w, h = 176, int(t.integers(210, 320))
    dark = t.random() < 0.35
    img = Image.new("RGB", (w, h), ink(t) if dark else paper(t))
    d = ImageDraw.Draw(img)
    mine, theirs, bar = ink(t, t.random() < 0.5), ink(t, dark is False and t.random() < 0.3), ink(t, t.random() < 0.5)
    face, size = int(t.integers(0, 20)), int(t.integers(8, 12))
    d.rectangle((0, 0, w, 24), bar)
    d.ellipse((6, 4, 22, 20), tuple(int(v) for v in c.integers(0, 256, 3)))
    d.text((28, 6), words(c, 2), (255, 255, 255) if sum(bar) < 380 else (0, 0, 0), font(face, size + 1))
    y = 32
    while y < h - 34:
        rows = int(c.integers(1, 5))
        bw, bh = int(c.integers(50, 130)), rows * (size + 3) + 8
        right = c.random() < 0.5
        fill = mine if right else theirs
        x = w - bw - 8 if right else 8
        d.rounded_rectangle((x, y, x + bw, y + bh), 7, fill)
        if c.random() < 0.1:
            d.rectangle((x + 5, y + 5, x + bw - 5, y + bh - 5), tuple(int(v) for v in c.integers(0, 256, 3)))
        else:
            colour = (250, 250, 250) if sum(fill) < 380 else (10, 10, 10)
            lines(d, c, (x + 5, y + 3, x + bw - 3, y + bh - 2), face, size, size + 3, colour)
        y += bh + int(c.integers(4, 14))
    d.rounded_rectangle((6, h - 24, w - 30, h - 6), 8, outline=(128, 128, 128))
    return img


def table(t, c):
    w, h = int(t.integers(192, 260)), int(t.integers(180, 240))
    img = Image.new("RGB", (w, h), paper(t))
    d = ImageDraw.Draw(img)
    face, size, colour = int(t.integers(0, 20)), int(t.integers(6, 10)), ink(t)
    cols, rh, top = int(t.integers(2, 7)), int(t.integers(11, 20)), int(t.integers(10, 44))
    head, zebra = ink(t, t.random() < 0.5), t.random() < 0.5
    labels = [words(t, 1) for _ in range(cols)]
    d.text((8, 3), words(c, 3), colour, font(face, size + 3))
    d.rectangle((4, top, w - 4, top + rh), head)
    step = (w - 8) / cols
    for k, label in enumerate(labels):
        d.text((7 + k * step, top + 2), label, (255, 255, 255) if sum(head) < 380 else (0, 0, 0), font(face, size))
    rows = int(c.integers(3, 1 + (h - top - 8) // rh))
    for r in range(1, rows):
        y = top + r * rh
        if zebra and r % 2:
            d.rectangle((4, y, w - 4, y + rh), tuple(int(v * 0.93) for v in img.getpixel((1, 1))))
        for k in range(cols):
            cell = number(c) if k else words(c, 1)
            d.text((7 + k * step, y + 2), cell, colour, font(face, size))
        d.line((4, y + rh, w - 4, y + rh), (180, 180, 180))
    return img


def chart(t, c):
    w, h = int(t.integers(192, 270)), int(t.integers(160, 220))
    img = Image.new("RGB", (w, h), paper(t) if t.random() < 0.75 else ink(t))
    d = ImageDraw.Draw(img)
    bright = sum(img.getpixel((1, 1))) > 380
    colour = (30, 30, 30) if bright else (220, 220, 220)
    kind, face = int(t.integers(0, 3)), int(t.integers(0, 20))
    x0, y0, x1, y1 = 24, 26, w - 10, h - 20
    d.text((x0, 5), words(c, 3), colour, font(face, 11))
    series = [tuple(int(v) for v in t.integers(0, 220, 3)) for _ in range(3)]
    n = int(c.integers(4, 16))
    if kind == 2:
        start = 0.0
        for v in c.dirichlet(np.ones(n // 2 + 2)):
            shade = tuple(int(q) for q in c.integers(20, 240, 3))
            d.pieslice((x0 + 20, y0, x0 + 20 + y1 - y0, y1), start, start + 360 * v, shade)
            start += 360 * v
        lines(d, c, (w - 60, y0, w - 5, y1), face, 8, 12, colour)
        return img
    d.line((x0, y0, x0, y1, x1, y1), colour)
    for g in range(5):
        d.line((x0, y0 + g * (y1 - y0) / 5, x1, y0 + g * (y1 - y0) / 5), (170, 170, 170))
        d.text((2, y0 + g * (y1 - y0) / 5), number(t)[:4], colour, font(face, 7))
    for s in range(int(t.integers(1, 4))):
        v = np.clip(np.cumsum(c.normal(0, 0.25, n)) + 0.5, 0.03, 1)
        xs, ys = np.linspace(x0 + 4, x1 - 4, n), y1 - v * (y1 - y0)
        if kind == 0:
            d.line([(float(a), float(b)) for a, b in zip(xs, ys)], series[s], 2)
        else:
            bw = (x1 - x0) / n / 4
            for a, b in zip(xs, ys):
                d.rectangle((a + (s - 1) * bw, b, a + s * bw, y1), series[s])
    return img


def chrome(rng, content=None):
    """A user interface: (image, slot). The slot (x0, y0, x1, y1) is meant for a picture."""
    c = rng if content is None else content
    phone = rng.random() < 0.5
    w, h = (int(rng.integers(120, 150)), int(rng.integers(220, 280))) if phone else (256, int(rng.integers(144, 192)))
    dark = rng.random() < 0.35
    ground = ink(rng) if dark else paper(rng)
    img = Image.new("RGB", (w, h), ground)
    d = ImageDraw.Draw(img)
    colour = (225, 225, 225) if dark else (35, 35, 35)
    face, size = int(rng.integers(0, 20)), int(rng.integers(6, 10))
    bar = int(rng.integers(8, 30))
    d.rectangle((0, 0, w, bar), ink(rng, rng.random() < 0.5))
    d.text((5, 2), words(c, 3), (128, 128, 128), font(face, size))
    left = int(w * rng.uniform(0.15, 0.3)) if not phone and rng.random() < 0.5 else 0
    if left:
        d.rectangle((0, bar, left, h), ink(rng, dark) if rng.random() < 0.5 else ground)
        lines(d, c, (4, bar + 6, left - 4, h - 6), face, size, size + int(rng.integers(3, 9)), (128, 128, 128))
    x0 = left + int(rng.integers(0, 12))
    y0 = bar + int(rng.integers(2, h // 4))
    x1 = w - int(rng.integers(0, max(1, (w - left) // 4)))
    y1 = y0 + int((h - y0) * rng.uniform(0.35, 0.9))
    lines(d, c, (x0 + 3, bar + 2, x1, y0 - 1), face, size, size + 3, colour)
    lines(d, c, (x0 + 3, y1 + 4, x1, h - 14), face, size, size + 4, colour)
    if rng.random() < 0.6:
        n = int(rng.integers(2, 6))
        for k in range(n):
            x = (k + 0.5) * w / n
            shape = d.ellipse if rng.random() < 0.5 else d.rectangle
            shape((x - 5, h - 12, x + 5, h - 3), ink(rng, not dark))
    return img, (x0, y0, x1, y1)


def screen(t, c):
    img, (x0, y0, x1, y1) = chrome(t, c)
    d = ImageDraw.Draw(img)
    if c.random() < 0.5:
        inner = (document, table, chart)[int(t.integers(0, 3))](t, c)
        img.paste(inner.resize((max(8, x1 - x0), max(8, y1 - y0)), Image.BILINEAR), (x0, y0))
    else:
        for _ in range(int(c.integers(3, 10))):
            a, b = c.uniform(x0, x1), c.uniform(y0, y1)
            d.rectangle((a, b, a + c.uniform(5, 60), b + c.uniform(5, 40)), tuple(int(v) for v in c.integers(0, 256, 3)))
    return img


def image(template, content):
    draw = (document, document, receipt, chat, table, chart, screen, screen)[int(template.integers(0, 8))]
    return np.asarray(draw(template, content))


def text_sprite(rng):
    """A line or two of text: alpha mask (h x w, uint8)."""
    size = int(rng.integers(14, 30))
    f = font(int(rng.integers(0, 20)), size)
    text = "\n".join(words(rng, int(rng.integers(1, 5))) for _ in range(int(rng.integers(1, 3))))
    text = text.upper() if rng.random() < 0.4 else text
    mask = Image.new("L", (260, 72), 0)
    ImageDraw.Draw(mask).text((2, 2), text, 255, f)
    a = np.asarray(mask)
    ys, xs = np.nonzero(a)
    return np.ascontiguousarray(a[:ys.max() + 2, :xs.max() + 2])


def sticker_sprite(rng, size=64):
    """An opaque little drawing: RGBA (size x size x 4, uint8)."""
    img = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    d = ImageDraw.Draw(img)
    body = tuple(int(v) for v in rng.integers(0, 256, 3)) + (255,)
    accent = tuple(int(v) for v in rng.integers(0, 256, 3)) + (255,)
    kind = int(rng.integers(0, 5))
    s = size
    if kind == 0:  # face
        d.ellipse((2, 2, s - 2, s - 2), (255, int(rng.integers(180, 230)), 40, 255), accent, 2)
        d.ellipse((18, 20, 26, 30), (40, 30, 0, 255))
        d.ellipse((38, 20, 46, 30), (40, 30, 0, 255))
        d.arc((16, 24, 48, 50), 0 if rng.random() < 0.6 else 180, 180 if rng.random() < 0.6 else 360, (60, 30, 0, 255), 4)
    elif kind == 1:  # star
        n = int(rng.integers(4, 9))
        a = np.arange(2 * n) * np.pi / n
        r = np.where(np.arange(2 * n) % 2, s * rng.uniform(0.15, 0.3), s * 0.48)
        d.polygon([(s / 2 + q * np.cos(b), s / 2 + q * np.sin(b)) for q, b in zip(r, a)], body, accent)
    elif kind == 2:  # heart
        d.ellipse((4, 6, 34, 36), body)
        d.ellipse((30, 6, 60, 36), body)
        d.polygon([(6, 28), (58, 28), (32, 60)], body)
    elif kind == 3:  # bubble
        d.rounded_rectangle((2, 6, s - 2, s - 20), 10, (255, 255, 255, 255), accent, 3)
        d.polygon([(14, s - 22), (28, s - 22), (12, s - 4)], (255, 255, 255, 255))
        d.text((8, 14), words(rng, 1)[:6], (0, 0, 0, 255), font(0, 14))
    else:  # badge
        d.rectangle((2, 12, s - 2, s - 12), body, accent, 3)
        d.text((8, 20), word(rng)[:5].upper(), accent, font(0, 16))
    return np.asarray(img)
