#!/usr/bin/env bash
# OpenVINO: a float32 LSTM is computed in bfloat16 by default.
#
# Expected: an ONNX model with float32 weights gives what float32 arithmetic gives, to about 1e-6.
# Seen: on a processor with bfloat16 instructions (avx512_bf16 or amx_bf16) the CPU plug-in computes in
#   bfloat16 unless told otherwise; the output differs in the third digit. No warning says so.
# Versions: OpenVINO 2026.4.1 (CPU), onnx 1.23.2, numpy 2.4.6, Python 3.11, Linux x86-64. Seen on 2026-11-29.
# Who meets it: whoever compares an exported model with the one that was trained, or wants
#   the same numbers on two computers.
# Instead: compile the model with {"INFERENCE_PRECISION_HINT": "f32"}.
set -euo pipefail

if ! grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo 2>/dev/null; then
    echo "not applicable on this processor: it has neither avx512_bf16 nor amx_bf16"
    exit 0
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq openvino==2026.4.1 onnx==1.23.2 numpy==2.4.6

cat > "$folder/try.py" <<'PYTHON'
import platform
import sys

import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper

STEPS, SIZE = 20, 32
rng = np.random.default_rng(0)
w, r = (rng.normal(scale=0.3, size=(1, 4 * SIZE, SIZE)).astype(np.float32) for _ in range(2))
x = rng.normal(size=(STEPS, 1, SIZE)).astype(np.float32)


def value(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


node = helper.make_node("LSTM", ["x", "W", "R"], ["y"], hidden_size=SIZE)
graph = helper.make_graph(
    [node],
    "graph",
    [value("x", STEPS, 1, SIZE)],
    [value("y", STEPS, 1, 1, SIZE)],
    [numpy_helper.from_array(w, "W"), numpy_helper.from_array(r, "R")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, sys.argv[1])


def lstm(kind):
    """The operator's equations in numpy; its gates stand in the order input, output, forget, cell."""
    sigmoid = lambda a: 1 / (1 + np.exp(-a))
    h, c, out = np.zeros(SIZE, kind), np.zeros(SIZE, kind), []
    for step in x[:, 0].astype(kind):
        i, o, f, g = np.split(w[0].astype(kind) @ step + r[0].astype(kind) @ h, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.stack(out)


exact = lstm(np.float64)
core = openvino.Core()
print("Python", platform.python_version(), "OpenVINO", openvino.__version__, "onnx", onnx.__version__)
print(f"numpy float32                   first values {lstm(np.float32)[-1, :3]}  largest error {abs(lstm(np.float32) - exact).max():.1e}")
errors = {}
for name, options in (("default", {}), ("f32", {"INFERENCE_PRECISION_HINT": "f32"})):
    compiled = core.compile_model(sys.argv[1], "CPU", options)
    y = compiled([x])[0].reshape(STEPS, SIZE)
    errors[name] = abs(y - exact).max()
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    print(f"OpenVINO {name:8} (computes {hint:4}) first values {y[-1, :3]}  largest error {errors[name]:.1e}")
assert errors["f32"] < 1e-5, "f32 is not float32"
assert errors["default"] > 5e-4, "the default is now float32"
PYTHON
"$folder/venv/bin/python" "$folder/try.py" "$folder/lstm.onnx"
echo "as recorded"
