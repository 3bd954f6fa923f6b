"""Vector indexes on the same vectors in one run: doppel, hnswlib, faiss HNSW and HNSW-SQ8, SVS Vamana, ScaNN, usearch, hnsw_rs.

    python benches/peers.py DOPPEL FOLDER [--rows 100000] [--only doppel,hnswlib,...] [--goals .95,.99,.999] [--passes 5]

FOLDER holds base.npy, query.npy and truth.npy (the 10 exact neighbours of every query); truth.npy is computed when it is
missing, and where there are no vectors some are made: of dimension 256 around random centres in a space of 80 dimensions,
with noise. One thread each, all queries handed over in one call; all indexes are built first, then every setting of every
index is searched five times in turns, so that whatever else the machine does meets all of them alike. The figure is
queries per CPU-second, the median, interpolated at the recalls asked for; of rows that are equally similar any counts. What was built is kept in FOLDER, with the CPU time it
took (usearch and hnsw_rs are built every time). With --threads 2 doppel and hnswlib are also searched by two threads, and queries per second of
wall clock are compared with those of one: on a machine that does something else this says nothing.
Needs numpy, hnswlib, faiss-cpu, scalable-vs, scann, usearch; hnsw_rs is benches/stock_hnsw.rs, which cargo builds.
"""

import argparse
import json
import os
import subprocess
import time

import numpy as np

K = 10
PASSES = 5
# Similarities that differ by less are one: the rounding of a sum in f32.
TIE = 1e-6
# Wider searches than the first that finds so much are left out.
ENOUGH = 0.9995
WIDTHS = [10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072]


