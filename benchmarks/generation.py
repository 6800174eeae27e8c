"""Symbols a second of one stream: the engine against an nn.LSTM loop, LSTMCell, numpy and ONNX Runtime, interleaved.

Everyone steps embedding, LSTM layers and output layer on the same weights, one symbol at a time. The engine also draws
each symbol; the others take the largest logit, which is cheaper. Medians of rounds in which the contenders take turns,
each with one thread and with two; `rows` has the better of the two for each, `one_thread` the former. The bound is the
rate at which the cores read as many bytes as a step has weights (benchmarks/bandwidth.c), in the same rounds.
"""

import argparse
import ctypes
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import quantize_dynamic
from torch import nn

from measure import ROOT, show
from unroll.engine.draw import Drawing
from unroll.engine.network import Network, Precision
from unroll.engine.weights import shapes
from unroll.nn.config import ModelConfig

SHAPES = ((128, 1), (256, 1), (512, 1), (512, 2), (1024, 2))
VOCAB, EMBEDDING = 65, 64
Steps = Callable[[int], None]
"""Takes so many steps."""


def weights_of(config: ModelConfig) -> dict[str, Any]:
    """Return random weights as small as trained ones."""
    random = np.random.default_rng(0)
    return {
        name: (random.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)
        for name, shape in shapes(config).items()
    }


def engine(config: ModelConfig, weights: dict[str, Any], precision: Precision, threads: int) -> Steps:
    """The engine's own loop, drawing included."""
    network = Network(config, weights, precision=precision, threads=threads)
    network._pace.choose = lambda *_: (threads, sys.maxsize)  # type: ignore[method-assign]  # nothing is tried
    held: list[Any] = list(network.logits(np.zeros((1, 1), np.int64)))
    random = np.random.default_rng(1)

    def steps(count: int) -> None:
        _, _, held[0], held[1] = network.generate(held[0], held[1], Drawing(), random.random((1, count)))

    return steps


def torch_lstm(config: ModelConfig, weights: dict[str, Any], threads: int) -> Steps:
    """nn.Embedding, nn.LSTM and nn.Linear, stepped in a loop."""
    embedding, head = nn.Embedding(VOCAB, EMBEDDING), nn.Linear(config.hidden_size, VOCAB)
    lstm = nn.LSTM(EMBEDDING, config.hidden_size, config.num_layers)
    with torch.no_grad():
        embedding.weight.copy_(torch.from_numpy(weights["embedding.weight"]))
        head.weight.copy_(torch.from_numpy(weights["head.weight"]))
        for k in range(config.num_layers):
            for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(lstm, f"{part}_l{k}").copy_(torch.from_numpy(weights[f"recurrent.layers.{k}.{part}"]))

    def steps(count: int) -> None:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            symbol, state = torch.zeros(1, 1, dtype=torch.long), None
            for _ in range(count):
                y, state = lstm(embedding(symbol), state)
                symbol = head(y[0]).argmax(dim=1, keepdim=True)

    return steps


def torch_cell(config: ModelConfig, weights: dict[str, Any], threads: int) -> Steps:
    """nn.LSTMCell in a loop."""
    embedding, head = nn.Embedding(VOCAB, EMBEDDING), nn.Linear(config.hidden_size, VOCAB)
    sizes = [EMBEDDING, *[config.hidden_size] * (config.num_layers - 1)]
    cells = [nn.LSTMCell(size, config.hidden_size) for size in sizes]

    def steps(count: int) -> None:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            symbol = torch.zeros(1, dtype=torch.long)
            state = [(torch.zeros(1, config.hidden_size), torch.zeros(1, config.hidden_size)) for _ in cells]
            for _ in range(count):
                x = embedding(symbol)
                for k, cell in enumerate(cells):
                    state[k] = cell(x, state[k])
                    x = state[k][0]
                symbol = head(x).argmax(dim=1)

    return steps


