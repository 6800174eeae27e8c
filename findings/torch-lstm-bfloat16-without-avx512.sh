#!/usr/bin/env bash
# torch: an LSTM under bfloat16 autocast fails on a processor without AVX-512.
#
# Expected: an LSTM runs under torch.autocast("cpu", torch.bfloat16) as Linear and GRU do (GRU stays in
#   float32), because torch knows that oneDNN has no bfloat16 there: torch.ops.mkldnn._is_mkldnn_bf16_supported() says False.
# Seen: RuntimeError: could not create a primitive descriptor for the LSTM forward propagation primitive.
#   ONEDNN_MAX_CPU_ISA=AVX2 makes oneDNN behave on any x86-64 processor as on one without AVX-512.
# Versions: torch 2.13.0 (CPU), Python 3.11, Linux x86-64. Seen on 2026-11-29.
# Who meets it: whoever trains or runs an LSTM with bfloat16 autocast on a laptop or an older server.
# Instead: run the LSTM within torch.autocast("cpu", enabled=False) in float32, or turn oneDNN off
#   for it with torch.backends.mkldnn.flags(enabled=False).
set -euo pipefail

if [ "$(uname -m)" != x86_64 ]; then
    echo "not applicable: this needs an x86-64 processor"
    exit 0
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq torch==2.13.0 numpy==2.4.6

cat > "$folder/try.py" <<'PYTHON'
import contextlib
import sys

import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(5, 4, 16)
lstm, gru, linear = nn.LSTM(16, 32), nn.GRU(16, 32), nn.Linear(16, 32)


def attempt(name, layer, inside=contextlib.nullcontext):
    try:
        with torch.autocast("cpu", torch.bfloat16), inside():
            y = layer(x)
    except RuntimeError as error:
        print(f"{name}: RuntimeError: {str(error).splitlines()[0]}")
        return str(error)
    print(f"{name}: {(y[0] if isinstance(y, tuple) else y).dtype}")
    return None


print("oneDNN has bfloat16:", torch.ops.mkldnn._is_mkldnn_bf16_supported())
failure = attempt("nn.LSTM under autocast", lstm)
others = [
    attempt("nn.Linear under autocast", linear),
    attempt("nn.GRU under autocast", gru),
    attempt("nn.LSTM, autocast off for it", lstm, lambda: torch.autocast("cpu", enabled=False)),
    attempt("nn.LSTM, oneDNN off for it", lstm, lambda: torch.backends.mkldnn.flags(enabled=False)),
]
if sys.argv[1] == "check":
    assert not torch.ops.mkldnn._is_mkldnn_bf16_supported(), "torch says that oneDNN has bfloat16"
    assert failure and "could not create a primitive descriptor for the LSTM forward" in failure, "the LSTM did not fail so"
    assert others == [None] * 4, "a way round fails"
PYTHON

"$folder/venv/bin/python" -c 'import platform, torch; print("Python", platform.python_version(), "torch", torch.__version__)'
echo "--- oneDNN limited to AVX2"
ONEDNN_MAX_CPU_ISA=AVX2 "$folder/venv/bin/python" -W ignore "$folder/try.py" check
echo "--- oneDNN not limited (reported, not checked)"
env -u ONEDNN_MAX_CPU_ISA "$folder/venv/bin/python" -W ignore "$folder/try.py" tell || true
echo "as recorded"
