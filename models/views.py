"""Composition of training views: one moderate and one hard view of an instance.

`moderate(...)` and `hard(...)` return uint8 size x size x 3. Edits run at a working
size somewhat above `size`; the last step is a squash with a randomly chosen filter, so
that the network does not depend on one implementation of the resize.
"""

import cv2
import numpy as np

import augment as A

FILTERS = (cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)

# probability of each hard edit; the placements (paste, screenshot, collage) exclude one
# another. MIX may be overridden by a JSON file given to train.py.
MIX = {
    "paste": 0.14, "screenshot": 0.10, "collage": 0.08,
    "rotate_any": 0.16, "rotate_small": 0.12, "rotate90": 0.12, "perspective": 0.14,
    "tone": 0.65, "grey_filter": 0.14, "blur": 0.3, "jpeg": 0.4, "down_up": 0.15,
    "noise": 0.1, "sharpen": 0.07, "text": 0.16, "stickers": 0.14, "border": 0.16,
    "erase": 0.15, "stripes": 0.09, "mix": 0.06, "full_frame": 0.35, "focused": 0.42, "chained": 0.33,
}

# a focused view has one edit at any strength and little else: weights of that edit
FOCUS = {
    "paste": 4.5, "screenshot": 3.4, "collage": 5.0, "rotate_any": 4.0, "rotate_small": 0.8,
    "rotate90": 3.0, "perspective": 1.0, "crop": 2.5, "stripes": 1.8, "erase": 1.2,
    "border": 1.4, "tone": 1.4, "grey_filter": 0.9, "text": 0.6, "stickers": 0.6, "mix": 2.0,
    "blur": 0.7, "noise": 0.5, "down_up": 0.7, "jpeg": 0.4,
}
# a chained view has two to four edits at any strength: weights of being among them
CHAIN = {
    "paste": 1.4, "screenshot": 1.3, "collage": 0.8, "rotate_any": 0.8, "rotate_small": 1.2,
    "rotate90": 0.4, "perspective": 1.2, "crop": 1.5, "stripes": 1.2, "erase": 0.6,
    "border": 2.0, "tone": 2.0, "grey_filter": 0.4, "text": 1.2, "stickers": 1.2, "mix": 0.4,
    "blur": 1.0, "noise": 1.0, "down_up": 1.0, "jpeg": 0.8,
}
NAMES = list(FOCUS)
FOCUS_SHARE = np.array([FOCUS[n] for n in NAMES]) / sum(FOCUS.values())
CHAIN_SHARE = np.array([CHAIN[n] for n in NAMES]) / sum(CHAIN.values())
GEOMETRIC = ("rotate_any", "rotate_small", "rotate90", "perspective", "crop")
PLACEMENTS = ("paste", "screenshot", "collage")


def finish(img, rng, size):
    if img.shape[0] == size and img.shape[1] == size:
        return img
    return cv2.resize(img, (size, size), interpolation=FILTERS[int(rng.integers(0, len(FILTERS)))])


def moderate(img, rng, art, size):
    """Close to the file as found: mild crop, sometimes mirrored, recompressed, mild tone."""
    if rng.random() < 0.6:
        img = A.crop(img, rng, 0.7, 1.0, 1.25)
    if max(img.shape[:2]) > 1.5 * size:
        img = A.fit(img, *(np.array(img.shape[1::-1]) * (1.4 * size / max(img.shape[:2]))))
    if rng.random() < 0.5:
        img = cv2.flip(img, 1)
    if rng.random() < 0.25:
        img = A.jpeg(img, rng, 30, 95)
    if rng.random() < 0.2:
        img = A.tone(img, rng, 0.3)
    return finish(img, rng, size)


