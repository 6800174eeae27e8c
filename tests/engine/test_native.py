"""UNROLL_INSTRUCTIONS chooses what computes networks that name nothing, so the whole suite can be run with each."""

import os
import subprocess
import sys

import numpy as np
import pytest

from engine.networks import SETS, config, weights_of
from laws.cases import randomised
from unroll.engine import native
from unroll.engine.network import Network
from unroll.errors import UserError
from unroll.nn.model import Model

VARIABLE = "UNROLL_INSTRUCTIONS"


def small_network(kernel: bool | str = True) -> Network:
    model = randomised(Model(config("lstm", 2))).float()
    return Network(model.config, weights_of(model), kernel=kernel)


@pytest.mark.parametrize("name", SETS)
def test_an_instruction_set_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, name)
    assert native.default_instructions() == name
    ids = np.arange(20).reshape(2, 10) % 7
    by_default, by_name = small_network().hidden(ids)[0], small_network(name).hidden(ids)[0]
    assert (by_default == by_name).all()
    assert not np.array_equal(by_default, small_network(False).hidden(ids)[0])


def test_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "numpy")
    assert native.default_instructions() is None
    assert small_network()._kernel is None
    assert all(small_network(name)._kernel for name in SETS)  # an explicit name wins


def test_the_default_is_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, ""):
        monkeypatch.delenv(VARIABLE, raising=False)
        if value is not None:
            monkeypatch.setenv(VARIABLE, value)
        assert native.default_instructions() == (SETS[0] if SETS else None)


def test_another_name_is_refused_in_three_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "mmx")
    with pytest.raises(UserError) as error:
        small_network()
    assert error.value.what == "the environment variable UNROLL_INSTRUCTIONS is 'mmx'"
    assert error.value.allowed == f"on this machine {', '.join([*SETS, 'numpy'])}"
    assert "unset the variable" in error.value.fix
    assert small_network(False)._kernel is None


def test_processes_inherit_it() -> None:
    script = "from unroll.engine import native; print(native.default_instructions())"
    for name in [*SETS, "numpy"]:
        result = subprocess.run(
            [sys.executable, "-c", script], env=os.environ | {VARIABLE: name}, capture_output=True, text=True
        )
        assert result.stdout == f"{None if name == 'numpy' else name}\n", result.stderr
