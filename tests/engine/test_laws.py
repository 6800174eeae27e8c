"""The laws hold for the engine, with numpy and with every set of kernels."""

from collections.abc import Callable

import pytest

from engine.networks import MODELS, WAYS, Way, subject
from laws.cases import WINDOW, Case
from laws.laws import (
    Subject,
    law_causal,
    law_limit,
    law_memory,
    law_probabilities,
    law_rows,
    law_split,
)

LAWS = [law_split, law_rows, law_causal, law_memory, law_probabilities]


@pytest.fixture(params=MODELS, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    chosen: Case = request.param
    return chosen


@pytest.fixture(params=WAYS, ids=lambda way: way[0])
def way(request: pytest.FixtureRequest) -> Way:
    chosen: Way = request.param
    return chosen


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law: Callable[[Subject], None], case: Case, way: Way) -> None:
    law(subject(case, way))


@pytest.mark.parametrize("name", ["window-1", "window-2"])
def test_a_window_is_a_hard_limit(name: str, way: Way) -> None:
    (chosen,) = (case for case in MODELS if case.name == name)
    law_limit(subject(chosen, way), WINDOW)
