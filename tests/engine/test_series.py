"""A network over sequences without torch: equal to torch's, row by row, in numpy and in the kernels."""

from typing import Any

import numpy as np
import pytest
import torch

from unroll.data.ragged import Vectors
from unroll.engine.series import SeriesEngine
from unroll.nn.series import SeriesNetwork
from unroll.nn.series_config import SeriesConfig

LENGTHS = [9, 1, 30, 17]


def pair(dtype: Any, **options: Any) -> tuple[SeriesNetwork, dict[str, Any]]:
    """Return a network and its weights as arrays."""
    shape = {"channels": 3, "hidden_size": 12, "num_layers": 2, "outputs": 4, "pooling": "last,mean,max,attention"}
    model = SeriesNetwork(SeriesConfig(**shape | options)).eval().to(dtype)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    return model, {name: w.detach().numpy() for name, w in model.named_parameters()}


def rows(size: int, dtype: Any) -> Vectors:
    values = np.random.default_rng(2).normal(size=(sum(LENGTHS), size)).astype(dtype)
    return Vectors(values, np.cumsum(LENGTHS, dtype=np.int64))


@pytest.mark.parametrize("arch", ["lstm", "gru", "mingru", "rnn"])
@pytest.mark.parametrize(
    "options", [{}, {"skip": "residual"}, {"skip": "sum", "bidirectional": False}, {"marks": True}]
)
@pytest.mark.parametrize(("dtype", "kernel", "atol"), [(torch.float64, False, 1e-9), (torch.float32, True, 1e-4)])
def test_outputs_are_torchs(arch: str, options: dict[str, Any], dtype: Any, kernel: bool, atol: float) -> None:
    model, weights = pair(dtype, arch=arch, **options)
    sequences = rows(model.config.input_size, next(iter(weights.values())).dtype)
    padded, lengths = sequences.padded()
    with torch.no_grad():
        expected = model(torch.from_numpy(padded), torch.from_numpy(lengths)).numpy()
    engine = SeriesEngine(model.config, weights, kernel=kernel)
    np.testing.assert_allclose(engine.outputs(sequences), expected, rtol=0, atol=atol)
    for row in range(len(LENGTHS)):
        alone = engine.outputs(sequences.select([row]))
        np.testing.assert_allclose(alone[0], expected[row], rtol=0, atol=atol)


def test_eight_bits_stay_near_and_other_weights_are_refused() -> None:
    model, weights = pair(torch.float32)
    sequences = rows(3, np.float32)
    exact = SeriesEngine(model.config, weights).outputs(sequences)
    for kernel in (True, False):
        rounded = SeriesEngine(model.config, weights, precision="int8", kernel=kernel).outputs(sequences)
        assert 0 < np.abs(rounded - exact).max() < 0.5
    with pytest.raises(ValueError, match=r"head\.weight"):
        SeriesEngine(model.config, weights | {"head.weight": weights["head.weight"][:2]})
