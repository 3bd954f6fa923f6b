"""Folders to measure `doppel scan` on, made of images that anyone has.

    python benches/folders.py plant IMAGES OUT [--originals 100] [--long-side 0] [--edits] [--one] [--qualities] [--seed 1]
    python benches/folders.py mixed IMAGES OUT [--count 300] [--seed 1]
    python benches/folders.py distinct OUT [--bursts IMAGES] [--video IMAGES] [--count 200] [--receipts 200] [--forms 100] [--seed 1]
    doppel scan OUT --no-cache -f json -o found.json
    python benches/folders.py score OUT found.json

`plant` copies IMAGES (no two of which should be copies) to OUT and thirteen kinds of copies of some of them, under names that
say nothing; OUT/truth.tsv tells which is which, and the scan does not read it. With --long-side the images are first enlarged to about so many pixels, with
grain added, so that reading them costs what photographs from a camera cost. With --edits the copies are crops of exact areas,
overlays of at most a fifth of the area, frames and screenshots. With --one no other copy of an original vouches for the one there is. With --qualities the edits are JPEG files of quality 70 to
95 instead of 85, but for one in ten as PNG and one in ten as WebP.

`mixed` makes photographs of all sizes out of IMAGES, as enlarged with --long-side: .05 to 12 megapixels with every order of size as frequent
(2.2 in the mean), JPEG but for one in 25 as WebP and one in 40 as PNG, one JPEG in 16 progressive.

`distinct` makes pictures no two of which are copies, though they look alike: bursts (three frames each: the scene
in layers that move by themselves, a subject that moves, noise of its own in every frame), frames of a video (camera under way
along such a scene, compressed), receipts of a few shops and forms filled in twice. Every group that a scan makes of them is wrong, except that
in a folder with other images these may be copies of each other.

`score` prints, for each kind of copy, how many stand in a group with their original (95 % interval of Wilson); for
the groups, how many members belong to another original than the keeper, and in how many pairs the original is kept; and for what `distinct` made, all pairs.
"""

import argparse
import collections
import csv
import json
import math
import os
import shutil

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

# Fewest and most pixels of `mixed`.
MIXED = (0.05e6, 12e6)
READABLE = (".jpg", ".jpeg", ".png", ".webp")
WORDS = (
    "milk bread apples rice coffee butter cheese tea soap paper olives pasta beans honey flour salt sugar oats "
    "yoghurt carrots onions lemons garlic pepper water juice eggs tomatoes crackers jam"
).split()


def images_in(folder):
    found = []
    for root, _, names in os.walk(folder):
        found += [os.path.join(root, name) for name in names if name.lower().endswith(READABLE)]
    return sorted(found)


def opened(path):
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def font(size):
    return ImageFont.load_default(size=max(8, int(size)))


def words(rng, count):
    return " ".join(rng.choice(WORDS, count))


# Copies.


def cropped(image, area, rng):
    share = math.sqrt(area)
    width, height = round(image.width * share), round(image.height * share)
    left, top = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
    return image.crop((left, top, left + width, top + height))


def with_text(image, rng):
    image = image.copy()
    draw = ImageDraw.Draw(image)
    height = image.height // 8
    top = int(rng.choice([0, image.height - height]))
    draw.rectangle((0, top, image.width, top + height), fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
    draw.text((image.width // 20, top + height // 5), words(rng, 4), font=font(height * 0.5), fill="white")
    return image


def padded(image, rng):
    border = max(image.size) // 12
    return ImageOps.expand(image, border, tuple(int(v) for v in rng.integers(0, 256, 3)))


def save(image, path, quality=92, **more):
    image.save(path, quality=quality, **more)


def resized(image, factor):
    return image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))), Image.LANCZOS)


