#!/usr/bin/env bash
# OpenVINO: an LSTM, GRU or RNN ignores sequence_lens where the batch is of any size, and uses it where it is fixed.
#
# Expected: a row ends after its number in sequence_lens, whatever the declared shapes are. A network is exported
#   with a free batch and a free number of steps, and reads texts of different length side by side, padded.
# Seen: with a free batch the CPU plugin accepts the lengths and reads every row to the end of the padding,
#   without a message: results are those of full rows. The same graph with a fixed shape, declared or by reshape(),
#   agrees with onnxruntime. So does a free one with full rows.
# Versions: OpenVINO 2026.4.1 (CPU), onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6, Python 3.11, Linux x86-64.
#   Seen on 2026-11-30.
# Who meets it: whoever runs an exported classifier or tagger on OpenVINO with texts of different length in a batch.
# Instead: model.reshape({...}) to the shape of each batch before compile_model, or one text a call, without padding.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6

cat > "$folder/try.py" <<'PYTHON'
import platform
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper

SIZE, STEPS, ROWS = 4, 5, 3
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
print("Python", platform.python_version(), "OpenVINO", openvino.__version__, "onnxruntime", onnxruntime.__version__)


def model(operator, direction, steps, rows):
    """One recurrent operator that reads rows of different length."""
    random, directions = np.random.default_rng(0), 2 if direction == "bidirectional" else 1
    width = GATES[operator] * SIZE
    shapes = {"W": (directions, width, SIZE), "R": (directions, width, SIZE), "B": (directions, 2 * width)}
    weights = [numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name) for name, shape in shapes.items()]
    node = helper.make_node(operator, ["X", "W", "R", "B", "lengths"], ["Y", "Y_h"], hidden_size=SIZE, direction=direction)
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [steps, rows, SIZE]),
              helper.make_tensor_value_info("lengths", TensorProto.INT32, [rows])]
    outputs = [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [steps, directions, rows, SIZE]),
               helper.make_tensor_value_info("Y_h", TensorProto.FLOAT, [directions, rows, SIZE])]
    graph = helper.make_graph([node], "layer", inputs, outputs, weights)
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(whole, full_check=True)
    return whole


def apart(some, others):
    return max(float(np.abs(one - other).max()) for one, other in zip(some, others, strict=True))


x = np.random.default_rng(1).normal(size=(STEPS, ROWS, SIZE)).astype(np.float32)
whole, short = {"X": x, "lengths": np.full(ROWS, STEPS, np.int32)}, {"X": x, "lengths": np.array([5, 2, 3], np.int32)}
core, file = openvino.Core(), sys.argv[1]


def results(layer, inputs, shape=None):
    onnx.save(layer, file)
    read = core.read_model(file)
    if shape is not None:
        read.reshape(shape)
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(inputs)
    return [found[number].copy() for number in range(2)]


for operator in GATES:
    for direction in ("forward", "reverse", "bidirectional"):
        free, fixed = (model(operator, direction, STEPS, rows) for rows in (None, ROWS))
        runtime = onnxruntime.InferenceSession(free.SerializeToString(), providers=["CPUExecutionProvider"])
        right, full = runtime.run(None, short), runtime.run(None, whole)
        shape = {"X": [STEPS, ROWS, SIZE], "lengths": [ROWS]}
        seen = {
            "free, full rows": apart(results(free, whole), full),
            "free": apart(results(free, short), right),
            "free, as if full": apart(results(free, short), full),
            "fixed": apart(results(fixed, short), right),
            "reshaped": apart(results(free, short, shape), right),
        }
        print(operator, direction, {name: f"{value:.0e}" for name, value in seen.items()})
        assert max(seen["free, full rows"], seen["fixed"], seen["reshaped"]) < 1e-5, "OpenVINO and onnxruntime differ"
        assert seen["free"] > 0.1 and seen["free, as if full"] < 1e-5, "a free batch is read differently now"
PYTHON
"$folder/venv/bin/python" "$folder/try.py" "$folder/layer.onnx"
echo "as recorded"
