#!/usr/bin/env bash
# onnxruntime: an LSTM quantized dynamically is no longer causal: later inputs change earlier outputs.
#
# Expected: the output at step t depends on the inputs up to t, rounded to eight bits or not. So a text may be read
#   in pieces, or beside other rows, with the same result.
# Seen: `quantize_dynamic` turns LSTM into DynamicQuantizeLSTM, which chooses one scale for the inputs of all steps and
#   rows together. One large input at the last step changes every output before it, in other rows too; the
#   first half of a sequence, read alone, gives other outputs. The float32 LSTM does neither. No message says so.
# Versions: onnxruntime 1.32.0 (CPU), onnx 1.23.2, numpy 2.4.6, Python 3.11, Linux x86-64. Seen on 2026-11-30.
# Who meets it: whoever quantizes an exported recurrent model, then streams, batches or scores with it.
# Instead: feed a quantized LSTM one step and one row a call where results must not depend on their company, or keep float32.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"

cat > try.py <<'PYTHON'
import logging
import platform

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

SIZE, STEPS = 64, 10
logging.disable(logging.WARNING)  # quantize_dynamic's advice about pre-processing
print("Python", platform.python_version(), "onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)
rng = np.random.default_rng(0)

weights = [
    numpy_helper.from_array((rng.normal(size=(1, 4 * SIZE, SIZE)) / 8).astype(np.float32), name) for name in ("W", "R")
]
graph = helper.make_graph(
    [helper.make_node("LSTM", ["x", "W", "R"], ["y"], hidden_size=SIZE)],
    "graph",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["steps", "rows", SIZE])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["steps", 1, "rows", SIZE])],
    weights,
)
whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnx.checker.check_model(whole, full_check=True)
onnx.save(whole, "float32.onnx")
quantize_dynamic("float32.onnx", "int8.onnx", weight_type=QuantType.QInt8)
print("nodes:", [node.op_type for node in onnx.load("int8.onnx").graph.node])

inputs = rng.normal(size=(STEPS, 2, SIZE)).astype(np.float32)
louder = inputs.copy()
louder[-1, 1] *= 20  # the last step of the second row

for name in ("float32", "int8"):
    session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
    outputs, louder_outputs, half = (
        session.run(None, {"x": x})[0] for x in (inputs, louder, inputs[: STEPS // 2])
    )
    changes = {
        "earlier steps, last input larger": np.abs(outputs - louder_outputs)[:-1, :, 1].max(),
        "the other row": np.abs(outputs - louder_outputs)[:, :, 0].max(),
        "first half read alone": np.abs(outputs[: STEPS // 2] - half).max(),
    }
    for what, change in changes.items():
        print(f"{name}: {what}: outputs differ by up to {change:.4f}")
        assert (change > 1e-4) == (name == "int8"), "the quantized LSTM no longer looks ahead, or float32 does"
PYTHON
venv/bin/python try.py
echo "as recorded"