def plain_numpy(config: ModelConfig, weights: dict[str, Any]) -> Steps:
    """The same in numpy: one product a layer."""
    hidden = config.hidden_size
    layers = [
        (
            np.ascontiguousarray(
                np.concatenate([weights[f"recurrent.layers.{k}.{part}"] for part in ("weight_ih", "weight_hh")], axis=1)
            ),
            weights[f"recurrent.layers.{k}.bias_ih"] + weights[f"recurrent.layers.{k}.bias_hh"],
        )
        for k in range(config.num_layers)
    ]

    def steps(count: int) -> None:
        state = [[np.zeros(hidden, np.float32), np.zeros(hidden, np.float32)] for _ in layers]
        symbol = 0
        for _ in range(count):
            x = weights["embedding.weight"][symbol]
            for (w, b), both in zip(layers, state, strict=True):
                z = w @ np.concatenate([x, both[0]]) + b
                i, f, o = (1 / (1 + np.exp(-z[a * hidden : (a + 1) * hidden])) for a in (0, 1, 3))
                both[1] = f * both[1] + i * np.tanh(z[2 * hidden : 3 * hidden])
                x = both[0] = o * np.tanh(both[1])
            symbol = int(np.argmax(weights["head.weight"] @ x + weights["head.bias"]))

    return steps


def onnx_file(config: ModelConfig, weights: dict[str, Any], file: Path) -> None:
    """Write the network as unroll's own export writes it, from a model directory made of these weights."""
    from onnx import TensorProto, helper, numpy_helper, save

    hidden = config.hidden_size
    order = np.r_[0:hidden, 3 * hidden : 4 * hidden, hidden : 2 * hidden, 2 * hidden : 3 * hidden]  # i o f c
    constants = [numpy_helper.from_array(weights["embedding.weight"], "E")]
    nodes = [helper.make_node("Gather", ["E", "ids"], ["x0"])]
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, 1])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 1, VOCAB])]
    for k in range(config.num_layers):
        name = f"recurrent.layers.{k}"
        biases = [weights[f"{name}.{part}"][order] for part in ("bias_ih", "bias_hh")]
        constants += [
            numpy_helper.from_array(weights[f"{name}.weight_ih"][order][None], f"W{k}"),
            numpy_helper.from_array(weights[f"{name}.weight_hh"][order][None], f"R{k}"),
            numpy_helper.from_array(np.concatenate(biases)[None], f"B{k}"),
        ]
        names = [f"x{k}", f"W{k}", f"R{k}", f"B{k}", "", f"h{k}", f"c{k}"]
        nodes.append(helper.make_node("LSTM", names, [f"y{k}", f"h{k}_", f"c{k}_"], hidden_size=hidden))
        nodes.append(helper.make_node("Squeeze", [f"y{k}", "one"], [f"x{k + 1}"]))
        for part in "hc":
            inputs.append(helper.make_tensor_value_info(f"{part}{k}", TensorProto.FLOAT, [1, 1, hidden]))
            outputs.append(helper.make_tensor_value_info(f"{part}{k}_", TensorProto.FLOAT, [1, 1, hidden]))
    constants += [
        numpy_helper.from_array(np.array([1], np.int64), "one"),
        numpy_helper.from_array(np.ascontiguousarray(weights["head.weight"].T), "V"),
        numpy_helper.from_array(weights["head.bias"], "v"),
    ]
    nodes.append(helper.make_node("MatMul", [f"x{config.num_layers}", "V"], ["product"]))
    nodes.append(helper.make_node("Add", ["product", "v"], ["logits"]))
    graph = helper.make_graph(nodes, "lstm", inputs, outputs, constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(file))


