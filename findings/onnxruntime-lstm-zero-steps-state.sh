#!/usr/bin/env bash
# onnxruntime: an LSTM over a sequence of zero steps forgets the state that it was given.
#
# Expected: after zero steps the state is the initial state, unchanged: the operator's equations start
#   from it and no step changes it. A caller who feeds a text in pieces relies on that.
# Seen: Y_h and Y_c are all zeros, with no error. RNN does the same. (Other empty inputs, such as
#   zero rows, end the whole process; this script does not try them.)
# Versions: onnxruntime 1.32.0 (CPU), onnx 1.23.2, numpy 2.4.6, Python 3.11, Linux x86-64. Seen on 2026-11-29.
# Who meets it: whoever runs an exported recurrent model step by step and may hand it an empty piece.
# Instead: don't call the session with zero steps: keep the state that you have.
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

SIZE = 4
print("Python", platform.python_version(), "onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)


def value(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def model(kind, gates):
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=(1, gates * SIZE, SIZE)).astype(np.float32), name) for name in ("W", "R")
    ]
    states = ["h", "c"] if kind == "LSTM" else ["h"]
    after = [f"{name}_after" for name in states]
    node = helper.make_node(kind, ["x", "W", "R", "", "", *states], ["y", *after], hidden_size=SIZE)
    graph = helper.make_graph(
        [node],
        "graph",
        [value("x", "steps", 1, SIZE), *(value(name, 1, 1, SIZE) for name in states)],
        [value("y", "steps", 1, 1, SIZE), *(value(name, 1, 1, SIZE) for name in after)],
        weights,
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(built, full_check=True)
    return built, states, after


for kind, gates in (("LSTM", 4), ("RNN", 1)):
    built, states, after = model(kind, gates)
    session = onnxruntime.InferenceSession(built.SerializeToString(), providers=["CPUExecutionProvider"])
    given = {name: np.full((1, 1, SIZE), 0.5, np.float32) for name in states}
    for steps in (1, 0):
        y, *found = session.run(["y", *after], {"x": np.zeros((steps, 1, SIZE), np.float32), **given})
        for name, state in zip(after, found, strict=True):
            print(f"{kind}, steps {steps}, every state 0.5 before: y {y.shape}, {name} {state.ravel()}")
            assert state.any() == (steps > 0), "zero steps no longer give a state of zeros"
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
echo "as recorded"
