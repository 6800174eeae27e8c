#!/usr/bin/env bash
# onnxruntime: dynamic quantization makes an LSTM four times smaller, and leaves GRU and RNN in float32 without a word.
#
# Expected: GRU and RNN, which hold the same two weight matrices, are quantized as LSTM is, or a message says they are not.
# Seen: LSTM becomes DynamicQuantizeLSTM, a quarter of the size. GRU and RNN come out as they went in, a little
#   larger; naming them in `op_types_to_quantize` changes nothing and raises nothing.
# Versions: onnxruntime 1.32.0 (CPU), onnx 1.23.2, numpy 2.4.6, Python 3.11, Linux x86-64. Seen on 2026-11-30.
# Who meets it: whoever quantizes an exported GRU and measures neither its size nor its speed.
# Instead: compare the files' sizes; a GRU written as MatMul nodes, step by step, is quantized.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"

cat > try.py <<'PYTHON'
import os
import platform

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

SIZE = 64
print("Python", platform.python_version(), "onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)
rng = np.random.default_rng(0)

for kind, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
    weights = [
        numpy_helper.from_array(rng.normal(size=(1, gates * SIZE, SIZE)).astype(np.float32), name) for name in ("W", "R")
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "W", "R"], ["y"], hidden_size=SIZE)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["steps", 1, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["steps", 1, 1, SIZE])],
        weights,
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(whole, full_check=True)
    onnx.save(whole, "float32.onnx")
    for choice in (None, [kind]):
        quantize_dynamic("float32.onnx", "int8.onnx", weight_type=QuantType.QInt8, op_types_to_quantize=choice)
        nodes = [node.op_type for node in onnx.load("int8.onnx").graph.node]
        ratio = os.path.getsize("int8.onnx") / os.path.getsize("float32.onnx")
        print(f"{kind}, op_types_to_quantize={choice}: nodes {nodes}, {ratio:.2f} of the size")
        assert (ratio < 0.3) == (kind == "LSTM"), "what dynamic quantization leaves alone has changed"
PYTHON
venv/bin/python try.py 2> /dev/null
echo "as recorded"
