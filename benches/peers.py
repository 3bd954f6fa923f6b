"""Vector indexes on the same vectors in one run: doppel, hnswlib, faiss HNSW and HNSW-SQ8, usearch.

    python benches/peers.py DOPPEL FOLDER [--rows 100000] [--only doppel,hnswlib,...]

FOLDER holds base.npy, query.npy and truth.npy (the 10 exact neighbours of every query); what is missing is made: vectors
of dimension 256 around random centres in a space of 80 dimensions, with noise. One thread each; all indexes are built
first, then every width of every index is searched five times in turns, so that whatever else the machine does meets all of
them alike. The figure is queries per CPU-second, the median, interpolated at the recalls asked for. Graphs of hnswlib are
kept in FOLDER. Needs numpy, hnswlib, faiss-cpu, usearch.
"""

import argparse
import json
import os
import subprocess
import time

import numpy as np

K = 10
PASSES = 5
# Wider searches than the first that finds so much are left out.
ENOUGH = 0.9995
WIDTHS = [10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768]


def make(folder, rows, queries=2000, dim=256, latent=80):
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((max(50, rows // 200), latent)).astype(np.float32)
    spread = rng.standard_normal((latent, dim)).astype(np.float32) / np.sqrt(latent)

    def sample(n):
        inner = centres[rng.integers(0, len(centres), n)] + rng.standard_normal((n, latent)).astype(np.float32)
        x = inner @ spread + 0.25 * rng.standard_normal((n, dim)).astype(np.float32)
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    os.makedirs(folder, exist_ok=True)
    base, query = sample(rows), sample(queries)
    truth = [np.argpartition(-(part @ base.T), K, axis=1)[:, :K] for part in np.array_split(query, 20)]
    np.save(f"{folder}/base.npy", base)
    np.save(f"{folder}/query.npy", query)
    np.save(f"{folder}/truth.npy", np.concatenate(truth))


def cpu(work):
    start = time.process_time()
    answer = work()
    return answer, time.process_time() - start


def doppel(path, folder, base, query):
    process = subprocess.Popen([path, "bench", "index", "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(**request):
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert answer["ok"], answer
        return answer

    built = ask(op="build", base=f"{folder}/base.npy", threads=1, M=16, efc=200)

    def search(width):
        answer = ask(op="search", query=f"{folder}/query.npy", k=K, ef=width, threads=1, out=f"{folder}/rows")
        return np.fromfile(f"{folder}/rows", "<i4").reshape(-1, K), answer["cpu_s"]

    return built["build_cpu"], search


def hnswlib(folder, base, query):
    import hnswlib as lib

    index, kept = lib.Index("ip", base.shape[1]), f"{folder}/hnswlib.graph"
    if os.path.exists(kept):
        index.load_index(kept)
        build = float("nan")
    else:
        index.init_index(len(base), M=16, ef_construction=200)
        index.set_num_threads(1)
        _, build = cpu(lambda: index.add_items(base))
        index.save_index(kept)
    index.set_num_threads(1)

    def search(width):
        index.set_ef(width)
        (rows, _), seconds = cpu(lambda: index.knn_query(query, K))
        return rows, seconds

    return build, search


def faiss(base, query, eight_bits):
    import faiss as lib

    lib.omp_set_num_threads(1)
    metric, dim = lib.METRIC_INNER_PRODUCT, base.shape[1]
    if eight_bits:
        index = lib.IndexHNSWSQ(dim, lib.ScalarQuantizer.QT_8bit, 16, metric)
    else:
        index = lib.IndexHNSWFlat(dim, 16, metric)
    index.hnsw.efConstruction = 200
    _, build = cpu(lambda: (index.train(base), index.add(base)))

    def search(width):
        index.hnsw.efSearch = width
        (_, rows), seconds = cpu(lambda: index.search(query, K))
        return rows, seconds

    return build, search


def usearch(base, query):
    from usearch.index import Index

    index = Index(ndim=base.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=200)
    _, build = cpu(lambda: index.add(np.arange(len(base)), base, threads=1))

    def search(width):
        index.expansion_search = width
        found, seconds = cpu(lambda: index.search(query, K, threads=1))
        return found.keys, seconds

    return build, search


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("doppel")
    parser.add_argument("folder")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--only", default="doppel,hnswlib,faiss,faiss-sq8,usearch")
    arguments = parser.parse_args()
    folder = arguments.folder
    if not os.path.exists(f"{folder}/truth.npy"):
        make(folder, arguments.rows)
    base, query, truth = (np.load(f"{folder}/{name}.npy") for name in ("base", "query", "truth"))
    peers = {
        "doppel": lambda: doppel(arguments.doppel, folder, base, query),
        "hnswlib": lambda: hnswlib(folder, base, query),
        "faiss": lambda: faiss(base, query, False),
        "faiss-sq8": lambda: faiss(base, query, True),
        "usearch": lambda: usearch(base, query),
    }
    names = arguments.only.split(",")
    built = {name: peers[name]() for name in names}
    widths = {name: list(WIDTHS) for name in names}
    seconds, recalls = {}, {}
    for _ in range(PASSES):
        for width in WIDTHS:
            for name in names:
                if width not in widths[name]:
                    continue
                found, spent = built[name][1](width)
                seconds.setdefault((name, width), []).append(spent)
                if (name, width) not in recalls:
                    recall = np.mean([len(set(a) & set(b)) for a, b in zip(np.asarray(found), truth)]) / K
                    recalls[name, width] = recall
                    if recall >= ENOUGH:
                        widths[name] = [w for w in WIDTHS if w <= width]
    goals = (0.95, 0.99, 0.999)
    print(f"{'':12}{'build CPU-s':>12}" + "".join(f"{'@' + str(g):>9}" for g in goals) + "   recall:queries per CPU-second")
    for name in names:
        curve = [(recalls[name, w], len(query) / sorted(seconds[name, w])[PASSES // 2]) for w in widths[name]]
        cells = "".join(f"{at(curve, goal):>9}" for goal in goals)
        print(f"{name:12}{built[name][0]:12.1f}{cells}   " + " ".join(f"{r:.4f}:{s:.0f}" for r, s in curve), flush=True)


def at(curve, recall):
    """Speed at a recall, between the two widths around it; that of the narrowest search when it exceeds the recall."""
    if curve[0][0] >= recall:
        return f"{curve[0][1]:.0f}"
    for (r0, s0), (r1, s1) in zip(curve, curve[1:]):
        if r0 < recall <= r1:
            return f"{s0 + (s1 - s0) * (recall - r0) / (r1 - r0):.0f}"
    return "never"


if __name__ == "__main__":
    main()