def exif_turned(image, path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(image.transpose(Image.ROTATE_90), path, 90, exif=exif)


# Kind → ending and what writes the copy. `path` is the original's file.
KINDS = {
    "copy": (None, lambda image, path, out, rng: shutil.copy(path, out)),
    "resize": (".jpg", lambda image, path, out, rng: save(resized(image, rng.uniform(0.4, 0.8)), out)),
    "jpeg 50": (".jpg", lambda image, path, out, rng: save(image, out, 50)),
    "png": (".png", lambda image, path, out, rng: save(image, out)),
    "webp": (".webp", lambda image, path, out, rng: save(image, out, 80)),
    "crop 10 %": (".jpg", lambda image, path, out, rng: save(cropped(image, 0.9, rng), out)),
    "crop 50 %": (".jpg", lambda image, path, out, rng: save(cropped(image, 0.5, rng), out)),
    "rotate 90": (".jpg", lambda image, path, out, rng: save(image.transpose(int(rng.choice([2, 3, 4]))), out)),
    "rotate by exif": (".jpg", lambda image, path, out, rng: exif_turned(image, out)),
    "mirror": (".jpg", lambda image, path, out, rng: save(ImageOps.mirror(image), out)),
    "text band": (".jpg", lambda image, path, out, rng: save(with_text(image, rng), out)),
    "brightness": (
        ".jpg",
        lambda image, path, out, rng: save(ImageEnhance.Brightness(image).enhance(rng.choice([0.75, 1.25])), out),
    ),
    "padding": (".jpg", lambda image, path, out, rng: save(padded(image, rng), out)),
}


def corner(image, width, height, rng):
    return tuple(int(rng.integers(0, max(1, room - side + 1))) for room, side in zip(image.size, (width, height)))


def with_words(image, rng):
    """Lines of text over at most a fifth of the area, without a ground of their own."""
    image = image.copy()
    size = math.sqrt(0.02 * image.width * image.height)
    at = (int(rng.uniform(0, 0.3) * image.width), int(rng.uniform(0, 0.8) * image.height))
    colour = tuple(int(v) for v in rng.choice([0, 255], 3))
    ImageDraw.Draw(image).multiline_text(at, words(rng, 3) + "\n" + words(rng, 3), font=font(size), fill=colour)
    return image


def with_face(image, rng):
    """A round yellow face over a tenth to a fifth of the area."""
    image = image.copy()
    side = int(math.sqrt(rng.uniform(0.1, 0.2) * image.width * image.height))
    x, y = corner(image, side, side, rng)
    draw = ImageDraw.Draw(image)
    draw.ellipse((x, y, x + side, y + side), fill=(255, 205, 50), outline=(120, 80, 0), width=max(1, side // 30))
    for eye in (0.3, 0.6):
        draw.ellipse((x + eye * side, y + 0.3 * side, x + (eye + 0.1) * side, y + 0.45 * side), fill="black")
    draw.arc((x + 0.25 * side, y + 0.35 * side, x + 0.75 * side, y + 0.8 * side), 20, 160, "black", max(2, side // 20))
    return image


def with_logo(image, rng):
    """A box with a name over a tenth of the area, half transparent."""
    width, height = (int(share * side) for share, side in zip((0.4, 0.25), image.size))
    logo = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(0, 256, 3)))
    ImageDraw.Draw(logo).text((width // 10, height // 4), words(rng, 1).upper(), font=font(height * 0.45), fill="white")
    x, y = corner(image, width, height, rng)
    under = image.crop((x, y, x + width, y + height))
    image = image.copy()
    image.paste(Image.blend(under, logo, 0.6), (x, y))
    return image


def bordered(image, rng):
    return ImageOps.expand(image, max(image.size) // 25, tuple(int(v) for v in rng.integers(0, 256, 3)))


def on_screen(image, rng):
    """A screen of a telephone: bars, a line of text, the picture in full width, more text, and half as large."""
    width = image.width
    bar = width // 8
    screen = Image.new("RGB", (width, round(image.height + 5.5 * bar)), "white" if rng.random() < 0.5 else (24, 26, 32))
    ink = "black" if screen.getpixel((0, 0)) == (255, 255, 255) else "white"
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, width, bar), fill=tuple(int(v) for v in rng.integers(60, 200, 3)))
    draw.text((bar // 3, bar // 4), words(rng, 2), font=font(bar * 0.45), fill="white")
    draw.text((bar // 3, 1.3 * bar), words(rng, 4), font=font(bar * 0.35), fill=ink)
    screen.paste(image, (0, 2 * bar))
    for line in range(2):
        draw.text((bar // 3, 2.4 * bar + image.height + line * bar), words(rng, 5), font=font(bar * 0.35), fill=ink)
    return resized(screen, 0.7)


def meme(image, rng):
    band = image.height // 5
    whole = Image.new("RGB", (image.width, image.height + band), "white")
    whole.paste(image, (0, band))
    ImageDraw.Draw(whole).text((image.width // 20, band // 4), words(rng, 4), font=font(band * 0.4), fill="black")
    return whole


def toned(image, rng):
    image = ImageEnhance.Contrast(image).enhance(rng.choice([0.75, 1.3]))
    return ImageEnhance.Color(image).enhance(rng.choice([0.5, 1.5]))


def edit(make, quality=85):
    return (".jpg", lambda image, path, out, rng, quality=quality: save(make(image, rng), out, quality))


# What a copy meets on its way through telephones, chats and forums.
EDITS = {
    "resize to 30 %": edit(lambda image, rng: resized(image, 0.3)),
    "jpeg 30": edit(lambda image, rng: image, 30),
    "tone": edit(toned),
    "crop keeps 70 %": edit(lambda image, rng: cropped(image, 0.7, rng)),
    "crop keeps 50 %": edit(lambda image, rng: cropped(image, 0.5, rng)),
    "crop keeps 30 %": edit(lambda image, rng: cropped(image, 0.3, rng)),
    "text": edit(with_words),
    "face": edit(with_face),
    "logo": edit(with_logo),
    "padding": edit(padded),
    "border": edit(bordered),
    "screenshot": edit(on_screen),
    "meme band": edit(meme),
}


def with_grain(image, rng):
    grain = rng.normal(0, 4, (image.height, image.width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def enlarged(image, long_side, rng):
    return with_grain(resized(image, long_side * rng.uniform(0.7, 1.3) / max(image.size)), rng)


def plant(args):
    rng = np.random.default_rng(args.seed)
    kinds = EDITS if args.edits else KINDS
    os.makedirs(args.out)
    paths = images_in(args.images)
    chosen = set(rng.choice(len(paths), min(args.originals, len(paths)), replace=False).tolist())
    names = rng.permutation(len(paths) + len(chosen) * len(kinds)).tolist()
    truth = []
    for number, path in enumerate(paths):
        ending = os.path.splitext(path)[1].lower() if args.long_side == 0 else ".jpg"
        original = f"p{names.pop():06}{ending}"
        out = os.path.join(args.out, original)
        if args.long_side == 0:
            shutil.copy(path, out)
        else:
            save(enlarged(opened(path), args.long_side, rng), out, 90)
        truth.append((original, original, "original"))
        if number not in chosen:
            continue
        image = opened(out)
        made = list(kinds.items())
        if args.one:
            made = [made[len(truth) // 2 % len(made)]]
        for kind, (kind_ending, make) in made:
            quality = {}
            if args.qualities and kind != "jpeg 30":
                kind_ending = str(rng.choice([".jpg", ".png", ".webp"], p=[0.8, 0.1, 0.1]))
                quality["quality"] = int(rng.integers(70, 96))
            name = f"p{names.pop():06}{kind_ending or ending}"
            make(image, out, os.path.join(args.out, name), rng, **quality)
            truth.append((name, original, kind))
    write_truth(args.out, truth)


def mixed(args):
    rng = np.random.default_rng(args.seed)
    os.makedirs(args.out)
    paths = images_in(args.images)
    chosen = rng.choice(len(paths), min(args.count, len(paths)), replace=False)
    for number, at in enumerate(chosen.tolist()):
        image = opened(paths[at])
        pixels = math.exp(rng.uniform(math.log(MIXED[0]), math.log(MIXED[1])))
        image = with_grain(resized(image, math.sqrt(pixels / (image.width * image.height))), rng)
        path = os.path.join(args.out, f"m{number:05}")
        if number % 25 == 24:
            save(image, f"{path}.webp", 80)
        elif number % 40 == 39:
            save(image, f"{path}.png")
        else:
            save(image, f"{path}.jpg", int(rng.integers(85, 96)), progressive=number % 16 == 15)


# Different pictures that look alike.


def blob(size, rng, share):
    """A soft-edged patch of about the given share of the frame, 0 to 255."""
    width, height = size
    angles = np.arctan2(*np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j])
    radius = math.sqrt(share * 4 / math.pi)
    rim = radius * (1 + sum(rng.uniform(-0.18, 0.18) * np.sin(k * angles + rng.uniform(0, 6.3)) for k in (1, 2, 3, 5)))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    cx, cy = rng.uniform(-0.5, 0.5, 2)
    distance = np.hypot(x - cx, y - cy)
    return Image.fromarray((np.clip((rim - distance) * 60 + 0.5, 0, 1) * 255).astype(np.uint8))


class Scene:
    """Layers at different depths: a photograph, parts of it nearer than the rest, and subjects out of other ones."""

    def __init__(self, pictures, rng):
        # the frame is a little smaller than the picture, so that the camera can move
        ground = pictures[0]
        self.size = (int(ground.width * 0.86), int(ground.height * 0.86))
        self.layers = [(ground, Image.new("L", ground.size, 255), 1.0, (0.0, 0.0))]
        for near in (1.6, 2.3):
            mask = blob(ground.size, rng, rng.uniform(0.1, 0.3))
            self.layers.append((ground, mask, near, (0.0, 0.0)))
        for picture in pictures[1:]:
            subject = picture.resize(ground.size, Image.LANCZOS)
            mask = blob(ground.size, rng, rng.uniform(0.05, 0.18))
            self.layers.append((subject, mask, rng.uniform(1.2, 2.5), tuple(rng.uniform(-1, 1, 2))))

    def frame(self, time, camera, speed, noise, rng):
        """What is seen at `time`: the camera has moved by `camera` (x, y, zoom, degrees), subjects by `speed`."""
        width, height = self.size
        canvas = Image.new("RGB", self.size)
        x, y, zoom, turn = camera
        for picture, mask, depth, velocity in self.layers:
            scale = 1 / (1 + zoom * depth)
            cos, sin = math.cos(math.radians(turn)) * scale, math.sin(math.radians(turn)) * scale
            cx, cy = picture.width / 2, picture.height / 2
            shift_x = x * depth + velocity[0] * speed * time
            shift_y = y * depth + velocity[1] * speed * time
            matrix = (
                cos, -sin, cx - cos * width / 2 + sin * height / 2 - shift_x,
                sin, cos, cy - sin * width / 2 - cos * height / 2 - shift_y,
            )  # fmt: skip
            seen = picture.transform(self.size, Image.AFFINE, matrix, Image.BICUBIC)
            canvas.paste(seen, mask=mask.transform(self.size, Image.AFFINE, matrix, Image.BILINEAR))
        values = np.asarray(canvas, dtype=np.float32) * rng.uniform(0.97, 1.03)
        values += rng.normal(0, noise, values.shape)
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def bursts(paths, out, count, rng, truth):
    """Three frames within two seconds, by hand: the camera trembles, the subjects move."""
    for number in range(count):
        scene = Scene([opened(paths[i]) for i in rng.choice(len(paths), 2, replace=False)], rng)
        unit = max(scene.size) / 100
        for shot in range(3):
            tremble = (*(rng.normal(0, 0.6, 2) * unit), rng.normal(0, 0.004), rng.normal(0, 0.4))
            frame = scene.frame(shot, tremble, rng.uniform(2, 5) * unit, 4.0, rng)
            name = f"burst{number:04}_{shot}.jpg"
            save(frame, os.path.join(out, name), 92)
            truth.append((name, name, "burst"))


def video(paths, out, count, rng, truth):
    """Two frames half a second apart, the camera under way, compressed as video is."""
    for number in range(count):
        scene = Scene([opened(paths[i]) for i in rng.choice(len(paths), 3, replace=False)], rng)
        unit = max(scene.size) / 100
        direction = rng.uniform(0, 2 * math.pi)
        pan = np.array([math.cos(direction), math.sin(direction)]) * rng.uniform(0.5, 2.5) * unit
        zoom, turn = rng.uniform(-0.015, 0.015), rng.uniform(-0.5, 0.5)
        for shot in (0, 1):
            camera = (*(pan * (shot - 0.5)), zoom * shot, turn * shot)
            frame = scene.frame(shot, camera, rng.uniform(1, 4) * unit, 2.0, rng)
            name = f"video{number:04}_{shot}.jpg"
            save(frame, os.path.join(out, name), int(rng.integers(45, 70)))
            truth.append((name, name, "video"))


def receipt(shop, rng):
    """A receipt: heading and footing of the shop, goods and sums of its own; photographed a little askew."""
    lines = [shop["name"], shop["street"], "-" * 30]
    total = 0.0
    for item in rng.choice(WORDS, shop["lines"]):
        price = rng.integers(49, 1999) / 100
        total += price
        lines.append(f"{item:<20}{price:>10.2f}")
    day, hour = rng.integers(1, 29), rng.integers(8, 21)
    lines += ["-" * 30, f"{'total':<20}{total:>10.2f}", f"{day:02}.03.2024 {hour:02}:{rng.integers(0, 60):02}", "thank you"]
    paper = Image.new("RGB", (420, 40 + 24 * len(lines)), shop["paper"])
    draw = ImageDraw.Draw(paper)
    for number, line in enumerate(lines):
        for at, letter in enumerate(line):
            draw.text((30 + 12 * at, 20 + 24 * number), letter, font=font(18), fill=(40, 40, 44))
    if rng.random() < 0.5:
        return paper
    ground = Image.new("RGB", (paper.width + 120, paper.height + 120), shop["table"])
    ground.paste(paper, (60, 60))
    turned = ground.rotate(rng.uniform(-4, 4), Image.BICUBIC, fillcolor=shop["table"])
    values = np.asarray(turned, dtype=np.float32) * rng.uniform(0.85, 1.0) + rng.normal(0, 3, (turned.height, turned.width, 3))
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def receipts(out, count, rng, truth):
    shops = [
        {
            "name": f"{words(rng, 1)} & {words(rng, 1)}".upper(),
            "street": f"{words(rng, 1)} street {rng.integers(1, 99)}",
            "lines": int(rng.integers(6, 16)),
            "paper": tuple(int(v) for v in rng.integers(235, 256, 3)),
            "table": tuple(int(v) for v in rng.integers(40, 160, 3)),
        }
        for _ in range(max(1, count // 25))
    ]
    for number in range(count):
        name = f"receipt{number:04}.jpg"
        save(receipt(shops[number % len(shops)], rng), os.path.join(out, name), 85)
        truth.append((name, name, "receipt"))


def forms(out, count, rng, truth):
    """Forms of one page; each filled in twice, in a few fields."""
    for number in range(count):
        labels = [words(rng, 2) for _ in range(14)]
        text = [words(rng, 9) for _ in range(6)]
        for filling in (0, 1):
            page = Image.new("RGB", (850, 1100), "white")
            draw = ImageDraw.Draw(page)
            draw.text((80, 60), labels[0].upper(), font=font(34), fill="black")
            for row, label in enumerate(labels):
                top = 140 + 46 * row
                draw.text((80, top), label, font=font(18), fill="black")
                draw.rectangle((330, top - 6, 770, top + 28), outline=(90, 90, 90))
                if rng.random() < 0.35:
                    draw.text((340, top), f"{words(rng, 2)} {rng.integers(1, 9999)}", font=font(18), fill=(20, 30, 120))
            for row, line in enumerate(text):
                draw.text((80, 840 + 30 * row), line, font=font(16), fill="black")
            name = f"form{number:04}_{filling}.png"
            page.save(os.path.join(out, name))
            truth.append((name, name, "form"))


def distinct(args):
    rng = np.random.default_rng(args.seed)
    os.makedirs(args.out)
    truth = []
    if args.bursts:
        bursts(images_in(args.bursts), args.out, args.count, rng, truth)
    if args.video:
        video(images_in(args.video), args.out, args.count, rng, truth)
    receipts(args.out, args.receipts, rng, truth)
    forms(args.out, args.forms, rng, truth)
    write_truth(args.out, truth)


# Scores.


def write_truth(folder, truth):
    with open(os.path.join(folder, "truth.tsv"), "w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(truth)


def wilson(hits, count):
    z = 1.96
    share = hits / count
    centre = share + z * z / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0, (centre - reach) / (1 + z * z / count)), min(1, (centre + reach) / (1 + z * z / count))


def score(args):
    with open(os.path.join(args.folder, "truth.tsv"), encoding="utf-8", newline="") as file:
        truth = {name: (original, kind) for name, original, kind in csv.reader(file, delimiter="\t")}
    with open(args.found, encoding="utf-8") as file:
        found = json.load(file)

    def known(path):
        return truth.get(os.path.basename(path))

    together, wrong, members, keepers = {}, [], 0, collections.Counter()
    # Of the copies alone with their original, by kind: how many, and how many original were kept.
    pairs = collections.defaultdict(lambda: [0, 0])
    for group in found["groups"]:
        paths = [group["keeper"], *(member["path"] for member in group["members"])]
        of_keeper = known(group["keeper"])
        keepers[of_keeper[1] if of_keeper else "unknown"] += 1
        of_pair = [known(path) for path in paths if known(path)]
        if len(paths) == 2 and len({original for original, _ in of_pair}) == 1:
            kind = next((kind for _, kind in of_pair if kind != "original"), "original")
            pairs[kind][0] += of_keeper[1] == "original"
            pairs[kind][1] += 1
        names = {os.path.basename(path) for path in paths}
        for path in paths:
            if known(path):
                together[os.path.basename(path)] = names
        for member in group["members"]:
            members += 1
            of_member = known(member["path"])
            if of_keeper is None or of_member is None or of_member[0] != of_keeper[0]:
                wrong.append((group["keeper"], member["path"], member["class"], member["probability"]))
    counts = collections.defaultdict(lambda: [0, 0])
    for name, (original, kind) in truth.items():
        if name != original:
            counts[kind][0] += original in together.get(name, ())
            counts[kind][1] += 1
    for kind, (hits, count) in counts.items():
        low, high = wilson(hits, count)
        print(f"{kind:<16} {hits} of {count}  {hits / count:.3f} ({low:.3f}-{high:.3f})")
    hits, count = sum(c[0] for c in counts.values()), sum(c[1] for c in counts.values())
    if count:
        print(f"{'all':<16} {hits} of {count}  recall {hits / count:.4f}")
    print(f"{len(found['groups'])} groups, {members} members, {len(wrong)} of another original than their keeper")
    if members and count:
        print(f"precision {1 - len(wrong) / members:.4f}")
    print("keepers:", dict(keepers))
    for kind, (kept, count) in sorted(pairs.items()):
        print(f"of pairs, original kept: {kind:<16} {kept} of {count}")
    if pairs:
        print("of pairs, original kept:", *(sum(c[i] for c in pairs.values()) for i in (0, 1)))
    for keeper, member, kind, probability in wrong:
        print(f"wrong\t{keeper}\t{member}\t{kind}\t{probability:.3f}")
    edges = [e for e in found["edges"] if e["class"] != "similar"]
    false = [e for e in edges if (known(e["a"]) or [0])[0] != (known(e["b"]) or [1])[0]]
    print(f"{len(edges)} edges of class edited or stronger, {len(false)} of them between different originals")
    stats = found["stats"]
    print({key: stats[key] for key in stats if isinstance(stats[key], (int, float))})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("plant")
    command.add_argument("images")
    command.add_argument("out")
    command.add_argument("--originals", type=int, default=100)
    command.add_argument("--long-side", type=int, default=0)
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--edits", action="store_true", help="crops, overlays and frames instead of everyday copies")
    command.add_argument("--one", action="store_true", help="one copy of each original, its kind in turn, instead of all kinds")
    command.add_argument("--qualities", action="store_true", help="with --edits, files of many qualities and formats")
    command.set_defaults(run=plant)
    command = commands.add_parser("mixed")
    command.add_argument("images")
    command.add_argument("out")
    command.add_argument("--count", type=int, default=300)
    command.add_argument("--seed", type=int, default=1)
    command.set_defaults(run=mixed)
    command = commands.add_parser("distinct")
    command.add_argument("out")
    command.add_argument("--bursts", help="folder of photographs")
    command.add_argument("--video", help="folder of photographs")
    command.add_argument("--count", type=int, default=200)
    command.add_argument("--receipts", type=int, default=200)
    command.add_argument("--forms", type=int, default=100)
    command.add_argument("--seed", type=int, default=1)
    command.set_defaults(run=distinct)
    command = commands.add_parser("score")
    command.add_argument("folder")
    command.add_argument("found")
    command.set_defaults(run=score)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
