"""The frozen evaluation set, made from the development images with a seed and cached.

References: 400 originals, 110 left halves, 1000 distractors, 150 synthetic forms.
Queries with a match: every family x 3 strengths, chains of 1-3 edits, mild edits.
Queries without: attacked originals that are no reference, left-out distractors (other
photos of the same goods), right halves of the halved originals, siblings of the forms.
40 originals and 100 distractors serve as foreign material and nowhere else.

Cache (npz): `<side>_<n>` uint8 images squashed to n x n with an area filter, `<side>_pdq`,
`<side>_phash`, `<side>_quality`, for side in reference, query; meta.json describes them.
"""

import hashlib
import io
import json
import tarfile
from multiprocessing import Pool as Processes
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import attacks
import hashes
import synthetic
from families import CHAINABLE, FAMILIES, HELD_OUT

SIZES = (160, 192)
PER_CELL = 12      # queries per family and strength
CHAINS = 260       # queries per chain length
MILD = 300
VERSION = "2"


def squash(rgb, size):
    """The input contract: area filter in 8 bits; bilinear along the way where a side grows."""
    h, w = rgb.shape[:2]
    if h >= size and w >= size:
        return cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA)
    rgb = cv2.resize(rgb, (min(w, size), min(h, size)), interpolation=cv2.INTER_AREA)
    return cv2.resize(rgb, (size, size), interpolation=cv2.INTER_LINEAR)


def read_tar(path):
    with tarfile.open(path) as f:
        return {m.name: f.extractfile(m).read() for m in f.getmembers() if m.isfile()}


def decode(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def order(names, salt):
    return sorted(names, key=lambda n: hashlib.sha256(f"{salt}{n}".encode()).digest())


def mild(img, rng):
    """What happens to a file on its way: resized, recompressed, converted, touched up a little."""
    h, w = img.shape[:2]
    kind = int(rng.integers(0, 4))
    if kind in (0, 3):
        f = rng.uniform(0.35, 0.9)
        how = (cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_LINEAR)[int(rng.integers(0, 4))]
        img = cv2.resize(img, (int(w * f), int(h * f)), interpolation=how)
    if kind in (1, 3):
        img = attacks.encode(img, rng.integers(30, 96))
    if kind == 2:
        ok, data = cv2.imencode(".webp", img, (cv2.IMWRITE_WEBP_QUALITY, int(rng.integers(40, 95))))
        img = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(img)


def form(template, content):
    """A synthetic form whose template seeds training never draws."""
    return synthetic.image(np.random.default_rng([912, template]),
                           np.random.default_rng([913, template, content]))


def plan(dev):
    """The list of references and queries as plain rows; nothing is drawn yet."""
    originals = order(read_tar(dev / "originals.tar"), "o")
    distractors = order(read_tar(dev / "distractors.tar"), "d")
    foreign = originals[:40] + distractors[:100]
    halved, unmatched, refs = originals[40:150], originals[150:200], originals[200:]
    d_refs, d_queries = distractors[100:1100], distractors[1100:]
    references = ([{"image": n, "part": None} for n in refs] + [{"image": n, "part": "left"} for n in halved]
                  + [{"image": n, "part": None} for n in d_refs] + [{"form": k} for k in range(150)])
    rng = np.random.default_rng(2025)
    rows = []

    def attacked(edits, group):
        """A query on a reference: three in four on an original, else on a distractor."""
        i = int(rng.integers(0, len(refs))) if rng.random() < 0.75 else \
            len(refs) + len(halved) + int(rng.integers(0, len(d_refs)))
        rows.append({"image": references[i]["image"], "truth": i, "edits": edits, "group": group})

    for name in FAMILIES:
        for k in range(3):
            for _ in range(PER_CELL):
                attacked([[name, k]], name)
    for n in range(1, 4):
        for _ in range(CHAINS):
            names = rng.choice(CHAINABLE, n + 1, replace=False)
            attacked([[str(a), int(rng.integers(0, 3))] for a in names], f"chain_{n}")
    for _ in range(MILD):
        attacked("mild", "mild")
    trained = [f for f in FAMILIES if f not in HELD_OUT]

    def unmatched_query(row, share):
        edits = []
        if rng.random() < share:
            edits = [[str(rng.choice(trained)), int(rng.integers(0, 3))]]
        rows.append({**row, "truth": -1, "edits": edits})

    for n in unmatched:
        for _ in range(6):
            unmatched_query({"image": n, "group": "no_match"}, 1.0)
    for n in d_queries:
        unmatched_query({"image": n, "group": "same_goods"}, 0.0)
        unmatched_query({"image": n, "group": "same_goods"}, 1.0)
    for n in halved:
        unmatched_query({"image": n, "part": "right", "group": "disjoint"}, 0.3)
    for k in range(150):
        unmatched_query({"form": k, "group": "same_form"}, 0.3)
    return references, rows, foreign


_files = {}
_foreign = []


def _start(dev, foreign):
    cv2.setNumThreads(1)
    _files.update(read_tar(dev / "originals.tar"))
    _files.update(read_tar(dev / "distractors.tar"))
    _foreign.extend(decode(_files[n]) for n in foreign)


def _draw(job):
    index, row, is_query = job
    rng = np.random.default_rng([77, index, int(is_query)])
    if "form" in row:
        img = form(row["form"], 1 if is_query else 0)
    else:
        img = decode(_files[row["image"]])
    w = img.shape[1]
    if row.get("part"):
        img = img[:, :int(w * 0.48)] if row["part"] == "left" else img[:, int(w * 0.52):]
    edits = row.get("edits", [])
    if edits == "mild":
        img = mild(img, rng)
    else:
        for name, k in edits:
            img = attacks.apply(name, img, k, rng, _foreign)
    img = np.ascontiguousarray(img)
    p, quality = hashes.pdq(img)
    return [squash(img, s) for s in SIZES], p if is_query else p[0], hashes.phash(img), quality


def load(dev, cache, processes=2):
    """meta (dict with references, queries) and arrays; drawn on first use."""
    dev, cache = Path(dev), Path(cache)
    meta_path = cache / f"meta-{VERSION}.json"
    if not meta_path.exists():
        if not any(attacks.FONTS.glob("*.ttf")):
            raise SystemExit(f"the frozen set has text in the Liberation fonts: put them in {attacks.FONTS} "
                             "(Debian: fonts-liberation); with other letters it would be another set")
        if not (dev / "originals.tar").exists():
            raise SystemExit(f"no originals.tar in {dev}: name its folder with --dev")
        cache.mkdir(parents=True, exist_ok=True)
        references, queries, foreign = plan(dev)
        arrays = {}
        with Processes(processes, _start, (dev, foreign)) as workers:
            for side, rows in (("reference", references), ("query", queries)):
                jobs = [(i, r, side == "query") for i, r in enumerate(rows)]
                images, pdq, phash, quality = zip(*workers.imap(_draw, jobs, 16))
                for k, s in enumerate(SIZES):
                    arrays[f"{side}_{s}"] = np.stack([im[k] for im in images])
                arrays[f"{side}_pdq"] = np.stack(pdq)
                arrays[f"{side}_phash"] = np.stack(phash)
                arrays[f"{side}_quality"] = np.array(quality)
        for name, a in arrays.items():
            np.save(cache / f"{name}.npy", a)
        meta_path.write_text(json.dumps({"references": references, "queries": queries}))
    meta = json.loads(meta_path.read_text())
    arrays = {p.stem: np.load(p) for p in cache.glob("*.npy")}
    return meta, arrays
