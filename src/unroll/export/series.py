"""A model of sequences as an ONNX graph: padded vectors as measured in, a label or a number of each row out."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unroll.artifact.series import SeriesInfo, open_series, read_series_info, read_task
from unroll.data.ragged import Vectors
from unroll.data.scaling import FARTHEST, Scaling
from unroll.errors import UserError
from unroll.export.graph import Case, Graph, Network, Source, Weights, doubles, floats, integers, linear
from unroll.export.layers import pooled, recurrent, rows_of
from unroll.nn.series_config import series_parameters
from unroll.settings import to_mapping
from unroll.tasks.sequences.predict import answer

CHECKED = ((1,), (24, 2, 1, 7), (3, 40))
"""Lengths of the rows at which an export is run; none of them is built into it."""
OUTPUTS = {"classify": ("logits", "probabilities"), "regress": ("prediction",)}


def series_source(path: Path) -> Source:
    """Return what an export needs of a model of sequences; raises UserError for one that forecasts."""
    if (task := read_task(path)) not in OUTPUTS:
        raise UserError(
            f"{path} is a model of sequences for the task {task}, whose forecasts feed back into it step by step",
            allowed="a model trained with --task classify or --task regress",
            fix="forecast with unroll, which needs no PyTorch: `unroll sequences predict DIR FILE`",
        )
    info = read_series_info(path)
    return Source(
        parameters=series_parameters(info.config),
        vocabularies={},
        about={
            "task": task,
            "channels": list(info.columns.channels or ()),
            "labels": list(info.labels),
            "target_column": info.columns.target,
            "id_column": info.columns.id,
            "time_column": info.columns.time,
            "model": to_mapping(info.config),
        },
        network=Network(
            inputs=("vectors", "lengths"),
            outputs=OUTPUTS[task],
            build=partial(build, info),
            cases=partial(cases, path),
        ),
    )


def cases(path: Path) -> Iterator[Case]:
    """Yield what goes in and comes out of our own network: values around the means, some of them missing."""
    opened, random = open_series(path), np.random.default_rng(0)
    info = opened.info
    for lengths in CHECKED:
        size, deviations = (sum(lengths), info.config.channels), np.maximum(info.scaling.deviations, 1)
        values = random.normal(info.scaling.means, deviations, size)
        values[random.random(values.shape) < 0.1] = np.nan
        rows = Vectors(values, np.cumsum(lengths))
        vectors, _ = rows.padded()
        vectors[np.arange(vectors.shape[1]) >= rows.lengths[:, None]] = random.choice([np.nan, 1e6])
        answers = answer(opened, rows)
        inputs = {"vectors": vectors, "lengths": rows.lengths}
        if info.config.task == "classify":
            yield inputs, [opened.network.outputs(info.scaling.read(rows, marks=info.config.marks)), answers]
        else:
            yield inputs, [answers]


def build(info: SeriesInfo, weights: Weights, about: Mapping[str, str]) -> bytes:
    """Return the network as an ONNX file."""
    graph, config = Graph(), info.config
    rows = rows_of(graph, "vectors", "lengths")
    x = standardised(graph, "vectors", info.scaling, marks=config.marks)
    y = recurrent(graph, x, config, weights, rows)
    outputs = linear(graph, pooled(graph, y, config, weights, rows), weights, "head")
    if config.task == "classify":
        graph.add("Identity", outputs, name="logits")
        graph.add("Softmax", "logits", name="probabilities", axis=-1)
        described = [floats(name, "batch", config.outputs) for name in OUTPUTS["classify"]]
    else:
        mean, deviation = (
            graph.constant(f"goal_{name}", np.array(getattr(info.goals, name))) for name in ("means", "deviations")
        )
        scaled = graph.add("Mul", graph.add("Cast", outputs, to=11), deviation)  # DOUBLE
        graph.add("Add", scaled, mean, name="prediction")
        described = [doubles("prediction", "batch", config.outputs)]
    inputs = [doubles("vectors", "batch", "length", config.channels), integers("lengths", "batch")]
    doc = "A model of sequences: rows of vectors and their lengths in, labels' probabilities or numbers out."
    return graph.file(inputs, described, about, doc)


def standardised(graph: Graph, vectors: str, scaling: Scaling, *, marks: bool) -> str:
    """Add what the first layer reads (T, B, I) of vectors (B, T, C), NaN where a value is missing, by `Scaling`."""
    from onnx import TensorProto, helper

    def constant(name: str, values: NDArray[np.float64]) -> str:
        return graph.constant(f"channel_{name}", values)

    deviations = np.array(scaling.deviations)
    x = graph.add("Transpose", vectors, perm=[1, 0, 2])
    missing = graph.add("IsNaN", x)
    x = graph.add("Sub", x, constant("means", np.array(scaling.means)))
    x = graph.add("Mul", x, constant("factors", np.divide(1, deviations, where=deviations > 0, out=0 * deviations)))
    bounds = constant("least", np.array(-FARTHEST)), constant("most", np.array(FARTHEST))
    x = graph.add("Cast", graph.add("Clip", x, *bounds), to=1)  # FLOAT
    size = [None, len(deviations)]
    last, value, after, filled = (floats(name, *size) for name in ("last", "value", "after", "filled"))
    body = helper.make_graph(
        [
            helper.make_node("Where", ["gone", "last", "value"], ["after"]),
            helper.make_node("Identity", ["after"], ["filled"]),
        ],
        "fill",
        [last, value, helper.make_tensor_value_info("gone", TensorProto.BOOL, size)],
        [after, filled],
    )
    start = graph.add("ConstantOfShape", graph.add("Shape", x, start=1))
    _, x = graph.add("Scan", start, x, missing, body=body, num_scan_inputs=2, results=2)
    return str(graph.add("Concat", x, graph.add("Cast", missing, to=1), axis=-1)) if marks else str(x)
