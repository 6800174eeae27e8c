"""What a recipe may fix of a training, and what is refused."""

import math
from typing import Any

import pytest

from unroll.errors import UserError
from unroll.training.config import OptimConfig


@pytest.mark.parametrize(
    "invalid",
    [{"learning_rate": 0.0}, {"learning_rate": -1.0}, {"learning_rate": math.inf}, {"learning_rate": math.nan},
     {"warmup_steps": -1}, {"weight_decay": -0.1}, {"weight_decay": math.nan}, {"grad_clip": -1.0}, {"beta1": 1.0},
     {"beta2": -0.1}, {"averaging": 1.0}, {"averaging": math.nan}],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(invalid: dict[str, Any]) -> None:
    with pytest.raises(UserError) as refusal:
        OptimConfig(**invalid)
    assert next(iter(invalid)) in refusal.value.what and refusal.value.allowed