def onnx_runtime(config: ModelConfig, file: Path, threads: int) -> Steps:
    """ONNX Runtime on the exported network, one run a symbol."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def steps(count: int) -> None:
        fed: dict[str, Any] = {"ids": np.zeros((1, 1), np.int64)}
        fed |= {name: np.zeros((1, 1, config.hidden_size), np.float32) for name in (n[:-1] for n in names[1:])}
        for _ in range(count):
            logits, *state = session.run(names, fed)
            fed = {name[:-1]: part for name, part in zip(names[1:], state, strict=True)}
            fed["ids"] = logits[0].argmax(axis=1, keepdims=True)

    return steps


class Memory:
    """How fast the cores read."""

    def __init__(self, folder: Path) -> None:
        library = folder / "bandwidth.so"
        source = ROOT / "benchmarks" / "bandwidth.c"
        subprocess.run(["cc", "-O3", "-march=native", "-shared", "-fPIC", source, "-o", library], check=True)
        self._read = ctypes.CDLL(str(library)).read_all
        self._read.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
        self._read.restype = ctypes.c_float

    def bytes_per_second(self, size: int, threads: int, seconds: float) -> float:
        """Return the rate of reading an array of `size` bytes again and again, each thread its own share."""
        share = max(128, size // 4 // threads // 128 * 128)
        arrays = [np.ones(share, np.float32) for _ in range(threads)]
        times = max(1, int(seconds * 3e10 / 4 / share))
        started = time.perf_counter()
        work = [threading.Thread(target=self._read, args=(a.ctypes.data, share, times)) for a in arrays]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        return 4 * share * threads * times / (time.perf_counter() - started)


def rate(steps: Steps, seconds: float) -> float:
    """Return the steps a second of one turn of about so many seconds."""
    started = time.perf_counter()
    steps(16)
    count = max(16, int(seconds * 16 / (time.perf_counter() - started)))
    started = time.perf_counter()
    steps(count)
    return count / (time.perf_counter() - started)


def main() -> None:
    """Measure all shapes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.25, help="of one turn")
    told = parser.parse_args()
    rows, alone = [], []
    with tempfile.TemporaryDirectory() as made:
        memory = Memory(Path(made))
        for hidden, layers in SHAPES:
            config = ModelConfig(
                vocab_size=VOCAB, embedding_size=EMBEDDING, hidden_size=hidden, num_layers=layers, arch="lstm"
            )
            weights = weights_of(config)
            file, small = Path(made) / "net.onnx", Path(made) / "net8.onnx"
            onnx_file(config, weights, file)
            quantize_dynamic(file, small)
            # What a step reads: the recurrent weights, the input weights of further layers (the first's are a table).
            size = 4 * (4 * hidden * hidden * (2 * layers - 1) + VOCAB * hidden)
            contenders: dict[str, dict[int, Steps]] = {
                "unroll_float32": {t: engine(config, weights, "float32", t) for t in (1, 2)},
                "unroll_int8": {t: engine(config, weights, "int8", t) for t in (1, 2)},
                "nn_lstm": {t: torch_lstm(config, weights, t) for t in (1, 2)},
                "lstmcell": {t: torch_cell(config, weights, t) for t in (1, 2)},
                "numpy": {1: plain_numpy(config, weights)},
                "onnxruntime_float32": {t: onnx_runtime(config, file, t) for t in (1, 2)},
                "onnxruntime_int8": {t: onnx_runtime(config, small, t) for t in (1, 2)},
            }
            found: dict[tuple[str, int], list[float]] = {}
            for _ in range(told.rounds):
                for threads in (1, 2):
                    for name, ways in contenders.items():
                        if threads in ways:
                            found.setdefault((name, threads), []).append(rate(ways[threads], told.seconds))
                    bound = memory.bytes_per_second(size, threads, told.seconds) / size
                    found.setdefault(("bandwidth_bound_float32", threads), []).append(bound)
            middle = {key: statistics.median(values) for key, values in found.items()}
            names = [*contenders, "bandwidth_bound_float32"]
            shape: dict[str, Any] = {"hidden": hidden, "layers": layers}
            rows.append(shape | {n: round(max(v for (m, _), v in middle.items() if m == n)) for n in names})
            alone.append(shape | {n: round(middle[n, 1]) for n in names})
    show(
        {
            "benchmark": "generation",
            "embedding": EMBEDDING,
            "vocabulary": VOCAB,
            "onnxruntime": onnxruntime.__version__,
            "rows": rows,
            "one_thread": alone,
            "ratios": [ratios(row) for row in rows],
            "ratios_one_thread": [ratios(row) for row in alone],
        }
    )


def ratios(row: dict[str, Any]) -> dict[str, Any]:
    """Return what is asked of a row: the engine against the others."""
    best = max(row["onnxruntime_float32"], row["onnxruntime_int8"])
    return {
        "hidden": row["hidden"],
        "layers": row["layers"],
        "float32_to_nn_lstm": round(row["unroll_float32"] / row["nn_lstm"], 1),
        "int8_to_nn_lstm": round(row["unroll_int8"] / row["nn_lstm"], 1),
        "float32_to_onnxruntime": round(row["unroll_float32"] / row["onnxruntime_float32"], 2),
        "int8_to_onnxruntime": round(row["unroll_int8"] / row["onnxruntime_int8"], 2),
        "best_to_best_onnxruntime": round(max(row["unroll_float32"], row["unroll_int8"]) / best, 2),
        "of_bandwidth_bound": round(row["unroll_float32"] / row["bandwidth_bound_float32"], 2),
    }


if __name__ == "__main__":
    main()
