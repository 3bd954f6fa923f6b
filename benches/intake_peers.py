"""What intake is measured against, in one run: onnxruntime for the network, and a small web service for uploads.

    python benches/intake_peers.py network
    python benches/intake_peers.py uploads DOPPEL FOLDER

`network` times onnxruntime on the shipped weights, one and two threads, batch 1 and 16; run `cargo bench --bench embed` right before
or after. `uploads` sends the JPEG files of FOLDER by eight clients, first to `DOPPEL serve` with a fresh store, then to a
service of FastAPI, Pillow, onnxruntime (ResNet-18 at 160 pixels, random weights) and hnswlib, which stores nothing on disk
and verifies nothing. The figure is requests per CPU-second of the serving process; a fifth of the files goes first, as
warm-up, uncounted. Needs numpy, onnx, onnxruntime, safetensors; for `uploads` fastapi, uvicorn, python-multipart, pillow,
hnswlib.
"""

import argparse
import http.client
import itertools
import os
import pathlib
import queue
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SIDE = 160
CLIENTS = 8
WEIGHTS = pathlib.Path(__file__).parent.parent / "models" / "doppel-t.safetensors"


class Graph:
    """Nodes and weights of an ONNX graph as they are added; every method answers with the name of its output."""

    def __init__(self):
        self.nodes, self.weights = [], []

    def add(self, kind, inputs, **attributes):
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, values):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def conv(self, x, weight, bias, stride):
        side = weight.shape[2]
        inputs = [x, self.constant(weight), self.constant(bias)]
        return self.add("Conv", inputs, kernel_shape=[side, side], strides=[stride] * 2, pads=[side // 2] * 4)

    def session(self, output, dim, threads=1):
        self.nodes[-1].output[0] = output
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", dim])],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def doppel_t(threads):
    """The shipped network."""
    from safetensors import safe_open

    file = safe_open(WEIGHTS, "np")
    tensor = lambda name: file.get_tensor(name).astype(np.float32)
    blocks = [int(b) for b in file.metadata()["blocks"].strip("[]").split(",")]
    graph, x = Graph(), "x"
    layers = ["stem"]
    for stage, count in enumerate(blocks, 1):
        layers += [f"stage{stage}.down"] + [f"stage{stage}.block{b}" for b in range(count)]
    for name in layers + ["head"]:
        stride = 2 if name == "stem" or name.endswith("down") else 1
        y = graph.conv(x, tensor(f"{name}.weight"), tensor(f"{name}.bias"), stride)
        x = graph.add("Relu", [graph.add("Add", [y, x]) if "block" in name else y])
    x = graph.add("Max", [x, graph.constant(np.float32(1e-6))])
    x = graph.add("Mul", [graph.add("Mul", [x, x]), x])
    x = graph.add("ReduceMean", [x, graph.constant(np.array([2, 3]))], keepdims=0)
    x = graph.add("Pow", [x, graph.constant(np.float32(1 / 3))])
    weight, bias = tensor("fc.weight"), tensor("fc.bias")
    x = graph.add("Gemm", [x, graph.constant(weight), graph.constant(bias)], transB=1)
    norm = graph.add("ReduceL2", [x, graph.constant(np.array([1]))], keepdims=1)
    graph.add("Div", [x, norm])
    return graph.session("embedding", len(bias), threads)


def resnet18():
    """ResNet-18 without its classifier, random weights."""
    random = np.random.default_rng(0)
    graph = Graph()

    def conv(x, widths, side, stride):
        shape = (widths[1], widths[0], side, side)
        weight = random.standard_normal(shape).astype(np.float32) * np.float32((2 / (widths[0] * side**2)) ** 0.5)
        return graph.conv(x, weight, np.zeros(widths[1], np.float32), stride)

    x = graph.add("Relu", [conv("x", (3, 64), 7, 2)])
    x = graph.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    width = 64
    for stage, wide in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            y = graph.add("Relu", [conv(x, (width, wide), 3, stride)])
            y = conv(y, (wide, wide), 3, 1)
            x = graph.add("Relu", [graph.add("Add", [y, conv(x, (width, wide), 1, stride) if stride == 2 else x])])
            width = wide
    graph.add("Flatten", [graph.add("GlobalAveragePool", [x])])
    return graph.session("features", 512)


def network():
    for threads, batch in itertools.product((1, 2), (1, 16)):
        session = doppel_t(threads)
        x = np.random.default_rng(0).uniform(-2, 2, (batch, 3, SIDE, SIDE)).astype(np.float32)
        times = []
        for _ in range(40 + 400 // batch):
            start = time.perf_counter()
            session.run(None, {"x": x})
            times.append(1e3 * (time.perf_counter() - start) / batch)
        print(f"onnxruntime {onnxruntime.__version__}, {threads} threads, batch {batch}: median {np.median(times):.2f} ms an image")


def service(port):
    """The peer: answers POST /images with the nearest of what came before."""
    import hnswlib
    import uvicorn
    from fastapi import FastAPI, UploadFile
    from PIL import Image

    session, app = resnet18(), FastAPI()
    index = hnswlib.Index("cosine", 512)
    index.init_index(100_000, M=16, ef_construction=200)
    index.set_ef(64)
    index.set_num_threads(1)
    lock = threading.Lock()
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])

    @app.post("/images")
    def upload(file: UploadFile):
        image = Image.open(file.file).convert("RGB").resize((SIDE, SIDE), Image.BILINEAR)
        x = (np.asarray(image, np.float32) / 255 - mean) / std
        features = session.run(None, {"x": np.ascontiguousarray(x.transpose(2, 0, 1)[None])})[0]
        # a query beside an addition may find fewer than it was asked for, and fails
        with lock:
            count, matches = index.get_current_count(), []
            if count:
                labels, distances = index.knn_query(features, k=min(10, count))
                matches = [{"id": int(i), "similarity": float(1 - d)} for i, d in zip(labels[0], distances[0])]
            index.add_items(features, [count])
        return {"id": count, "matches": matches}

    uvicorn.run(app, port=port, log_level="warning")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def send(port, path, files):
    """Uploads `files`, one a request, by several clients; every answer must be a success."""
    waiting = queue.SimpleQueue()
    for file in files:
        waiting.put(file)
    failures = []

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while True:
            try:
                file = waiting.get_nowait()
            except queue.Empty:
                return
            head = f'--part\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n\r\n'
            body = head.encode() + file.read_bytes() + b"\r\n--part--\r\n"
            connection.request("POST", path, body, {"Content-Type": "multipart/form-data; boundary=part"})
            answer = connection.getresponse()
            answer.read()
            if answer.status not in (200, 201):
                failures.append((file, answer.status))

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def measure(name, command, port, path, files):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                http.client.HTTPConnection("127.0.0.1", port).request("GET", "/")
                break
            except OSError:
                time.sleep(0.1)
        warm_up = len(files) // 5
        send(port, path, files[:warm_up])
        before, start = cpu_seconds(process.pid), time.perf_counter()
        send(port, path, files[warm_up:])
        cpu, wall = cpu_seconds(process.pid) - before, time.perf_counter() - start
        count = len(files) - warm_up
        print(f"{name}: {count / cpu:.1f} requests per CPU-second, {count / wall:.1f} a second")
        return count / cpu
    finally:
        process.terminate()
        process.wait()


def uploads(doppel, folder):
    files = sorted(p for p in pathlib.Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    with tempfile.TemporaryDirectory() as data:
        command = [doppel, "serve", "--listen", "127.0.0.1:18080", "--data-dir", data]
        ours = measure("doppel", command, 18080, "/v1/collections/default/images", files)
    peer = [sys.executable, __file__, "service", "18081"]
    print(f"{ours / measure('peer', peer, 18081, '/images', files):.2f} times the peer's requests")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["network", "uploads", "service"])
    parser.add_argument("rest", nargs="*")
    arguments = parser.parse_args()
    if arguments.what == "network":
        network()
    elif arguments.what == "uploads":
        uploads(*arguments.rest)
    else:
        service(int(arguments.rest[0]))
