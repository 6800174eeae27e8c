"""An LSTM trains in bfloat16 on a processor without AVX-512, where torch's own call fails."""

import os
import subprocess
import sys

PROGRAM = """
import torch
from unroll.nn.model import Model, ModelConfig
from unroll.nn.precision import has_bfloat16_lstm

torch.manual_seed(0)
model = Model(ModelConfig(vocab_size=20, hidden_size=24, num_layers=2, layers_before=1))
ids = torch.randint(20, (3, 40))
exact, _ = model(ids)
with torch.autocast("cpu", torch.bfloat16):
    logits, state = model(ids, None, ids == 3)
    logits, state = model(ids)
assert {part.dtype for layer in state for part in layer} == {torch.float32}
logits.float().square().sum().backward()
assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
assert (logits.float() - exact).abs().max() < 0.02
print(has_bfloat16_lstm())
"""


def test_an_lstm_in_bfloat16_needs_no_new_processor() -> None:
    """oneDNN obeys the variable as if the processor had no more; elsewhere it has no effect, and all holds as well."""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    process = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() in ("False", "True")