def make(folder, rows, queries=2000, dim=256, latent=80):
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((max(50, rows // 200), latent)).astype(np.float32)
    spread = rng.standard_normal((latent, dim)).astype(np.float32) / np.sqrt(latent)

    def sample(n):
        inner = centres[rng.integers(0, len(centres), n)] + rng.standard_normal((n, latent)).astype(np.float32)
        x = inner @ spread + 0.25 * rng.standard_normal((n, dim)).astype(np.float32)
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    os.makedirs(folder, exist_ok=True)
    np.save(f"{folder}/base.npy", sample(rows))
    np.save(f"{folder}/query.npy", sample(queries))


def exact(base, query):
    parts = np.array_split(query, max(1, len(query) // 100))
    return np.concatenate([np.argpartition(-(part @ base.T), K, axis=1)[:, :K] for part in parts])


def similarities(base, query, rows):
    """Of each query with its rows."""
    return np.einsum("qd,qkd->qk", query, base[rows])


def recall(base, query, found, least):
    """Share of the K places that hold a row as similar as the K-th neighbour: equal vectors count alike, a row counts once."""
    repeated = np.zeros(found.shape, bool)
    order = np.sort(found, axis=1)
    repeated[:, 1:] = order[:, 1:] == order[:, :-1]
    right = (similarities(base, query, order) >= least[:, None]) & (order >= 0) & ~repeated
    return right.mean()


def cpu(work):
    start = time.process_time()
    answer = work()
    return answer, time.process_time() - start


def kept(path, build):
    """The CPU-seconds of a build that is done once and kept at `path`."""
    if not os.path.exists(path):
        seconds = build()
        with open(f"{path}.seconds", "w") as file:
            file.write(f"{seconds}")
    with open(f"{path}.seconds") as file:
        return float(file.read())


def driven(command):
    """A function that sends a request to a process that speaks JSON lines, and answers its answer."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(**request):
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert answer["ok"], answer
        return answer

    return ask


def driven_search(ask, folder):
    def search(width, threads=1):
        answer = ask(op="search", query=f"{folder}/query.npy", k=K, ef=width, threads=threads, out=f"{folder}/rows")
        return np.fromfile(f"{folder}/rows", "<i4").reshape(-1, K), answer["cpu_s"], answer["s"]

    return search


def doppel(program, folder):
    ask = driven([program, "bench", "index", "--stdio"])
    path = f"{folder}/doppel.index"
    build = kept(path, lambda: ask(op="build", base=f"{folder}/base.npy", threads=1, M=16, efc=200, save=path)["build_cpu"])
    opened = ask(op="open", path=path)
    bytes_each = {kind: opened[f"{kind}_bytes"] / opened["rows"] for kind in ("resident", "original")}
    print(f"doppel opened {opened['rows']} vectors in {opened['open_s']:.3f} s ({opened['open_cpu']:.3f} CPU-s), bytes a vector", bytes_each)

    return build, WIDTHS, driven_search(ask, folder)


def hnsw_rs(folder):
    ask = driven(["cargo", "bench", "--quiet", "--bench", "stock_hnsw"])
    build = ask(op="build", base=os.path.abspath(f"{folder}/base.npy"), M=16, efc=200)["build_cpu"]
    return build, WIDTHS, driven_search(ask, os.path.abspath(folder))


def measured(work):
    """What it answers, its CPU-seconds, its seconds."""
    wall = time.perf_counter()
    answer, seconds = cpu(work)
    return answer, seconds, time.perf_counter() - wall


def hnswlib(folder, base, query):
    import hnswlib as lib

    index, path = lib.Index("ip", base.shape[1]), f"{folder}/hnswlib.graph"

    def build():
        index.init_index(len(base), M=16, ef_construction=200)
        index.set_num_threads(1)
        _, seconds = cpu(lambda: index.add_items(base))
        index.save_index(path)
        return seconds

    seconds = kept(path, build)
    index.load_index(path)

    def search(width, threads=1):
        index.set_num_threads(threads)
        index.set_ef(width)
        (rows, _), *times = measured(lambda: index.knn_query(query, K))
        return rows, *times

    return seconds, WIDTHS, search


def faiss(folder, base, query, eight_bits):
    import faiss as lib

    lib.omp_set_num_threads(1)
    metric, dim, path = lib.METRIC_INNER_PRODUCT, base.shape[1], f"{folder}/faiss{'-sq8' if eight_bits else ''}.index"

    def build():
        if eight_bits:
            index = lib.IndexHNSWSQ(dim, lib.ScalarQuantizer.QT_8bit, 16, metric)
        else:
            index = lib.IndexHNSWFlat(dim, 16, metric)
        index.hnsw.efConstruction = 200
        _, seconds = cpu(lambda: (index.train(base), index.add(base)))
        lib.write_index(index, path)
        return seconds

    seconds = kept(path, build)
    index = lib.read_index(path)

    def search(width):
        index.hnsw.efSearch = width
        (_, rows), *times = measured(lambda: index.search(query, K))
        return rows, *times

    return seconds, WIDTHS, search


def vamana(folder, base, query):
    import svs as lib

    # Unit vectors: the order of distances is that of cosines.
    path, metric = f"{folder}/svs", lib.DistanceType.L2

    def build():
        parameters = lib.VamanaBuildParameters(alpha=1.2, graph_max_degree=32, window_size=200)
        index, seconds = cpu(lambda: lib.Vamana.build(parameters, base, metric, num_threads=1))
        os.makedirs(path)
        index.save(f"{path}/config", f"{path}/graph", f"{path}/data")
        return seconds

    seconds = kept(path, build)
    data = lib.VectorDataLoader(f"{path}/data", lib.DataType.float32)
    index = lib.Vamana(f"{path}/config", lib.GraphLoader(f"{path}/graph"), data, metric, num_threads=1)

    def search(width):
        index.search_window_size = width
        (rows, _), *times = measured(lambda: index.search(query, K))
        return rows, *times

    return seconds, WIDTHS, search


def scann(folder, base, query):
    from scann import scann_ops_pybind as lib

    leaves, path = int(np.sqrt(len(base))), f"{folder}/scann"

    def build():
        builder = lib.builder(base, K, "dot_product").tree(
            num_leaves=leaves, num_leaves_to_search=leaves // 10, training_sample_size=min(len(base), 100_000)
        )
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(100)
        index, seconds = cpu(builder.build)
        os.makedirs(path)
        index.serialize(path)
        return seconds

    seconds = kept(path, build)
    index = lib.load_searcher(path)

    def search(setting):
        searched, reordered = setting
        (rows, _), *times = measured(
            lambda: index.search_batched(query, leaves_to_search=searched, pre_reorder_num_neighbors=reordered)
        )
        return rows, *times

    settings = [(searched, reordered) for searched in (1, 2, 3, 5, 8, 12, 20, 40) for reordered in (20, 40, 80, 200)]
    return seconds, settings, search


def usearch(base, query):
    from usearch.index import Index

    index = Index(ndim=base.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=200)
    _, build = cpu(lambda: index.add(np.arange(len(base)), base, threads=1))

    def search(width):
        index.expansion_search = width
        found, *times = measured(lambda: index.search(query, K, threads=1))
        return found.keys, *times

    return build, WIDTHS, search


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("doppel")
    parser.add_argument("folder")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--only", default="doppel,hnswlib,faiss,faiss-sq8,svs,scann,usearch,hnsw_rs")
    parser.add_argument("--goals", default=".95,.99,.999")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, choices=(1, 2))
    arguments = parser.parse_args()
    folder, goals = arguments.folder, [float(goal) for goal in arguments.goals.split(",")]
    if not os.path.exists(f"{folder}/base.npy"):
        make(folder, arguments.rows)
    base, query = (np.load(f"{folder}/{name}.npy") for name in ("base", "query"))
    if not os.path.exists(f"{folder}/truth.npy"):
        np.save(f"{folder}/truth.npy", exact(base, query))
    truth = np.load(f"{folder}/truth.npy")
    least = similarities(base, query, truth).min(axis=1) - TIE
    peers = {
        "doppel": lambda: doppel(arguments.doppel, folder),
        "hnswlib": lambda: hnswlib(folder, base, query),
        "faiss": lambda: faiss(folder, base, query, False),
        "faiss-sq8": lambda: faiss(folder, base, query, True),
        "svs": lambda: vamana(folder, base, query),
        "scann": lambda: scann(folder, base, query),
        "usearch": lambda: usearch(base, query),
        "hnsw_rs": lambda: hnsw_rs(folder),
    }
    names = arguments.only.split(",")
    built = {name: peers[name]() for name in names}
    settings = {name: list(built[name][1]) for name in names}
    taken, recalls = {}, {}
    for _ in range(arguments.passes):
        # By place: the first settings of all indexes, then the second ones.
        for place in range(max(map(len, settings.values()))):
            for name in names:
                if place >= len(settings[name]):
                    continue
                setting = settings[name][place]
                found, seconds, _ = built[name][2](setting)
                taken.setdefault((name, setting), []).append(seconds)
                if (name, setting) not in recalls:
                    recalls[name, setting] = recall(base, query, np.asarray(found).astype(np.int64), least)
                    if settings[name] == WIDTHS and recalls[name, setting] >= ENOUGH:
                        settings[name] = WIDTHS[: place + 1]
    print(f"{'':12}{'build CPU-s':>12}" + "".join(f"{'@' + str(g):>9}" for g in goals) + "   recall:queries per CPU-second")
    for name in names:
        curve = [(recalls[name, s], len(query) / np.median(taken[name, s])) for s in settings[name]]
        curve = [(r, s) for r, s in sorted(curve) if not any(other >= r and speed > s for other, speed in curve)]
        cells = "".join(f"{at(curve, goal):>9}" for goal in goals)
        print(f"{name:12}{built[name][0]:12.1f}{cells}   " + " ".join(f"{r:.4f}:{s:.0f}" for r, s in curve), flush=True)
    if arguments.threads == 2:
        for name in set(names) & {"doppel", "hnswlib"}:
            for width in (24, 64):
                walls = {threads: [built[name][2](width, threads)[2] for _ in range(9)] for threads in (1, 2) * 2}
                print(f"{name}, width {width}: two threads {np.median(walls[1]) / np.median(walls[2]):.2f} × one")


def at(curve, recall):
    """Speed at a recall, between the two settings around it; that of the lowest recall when it exceeds what is asked."""
    if curve[0][0] >= recall:
        return f"{curve[0][1]:.0f}"
    for (r0, s0), (r1, s1) in zip(curve, curve[1:]):
        if r0 < recall <= r1:
            return f"{s0 + (s1 - s0) * (recall - r0) / (r1 - r0):.0f}"
    return "never"


if __name__ == "__main__":
    main()
