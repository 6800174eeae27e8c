#!/usr/bin/env bash
# onnx: its reference evaluator reads every row of an LSTM, GRU or RNN to the end, whatever sequence_lens says.
#
# Expected: ReferenceEvaluator, the Python evaluator by which others check their runtimes, does what the operator's
#   text says: a row ends after its number in sequence_lens; what stands behind is zero in Y, and Y_h is the state
#   after the row's own last step (with direction reverse, the row is read from there).
# Seen: the input is accepted and not used, without a warning: results are those of rows of full length, in all
#   three operators and directions. With full rows they agree with onnxruntime to float32.
# Versions: onnx 1.23.2, onnxruntime 1.32.0 (CPU), numpy 2.4.6, Python 3.11, Linux x86-64. Seen on 2026-11-30.
# Who meets it: whoever checks an exported network over padded rows (a classifier, a tagger) against the reference.
# Instead: check against onnxruntime, or give the reference one row a call, without padding.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6

cat > "$folder/try.py" <<'PYTHON'
import platform

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

SIZE, STEPS, ROWS = 4, 5, 3
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
print("Python", platform.python_version(), "onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)


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
for operator in GATES:
    for direction in ("forward", "reverse", "bidirectional"):
        layer = model(operator, direction, STEPS, None)
        reference = ReferenceEvaluator(layer)
        runtime = onnxruntime.InferenceSession(layer.SerializeToString(), providers=["CPUExecutionProvider"])
        full = apart(reference.run(None, whole), runtime.run(None, whole))
        ours = apart(reference.run(None, short), reference.run(None, whole))
        theirs = apart(runtime.run(None, short), runtime.run(None, whole))
        print(f"{operator} {direction}: full rows apart by {full:.0e}; shorter ones change the reference by {ours}, onnxruntime by {theirs:.1f}")
        assert full < 1e-5, "full rows differ"
        assert ours == 0, "the reference uses sequence_lens now"
        assert theirs > 0.1, "onnxruntime does not use sequence_lens"
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
echo "as recorded"