def place(img, rng, art, how, size):
    """Put the view into a bigger picture: paste on an image, a screen, or a collage."""
    W = int(size * rng.uniform(1.0, 1.45))
    h, w = img.shape[:2]
    if how == "screenshot":
        chrome, (x0, y0, x1, y1) = art.chromes[int(rng.integers(0, len(art.chromes)))]
        ch, cw = chrome.shape[:2]
        f = W / max(ch, cw)
        out = A.fit(chrome, cw * f, ch * f).copy()
        x0, y0, x1, y1 = (int(v * f) for v in (x0, y0, x1, y1))
        bw, bh = max(8, x1 - x0), max(8, y1 - y0)
        if rng.random() < 0.6:  # keep the aspect inside the slot
            g = min(bw / w, bh / h)
            nw, nh = max(8, int(w * g)), max(8, int(h * g))
            x0, y0 = x0 + (bw - nw) // 2, y0 + (bh - nh) // 2
            bw, bh = nw, nh
        bw, bh = min(bw, out.shape[1] - x0), min(bh, out.shape[0] - y0)
        out[y0:y0 + bh, x0:x0 + bw] = A.fit(img, bw, bh)
        return out
    if how == "collage":
        rows, cols = ((1, 2), (2, 1), (2, 2), (2, 2), (1, 3), (2, 3), (3, 2), (3, 3))[int(rng.integers(0, 8))]
        H = int(W * np.exp(rng.uniform(-0.35, 0.35)))
        gap = int(rng.integers(0, 6))
        out = np.empty((H, W, 3), np.uint8)
        out[:] = A.colour(rng)
        mine, cut = int(rng.integers(0, rows * cols)), rng.random() < 0.6
        for k in range(rows * cols):
            y0, y1 = H * (k // cols) // rows, H * (k // cols + 1) // rows - gap
            x0, x1 = W * (k % cols) // cols, W * (k % cols + 1) // cols - gap
            if k == mine:  # squeezed or cut to the cell
                cell = A.cover(img, rng, x1 - x0, y1 - y0) if cut else A.fit(img, x1 - x0, y1 - y0)
            else:
                cell = art.patch(rng, x1 - x0, y1 - y0)
            out[y0:y1, x0:x1] = cell
        return out
    # paste: 8..80 % of the area, small ones more often
    area = rng.uniform(0.3, 0.8) if rng.random() < 0.3 else np.exp(rng.uniform(np.log(0.08), np.log(0.35)))
    H = int(W * np.exp(rng.uniform(-0.3, 0.3)))
    r = np.sqrt(w / h) * np.exp(rng.uniform(-0.15, 0.15))
    side = np.sqrt(area * W * H)
    bw, bh = int(min(W - 2, max(10, side * r))), int(min(H - 2, max(10, side / r)))
    if rng.random() < 0.85:
        out = art.patch(rng, W, H).copy()
    else:
        out = np.empty((H, W, 3), np.uint8)
        out[:] = A.colour(rng)
    x, y = int(rng.integers(0, W - bw + 1)), int(rng.integers(0, H - bh + 1))
    out[y:y + bh, x:x + bw] = A.fit(img, bw, bh)
    return out


def geometry(img, rng, size, mix):
    """Crop, mirror, rotate and tilt; returns an image at the working size."""
    work = int(size * rng.uniform(1.0, 1.4))
    if rng.random() > mix["full_frame"]:
        img = A.crop(img, rng, 0.15 if rng.random() < 0.5 else 0.4, 1.0, 2.0)
    if rng.random() < 0.5:
        img = cv2.flip(img, 1)
    if rng.random() < mix["rotate90"]:
        img = cv2.rotate(img, int(rng.integers(0, 3)))
    u = rng.random()
    angle = 0.0
    if u < mix["rotate_any"]:
        angle = rng.uniform(-180, 180)
    elif u < mix["rotate_any"] + mix["rotate_small"]:
        angle = rng.uniform(-16, 16)
    shake = rng.uniform(0.03, 0.2) if rng.random() < mix["perspective"] else 0.0
    if angle or shake:
        return A.warp(img, rng, angle, shake, work, keep=rng.random() < 0.6)
    if max(img.shape[:2]) > work:
        f = work / max(img.shape[:2])
        img = A.fit(img, img.shape[1] * f, img.shape[0] * f)
    return img


def single(name, img, rng, art, size):
    """One edit of any kind at any strength."""
    if name not in GEOMETRIC:
        return edit(name, img, rng, art, size)
    only = {n: 0.0 for n in GEOMETRIC}
    only[name] = 1.0
    only["full_frame"] = 0.0 if name == "crop" else 1.0
    return geometry(img, rng, size, only)


def focused(img, rng, art, size):
    """One edit, now and then mirrored, cropped a little or recompressed."""
    name = NAMES[int(rng.choice(len(NAMES), p=FOCUS_SHARE))]
    if name not in GEOMETRIC:
        img = geometry(img, rng, size, {**dict.fromkeys(GEOMETRIC, 0.0), "full_frame": 0.8})
    img = single(name, img, rng, art, size)
    if rng.random() < 0.15:
        img = A.jpeg(img, rng, 20, 90)
    return finish(img, rng, size)


def chained(img, rng, art, size):
    """Two to four edits in random order, at most one placement among them."""
    picked = rng.choice(len(NAMES), int(rng.integers(2, 5)), replace=False, p=CHAIN_SHARE)
    names, placed = [], False
    for name in (NAMES[int(i)] for i in picked):
        if name in PLACEMENTS and placed:
            continue
        placed |= name in PLACEMENTS
        names.append(name)
    names.sort(key=lambda n: n != "crop")  # a crop after a paste may cut the image away
    if max(img.shape[:2]) > 1.4 * size:
        f = 1.4 * size / max(img.shape[:2])
        img = A.fit(img, img.shape[1] * f, img.shape[0] * f)
    for name in names:
        img = single(name, img, rng, art, size)
    return finish(img, rng, size)


def edit(name, img, rng, art, size):
    if name == "jpeg":
        return A.jpeg(img, rng, 5, 80)
    if name == "tone":
        return A.tone(img, rng)
    if name in PLACEMENTS:
        return place(img, rng, art, name, size)
    return getattr(A, name)(img, rng, art)


def hard(img, rng, art, size, mix=MIX):
    """A focused view, a chained one, or geometry and up to five edits in random order."""
    u = rng.random()
    if u < mix["focused"]:
        return focused(img, rng, art, size)
    if u < mix["focused"] + mix["chained"]:
        return chained(img, rng, art, size)
    img = geometry(img, rng, size, mix)
    edits = [n for n in ("tone", "grey_filter", "blur", "down_up", "noise", "sharpen", "text", "stickers",
                         "border", "erase", "stripes", "mix", "jpeg") if rng.random() < mix[n]]
    if len(edits) > 5:
        edits = list(rng.permutation(edits)[:5])
    u = rng.random()
    for how in PLACEMENTS:
        if u < mix[how]:
            if len(edits) > 2:  # a small paste under many edits teaches nothing
                edits = list(rng.permutation(edits)[:2])
            edits.append(how)
            break
        u -= mix[how]
    for i in rng.permutation(len(edits)):
        img = edit(edits[int(i)], img, rng, art, size)
    return finish(img, rng, size)
